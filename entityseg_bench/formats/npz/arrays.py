"""The arrays of an NPZ file: nothing is unpacked before its header has said how much it is."""

import contextlib
import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entityseg_bench.formats.json_files import foreign
from entityseg_bench.io import InputError, open_regular

__all__ = ["Arrays", "Header", "opened_npz"]

MOST_MEMBERS = 64
# What NumPy reads of a header is bounded only after it is read; plain numbers need 128 bytes.
MOST_HEAD = 1 << 10
# bzip2 and xz, which NumPy never writes, are unpacked by zipfile without a bound.
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# An array whose rows do not lie one after the other is read whole, up to this many bytes.
MOST_SCATTERED = 1 << 28

# What NumPy and zipfile raise for a broken file: for its frame, its bytes, its arrays' headers.
# Python's parser may give up on a header with SystemError.
BROKEN = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError, SyntaxError, TypeError,
    OverflowError, NotImplementedError, SystemError, RecursionError, zipfile.BadZipFile,
    zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip


class Header(NamedTuple):
    """Hold what an array is, as its header says, and the byte that its content begins at."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    start: int

    @property
    def n_bytes(self) -> int:
        """How much memory the array takes."""
        return math.prod(self.shape) * self.dtype.itemsize


class Arrays:
    """Give the arrays of a file that `opened_npz` has opened.

    Args:
        path: The file.
        archive: What it is.

    Attributes:
        headers: Name -> header, of every array.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        members = archive.infolist()
        names = [member.filename.removesuffix(".npy") for member in members]
        if len(members) > MOST_MEMBERS or len(set(names)) < len(names):
            raise InputError(path, "", f"{len(members)} arrays are too many, or share names.")
        self._members = dict(zip(names, members, strict=True))
        for name, member in self._members.items():
            if member.compress_type not in PACKINGS:
                raise InputError(path, name, "it is packed in a way that NumPy does not write.")
        self.headers = {name: self._header(name) for name in names}

    def _header(self, name: str) -> Header:
        with self._archive.open(self._members[name]) as member:
            head = io.BytesIO(member.read(MOST_HEAD))
        version = np.lib.format.read_magic(head)
        if version == (1, 0):
            shape, in_columns, dtype = np.lib.format.read_array_header_1_0(head)
        elif version == (2, 0):
            shape, in_columns, dtype = np.lib.format.read_array_header_2_0(head)
        else:
            raise ValueError(f"version {version} of its arrays is not known")
        if dtype.hasobject or any(length < 0 for length in shape):
            raise InputError(self._path, name, f"{dtype} of shape {shape} is not read.")
        return Header(shape, dtype, in_columns, head.tell())

    def read(self, name: str, most_bytes: int) -> NDArray[Any]:
        """Read an array whole.

        Raises:
            InputError: It would take more memory than it may.
        """
        header = self.headers[name]
        if header.n_bytes > most_bytes:
            what = f"{header.dtype} of shape {header.shape} are {header.n_bytes:,} bytes"
            raise InputError(self._path, name, f"{what}; {most_bytes:,} are the most.")
        with self._archive.open(self._members[name]) as member:
            member.read(header.start)
            content = _read(member, header.n_bytes)
        order: Any = "F" if header.fortran_order else "C"
        return np.frombuffer(content, header.dtype).reshape(header.shape, order=order)

    def rows(self, name: str, most: int) -> Iterator[NDArray[Any]]:
        """Yield the first rows of an array, up to so many, one at a time in memory."""
        header = self.headers[name]
        most = min(most, header.shape[0])
        if header.fortran_order:
            yield from self.read(name, MOST_SCATTERED)[:most]
            return
        n_bytes = math.prod(header.shape[1:]) * header.dtype.itemsize
        with self._archive.open(self._members[name]) as member:
            member.read(header.start)
            for _ in range(most):
                yield np.frombuffer(_read(member, n_bytes), header.dtype).reshape(header.shape[1:])


def _read(member: Any, n_bytes: int) -> bytes:
    content: bytes = member.read(n_bytes)
    if len(content) != n_bytes:
        raise EOFError(f"an array ends after {len(content)} of {n_bytes} bytes")
    return content


@contextlib.contextmanager
def opened_npz(path: Path) -> Iterator[Arrays]:
    """Open an NPZ file while the block runs.

    Raises:
        InputError: There is no such file, or it, or what the block reads of it, is broken.
    """
    try:
        with open_regular(path) as file:
            head = file.peek(256)[:256]
            if head.startswith(b"\x93NUMPY"):
                raise ValueError("it holds one array without a name")
            fault = None if head.startswith(b"PK") else foreign(path, head, "an NPZ file")
            if fault:
                raise fault
            with zipfile.ZipFile(file) as archive:
                yield Arrays(path, archive)
    except FileNotFoundError:
        raise InputError(path, "", "there is no such file.") from None
    except InputError:
        raise
    except BROKEN as error:
        what = f"it is no file of masks: {error}."
        raise InputError(path, "", what, "Write it again.") from None
