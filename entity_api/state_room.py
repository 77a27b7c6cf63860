"""Room for the arrays of states: memory as far as it goes, then temporary files.

An array in a file is used as one in memory is, and the system may take its memory back: what a
merge holds is bounded, however many detections there are.
"""

import errno
import os
import tempfile
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Room"]

# Bytes that are held in memory; and those that are taken at a time.
HELD, BLOCK = 1 << 27, 1 << 21
ZEROS = bytes(1 << 20)

T = TypeVar("T", bound=np.generic)


class Room:
    """Hand out arrays, the first of them in memory.

    >>> room = Room()
    >>> room.kept(np.arange(3)).tolist()
    [0, 1, 2]
    """

    def __init__(self) -> None:
        self._block: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._used = self._taken = 0

    def array(self, n: int, dtype: type[T] | np.dtype[T]) -> NDArray[T]:
        """Return an array of n values, none of them set.

        Raises:
            OSError: The disk is full.
        """
        n_bytes = n * np.dtype(dtype).itemsize
        start = -(-self._used // 8) * 8
        if start + n_bytes > len(self._block):
            start, size = 0, max(n_bytes, BLOCK)
            self._taken += size
            self._block = np.empty(size, np.uint8) if self._taken <= HELD else _in_file(size)
        self._used = start + n_bytes
        return self._block[start : start + n_bytes].view(dtype)

    def kept(self, values: NDArray[T]) -> NDArray[T]:
        """Return a copy of values."""
        copy = self.array(len(values), values.dtype)
        copy[:] = values
        return copy


def _in_file(n_bytes: int) -> NDArray[np.uint8]:
    """Return an array in a file that ends with it; all of its place on the disk is taken at once.

    Where a disk becomes full under an array, the process would be killed.
    """
    with tempfile.TemporaryFile() as file:
        try:
            _fill(file, n_bytes)
        except OSError as error:
            # People do not know the file, which has no name.
            error.filename = tempfile.gettempdir()
            raise
        mapped: Any = np.memmap(file, np.uint8, "r+", shape=(n_bytes,))
    return np.asarray(mapped)


def _fill(file: IO[bytes], n_bytes: int) -> None:
    """Make a new file so large, with all of its place taken."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        except OSError as error:
            # Some file systems cannot.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
        else:
            return
    for start in range(0, n_bytes, len(ZEROS)):
        file.write(ZEROS[: n_bytes - start])
    file.flush()
