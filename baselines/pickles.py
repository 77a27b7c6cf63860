"""Read detectron2's pickled weights without letting the file run code."""

import io
import pickle
import pickletools
from typing import Any, BinaryIO

import numpy as np

__all__ = ["load_arrays", "refusal"]

# The only names that a pickle of dictionaries of numpy arrays needs. In numpy 2 they have moved.
ALLOWED = {
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    ),
}


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Give the bytes that Python 2 wrote as text; other encodings pack, or take for ever."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r:.40}, not latin1")
    return text.encode("latin1")


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if (module, name) in ALLOWED or (
            module == "numpy.dtypes" and isinstance(getattr(np.dtypes, name, None), type)
        ):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(refusal(f"{module}.{name}"))


def refusal(name: str) -> str:
    """Say why a pickle that asks for `name` is not loaded."""
    return f"it asks for {name}, which no file of weights needs: it may run code"


def load_arrays(file: BinaryIO) -> Any:
    """Unpickle dictionaries, lists, numbers, strings and numpy arrays, and nothing else.

    Raises:
        pickle.UnpicklingError: The file asks for anything else, or is not a pickle.
    """
    content = file.read()
    _check_lengths(content)
    # Some of detectron2's files are pickles of Python 2, which it reads as latin1.
    return _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()


def _check_lengths(content: bytes) -> None:
    """Check that no part claims to be longer than the file.

    The unpickler allocates the memory of a part before it reads it.

    Raises:
        pickle.UnpicklingError: A part claims to be longer, or the file is not a pickle.
    """
    n_parts = 0
    try:
        for operation, argument, _ in pickletools.genops(io.BytesIO(content)):
            n_parts += 1
            # Memo indices are assigned one after the other, so none can exceed the number of bytes.
            most = {"PUT": n_parts, "BINPUT": n_parts, "LONG_BINPUT": n_parts}.get(operation.name)
            if operation.name == "FRAME":
                most = len(content)
            if most is not None and int(argument) > most:
                raise pickle.UnpicklingError(f"{operation.name} {argument} is beyond the file")
    except (ValueError, UnicodeDecodeError, OverflowError) as error:
        raise pickle.UnpicklingError(f"the pickle is broken: {error}") from None
