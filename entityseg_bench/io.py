"""Files at the edge: open, hash, write whole or not at all, and say what is wrong with one."""

import contextlib
import gc
import gzip
import mmap
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

__all__ = [
    "InputError",
    "atomic_path",
    "cache_folder",
    "decode_json",
    "fingerprint",
    "read_bytes",
    "sha256",
    "write_json",
]

# Masks in JSON shrink to a third or a tenth; a gzip made to fill all memory, to a thousandth.
MOST_UNPACKED = 200

T = TypeVar("T")


class InputError(ValueError):
    """Say which file cannot be used, where in it, what is wrong and what to do.

    Attributes:
        file: Name of the file or folder.
        where: Record, image or key in it; empty where it is the whole file.
        what: What is wrong, a sentence.
        hint: What to do, a sentence or empty.
        code: Name of the kind of fault, where a program acts on it.
    """

    def __init__(
        self, file: str | Path, where: str, what: str, hint: str = "", code: str = ""
    ) -> None:
        self.file = str(file)
        self.where = where
        self.what = what
        self.hint = hint
        self.code = code
        place = f"{self.file}: {where}" if where else self.file
        super().__init__(f"{place}: {what}" + (f" {hint}" if hint else ""))

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are pickled by their message alone, which is not what this one is made from.
        return type(self), (self.file, self.where, self.what, self.hint, self.code)


def cache_folder() -> Path:
    """Return the folder of what may be made again: ``$ENTITYSEG_CACHE``, or the platform's own."""
    if os.environ.get("ENTITYSEG_CACHE"):
        return Path(os.environ["ENTITYSEG_CACHE"])
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "entityseg-bench"


def read_bytes(path: str | Path) -> bytes | mmap.mmap:
    """Give a file's content, mapped into memory, or unpacked when it is gzip.

    Raises:
        InputError: The file is missing, empty, unreadable, or a broken gzip, or one that unpacks
            to `MOST_UNPACKED` times its size.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise InputError(path, "", "the file is empty.", "Write it again.")
            if file.read(2) != b"\x1f\x8b":
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            file.seek(0)
            most = MOST_UNPACKED * size + (1 << 20)
            with gzip.open(file) as unpacked:
                content = unpacked.read(most + 1)
            if len(content) > most:
                what = f"the gzip unpacks to more than {MOST_UNPACKED} times its size"
                raise InputError(path, "", f"{what}: no annotations do.", "Unpack it, to use it.")
            return content
    except FileNotFoundError:
        raise InputError(path, "", "there is no such file.", _nearest(path)) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(path, "", f"the gzip is broken: {error}.", "Copy it again.") from None
    except OSError as error:
        raise InputError(path, "", f"it cannot be read: {error.strerror or error}.") from None


def _nearest(path: Path) -> str:
    """Name the files beside a missing one that look most like it."""
    import difflib

    if not path.parent.is_dir():
        return f"The folder {path.parent} does not exist either."
    names = [entry.name for entry in path.parent.iterdir()]
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    return f"Beside it stand: {', '.join(close)}." if close else ""


def decode_json(path: str | Path, data: bytes | mmap.mmap, decoder: "msgspec.json.Decoder[T]") -> T:
    """Parse JSON into the decoder's type.

    Raises:
        InputError: No JSON (with the byte), or records of another shape (with the record).
    """
    try:
        with collector_paused():
            return decoder.decode(data)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        raise InputError(path, where.rstrip("`").lstrip("."), what + ".") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = str(error)
        if "truncated" in what:
            what = f"the JSON breaks off at its end, byte {len(data)}"
        raise InputError(path, "", f"{what}.", "Is the file whole?") from None


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Stop collecting garbage while records are made: they hold no cycles to look for."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def sha256(path: str | Path) -> str:
    """Hash a file's bytes as they lie on disk, as hex."""
    import hashlib  # brings OpenSSL along

    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(paths: Sequence[Path]) -> str:
    """Hash what one side was read from.

    A single file's is its SHA-256; else it is that of the lines ``<sha256>  <name>`` of all files,
    folders with what is below them, in the order of their names, as sha256sum prints them.
    """
    import hashlib

    if len(paths) == 1 and paths[0].is_file():
        return sha256(paths[0])
    lines = []
    for path in paths:
        if path.is_file():
            lines.append(f"{sha256(path)}  {path.name}\n")
            continue
        for file in sorted(path.rglob("*")):
            if file.is_file() and not file.name.startswith("."):
                lines.append(f"{sha256(file)}  {file.relative_to(path).as_posix()}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its name only when the block succeeds."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any, indent: int | None = None) -> None:
    """Write JSON whole or not at all; a name that ends in ``.gz`` is compressed.

    nan and infinities become null, since JSON has no other word for a missing number.

    Raises:
        InputError: The file cannot be written.
    """
    data = msgspec.json.encode(content)
    if indent is not None:
        data = msgspec.json.format(data, indent=indent) + b"\n"
    if str(path).endswith(".gz"):
        data = gzip.compress(data, mtime=0)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        what = f"it cannot be written: {error.strerror or error}."
        raise InputError(path, "", what, "Does its folder exist?") from None
