"""What a run is of: by this one that broke off is known again, and no other is taken for it."""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any

import msgspec
import numpy as np

from entityseg_bench import __version__
from entityseg_bench.names import real_path
from entityseg_bench.table import AnnotatedImages

__all__ = ["digest", "identity"]


def identity(dataset: AnnotatedImages, target: str, files: Iterable[Path] = ()) -> dict[str, Any]:
    """Describe a conversion: its source, what it is written as, and the version that writes it.

    The source is all that the dataset holds, with every file that it still has to read. So two
    sources are one only if they give the same output, whatever they are called.

    Args:
        dataset: What is converted.
        target: Format, and whatever else decides what is written.
        files: Other files that are read for it, images for example.
    """
    return {
        "source": dataset.where_from,
        "content": digest((dataset, list(files))),
        "target": target,
        "task": dataset.task,
        "images": len(dataset.images),
        "version": __version__,
    }


def digest(value: Any) -> str:
    """Hash a value and all that it holds, as hex; the same in every process.

    A `Path` of a file counts by the file's size, time of change and inode besides its name: a
    file that was written anew is another one. Plain values, structs, dataclasses and arrays count
    by their content, other objects by what they would be pickled from.

    Raises:
        TypeError: A part cannot be pickled.
    """
    try:
        text = msgspec.json.encode(value, enc_hook=_parts, order="deterministic")
    except UnicodeEncodeError:
        # A path may hold bytes that the locale's encoding does not know: they are escaped.
        text = json.dumps(value, default=_parts, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()


def _parts(value: Any) -> Any:
    """Say what an object is made from, in values that JSON knows or that are asked for again."""
    if isinstance(value, Path):
        return _file(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        held = hashlib.sha256(np.ascontiguousarray(value).data if value.size else b"")
        return [str(value.dtype), value.shape, held.hexdigest()]
    if isinstance(value, np.ndarray | np.generic):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    reduced = value.__reduce_ex__(2)
    if isinstance(reduced, str):
        return reduced
    function, arguments, *state = reduced
    # The items of lists and dictionaries come as iterators.
    parts = [list(part) if isinstance(part, Iterator) else part for part in state]
    return [f"{function.__module__}.{function.__qualname__}", arguments, parts]


def _file(path: Path) -> list[Any]:
    """Say which file a path names, and in which state it is."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return [_text(path)]
    own = _text(real_path(path))
    # A folder changes by what is written into it, perhaps by this very run.
    is_file = stat.S_ISREG(found.st_mode)
    return [own, found.st_size, found.st_mtime_ns, found.st_ino] if is_file else [own]


def _text(path: Path) -> str:
    """Return a name as text, also one that is none in any encoding."""
    return os.fsencode(path).decode(errors="backslashreplace")
