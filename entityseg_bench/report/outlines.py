"""Masks as small outlines: sampled on a coarse grid, traced, and straightened.

The kernel's readable definition is `entityseg_bench.report.plain_outlines`.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from entity_api import _rle
from entity_api.groups import as_idx
from entityseg_bench.report import _outlines

__all__ = ["grid_size", "outlines_of"]


def grid_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """Return the (height, width) of a grid with the sides of an image, and no finer than it."""
    scale = min(longest / max(height, width), 1)
    return max(round(height * scale), 1), max(round(width * scale), 1)


@functools.lru_cache(maxsize=64)
def _cells(
    size: tuple[int, int], grid: tuple[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Say where the middles of a grid's cells lie in an image, as the kernel takes it."""
    height, width = size
    column_of = np.full(width, -1, np.int32)
    at = ((np.arange(grid[1]) + 0.5) * width / grid[1]).astype(np.int64)
    column_of[at] = np.arange(grid[1])
    middles = ((np.arange(grid[0]) + 0.5) * height / grid[0]).astype(np.int64)
    return column_of, np.searchsorted(middles, np.arange(height + 1)).astype(np.int32)


def outlines_of(
    masks: _rle.Runs,
    size: tuple[int, int],
    grid: tuple[int, int],
    order: NDArray[np.int64],
    tolerance: float = 0.75,
) -> list[str]:
    """Draw the outline of each mask as SVG path data in units of a grid's cells.

    The masks lie over each other, later over earlier, and are seen at the middles of the cells.
    Holes are outlines too: fill them by the even-odd rule.

    Args:
        masks: N masks of one image.
        size: (height, width) of the image in pixels.
        grid: (height, width), no finer than the image.
        order: (N,) positions of the masks to lay, the lowest first.
        tolerance: How far, in cells, an outline may be straightened.

    Returns:
        (N,) path data, "" of a mask that is seen in no cell.
    """
    column_of, row_from = _cells(size, grid)
    return _outlines.trace(masks, as_idx(order), size[0], column_of, row_from, grid[1], tolerance)
