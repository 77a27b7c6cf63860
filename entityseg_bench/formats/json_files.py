"""JSON files as people have them: other encodings, NaN; and what a file is that is no JSON."""

import codecs
import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from entityseg_bench.io import InputError, decode_json, read_bytes

__all__ = [
    "IMAGE",
    "as_utf8",
    "decoded",
    "encoded",
    "foreign",
    "loosely",
    "needs_all",
    "read_json",
    "read_records",
    "tools_named",
]

T = TypeVar("T")

# Byte order marks; UTF-32's begins with UTF-16's and is looked for first.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# JSON begins with two characters of ASCII: zeros beside them say which bytes belong together.
UNMARKED = {
    "1000": "utf-32-le", "0001": "utf-32-be", "1010": "utf-16-le", "0101": "utf-16-be",
}  # fmt: skip

EXCHANGED = "Predictions are read from such files; are GT and PRED exchanged? GT comes first."
ARCHIVES = {b"7z\xbc\xaf": "7z", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "Zstandard"}
# What `foreign` is told where a picture is wanted.
IMAGE = "an image"
PICTURES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"II*\0": "TIFF"}
# Keys that no format has which is read -> whose they are.
OTHER_TOOLS = {
    b'"brushlabels"': "Label Studio's (brush)",
    b'"polygonlabels"': "Label Studio's",
    b'"rectanglelabels"': "Label Studio's",
    b'"imagePath"': "labelme's",
    b'"_via_img_metadata"': "VGG Image Annotator's",
    b'"shape_attributes"': "VGG Image Annotator's",
    b'"objectClasses"': "Supervisely's",
}
# Brackets, then a word in single quotes: how Python shows lists and dictionaries.
PYTHON_WORD = re.compile(rb"[:\[,]\s*(None|True|False)\s*[,\]}]")
NOT_JSON = re.compile(rb"\b(NaN|Infinity)\b")
PYTHON = re.compile(rb"\s*[\[({][\s\[({]*'|\s*\{\s*\d+\s*:|\s*(\[\s*\{)?\s*[A-Za-z_.]+\([\[({<'\"]")
JSON_START = re.compile(r"\s*([\[{\"\d-]|true|false|null|NaN|Infinity)")


def as_utf8(path: Path, data: bytes) -> bytes:
    """Return a text in UTF-8 without a byte order mark; text in UTF-8 comes back as it is.

    Raises:
        InputError: It begins as UTF-16 or UTF-32, and is not.
    """
    encoding = _encoding_of(data)
    if encoding is None:
        return data
    try:
        return data.decode(encoding).encode("utf-8")
    except UnicodeError as error:
        what = f"it begins as {encoding.upper()} and breaks off: {error}."
        raise InputError(path, "", what, "Is the file whole?") from None


def needs_all(head: bytes) -> bool:
    """Tell from its first four bytes whether a file must be read whole: packed, or not UTF-8."""
    return head.startswith(b"\x1f\x8b") or _encoding_of(head) is not None


def _encoding_of(data: bytes) -> str | None:
    """Tell the encoding of text that begins as another than plain UTF-8, else None."""
    # One look at a byte: nearly all files are plain.
    if data[:1] in (b"[", b"{") and data[1:2] != b"\0":
        return None
    return next((name for mark, name in (*MARKS, *_unmarked(data)) if data.startswith(mark)), None)


def _unmarked(data: bytes) -> list[tuple[bytes, str]]:
    """Return the encoding of a text without a mark that is not of single bytes."""
    head = data[:4]
    found = UNMARKED.get("".join("01"[byte > 0] for byte in head))
    return [(head, found)] if found else []


def read_json(path: Path) -> bytes:
    """Read a file's JSON text, unpacked when it is gzip, in UTF-8; see `as_utf8`."""
    return as_utf8(path, read_bytes(path))


def read_records(path: Path, kind: type[T]) -> T:
    """Read JSON whose records are checked one by one.

    Args:
        path: The file.
        kind: What it holds; NaN and Infinity, which JSON has not, become null.

    Raises:
        InputError: It is no JSON, or does not hold that.
    """
    data = read_json(path)
    try:
        return decode_json(path, data, msgspec.json.Decoder(kind))
    except InputError as error:
        content = encoded(path, loosely(path, data, error))
    return decode_json(path, content, msgspec.json.Decoder(kind))


def encoded(path: Path, content: Any) -> bytes:
    """Write Python values as JSON; NaN and Infinity become null.

    Raises:
        InputError: A text of half a character.
    """
    try:
        return msgspec.json.encode(content)
    except UnicodeEncodeError:
        raise InputError(
            path, "", "it holds half a character of UTF-16.", "Write it again."
        ) from None


def loosely(path: Path, data: bytes, refused: InputError) -> Any:
    """Parse JSON as Python does, with NaN and Infinity.

    Args:
        path: The file.
        data: Its text.
        refused: What the strict decoder says of it.

    Raises:
        InputError: It is something else (`foreign`), or broken.
    """
    fault = foreign(path, data)
    if fault:
        raise fault
    text = decoded(path, data)
    if not JSON_START.match(text):
        start = text.strip().partition("\n")[0][:40].strip()
        begins = f"it begins with {start!r}" if start else "it holds nothing but space"
        what = f"this is no JSON: {begins}."
        raise InputError(path, "", what, "Is it the right file?")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        word = PYTHON_WORD.search(data)
        if word:
            what = f"it holds {word[1].decode()}, which is Python and not JSON."
            raise InputError(path, "", what, "Write it with json.dump.") from None
        if NOT_JSON.search(data) is None:
            # Without them both stop at the same place.
            raise refused from None
        what = f"the JSON is malformed: {error.msg} (line {error.lineno}, column {error.colno})."
        raise InputError(path, "", what, "Is the file whole?") from None
    except RecursionError:
        raise InputError(
            path, "", "its JSON is nested too deeply.", "It is no annotations."
        ) from None
    except ValueError as error:  # a number of more digits than Python reads
        raise InputError(path, "", f"its JSON cannot be read: {error}.") from None


def decoded(path: Path, data: bytes) -> str:
    """Return a text that is UTF-8, or has a byte order mark.

    Raises:
        InputError: It is in another encoding, with the first byte that tells.
    """
    try:
        return as_utf8(path, data).decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{error.object[error.start]:02x} at position {error.start}"
        what = f"it is not UTF-8 ({byte} is of no character): it may be Latin-1."
        raise InputError(path, "", what, "Save it as UTF-8.") from None


def foreign(path: Path, data: bytes, wanted: str = "JSON") -> InputError | None:
    """Return the error of a file that is something else than is wanted and can be told, or None."""
    told = _told(data[:4096], data, wanted)
    return InputError(path, "", *told) if told else None


def _told(head: bytes, data: bytes, wanted: str) -> tuple[str, str] | None:
    """Say what a file is, and what to do; None where it may be what is wanted."""
    text = head.lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        return "this is a Git LFS pointer, not the file itself.", "Fetch the file: git lfs pull."
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in text:
        return f"this is a web page (HTML), not {wanted}.", "Download the file itself."
    if text.startswith(b"<"):
        return f"this is XML, not {wanted}.", "If it is an error of a download, download it again."
    if head.startswith(b"PK\x03\x04"):
        names = _members(data)
        if any(name in names for name in (".npy", "data.pkl")):
            return f"this is a file of arrays{names}, not {wanted}.", EXCHANGED
        return f"this is a zip archive{names}.", "Unpack it, and name what is in it."
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return f"this is a pickle, not {wanted}.", EXCHANGED
    for magic, name in ARCHIVES.items():
        if head.startswith(magic):
            return f"this is a {name} archive.", "Unpack it, and name what is in it."
    if head.startswith(b"\x1f\x8b"):
        return "this is gzip within gzip.", "Unpack it once: gunzip."
    if head[257:262] == b"ustar":
        return "this is a tar archive.", "Unpack it, and name what is in it."
    if head.startswith(b"\x93NUMPY"):
        hint = (
            "Scores are needed, too: np.savez(name, masks=masks, scores=scores), a file an image."
        )
        return "this is a NumPy array (.npy).", hint
    for magic, name in PICTURES.items():
        if head.startswith(magic) and wanted != IMAGE:
            return f"this is a picture ({name}).", "Name the folder of the maps, or the JSON file."
    if PYTHON.match(head):
        return f"this is what Python's print shows, not {wanted}.", "Write it with json.dump."
    return None


@contextlib.contextmanager
def tools_named(path: Path, data: bytes) -> Iterator[None]:
    """Name the tool whose own JSON it is that the block cannot read, where its keys tell."""
    try:
        yield
    except InputError as error:
        tool = next((tool for mark, tool in OTHER_TOOLS.items() if mark in data), None)
        if tool is None:
            raise
        hint = "Export it as COCO with masks, or convert it to that."
        raise InputError(path, error.where, f"this is {tool} own JSON.", hint) from None


def _members(data: bytes) -> str:
    """Name the first files of a zip archive."""
    import zipfile  # brings much along

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return ", broken"
    more = ", ..." if len(names) > 3 else ""
    return f" of {', '.join(names[:3])}{more}" if names else ""
