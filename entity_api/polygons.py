"""Rasterise polygons exactly as COCO does: pycocotools draws them, after checks."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from entity_api.counts import RLEError, pixels_of

__all__ = ["MAX_OUTLINE", "MAX_REACH", "coco_rasteriser", "from_polygons", "outline_of"]

# The polygon rasteriser counts fifths of a pixel in 32-bit integers and needs about 40 bytes for
# each pixel of outline. Coordinates beyond these limits would overflow, or take all memory.
MAX_REACH = 2**26
MAX_OUTLINE = 2**22


def from_polygons(polygons: Sequence[Sequence[float]], height: int, width: int) -> dict[str, Any]:
    """Rasterise the union of polygons exactly as COCO does; pycocotools draws them.

    Args:
        polygons: Flat lists x0, y0, x1, y1, ... in pixels, with at least three points each.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Raises:
        RLEError: There is no polygon, or one that is no list of points or too large to be drawn.

    Examples:
        >>> square = rle.from_polygons([[0, 0, 2, 0, 2, 2, 0, 2]], height=3, width=4)
        >>> rle.decode(square).astype(int).tolist()
        [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    """
    pixels_of((height, width))
    if not polygons:
        raise RLEError("a segmentation of no polygons: it needs at least one")
    reach = min(10 * max(height, width, 1), MAX_REACH)
    outlines = [outline_of(polygon, reach) for polygon in polygons]
    rasteriser = coco_rasteriser()
    return _as_text(rasteriser.merge(rasteriser.frPyObjects(outlines, height, width)))


def outline_of(polygon: Sequence[float], reach: int) -> list[float]:
    """Return a polygon's x, y pairs in one list, checked."""
    try:
        points = np.asarray(polygon)
        # Text that looks like a number is none.
        points = points.astype(np.float64) if points.dtype.kind in "biufO" else np.zeros(0)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim != 1 or points.size < 6 or points.size % 2 or not np.isfinite(points).all():
        raise RLEError("a polygon is a flat list of at least three finite x, y pairs")
    if np.abs(points).max() > reach:
        raise RLEError(f"a polygon reaches further than {reach} pixels from its image's corner")
    corners = points.reshape(-1, 2)
    length = np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum()
    if length > MAX_OUTLINE:
        raise RLEError(f"a polygon's outline of {length:.0f} pixels is too long to be drawn")
    return points.tolist()


@functools.cache
def coco_rasteriser() -> Any:
    """Import pycocotools' rasteriser once, before `init_as_pycocotools` replaces its modules."""
    from pycocotools import mask

    return mask


def _as_text(rle: dict[str, Any]) -> dict[str, Any]:
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}
