"""The arrays of an NPZ file by their headers alone, before anything of them is unpacked."""

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from entityseg_bench.io import InputError, open_regular

__all__ = ["Header", "check_npz_headers"]

MOST_MEMBERS = 64


class Header(NamedTuple):
    """Hold what an array is, as its header says."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def n_bytes(self) -> int:
        """How much memory the array takes."""
        return math.prod(self.shape) * self.dtype.itemsize


def check_npz_headers(path: Path, most_bytes: Mapping[str, int]) -> dict[str, Header]:
    """Read the headers of the named arrays, and see that none is larger than it may be.

    A file of 2 MB can unpack to 2 GiB, so the size is settled before the first byte is unpacked.

    Args:
        path: The file.
        most_bytes: Name of an array that will be read -> the most memory that it may take.

    Returns:
        Name -> header, of those that the file has; kinds and shapes are the caller's to check.

    Raises:
        InputError: The file is no NPZ, or an array is too large, or holds Python objects.
    """
    found = {}
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.namelist()
            if len(members) > MOST_MEMBERS or len(set(members)) < len(members):
                raise InputError(path, "", f"{len(members)} arrays are too many, or share names.")
            for name in most_bytes.keys() & {member.removesuffix(".npy") for member in members}:
                with archive.open(f"{name}.npy") as member:
                    found[name] = _header(member)
    except FileNotFoundError:
        raise InputError(path, "", "there is no such file.") from None
    except InputError:
        raise
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, TypeError, SyntaxError,
            NotImplementedError, zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise InputError(path, "", f"it is no file of arrays: {error}.") from None
    for name, header in sorted(found.items()):
        if header.dtype.hasobject:
            raise InputError(path, name, "it holds Python objects, which are not read.")
        if header.n_bytes > most_bytes[name]:
            what = f"{header.shape} of {header.dtype} are {header.n_bytes} bytes"
            raise InputError(path, name, f"{what}; it may have {most_bytes[name]}.")
    return found


def _header(member: Any) -> Header:
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(member)
    else:
        raise ValueError(f"version {version} of its arrays is not known")
    return Header(shape, dtype)
