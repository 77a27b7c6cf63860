"""The gated repository that holds EntitySeg's images and weights, through `huggingface_hub`."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from entityseg_bench.download.transfer import download
from entityseg_bench.io import InputError
from entityseg_bench.names import inside

__all__ = ["REPOSITORY", "HubFile", "fetch", "list_files", "page"]

REPOSITORY = "qqlu1992/Adobe_EntitySeg"


class HubFile(NamedTuple):
    """Hold one file of the repository.

    Attributes:
        path: Path in the repository.
        size: Bytes.
        digest: Its sha256 in hex. The hub states it for large files only.
    """

    path: str
    size: int
    digest: str | None = None


def page() -> str:
    """Return the address of the repository's page, where users ask for access."""
    return f"{_endpoint()}/datasets/{REPOSITORY}"


def list_files(folder: str | None = None) -> list[HubFile]:
    """List the files of the repository, or of one folder of it, in the order of their paths.

    Args:
        folder: Path in the repository; None lists everything.

    Raises:
        InputError: There is no access, no network, or no such folder.
    """
    hub = _library()
    with _told(folder or ""):
        # The endpoint is read here, because the library reads HF_ENDPOINT only when it is imported.
        found = hub.HfApi(endpoint=_endpoint()).list_repo_tree(
            REPOSITORY, folder, recursive=True, repo_type="dataset"
        )
        return sorted(
            HubFile(file.path, file.size, file.lfs.sha256 if file.lfs else None)
            for file in found
            if isinstance(file, hub.hf_api.RepoFile)
        )


def fetch(file: HubFile, folder: Path) -> Path:
    """Return a file of the repository, from the library's cache or downloaded into a folder.

    This package downloads the bytes itself, because the library begins an interrupted file again.

    Args:
        file: The file as it is listed.
        folder: The file is stored below it, under its path in the repository. A file of the same
            size that exists already is used as it is.

    Raises:
        InputError: No access, no network, no such file, no space, or another file came; or its path
            leads out of the folder.
    """
    hub = _library()
    target = inside(folder, file.path, "the repository's list of files", allow_outside=False)
    cached = hub.try_to_load_from_cache(REPOSITORY, file.path, repo_type="dataset")
    if isinstance(cached, str):
        return Path(cached)
    if target.is_file() and target.stat().st_size == file.size:
        return target
    url = hub.hf_hub_url(REPOSITORY, file.path, repo_type="dataset", endpoint=_endpoint())
    with _told(file.path):
        location = hub.get_hf_file_metadata(url, token=hub.get_token()).location
    headers = hub.utils.build_hf_headers()
    if urlsplit(location).netloc != urlsplit(url).netloc:
        # Large files are on other hosts, whose addresses contain a signature: the token is not sent
        # there.
        headers.pop("authorization", None)
    return download(location, target, file.size, file.digest, headers)


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _library() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.hf_api
        import huggingface_hub.utils
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "huggingface_hub":
            raise
        raise InputError(
            REPOSITORY, "", "it is read by huggingface_hub, which is not installed.",
            "Run: pip install 'entityseg-bench[hub]'.",
        ) from None  # fmt: skip
    return huggingface_hub


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Turn an error of the library into one sentence that says what to do."""
    hub = _library()
    errors: Any = hub.errors
    try:
        yield
    except errors.EntryNotFoundError:
        what = "the repository has no such file or folder."
        raise InputError(page(), path, what, "Has it been renamed?") from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403):
            raise _no_access(path, hub.get_token(), status) from None
        raise InputError(page(), path, f"the hub answers {status}.", "Try again later.") from None
    except (OSError, *errors.HfHubHTTPError.__bases__) as error:
        raise _unreachable(path, error) from None


def _no_access(path: str, token: str | None, status: int | None) -> InputError:
    if not token:
        return InputError(
            page(), path, "the repository is gated, and no token is here.",
            f"Ask for access on {page()}, make a read token, and run: hf auth login",
        )  # fmt: skip
    if status == 401:
        return InputError(
            page(), path, "the hub does not accept the token that is here.",
            "Make a new read token, and run: hf auth login",
        )  # fmt: skip
    return InputError(
        page(), path, "access is not granted to the account of the token that is here.",
        f"Ask for it on {page()}, and wait until its owner has granted it.",
    )  # fmt: skip


def _unreachable(path: str, error: Exception) -> InputError:
    first = str(error).split("\n", 1)[0].rstrip(".") or type(error).__name__
    return InputError(
        page(), path, f"the hub cannot be reached: {first}.",
        "Is there a network, and is HF_HUB_OFFLINE not set?",
    )  # fmt: skip
