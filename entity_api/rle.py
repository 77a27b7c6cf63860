"""Masks as COCO run-length codes: write, read, measure, combine, compare.

An RLE is a dict ``{"size": [height, width], "counts": str}``: the lengths of the runs of background
and foreground in turn, pixels read column by column, as COCO compresses them (Lin et al.,
"Microsoft COCO", 2014; format defined by cocoapi's ``maskApi``). Every function takes counts as
str, bytes or a plain list of lengths and returns str.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import _rle, _sweep
from entity_api.counts import RLEError, counts_of, from_bounds, pack, pixels_of, runs_of, size_of

__all__ = [
    "RLEError",
    "area",
    "bbox",
    "decode",
    "encode",
    "encode_id_map",
    "encode_runs",
    "from_bounds",
    "from_polygons",
    "intersections",
    "iou",
    "merge",
    "paint_id_map",
    "runs_of",
    "size_of",
    "to_rle",
]

# The polygon rasteriser counts fifths of a pixel in 32 bits and takes some 40 bytes a pixel of
# outline: what no image has would overflow, or take all memory.
MAX_REACH = 2**26
MAX_OUTLINE = 2**22


def encode(mask: NDArray[Any]) -> dict[str, Any]:
    """Code a dense mask.

    Args:
        mask: (H, W), bool or whole numbers; everything but 0 is foreground.

    Returns:
        RLE of size [H, W].
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise RLEError(f"a mask has two axes (height, width), not shape {mask.shape}")
    values, starts = _rle.map_runs((mask != 0).view(np.uint8))
    return from_bounds(_bounds_where(values != 0, starts, mask.size), mask.shape)


def decode(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Draw an RLE as a dense mask, (H, W) bool in column-major memory."""
    height, width = size_of(rle)
    runs = runs_of([rle])
    canvas = np.zeros(height * width, np.uint8)
    _rle.paint(runs, np.ones(1, np.int32), canvas)
    return canvas.view(np.bool_).reshape(width, height).T


def area(rle: Mapping[str, Any]) -> int:
    """Count the foreground pixels."""
    return int(runs_of([rle]).areas()[0])


def bbox(rle: Mapping[str, Any]) -> list[float]:
    """Return the tight box of the foreground, COCO xywh in pixels; zeros when empty."""
    height, _ = size_of(rle)
    bounds = runs_of([rle]).bounds_of(0).astype(np.int64).reshape(-1, 2)
    bounds = bounds[bounds[:, 0] < bounds[:, 1]]
    if not len(bounds):
        return [0.0, 0.0, 0.0, 0.0]
    first, last = bounds[:, 0], bounds[:, 1] - 1
    x0, x1 = first.min() // height, last.max() // height
    crosses = (first // height != last // height).any()
    y0 = 0 if crosses else (first % height).min()
    y1 = height - 1 if crosses else (last % height).max()
    return [float(x0), float(y0), float(x1 - x0 + 1), float(y1 - y0 + 1)]


def merge(rles: Sequence[Mapping[str, Any]], intersect: bool = False) -> dict[str, Any]:
    """Join masks of one size into their union, or into their intersection.

    Raises:
        RLEError: No mask at all, or masks of several sizes.
    """
    if not rles:
        raise RLEError("there is no mask to merge")
    size = size_of(rles[0])
    runs = runs_of(rles)
    at = np.concatenate([runs.bounds_of(idx) for idx in range(runs.n)])
    step = np.concatenate([_steps(len(runs.bounds_of(idx))) for idx in range(runs.n)])
    positions, where = np.unique(at, return_inverse=True)
    cover = np.cumsum(np.bincount(where, weights=step, minlength=len(positions)))
    inside = cover >= (runs.n if intersect else 1)
    return from_bounds(_bounds_where(inside, positions, size[0] * size[1]), size)


def intersections(
    dt: Sequence[Mapping[str, Any]], gt: Sequence[Mapping[str, Any]]
) -> NDArray[np.int64]:
    """Count the pixels that each dt mask shares with each gt mask, (D, G)."""
    if not dt or not gt:
        return np.zeros((len(dt), len(gt)), np.int64)
    size = size_of(gt[0])
    return _sweep.Spans(runs_of(gt, size), size[0]).intersections(runs_of(dt, size))


def iou(
    dt: Sequence[Mapping[str, Any]],
    gt: Sequence[Mapping[str, Any]],
    iscrowd: Sequence[bool] | None = None,
) -> NDArray[np.float64]:
    """Compute intersection over union of each dt with each gt mask, (D, G) in [0, 1].

    Args:
        dt: D masks.
        gt: G masks.
        iscrowd: (G,) flags; against a crowd the union is the dt mask's own area (COCO).
    """
    if not dt or not gt:
        return np.zeros((len(dt), len(gt)))
    size = size_of(gt[0])
    dt_runs, gt_runs = runs_of(dt, size), runs_of(gt, size)
    common = _sweep.Spans(gt_runs, size[0]).intersections(dt_runs)
    crowd = np.zeros(len(gt), bool) if iscrowd is None else np.asarray(iscrowd, bool)
    return iou_of_counts(common, dt_runs.areas(), gt_runs.areas(), crowd)


def iou_of_counts(
    common: NDArray[np.int64],
    dt_area: NDArray[np.int64],
    gt_area: NDArray[np.int64],
    iscrowd: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Divide (D, G) intersections by their unions; two empty masks have IoU 0 (as COCO)."""
    union = np.where(iscrowd, dt_area[:, None], dt_area[:, None] + gt_area - common)
    return common / np.where(common, union, 1)


def from_polygons(polygons: Sequence[Sequence[float]], height: int, width: int) -> dict[str, Any]:
    """Rasterise the union of polygons exactly as COCO does (by pycocotools).

    Args:
        polygons: Flat lists x0, y0, x1, y1, ... in pixels, at least three points each.
        height: Of the image in pixels.
        width: Of the image in pixels.
    """
    pixels_of((height, width))
    if not polygons:
        raise RLEError("a segmentation of no polygons says nothing")
    reach = min(10 * max(height, width, 1), MAX_REACH)
    outlines = [outline_of(polygon, reach) for polygon in polygons]
    rasteriser = coco_rasteriser()
    return _as_text(rasteriser.merge(rasteriser.frPyObjects(outlines, height, width)))


def outline_of(polygon: Sequence[float], reach: int) -> list[float]:
    """Return a polygon's x, y pairs in one list, checked."""
    try:
        points = np.asarray(polygon, np.float64)
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
    """Import pycocotools' masks once, so that `init_as_pycocotools` does not hide them from us."""
    from pycocotools import mask

    return mask


def to_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Bring any COCO segmentation (polygons, plain or compressed RLE) to a checked RLE."""
    if isinstance(segmentation, list | tuple):
        return from_polygons(segmentation, height, width)
    size = size_of(segmentation)
    if size != (height, width):
        raise RLEError(f"size {list(size)} is not the image's [height, width] {[height, width]}")
    text = counts_of(segmentation)
    pack([text], size)
    return {"size": list(size), "counts": text if isinstance(text, str) else text.decode("ascii")}


def encode_id_map(id_map: NDArray[Any]) -> tuple[NDArray[np.int64], list[dict[str, Any]]]:
    """Code every segment of an id map in one pass over its pixels.

    Args:
        id_map: (H, W) whole numbers that fit 32 bits.

    Returns:
        The ids that occur, (N,) ascending, and the RLE of each.
    """
    id_map = np.asarray(id_map)
    if id_map.ndim != 2 or id_map.dtype.kind not in "iub":
        raise RLEError(f"an id map is (height, width) of whole numbers, not {id_map.shape}")
    if id_map.size == 0:
        return np.zeros(0, np.int64), []
    if id_map.dtype != np.uint8:
        if id_map.dtype.itemsize >= 4 and (id_map.max() > 2**31 - 1 or id_map.min() < -(2**31)):
            raise RLEError("the ids of a map must fit 32 bits")
        id_map = id_map.astype(np.int32, copy=False)
    values, starts = _rle.map_runs(id_map)
    return _by_id(values, starts, id_map.shape)


def encode_runs(
    starts: NDArray[Any], values: NDArray[Any], height: int, width: int
) -> tuple[NDArray[np.int64], list[dict[str, Any]]]:
    """Code every segment of an id map whose runs have been found elsewhere, as on a GPU.

    Args:
        starts: (R,) ascending positions, column by column, where a run of one id begins; the first
            is 0.
        values: (R,) whole numbers, the id of each run, no two alike in succession.
        height: Of the map in pixels.
        width: Of the map in pixels.

    Returns:
        What `encode_id_map` gives for the same map.
    """
    pixels = pixels_of((height, width))
    starts, values = np.asarray(starts), np.asarray(values)
    if starts.ndim != 1 or starts.shape != values.shape or (len(starts) > 0) != (pixels > 0):
        raise RLEError(f"{starts.shape} starts and {values.shape} ids are no runs of the map")
    if pixels == 0:
        return np.zeros(0, np.int64), []
    if starts[0] != 0 or starts[-1] >= pixels or (starts[1:] <= starts[:-1]).any():
        raise RLEError(f"starts of runs must ascend from 0 and end below {pixels}")
    if (values[1:] == values[:-1]).any():
        raise RLEError("two runs of one id in succession are one run")
    return _by_id(values, starts.astype(np.uint32), (height, width))


def _by_id(
    values: NDArray[Any], starts: NDArray[np.uint32], size: tuple[int, int]
) -> tuple[NDArray[np.int64], list[dict[str, Any]]]:
    """Write the runs of a whole map as one RLE an id."""
    bounds = np.stack([starts, np.append(starts[1:], np.uint32(size[0] * size[1]))], axis=1)
    ids, where = np.unique(values, return_inverse=True)
    by_id = np.argsort(where, kind="stable")
    cuts = np.cumsum(np.bincount(where))[:-1]
    parts = np.split(bounds[by_id], cuts)
    return ids.astype(np.int64), [from_bounds(part.reshape(-1), size) for part in parts]


def paint_id_map(
    rles: Sequence[Mapping[str, Any]],
    ids: Sequence[int],
    height: int,
    width: int,
    background: int = 0,
) -> NDArray[np.int64]:
    """Draw masks into one id map, (H, W); where masks overlap the later one wins.

    Args:
        rles: N masks of size [height, width].
        ids: (N,) the number each mask is drawn with, within 32 bits.
        height: Of the map in pixels.
        width: Of the map in pixels.
        background: The number where no mask lies.
    """
    canvas = np.full(height * width, background, np.int32)
    _rle.paint(runs_of(rles, (height, width)), np.asarray(ids, np.int32), canvas)
    return canvas.reshape(width, height).T.astype(np.int64)


def _bounds_where(
    inside: NDArray[np.bool_], starts: NDArray[np.uint32], end: int
) -> NDArray[np.uint32]:
    """Turn runs that begin at ``starts`` into the bounds of those that are inside."""
    ends = np.append(starts[1:], np.uint32(end)).astype(np.uint32)
    return np.stack([starts[inside], ends[inside]], axis=1).reshape(-1)


def _steps(n: int) -> NDArray[np.float64]:
    """Alternate +1 (a run begins) and -1 (it ends)."""
    return np.where(np.arange(n) % 2, -1.0, 1.0)


def _as_text(rle: dict[str, Any]) -> dict[str, Any]:
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}
