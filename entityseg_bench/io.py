"""Files at the edge: open, hash, write whole or not at all, and say what is wrong with one."""

import contextlib
import errno
import gc
import gzip
import io
import mmap
import os
import re
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from entityseg_bench import locks

__all__ = [
    "MOST_UNPACKED",
    "InputError",
    "atomic_path",
    "cache_folder",
    "check_folder",
    "check_writable",
    "decode_json",
    "fingerprint",
    "locked",
    "open_regular",
    "printable",
    "read_bytes",
    "read_text",
    "sha256",
    "trusted_cache",
    "write_json",
]

# Masks in JSON shrink to a third or a tenth; a gzip made to fill all memory, to a thousandth.
MOST_UNPACKED = 200

# What a terminal obeys instead of showing it: control characters, line ends of Unicode, changes of
# the direction of writing; and halves of surrogate pairs, which no encoding can write.
UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

T = TypeVar("T")


def printable(text: str) -> str:
    """Return a text in which everything that a terminal would obey is escaped as in Python."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class InputError(ValueError):
    """Say which file cannot be used, where in it, what is wrong and what to do.

    The message is one line that can be shown on a terminal, whatever the file says; the attributes
    hold the words as they are.

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
        super().__init__(printable(f"{place}: {what}" + (f" {hint}" if hint else "")))

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


def trusted_cache() -> Path | None:
    """Return the cache folder, made for this user alone, or None where others can write into it.

    What is run from a cache has to be what this user put there.

    Raises:
        OSError: It cannot be made.
    """
    folder = cache_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sys.platform != "win32":
        found = folder.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            return None
    return folder


def open_regular(path: str | Path) -> io.BufferedReader:
    """Open a file for reading, and nothing but a file.

    Raises:
        InputError: It is a device, a pipe or a socket, which may never end, or never begin.
        OSError: It is missing, a folder, or may not be read.
    """

    def opener(name: str, flags: int) -> int:
        # Without O_NONBLOCK the opening itself waits for somebody to write into a pipe.
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    path = Path(path)
    try:
        # Some devices do something when they are opened, so they are not.
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            file: io.BufferedReader = io.BufferedReader(io.FileIO(path, opener=opener))
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file
            file.close()
    except ValueError as error:  # a name that holds a zero
        raise InputError(path, "", f"this is no name of a file: {error}.") from None
    raise InputError(path, "", "it is no file, but a device or a pipe.", "Write it into a file.")


def read_bytes(path: str | Path) -> bytes:
    """Read a file's content, unpacked when it is gzip.

    The file is read and not mapped into memory: a process dies of a mapped file that somebody
    cuts off meanwhile, and what is decoded would be brought into memory as well.

    Raises:
        InputError: The file is missing, empty, unreadable, none (a device, a pipe), changed while
            it was read, or a broken gzip, or one that unpacks to `MOST_UNPACKED` times its size.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            before = os.fstat(file.fileno())
            if before.st_size == 0:
                raise InputError(path, "", "the file is empty.", "Write it again.")
            content = file.read(before.st_size + 1)
            after = os.fstat(file.fileno())
            if (len(content), after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                what = "it was changed while it was read."
                raise InputError(path, "", what, "Wait until it is written whole.")
        return _unpacked(path, content) if content.startswith(b"\x1f\x8b") else content
    except FileNotFoundError:
        raise InputError(path, "", "there is no such file.", _nearest(path)) from None
    except OSError as error:
        raise InputError(path, "", f"it cannot be read: {error.strerror or error}.") from None


def read_text(path: str | Path) -> str:
    """Read a file of UTF-8 text, with or without a byte-order mark, unpacked when it is gzip.

    Raises:
        InputError: As `read_bytes`; or it is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(path, "", f"it is not UTF-8: {error}.") from None


def _unpacked(path: Path, packed: bytes) -> bytes:
    """Unpack a gzip."""
    most = MOST_UNPACKED * len(packed) + (1 << 20)
    try:
        with gzip.open(io.BytesIO(packed)) as file:
            content = file.read(most + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(path, "", f"the gzip is broken: {error}.", "Copy it again.") from None
    if len(content) > most:
        what = f"the gzip unpacks to more than {MOST_UNPACKED} times its size"
        raise InputError(path, "", f"{what}: no annotations do.", "Unpack it, to use it.")
    return content


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

    with open_regular(path) as file:
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
    """Give a temporary path beside ``path`` that takes its name only when the block succeeds.

    The temporary file is there already, empty: it was created under a name that nobody can
    foretell, so that it is no link that somebody has set there. It is locked while the block runs;
    what killed processes have left in the folder is thereby known, and removed.

    Raises:
        OSError: It cannot be written; ``filename`` is the path.
    """
    path = Path(path)
    try:
        _check_target(path)
        locks.remove_abandoned(path.parent)
        with locks.created(path.parent, path.name) as temporary:
            yield temporary
            temporary.replace(path)
    except OSError as error:
        # A full disk names no file, and people do not know the temporary one.
        if error.filename is None or str(error.filename).endswith(".part"):
            error.filename, error.filename2 = str(path), None
        raise


def _check_target(path: Path) -> None:
    """See that a file can take this name: no folder has it, nor a device that it would replace."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "It is a device or a pipe", str(path))


@contextlib.contextmanager
def locked(target: str | Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock on a file or folder that is written while the block runs, see `locks.locked`.

    Args:
        target: What is written.
        wait: For how long to wait for another process, seconds.

    Raises:
        InputError: Another process writes it.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locks.locked(target, wait))
        except locks.Busy as busy:
            raise InputError(target, "", f"{busy}.", "Wait for it, or stop it.") from None
        yield


def check_writable(
    *paths: str | Path | None,
    makes_folders: bool = False,
    inputs: Sequence[str | Path | None] = (),
) -> None:
    """See, before long work, that files can be written, and that none is lost by it.

    Args:
        paths: Of the files; None is passed over.
        makes_folders: Whether the work makes the folders that are missing.
        inputs: What the work reads, which no file may take the place of; None is passed over.

    Raises:
        InputError: One cannot be, is an input, or is another of them.
    """
    targets = [Path(path) for path in paths if path is not None]
    for at, path in enumerate(targets):
        with _unwritable(path):
            _check_target(path)
            if any(_is_same(path, Path(one)) for one in inputs if one is not None):
                raise ValueError("the command reads it")
            if any(_is_same(path, other) for other in targets[:at]):
                raise ValueError("two outputs have this name")
            _try_folder(path.absolute().parent, makes_folders)


def _is_same(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to one file, there or not."""
    if one.is_file() and other.is_file():
        return one.samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)


def check_folder(path: str | Path) -> None:
    """See, before long work, that files can be written into a folder, or that it can be made.

    Raises:
        InputError: They cannot be.
    """
    with _unwritable(Path(path)):
        _try_folder(Path(path).absolute(), True)


@contextlib.contextmanager
def _unwritable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(path, "", f"it cannot be written: {reason}.", "Name another.") from None


def _try_folder(folder: Path, makes_folders: bool) -> None:
    if makes_folders:
        folder = next(above for above in (folder, *folder.parents) if os.path.lexists(above))
    # Rights alone do not tell: the disk may be read-only, or full.
    with locks.created(folder):
        pass


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
        hint = "Does its folder exist?" if error.errno == errno.ENOENT else ""
        raise InputError(path, "", what, hint) from None
