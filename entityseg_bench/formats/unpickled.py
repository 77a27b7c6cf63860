"""Plain values out of a pickle, of Python or of PyTorch: no code of it can run.

A pickle is a program. Of what it may call, only what makes containers and arrays is known here, and
that by functions of this module; any other name is refused. Tensors become NumPy arrays.
"""

import functools
import io
import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entityseg_bench.io import InputError, read_bytes

__all__ = ["read_pickle"]

# A value may stand at many places of a pickle, and be as large as they are many: so many values
# are unfolded for each byte of the file, and no more.
MOST_VALUES_A_BYTE = 16
# The number that files of PyTorch before 1.6 begin with.
OLD_TORCH = 0x1950A86A20F9469CFC6C
MOST_DEPTH = 32

# Name of a storage of PyTorch -> what it holds.
STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8",
    "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}  # fmt: skip
# What a pickle of NumPy arrays and scalars calls.
NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
# What a broken pickle raises.
BROKEN = (
    pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError,
    OverflowError, MemoryError, struct.error, RecursionError, UnicodeDecodeError,
    ImportError, zipfile.BadZipFile, zlib.error, NotImplementedError, OSError,
)  # fmt: skip


class Refused(ValueError):
    """Say what in a pickle is not read."""


class Storage(NamedTuple):
    """Name the kind of a storage."""

    dtype: str


class Array:
    """Hold what a pickle says of a NumPy array, until it says what is in it."""

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(data, bytes) or not isinstance(dtype, Dtype):
            raise Refused("an array of Python objects")
        self.value = shaped(np.frombuffer(data, dtype.kind), shape, bool(fortran))


class Dtype:
    """Hold the kind of a NumPy array: numbers or truth values only."""

    def __init__(self, kind: str, *_: Any) -> None:
        self.kind = np.dtype(str(kind))
        if self.kind.kind not in "biuf":
            raise Refused(f"an array of kind {kind}")

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "|"
        if order in ("<", ">"):
            self.kind = np.dtype(order + self.kind.str[1:])


def shaped(flat: NDArray[Any], shape: Any, fortran: bool = False) -> NDArray[Any]:
    """Return numbers in a shape that fits them."""
    sides = [int(side) for side in shape]
    if any(side < 0 for side in sides) or math.prod(sides) != flat.size:
        raise Refused(f"an array of shape {tuple(sides)} with {flat.size} values")
    return flat.reshape(sides, order="F" if fortran else "C")


def from_buffer(data: Any, dtype: Any, shape: Any, order: str) -> NDArray[Any]:
    """Return an array as protocol 5 holds it."""
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes | bytearray):
        raise Refused("an array of Python objects")
    return shaped(np.frombuffer(data, dtype.kind), shape, order == "F")


def scalar(dtype: Any, data: Any) -> Any:
    """Return a NumPy number as Python's own."""
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes):
        raise Refused("a scalar of Python objects")
    return np.frombuffer(data, dtype.kind, count=1)[0].item()


def tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> NDArray[Any]:
    """Return a tensor as an array: a view of its storage, within its bounds."""
    if not isinstance(storage, np.ndarray):
        raise Refused("a tensor without a storage")
    sides, steps = [int(n) for n in size], [int(n) for n in stride]
    if len(sides) != len(steps) or min([offset, *sides, *steps]) < 0:
        raise Refused(f"a tensor of size {sides} and stride {steps}")
    if 0 in sides:
        return np.zeros(sides, storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(sides, steps, strict=True))
    # A step of 0 repeats a value, which makes much of little.
    if last >= storage.size or math.prod(sides) > storage.size:
        raise Refused(f"a tensor of size {sides} that is larger than its storage")
    at = storage.dtype.itemsize
    strides = [step * at for step in steps]
    return np.lib.stride_tricks.as_strided(storage[offset:], sides, strides, writeable=False)


def empty_array(*_: Any) -> Array:
    """Begin an array."""
    return Array()


def parameter(data: Any, *_: Any) -> Any:
    """Return the tensor of a parameter."""
    return data


def text_bytes(text: str, encoding: str) -> bytes:
    """Return bytes that protocol 2 holds as text."""
    if encoding != "latin1":
        raise Refused(f"bytes in {encoding}")
    return text.encode("latin-1")


CALLABLE: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): dict,
    ("collections", "defaultdict"): lambda *_: {},
    ("builtins", "list"): list,
    ("builtins", "set"): set,
    ("torch._utils", "_rebuild_tensor_v2"): tensor,
    ("torch._utils", "_rebuild_tensor"): tensor,
    ("torch._utils", "_rebuild_parameter"): parameter,
    ("_codecs", "encode"): text_bytes,
    ("numpy", "dtype"): Dtype,
    **{(module, "_reconstruct"): empty_array for module in NUMPY_MODULES},
    **{(module, "scalar"): scalar for module in NUMPY_MODULES},
    ("numpy.core.numeric", "_frombuffer"): from_buffer,
    ("numpy._core.numeric", "_frombuffer"): from_buffer,
}
# Names that stand as arguments alone.
NAMES = {("numpy", "ndarray"): "ndarray", ("builtins", "list"): list, ("builtins", "int"): int}


# The unpickler in Python: that in C makes room for as many values as a pickle says it has.
class Unpickler(pickle._Unpickler):
    """Make plain values; ``storage`` gives the numbers of a tensor by its key."""

    def __init__(self, file: Any, storage: Callable[[str, Storage, int], NDArray[Any]]) -> None:
        super().__init__(file, encoding="utf-8")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name stands for, if it is known."""
        if module == "torch" and name in STORAGES:
            return Storage(STORAGES[name])
        if (module, name) in NAMES:
            return NAMES[module, name]
        if (module, name) in CALLABLE:
            return CALLABLE[module, name]
        raise Refused(f"{module}.{name}, which is no plain value")

    def persistent_load(self, pid: Any) -> Any:
        """Return the storage that a tensor refers to."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise Refused("a reference that is no tensor's")
        _, kind, key, _, n = pid[:5]
        if not isinstance(kind, Storage):
            raise Refused("a tensor of an unknown kind")
        return self._storage(str(key), kind, int(n))


def read_pickle(path: Path) -> Any:
    """Read lists, dictionaries, numbers and texts of a pickle; tensors and arrays become arrays.

    Args:
        path: Written by pickle.dump or torch.save (since PyTorch 1.6).

    Raises:
        InputError: It is broken, or holds something else than plain values.
    """
    data = read_bytes(path)
    try:
        if data.startswith(b"PK\x03\x04"):
            return _read_zip(data)
        found = Unpickler(io.BytesIO(data), _no_storage).load()
        if found == OLD_TORCH:
            raise Refused("PyTorch's older format (save it anew with torch.save)")
        return unfolded(found, len(data))
    except Refused as error:
        hint = "detectron2 writes coco_instances_results.json beside it: take that."
        raise InputError(path, "", f"the pickle holds {error}: it is not read.", hint) from None
    except BROKEN as error:
        what = f"the pickle is broken: {type(error).__name__}: {error}."
        raise InputError(path, "", what, "Is the file whole?") from None


def _no_storage(key: str, kind: Storage, n: int) -> NDArray[Any]:
    raise Refused("a tensor in PyTorch's older format (save it anew)")


def _read_zip(data: bytes) -> Any:
    """Read a file of torch.save."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise Refused(f"{len(names)} files data.pkl")
        folder = names[0].removesuffix("data.pkl")

        @functools.cache
        def member(name: str) -> bytes:
            # torch.save packs nothing, so that no file of it is larger than the whole.
            if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
                raise Refused("a packed file (torch.save packs none)")
            return archive.read(name)

        # A file says where it was written by a big-endian machine; old files say nothing.
        told = f"{folder}byteorder"
        is_big = told in archive.namelist() and member(told) == b"big"

        def storage(key: str, kind: Storage, n: int) -> NDArray[Any]:
            stored = np.dtype(kind.dtype)
            stored = stored.newbyteorder(">") if is_big else stored
            flat = np.frombuffer(member(f"{folder}data/{key}"), stored)
            if n > flat.size:
                raise Refused(f"a storage of {flat.size} values that should have {n}")
            return flat

        found = Unpickler(io.BytesIO(member(names[0])), storage).load()
        return unfolded(found, len(data))


def unfolded(value: Any, n_bytes: int) -> Any:
    """Return a value with each part in its own place, and arrays for what stands for one.

    Raises:
        Refused: It holds something else, or unfolds to far more than the file.
    """
    left = MOST_VALUES_A_BYTE * n_bytes + 1024

    def walk(part: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > MOST_DEPTH:
            raise Refused("values that unfold to far more than the file")
        if isinstance(part, dict):
            return {key_of(key): walk(item, depth + 1) for key, item in part.items()}
        if isinstance(part, list | tuple | set):
            return [walk(item, depth + 1) for item in part]
        if isinstance(part, Array):
            part = part.value
        if isinstance(part, np.ndarray):
            left -= part.size
            return part
        if isinstance(part, bytes):
            left -= len(part) // MOST_VALUES_A_BYTE
            return part.decode("ascii")
        if isinstance(part, str):
            left -= len(part) // MOST_VALUES_A_BYTE
            return part
        if part is None or isinstance(part, bool | float) or (type(part) is int and fits(part)):
            return part
        raise Refused(f"a {type(part).__name__}")

    return walk(value, 0)


def fits(number: int) -> bool:
    """Tell whether a whole number is one of 64 bits."""
    return -(2**63) <= number < 2**63


def key_of(key: Any) -> Any:
    """Return a key of a dictionary, checked."""
    if isinstance(key, str | int | float) or key is None:
        return key
    raise Refused(f"a key of type {type(key).__name__}")
