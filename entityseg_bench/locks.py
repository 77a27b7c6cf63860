"""Locks on files: two processes never write one target, and who died holds nothing.

The operating system takes a lock back when its process ends, however it ends. Where a file system
knows no locks (some network drives), nothing is locked and nothing is removed.
"""

import contextlib
import errno
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Busy", "created", "locked", "remove_abandoned"]

# How often a process that waits looks again, seconds.
PATIENCE = 0.05
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

# The name of a file of `created`. A few letters of it say what it is for: a name has at most 255
# bytes in all.
PART = re.compile(r"\..*\.[0-9a-f]{16}\.part")
LEGIBLE = 40

# Folders in which this process has looked for what others have left: once is enough.
_seen: set[Path] = set()


class Busy(Exception):
    """Say that another process holds a lock, and which."""


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        # One byte far beyond the end: a locked byte cannot be read by others, and they read who
        # holds the lock.
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether a path still leads to the file that was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    # Windows does not remove a file that somebody has open.
    with contextlib.suppress(FileNotFoundError, PermissionError):
        path.unlink()


@contextlib.contextmanager
def locked(target: str | Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock on what is written while the block runs.

    The lock is that of the file ``.<name>.lock`` beside the target, which goes with it.

    Args:
        target: A file or folder, there or not; its folder is made.
        wait: For how long to wait for another process, seconds.

    Raises:
        Busy: Another process holds it.
        OSError: The lock's file cannot be written.
    """
    target = Path(os.path.realpath(target))
    path = target.with_name(f".{target.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait
    while (descriptor := _taken(path)) is None:
        if time.monotonic() >= deadline:
            raise Busy(f"{_holder(path)} is writing it")
        time.sleep(PATIENCE)
    try:
        yield
    finally:
        # While it is still locked, so that nobody holds a lock on a file without a name.
        _remove(path)
        os.close(descriptor)
        _remove(path)


def _taken(path: Path) -> int | None:
    """Take a lock and write down whose it is; None when another process has it."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        is_ours = _lock(descriptor) and _is_at(descriptor, path)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return descriptor
        os.close(descriptor)
        raise
    if not is_ours:
        os.close(descriptor)
        return None
    import socket  # brings selectors along

    # The name is for people: a full disk does not need to hold it.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    return descriptor


def _holder(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(200).decode(errors="replace") or "another process"
    except OSError:
        return "another process"


@contextlib.contextmanager
def created(folder: Path, name: str = "") -> Iterator[Path]:
    """Make a new file of a name that nobody can foretell, and hold its lock while the block runs.

    It is removed at the end if it still has that name.

    Args:
        folder: Where to make it.
        name: What people may know it by, in part.

    Raises:
        OSError: It cannot be made.
    """
    path, descriptor = _new(folder, name)
    if sys.platform == "win32":
        # It could not be renamed while it is open.
        os.close(descriptor)
    try:
        yield path
    finally:
        _remove(path)
        if sys.platform != "win32":
            os.close(descriptor)


def _new(folder: Path, name: str) -> tuple[Path, int]:
    while True:
        path = folder / f".{name[:LEGIBLE]}.{os.urandom(8).hex()}.part"
        # Exclusively: never a file, nor a link, that is there already.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            # A process that cleans up may have taken it for abandoned before it was locked.
            if _lock(descriptor) and _is_at(descriptor, path):
                return path, descriptor
        except OSError as error:
            if error.errno in NO_LOCKS:
                return path, descriptor
            os.close(descriptor)
            raise
        os.close(descriptor)


def remove_abandoned(folder: Path) -> None:
    """Remove what dead processes have left of `created` in a folder; looks once a process."""
    folder = Path(os.path.realpath(folder))
    if folder in _seen:
        return
    _seen.add(folder)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        for path in folder.iterdir():
            if PART.fullmatch(path.name):
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    if sys.platform == "win32":
        # Nobody keeps them open there while they are written, so nothing tells whose it is.
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):
            if _lock(descriptor):
                _remove(path)
    finally:
        os.close(descriptor)
