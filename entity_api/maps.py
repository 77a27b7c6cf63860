"""Pixels that the segments of two label maps share: what PQ is counted from."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import _rle

__all__ = ["MapOverlaps", "map_overlaps"]


# So many counters cost less than sorting, whatever the number of runs.
FEW_PAIRS = 1 << 14


class MapOverlaps(NamedTuple):
    """Hold how many pixels carry one label in one map and another one in the other.

    ``rows`` (N,) and ``columns`` (M,) are the labels that occur, ascending. The P pairs that occur
    are ``rows[row_idx[p]]`` and ``columns[column_idx[p]]``, by row, then column, on ``pixels[p]``.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    row_idx: NDArray[np.intp]
    column_idx: NDArray[np.intp]
    pixels: NDArray[np.int64]


def map_overlaps(first: NDArray[Any], second: NDArray[Any]) -> MapOverlaps:
    """Count the pixels of every pair of labels, one pass over each map.

    Both maps are cut into runs of one label; the counting is done on the runs, and nothing is held
    for pairs that share no pixel.

    Args:
        first: (H, W) whole numbers that fit 32 bits.
        second: (H, W) likewise.

    Raises:
        ValueError: Maps of two shapes, or of something else than whole numbers.
    """
    first, second = _checked(first), _checked(second)
    if first.shape != second.shape:
        raise ValueError(f"the maps have sizes {list(first.shape)} and {list(second.shape)}")
    if first.size == 0:
        none = np.zeros(0, np.int64)
        return MapOverlaps(none, none, none, none, none)
    rows, first_idx, first_starts = _runs(first)
    columns, second_idx, second_starts = _runs(second)
    # Starts are unique within a map, so merging the two sorted lists is a stable sort's best case.
    starts = np.concatenate([first_starts, second_starts])
    order = np.argsort(starts, kind="stable")
    lengths = np.diff(starts[order].astype(np.int64), append=first.size)
    is_first = order < len(first_starts)
    row = first_idx[np.cumsum(is_first) - 1]
    # A column's label is not known before its own start, but runs of no length come before that.
    column = second_idx[np.maximum(np.cumsum(~is_first) - 1, 0)]
    code = row * len(columns) + column
    n_codes = len(rows) * len(columns)
    if n_codes <= max(FEW_PAIRS, len(code)):
        counted = np.bincount(code, weights=lengths, minlength=n_codes)
        pairs = np.flatnonzero(counted)
        pixels = counted[pairs]
    else:
        pairs, where = np.unique(code, return_inverse=True)
        pixels = np.bincount(where, weights=lengths)
        pairs, pixels = pairs[pixels > 0], pixels[pixels > 0]
    return MapOverlaps(rows, columns, *np.divmod(pairs, len(columns)), pixels.astype(np.int64))


def _checked(values: NDArray[Any]) -> NDArray[Any]:
    values = np.asarray(values)
    if values.ndim != 2 or values.dtype.kind not in "iub":
        raise ValueError(
            f"a label map is (height, width) of whole numbers, not {values.dtype} {values.shape}"
        )
    if values.dtype == np.bool_:
        return values.view(np.uint8)
    if values.dtype != np.uint8:
        if (
            values.dtype.itemsize >= 4
            and values.size
            and (values.max() > 2**31 - 1 or values.min() < -(2**31))
        ):
            raise ValueError("the labels of a map must fit 32 bits")
        values = values.astype(np.int32, copy=False)
    return values


def _runs(
    values: NDArray[Any],
) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.uint32]]:
    """Return the labels (N,), the label's index of each run (R,) and where it starts (R,)."""
    of_run, starts = _rle.map_runs(values)
    labels, idx = np.unique(of_run, return_inverse=True)
    return labels.astype(np.int64), idx, starts
