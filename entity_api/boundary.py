"""Boundary IoU: how well two masks agree along their outlines.

Source: Cheng, Girshick, Dollár, Berg, Kirillov, "Boundary IoU: Improving Object-Centric Image
Segmentation Evaluation", CVPR 2021. The boundary region of a mask is the part of it that lies
within a distance d of its outline, and boundary IoU is the IoU of two boundary regions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import _rle, rle

__all__ = ["boundary", "boundary_iou", "column_runs", "inner_border", "reach_of"]


def reach_of(height: int, width: int, ratio: float = 0.02) -> int:
    """Return the paper's distance d in pixels: a share of the image's diagonal, at least 1.

    Examples:
        >>> boundary.reach_of(height=300, width=400)
        10
    """
    return max(1, round(ratio * float(np.hypot(height, width))))


def boundary(mask: Mapping[str, Any], ratio: float = 0.02) -> dict[str, Any]:
    """Cut a mask down to its boundary region.

    Args:
        mask: RLE.
        ratio: Distance from the outline as a share of the image's diagonal (the paper: 0.02).

    Returns:
        RLE of the pixels that d erosions by a 3 x 3 square take away, outside the image being
        background, as in the paper's code.

    Examples:
        >>> whole = rle.encode(np.ones((5, 5)))
        >>> rle.decode(boundary.boundary(whole)).astype(int).tolist()[2]
        [1, 0, 0, 0, 1]
    """
    return inner_border(mask, reach_of(*rle.size_of(mask), ratio))


def boundary_iou(
    dt: Sequence[Mapping[str, Any]],
    gt: Sequence[Mapping[str, Any]],
    iscrowd: Sequence[bool] | None = None,
    ratio: float = 0.02,
) -> NDArray[np.float64]:
    """Compute the IoU of each dt with each gt boundary region, (D, G) in [0, 1].

    Boundary AP matches by the smaller of this and the mask IoU, so that neither filling a shape
    nor tracing it alone is enough (section 5 of the paper).

    Args:
        dt: D masks.
        gt: G masks.
        iscrowd: (G,) flags; against a crowd the union is the dt boundary's own area.
        ratio: As for `boundary`.

    Examples:
        >>> whole, left = rle.encode(np.ones((5, 5))), rle.encode(np.ones((5, 5)) * [1, 1, 1, 1, 0])
        >>> boundary.boundary_iou([left], [whole, left]).round(3).tolist()
        [[0.579, 1.0]]
    """
    return rle.iou(
        [boundary(mask, ratio) for mask in dt], [boundary(mask, ratio) for mask in gt], iscrowd
    )


def inner_border(mask: Mapping[str, Any], reach: int) -> dict[str, Any]:
    """Keep the pixels of a mask whose square of ``2 reach + 1`` pixels is not all in the mask.

    A pixel survives ``reach`` erosions by a 3 x 3 square exactly when that square around it is all
    foreground. The square's columns are tested on the runs and its rows on a canvas of the mask's
    box, held column by column with a background pixel below each, so that no run crosses columns.

    Examples:
        >>> whole = rle.encode(np.ones((5, 5)))
        >>> [rle.area(boundary.inner_border(whole, reach)) for reach in (1, 2)]
        [16, 24]
    """
    size = height, _ = rle.size_of(mask)
    if reach < 1:
        raise ValueError(f"a border is at least 1 pixel wide, not {reach}")
    runs = column_runs(mask)
    if not len(runs):
        return rle.from_bounds(np.zeros(0, np.uint32), size)
    x, y = np.divmod(runs[:, :1], height)
    lengths = runs[:, 1:] - runs[:, :1]
    x0, y0, rows = x[0, 0], y.min(), (y + lengths).max() - y.min() + 1
    boxed = (x - x0) * rows + y - y0 + np.hstack([np.zeros_like(lengths), lengths])
    n_pixels = int((x[-1, 0] - x0 + 1) * rows)
    deep = boxed[lengths[:, 0] > 2 * reach] + np.array([reach, -reach])
    border = _paint(boxed, n_pixels)
    border ^= _all_of_window(_paint(deep, n_pixels), reach, int(rows))
    at = np.flatnonzero(border[1:] != border[:-1]) + 1
    column, row = np.divmod(np.append(0, at) if border[0] else at, rows)
    return rle.from_bounds(((column + x0) * height + row + y0).astype(np.uint32), size)


def column_runs(mask: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return the runs of a mask's columns, (R, 2): first position and the one after the last.

    Positions count pixels column by column; a run that goes on in the next column is cut there.

    Examples:
        >>> boundary.column_runs(rle.encode(np.ones((3, 2)))).tolist()
        [[0, 3], [3, 6]]
    """
    height, _ = rle.size_of(mask)
    runs = rle.runs_of([mask]).bounds_of(0).astype(np.int64).reshape(-1, 2)
    runs = runs[runs[:, 0] < runs[:, 1]]
    first, last = runs[:, 0] // height, (runs[:, 1] - 1) // height
    if (first == last).all():
        return runs
    n_columns = last - first + 1
    owner = np.repeat(np.arange(len(runs)), n_columns)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(n_columns) - n_columns, n_columns)
    top = (first[owner] + nth) * height
    return np.stack(
        [np.maximum(runs[owner, 0], top), np.minimum(runs[owner, 1], top + height)], axis=1
    )


def _paint(runs: NDArray[np.int64], n_pixels: int) -> NDArray[np.uint8]:
    """Draw rising (R, 2) runs as (n_pixels,) of 0 and 1."""
    counts = _rle.compress(runs.astype(np.uint32).reshape(-1), n_pixels)
    canvas = np.zeros(n_pixels, np.uint8)
    _rle.paint(_rle.Runs([counts], n_pixels), np.ones(1, np.int32), canvas)
    return canvas


def _all_of_window(canvas: NDArray[np.uint8], reach: int, height: int) -> NDArray[np.uint8]:
    """AND each pixel with the ``reach`` columns on either side; beyond the canvas is background.

    A window of n columns is two overlapping windows of half its width, so the width doubles.
    """
    n_columns = 2 * reach + 1
    if len(canvas) < n_columns * height:
        return np.zeros_like(canvas)
    window, width = canvas, 1
    while width < n_columns:
        step = min(width, n_columns - width)
        window = window[: -step * height] & window[step * height :]
        width += step
    out = np.zeros_like(canvas)
    out[reach * height : reach * height + len(window)] = window
    return out
