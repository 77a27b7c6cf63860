"""Boundary IoU: how well two masks agree along their outlines.

Source: Cheng, Girshick, Dollár, Berg, Kirillov, "Boundary IoU: Improving Object-Centric Image
Segmentation Evaluation", CVPR 2021. The boundary region of a mask is the part of it that lies
within a distance d of its outline, and boundary IoU is the IoU of two boundary regions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import rle
from entity_api.borders import boundary_iou_of_runs, inner_borders, reach_of

__all__ = [
    "boundary",
    "boundary_iou",
    "column_runs",
    "inner_border",
    "reach_of",
]


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
    if not dt or not gt:
        return np.zeros((len(dt), len(gt)))
    size = rle.size_of(gt[0])
    crowd = np.zeros(len(gt), bool) if iscrowd is None else np.asarray(iscrowd, bool)
    return boundary_iou_of_runs(rle.runs_of(dt, size), rle.runs_of(gt, size), size, crowd, ratio)


def inner_border(mask: Mapping[str, Any], reach: int) -> dict[str, Any]:
    """Keep the pixels of a mask whose square of ``2 reach + 1`` pixels is not all in the mask.

    A pixel survives ``reach`` erosions by a 3 x 3 square exactly when that square around it is all
    foreground, outside the image being background.

    Args:
        mask: RLE.
        reach: At least 1.

    Returns:
        RLE.

    Examples:
        >>> whole = rle.encode(np.ones((5, 5)))
        >>> [rle.area(boundary.inner_border(whole, reach)) for reach in (1, 2)]
        [16, 24]
    """
    size = rle.size_of(mask)
    return rle.from_bounds(inner_borders(rle.runs_of([mask]), size, reach).bounds_of(0), size)


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
    n_columns = (last - first + 1).astype(np.intp)
    owner = np.repeat(np.arange(len(runs)), n_columns)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(n_columns) - n_columns, n_columns)
    top = (first[owner] + nth) * height
    return np.stack(
        [np.maximum(runs[owner, 0], top), np.minimum(runs[owner, 1], top + height)], axis=1
    )
