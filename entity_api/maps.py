"""Pixels that the segments of two label maps share: what PQ is counted from."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import _rle

__all__ = ["MapOverlaps", "map_overlaps"]


# So many counters cost less than sorting, whatever the number of runs.
FEW_PAIRS = 1 << 14


class MapOverlaps(NamedTuple):
    """Hold the number of pixels for each pair of labels of two maps that share a pixel.

    Attributes:
        rows: (N,) labels that occur in the first map, ascending.
        columns: (M,) labels that occur in the second map, ascending.
        row_idx: (P,) position in ``rows`` of the first label of each pair, ascending.
        column_idx: (P,) position in ``columns`` of the second label, ascending within a row.
        pixels: (P,) number of pixels that carry both labels, at least 1.

    Examples:
        >>> found = maps.map_overlaps(np.array([[1, 1, 2]]), np.array([[5, 6, 6]]))
        >>> found.rows.tolist(), found.columns.tolist()
        ([1, 2], [5, 6])
        >>> found.row_idx.tolist(), found.column_idx.tolist(), found.pixels.tolist()
        ([0, 0, 1], [0, 1, 1], [1, 1, 1])
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    row_idx: NDArray[np.intp]
    column_idx: NDArray[np.intp]
    pixels: NDArray[np.int64]


def map_overlaps(first: NDArray[Any], second: NDArray[Any]) -> MapOverlaps:
    """Count the pixels of every pair of labels, in one pass over each map.

    Both maps are cut into runs of one label, and the runs are counted instead of the pixels.
    Nothing is held for pairs that share no pixel.

    Args:
        first: (H, W) of whole numbers that fit 32 bits.
        second: (H, W) of whole numbers that fit 32 bits.

    Raises:
        ValueError: The maps differ in shape, or do not hold whole numbers.

    Examples:
        >>> found = maps.map_overlaps(np.array([[1, 1, 2]]), np.array([[5, 6, 6]]))
        >>> int(found.pixels[(found.row_idx == 0) & (found.column_idx == 1)][0])
        1
    """
    first, second = _checked(first), _checked(second)
    if first.shape != second.shape:
        raise ValueError(f"the maps have sizes {list(first.shape)} and {list(second.shape)}")
    if first.size == 0:
        none = np.zeros(0, np.int64)
        return MapOverlaps(none, none, none, none, none)
    rows, first_idx, first_starts = _runs(first)
    columns, second_idx, second_starts = _runs(second)
    # Each list is sorted already, and a stable sort merges two sorted lists in linear time.
    starts = np.concatenate([first_starts, second_starts])
    order = np.argsort(starts, kind="stable")
    lengths = np.diff(starts[order].astype(np.int64), append=first.size)
    is_first = order < len(first_starts)
    row = first_idx[np.cumsum(is_first) - 1]
    # Before the first start of the second map the index would be -1. Such runs have length 0, so
    # any label will do.
    column = second_idx[np.maximum(np.cumsum(~is_first) - 1, 0)]
    code = row.astype(np.int64, copy=False) * len(columns) + column
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
