"""NPZ: of our own with an index, and of others, one file an image."""

from entityseg_bench.formats.npz.indexed import (
    NpzMasks,
    open_dt,
    open_gt,
    read_npz,
    read_numbers,
    write_npz,
)

__all__ = [
    "NpzMasks",
    "open_dt",
    "open_gt",
    "read_npz",
    "read_numbers",
    "write_npz",
]
