"""What was learned from a large file, kept in the user's cache folder; safe to delete.

An entry is named by the sha256 of the file it came from, so a changed file never meets an old
entry. Hashing gigabytes takes seconds; the hash itself is therefore remembered beside the file's
*signature*: device, inode, size, and the times of change of content and of inode. The last cannot
be set by a program, so a file that keeps its signature has kept its bytes, except for a change
within the clock's tick of the hashing: a file younger than `SETTLED_S` is hashed every time.
"""

import contextlib
import hashlib
import mmap
import os
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from entityseg_bench.io import atomic_path, sha256

__all__ = ["cache_folder", "file_hash", "holds_size", "known_hash", "load", "store"]

# Raise when the content of an entry changes its meaning.
VERSION = 1
SETTLED_S = 2.0
MOST_ENTRIES = 24


def cache_folder() -> Path:
    """Return the folder of the cache: ``$ENTITYSEG_CACHE``, or the platform's own place."""
    if os.environ.get("ENTITYSEG_CACHE"):
        return Path(os.environ["ENTITYSEG_CACHE"])
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "entityseg-bench"


def _signature(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _note(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    return cache_folder() / f"{name}.hash.json"


def known_hash(path: Path) -> str | None:
    """Return a file's sha256 if it was hashed before and its signature says it is unchanged."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        note = msgspec.json.decode(_note(path).read_bytes(), type=tuple[list[int], str])
        if note[0] == _signature(path):
            return note[1]
    return None


def file_hash(path: Path, data: mmap.mmap | None = None) -> str:
    """Return the sha256 of a file, from memory when its signature says it is unchanged.

    Args:
        path: The file.
        data: Its content, where that is mapped already: then the interpreter lock is free while it
            is hashed.
    """
    digest = known_hash(path)
    if digest:
        return digest
    signature = _signature(path)
    digest = sha256(path) if data is None else hashlib.sha256(data).hexdigest()
    youngest = max(signature[3:]) / 1e9
    # On Windows st_ctime is the time of creation, which a change leaves as it is.
    settled = sys.platform != "win32" and time.time() - youngest > SETTLED_S
    if settled and _signature(path) == signature:
        text = msgspec.json.encode((signature, digest))
        _write(_note(path), lambda temporary: temporary.write_bytes(text))
    return digest


def holds_size(n_bytes: int) -> bool:
    """Tell whether there is an entry of any file of this size: if not, hashing finds nothing."""
    return next(cache_folder().glob(f"{n_bytes}-*-v{VERSION}.npz"), None) is not None


def load(digest: str, n_bytes: int) -> dict[str, NDArray[Any]] | None:
    """Return the arrays stored under a hash and size, or None; a damaged entry counts as none."""
    path = _entry(digest, n_bytes)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def store(digest: str, n_bytes: int, arrays: dict[str, NDArray[Any]]) -> None:
    """Keep arrays under a hash and size; where the folder cannot be written nothing is kept."""

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    _write(_entry(digest, n_bytes), save)
    with contextlib.suppress(OSError):
        entries = sorted(cache_folder().glob("*.npz"), key=lambda path: path.stat().st_mtime)
        for path in entries[:-MOST_ENTRIES]:
            path.unlink(missing_ok=True)


def _entry(digest: str, n_bytes: int) -> Path:
    return cache_folder() / f"{n_bytes}-{digest}-v{VERSION}.npz"


def _write(path: Path, save: Callable[[Path], object]) -> None:
    # The cache only saves time: a read-only home or a full disk must not stop the reading.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            save(temporary)
