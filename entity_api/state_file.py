"""Named arrays in one Parquet file: what the states of evaluations are kept in.

Each array is a column of lists. Row k holds its k-th ``CHUNK`` elements, so that no row is large;
the schema's metadata has the shapes of the arrays and what else is said of them. Between the rows
and the footer, where Parquet allows anything, stands the footer's SHA-256: pyarrow ends the whole
process on some footers that were damaged.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["StateError", "read_arrays", "read_head", "seal", "write_arrays"]

# Scores hardly shrink, and each detection has one; a file made to fill all memory does.
MOST_UNPACKED = 200
# Elements of an array that one row holds.
CHUNK = 1 << 21
# Of the schema's metadata: what the file is, and the shapes of its arrays.
KEY = b"entityseg state"
# The first bytes of a Parquet file, and of the NPZ that states were written in before.
PARQUET, NPZ = b"PAR1", b"PK"
# Bytes behind the footer: its length and the format's name. Bytes of a SHA-256.
TAIL, DIGEST = 8, 32


class StateError(ValueError):
    """Say why states cannot be merged, or why a file holds none.

    Examples:
        >>> from entity_api import EvalState
        >>> EvalState.merge([])
        Traceback (most recent call last):
        entity_api.state_file.StateError: there is no state to merge
    """


def write_arrays(
    path: str | Path, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]
) -> None:
    """Write arrays of numbers as Parquet, compressed.

    Args:
        path: Of the file.
        arrays: Name -> values of any shape.
        about: What is said of them: the head of the file, which JSON can hold.
    """
    import pyarrow as pa
    from pyarrow import parquet

    head = {"about": about, "shapes": {name: own.shape for name, own in arrays.items()}}
    fields = [(name, pa.list_(pa.from_numpy_dtype(own.dtype))) for name, own in arrays.items()]
    schema = pa.schema(fields, metadata={KEY: json.dumps(head).encode()})
    flat = {name: np.ascontiguousarray(own).reshape(-1) for name, own in arrays.items()}
    # The bytes of scores shrink better side by side: those of single precision are zero in half.
    split = {
        f"{name}.list.element": "BYTE_STREAM_SPLIT"
        for name, own in arrays.items()
        if own.dtype.kind == "f"
    }
    n_rows = max([1, *(-(-len(own) // CHUNK) for own in flat.values())])
    with parquet.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=False, column_encoding=split or None,
        write_page_checksum=True,
    ) as writer:  # fmt: skip
        for row in range(n_rows):
            parts = [pa.array(own[row * CHUNK :][:CHUNK]) for own in flat.values()]
            lists = [pa.ListArray.from_arrays([0, len(part)], part) for part in parts]
            writer.write_table(pa.Table.from_arrays(lists, schema=schema))
    seal(path)


def seal(path: str | Path) -> None:
    """Put the footer's SHA-256 before the footer of a Parquet file."""
    with Path(path).open("r+b") as file:
        start, footer = _footer(file)
        file.seek(start)
        tail = len(footer).to_bytes(4, "little") + PARQUET
        file.write(hashlib.sha256(footer).digest() + footer + tail)


def _footer(file: BinaryIO) -> tuple[int, bytes]:
    """Return where the footer of a Parquet file starts, and its bytes.

    Raises:
        StateError: The file breaks off.
    """
    size = file.seek(0, 2)
    file.seek(max(size - TAIL, 0))
    tail = file.read(TAIL)
    start = size - TAIL - int.from_bytes(tail[:4], "little")
    if tail[4:] != PARQUET or start < len(PARQUET):
        raise StateError("it breaks off")
    file.seek(start)
    return start, file.read(size - TAIL - start)


def read_arrays(path: str | Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `write_arrays` wrote: the arrays, and what is said of them.

    Raises:
        StateError: A file of another kind, or one that becomes much larger than it is.
    """
    with _opened(path) as (file, size):
        head = _head(file)
        _check_size(file.metadata, size)
        import pyarrow as pa

        try:
            found, shapes = {}, head["shapes"]
            for name in file.schema_arrow.names:
                # One after the other: all columns at once would be in memory twice.
                column = file.read(columns=[f"{name}.list.element"], use_threads=False).column(0)
                values = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
                joined = values[0] if len(values) == 1 else np.concatenate(values)
                found[name] = joined.reshape(shapes[name])
        except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
            raise StateError(_line(error)) from None
    return found, head["about"]


def read_head(path: str | Path) -> dict[str, Any] | None:
    """Return what is said of the arrays of a file, or None where it is no state.

    Raises:
        StateError: It was a state, and is broken.
    """
    path = Path(path)
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        if stream.read(4) != PARQUET or KEY not in _footer(stream)[1]:
            return None
    with _opened(path) as (file, _):
        return dict(_head(file)["about"])


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, int]]:
    """Open a Parquet file that is a file, and no device; give it and its size in bytes."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise StateError("it is no file, but a device or a pipe")
    with path.open("rb") as stream:
        begins = stream.read(4)
        if begins.startswith(NPZ):
            raise StateError("it is a state of version 1 (NPZ): write it anew")
        if begins != PARQUET:
            raise StateError("it is no Parquet file")
        start, footer = _footer(stream)
        stream.seek(max(start - DIGEST, 0))
        if stream.read(DIGEST) != hashlib.sha256(footer).digest():
            raise StateError("its footer is damaged, or it is no state")
        stream.seek(0)
        import pyarrow as pa
        from pyarrow import parquet

        try:
            file = parquet.ParquetFile(stream, page_checksum_verification=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StateError(_line(error)) from None
        yield file, path.stat().st_size


def _head(file: Any) -> dict[str, Any]:
    try:
        head = json.loads(file.schema_arrow.metadata[KEY])
        return {"about": dict(head["about"]), "shapes": dict(head["shapes"])}
    except (LookupError, TypeError, ValueError, RecursionError):
        raise StateError("its head is missing or broken") from None


def _check_size(metadata: Any, size: int) -> None:
    """Refuse a file that becomes much larger than it is."""
    most = MOST_UNPACKED * size + (1 << 20)
    groups = [metadata.row_group(idx) for idx in range(metadata.num_row_groups)]
    columns = [group.column(idx) for group in groups for idx in range(metadata.num_columns)]
    # Equal values may take no bytes at all in a page; in memory each takes eight at most.
    n_bytes = sum(max(own.total_uncompressed_size, 8 * own.num_values) for own in columns)
    if max(n_bytes, metadata.num_rows) > most:
        raise StateError(f"it unpacks to more than {MOST_UNPACKED} times its size")


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
