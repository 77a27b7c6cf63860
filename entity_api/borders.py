"""Boundary regions of decoded masks; `entity_api.boundary` has them for RLEs, and the source."""

import numpy as np
from numpy.typing import NDArray

from entity_api import _borders, _rle, _sweep
from entity_api.rle import iou_of_counts

__all__ = ["boundary_iou_of_runs", "inner_borders", "reach_of"]


def reach_of(height: int, width: int, ratio: float = 0.02) -> int:
    """Return the paper's distance d in pixels: a share of the image's diagonal, at least 1.

    Examples:
        >>> boundary.reach_of(height=300, width=400)
        10
    """
    return max(1, round(ratio * float(np.hypot(height, width))))


def boundary_iou_of_runs(
    dt: _rle.Runs,
    gt: _rle.Runs,
    size: tuple[int, int],
    iscrowd: NDArray[np.bool_],
    ratio: float = 0.02,
) -> NDArray[np.float64]:
    """Compute `boundary.boundary_iou` of the decoded masks of one image.

    Args:
        dt: D masks.
        gt: G masks.
        size: (height, width) in pixels.
        iscrowd: (G,) flags.
        ratio: As for `boundary.boundary`.

    Returns:
        (D, G) in [0, 1].
    """
    reach = reach_of(*size, ratio)
    dt_bands, gt_bands = inner_borders(dt, size, reach), inner_borders(gt, size, reach)
    common = _sweep.Spans(gt_bands, size[0]).intersections(dt_bands)
    return iou_of_counts(common, dt_bands.areas(), gt_bands.areas(), iscrowd)


def inner_borders(
    masks: _rle.Runs, size: tuple[int, int], reach: int, rows: NDArray[np.int64] | None = None
) -> _rle.Runs:
    """Compute `boundary.inner_border` of N decoded masks.

    Args:
        masks: N masks.
        size: (height, width) in pixels.
        reach: At least 1.
        rows: (M,) positions of the masks that are wanted; None for all.
    """
    if reach < 1:
        raise ValueError(f"a border is at least 1 pixel wide, not {reach}")
    return _borders.inner_borders(masks, size[0], reach, rows)
