"""Get a file over HTTP: with progress, resumed where it broke off, whole or not at all."""

import http.client
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from entityseg_bench.io import InputError, sha256

__all__ = ["download", "read_json"]

CHUNK = 1 << 20
# A connection that breaks off is opened again, as long as each attempt brings bytes.
ATTEMPTS_WITHOUT_BYTES = 3
TIMEOUT_S = 30
# A listing is some kilobytes; more is no listing.
MOST_JSON = 1 << 26


class _KeepTheToken(urllib.request.HTTPRedirectHandler):
    """Follow redirects, and send the token to the host that it was meant for alone."""

    def redirect_request(self, req: urllib.request.Request, *args: Any) -> Any:
        new = super().redirect_request(req, *args)
        if new is not None and urlsplit(new.full_url).netloc != urlsplit(req.full_url).netloc:
            new.remove_header("Authorization")
        return new


def _open(url: str, headers: Mapping[str, str]) -> Any:
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(url, "", "it is no web address.")
    request = urllib.request.Request(url, headers={"User-Agent": "entityseg-bench", **headers})
    return urllib.request.build_opener(_KeepTheToken()).open(request, timeout=TIMEOUT_S)


def read_json(url: str) -> bytes:
    """Read a listing that a server gives as JSON.

    Args:
        url: Address, http or https.

    Returns:
        The bytes, not parsed.

    Raises:
        InputError: The server cannot be reached, refuses, or sends more than a listing.
    """
    try:
        with _open(url, {"Accept": "application/json"}) as response:
            content: bytes = response.read(MOST_JSON + 1)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(url, "", f"{_reason(error)}.", _hint(error)) from None
    if len(content) > MOST_JSON:
        raise InputError(url, "", "it is too large for a listing.")
    return content


def download(
    url: str,
    path: Path,
    size: int,
    digest: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Path:
    """Get one file; what an earlier attempt brought is kept and gone on with.

    Args:
        url: Address, http or https.
        path: Where the file goes; its folder is made.
        size: Bytes that it has to have.
        digest: Its sha256 in hex, checked where it is known.
        headers: More headers of the request, such as the token's; not sent on to another host.

    Returns:
        The path.

    Raises:
        InputError: The server cannot be reached or refuses, the connection broke off for good, or
            what came is another file. The first two keep what came so far.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file that was published anew has another digest: the old one's beginning is not its own.
    part = path.with_name(f".{path.name}.{(digest or str(size))[:16]}.part")
    if part.is_symlink() or (part.exists() and not part.is_file()):
        raise InputError(part, "", "it is a link, or no file.", "Remove it.")
    failures = 0
    with _bar(path.name, size) as bar:
        while (have := part.stat().st_size if part.exists() else 0) < size:
            bar.update(have - bar.n)
            error = _append(url, part, have, headers or {}, bar)
            came = (part.stat().st_size if part.exists() else 0) - have
            failures = 0 if came > 0 else failures + 1
            refused = isinstance(error, urllib.error.HTTPError)
            if failures >= (1 if refused else ATTEMPTS_WITHOUT_BYTES):
                what = f"{_reason(error)}, at byte {have:,} of {size:,}."
                raise InputError(url, "", what, _hint(error))
    _check(url, part, size, digest)
    part.replace(path)
    return path


def _append(
    url: str, part: Path, have: int, headers: Mapping[str, str], bar: Any
) -> BaseException | None:
    """Add what the server sends to the part; give what stopped it, None if nothing did."""
    asked = {**headers, "Range": f"bytes={have}-"} if have else dict(headers)
    try:
        with _open(url, asked) as response:
            # A server that does not know ranges sends the whole file, from the start.
            goes_on = have > 0 and response.status == 206 and _starts_at(response, have)
            with part.open("ab" if goes_on else "wb") as file:
                bar.update(file.tell() - bar.n)
                while chunk := response.read(CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
    except urllib.error.HTTPError as error:
        return error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as e:
        return e
    except OSError as error:
        raise InputError(part, "", f"it cannot be written: {error.strerror or error}.") from None
    return None


def _starts_at(response: Any, have: int) -> bool:
    stated = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return stated is not None and int(stated[1]) == have


def _check(url: str, part: Path, size: int, digest: str | None) -> None:
    """Refuse, and remove, what is not the file that was asked for."""
    found = part.stat().st_size if part.exists() else 0
    if found != size:
        what = f"{found:,} bytes came, the listing says {size:,}."
    elif digest is not None and sha256(part) != digest:
        what = "what came has another sha256 than the listing says."
    else:
        return
    part.unlink(missing_ok=True)
    raise InputError(url, "", what, "Run the command again; the file is fetched anew.")


def _bar(name: str, size: int) -> Any:
    from tqdm import tqdm

    silent = not sys.stderr.isatty()
    return tqdm(total=size, desc=name, unit="B", unit_scale=True, disable=silent, leave=False)


def _reason(error: BaseException | None) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {error.reason}"
    if error is None:
        return "the connection broke off"
    reason = getattr(error, "reason", None) or error
    return f"it cannot be reached: {reason}"


def _hint(error: BaseException | None) -> str:
    if isinstance(error, urllib.error.HTTPError):
        if error.code in (403, 429):
            return "Too many requests, perhaps; try again in an hour."
        return "Has it moved?" if error.code == 404 else "Try again later."
    return "Is there a network? What came so far is kept, and gone on with."
