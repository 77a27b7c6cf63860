"""Files at addresses (``s3://bucket/gt``, ``https://host/a.json``); the only use of fsspec."""

import contextlib
import importlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from entityseg_bench.io import InputError

__all__ = ["download", "is_address", "list_addresses", "read_head"]

T = TypeVar("T")

# How often a file is asked for again, and the seconds before the first time; they double.
RETRIES, PAUSE = 4, 0.5
# What asking again does not change.
FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, ValueError, ImportError)


def is_address(text: str) -> bool:
    """Tell an address from a path of this machine."""
    scheme, mark, _ = text.partition("://")
    return bool(mark) and scheme.replace("+", "").isalnum()


def list_addresses(address: str) -> list[str]:
    """List what a pattern or a folder holds, by name; a file is itself.

    Raises:
        InputError: It cannot be reached.
    """

    def find() -> list[str]:
        files, root = _file_system(address)
        if any(mark in root for mark in "*?["):
            found = files.glob(root)
        elif files.isdir(root):
            found = files.ls(root, detail=False)
        else:
            return [address]
        shown = [name for name in found if not name.rstrip("/").rpartition("/")[2].startswith(".")]
        return sorted(files.unstrip_protocol(name) for name in shown)

    return _tried(address, find)


def read_head(address: str, n_bytes: int) -> bytes:
    """Read the first bytes of a file.

    Raises:
        InputError: It cannot be read.
    """

    def read() -> bytes:
        files, root = _file_system(address)
        with files.open(root, "rb") as file:
            return bytes(file.read(n_bytes))

    return _tried(address, read)


def download(address: str, path: Path) -> None:
    """Copy a file from an address.

    Raises:
        InputError: It cannot be read, or no longer.
    """

    def copy() -> None:
        files, root = _file_system(address)
        with files.open(root, "rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)

    _tried(address, copy)


def _file_system(address: str) -> tuple[Any, str]:
    import fsspec

    found: tuple[Any, str] = fsspec.core.url_to_fs(address)
    return found


def _tried(address: str, work: Callable[[], T]) -> T:
    """Do something with an address, again where a network may have failed."""
    # Missed by its own name: what is caught below is what a file system says of an address.
    importlib.import_module("fsspec")
    pause = PAUSE
    for _ in range(RETRIES):
        with contextlib.suppress(_Again), _refused(address, final=False):
            return work()
        time.sleep(pause)
        pause *= 2
    with _refused(address, final=True):
        return work()


class _Again(Exception):
    """Say that something may go well the next time."""


@contextlib.contextmanager
def _refused(address: str, final: bool) -> Iterator[None]:
    """Turn what a file system raises into an `InputError`, or into `_Again` where it may pass."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - each file system has errors of its own
        if not final and not isinstance(error, FINAL):
            raise _Again from None
        if isinstance(error, FileNotFoundError):
            raise InputError(address, "", "there is no such file.") from None
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(address, "", f"it cannot be read: {reason.rstrip('.')}.") from None
