"""How large a Parquet file becomes in memory, by its footer, before anything of it is unpacked."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

from entityseg_bench.io import MOST_UNPACKED, InputError

__all__ = ["check_bytes", "check_footer"]

# Of each annotation there are at most four values in a column (its box), and more bytes than that.
MOST_VALUES = 4


def check_footer(
    path: Path, file: BinaryIO, opened: Any, names: Collection[str] | None = None
) -> None:
    """Refuse a file whose pages or values are far more than its bytes.

    Args:
        path: Name of the file, for the message.
        file: The file, open.
        opened: The file, as ``pyarrow.parquet.ParquetFile``.
        names: Columns that will be read; None for all.

    Raises:
        InputError: It is made to fill all memory.
        OSError: The library refuses it.
    """
    metadata = opened.metadata
    groups = [metadata.row_group(idx) for idx in range(metadata.num_row_groups)]
    check_bytes(path, file, sum(group.total_byte_size for group in groups))
    columns = [
        idx
        for idx in range(metadata.num_columns)
        if names is None or metadata.schema.column(idx).path.partition(".")[0] in names
    ]
    values = 0
    for idx, group in enumerate(groups):
        # The library ends the process where a part of the footer is asked for that it refuses;
        # reading one row of each column before raises OSError instead.
        next(opened.iter_batches(1, [idx], columns=names, use_threads=False), None)
        values += max((group.column(column).num_values for column in columns), default=0)
    if max(values, metadata.num_rows) > MOST_VALUES * os.fstat(file.fileno()).st_size:
        raise InputError(path, "", f"it has {values} values, more than its bytes can tell apart.")


def check_bytes(path: Path, file: BinaryIO, n_bytes: int) -> None:
    """Refuse a file that becomes this large and is much smaller itself.

    Raises:
        InputError: It is made to fill all memory.
    """
    if n_bytes > MOST_UNPACKED * os.fstat(file.fileno()).st_size + (1 << 20):
        raise InputError(path, "", f"it unpacks to more than {MOST_UNPACKED} times its size.")
