"""Masks as small outlines: sampled on a coarse grid, traced, and straightened.

The kernels' readable definition is `entityseg_bench.report.plain_outlines`.
"""

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import _rle
from entity_api.groups import as_idx
from entityseg_bench.report import _outlines

__all__ = ["grid_size", "sample", "trace"]

Ints = NDArray[np.int64]


def grid_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """Return the (height, width) of a grid with the sides of an image, and no finer than it."""
    scale = min(longest / max(height, width), 1)
    return max(round(height * scale), 1), max(round(width * scale), 1)


class Cells(NamedTuple):
    """Say where the middles of a grid's cells lie in an image, as `_outlines.sample` takes it."""

    column_of: Ints
    row_from: Ints


@functools.lru_cache(maxsize=64)
def _cells(size: tuple[int, int], grid: tuple[int, int]) -> Cells:
    height, width = size
    column_of = np.full(width, -1, np.int64)
    at = ((np.arange(grid[1]) + 0.5) * width / grid[1]).astype(np.int64)
    column_of[at] = np.arange(grid[1])
    middles = ((np.arange(grid[0]) + 0.5) * height / grid[0]).astype(np.int64)
    return Cells(column_of, as_idx(np.searchsorted(middles, np.arange(height + 1))))


def sample(
    masks: _rle.Runs, size: tuple[int, int], grid: tuple[int, int], order: Ints
) -> NDArray[np.int32]:
    """Lay masks over each other, later over earlier, as seen at the middles of a grid's cells.

    Args:
        masks: Of one image.
        size: (height, width) of the image in pixels.
        grid: (height, width), no finer than the image.
        order: (N,) positions of the masks to lay, the lowest first.

    Returns:
        (height, width) position of the mask on top, -1 where none is.
    """
    owner = np.full(grid[::-1], -1, np.int32)
    _outlines.sample(masks, as_idx(order), size[0], *_cells(size, grid), owner)
    return np.ascontiguousarray(owner.T)


def trace(owner: NDArray[np.int32], n: int, tolerance: float = 0.75) -> list[str]:
    """Trace the outline of each of n masks in a grid as SVG path data in units of its cells.

    Holes are outlines too: fill them by the even-odd rule.

    Args:
        owner: (height, width) position of the mask that each cell belongs to, -1 for none.
        n: Number of masks.
        tolerance: How far, in cells, an outline may be straightened.

    Returns:
        (n,) path data, "" of a mask that no cell belongs to.
    """
    return _outlines.trace(owner, n, tolerance)
