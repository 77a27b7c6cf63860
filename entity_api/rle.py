"""Masks as COCO run-length encodings (RLE): encode, decode, measure, merge, compare.

An RLE is a dict ``{"size": [height, width], "counts": str}``. The counts are the lengths of the
runs of background and foreground in turn, beginning with background. Pixels are read column by
column, and the lengths are compressed to text (Lin et al., "Microsoft COCO", 2014; the format is
defined by cocoapi's ``maskApi``). Every function takes counts as str, bytes or a plain list of
lengths and returns str.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import _rle, _sweep
from entity_api.counts import RLEError, counts_of, from_bounds, pack, pixels_of, runs_of, size_of
from entity_api.polygons import from_polygons

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


def encode(mask: NDArray[Any]) -> dict[str, Any]:
    """Encode a dense mask.

    Args:
        mask: (H, W) of bool or whole numbers. Every value but 0 is foreground.

    Returns:
        The RLE, of size [H, W].

    Raises:
        RLEError: The array does not have two axes.

    Examples:
        >>> rle.encode(np.array([[0, 1], [0, 1]]))
        {'size': [2, 2], 'counts': '22'}
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise RLEError(f"a mask has two axes (height, width), not shape {mask.shape}")
    values, starts = _rle.map_runs((mask != 0).view(np.uint8))
    return from_bounds(_bounds_where(values != 0, starts, mask.size), mask.shape)


def decode(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Decode an RLE to a dense mask.

    Returns:
        (H, W) bool, column by column in memory (Fortran order).

    Raises:
        RLEError: The counts are broken, or do not fill the size.

    Examples:
        >>> rle.decode({"size": [2, 2], "counts": "22"}).astype(int).tolist()
        [[0, 1], [0, 1]]
    """
    height, width = size_of(rle)
    runs = runs_of([rle])
    canvas = np.zeros(height * width, np.uint8)
    _rle.paint(runs, np.ones(1, np.int32), canvas)
    return canvas.view(np.bool_).reshape(width, height).T


def area(rle: Mapping[str, Any]) -> int:
    """Count the foreground pixels of an RLE.

    Examples:
        >>> rle.area({"size": [2, 2], "counts": "22"})
        2
    """
    return int(runs_of([rle]).areas()[0])


def bbox(rle: Mapping[str, Any]) -> list[float]:
    """Return the tight bounding box of the foreground.

    Returns:
        x, y, width, height in pixels, as in COCO; four zeros for an empty mask.

    Examples:
        >>> rle.bbox({"size": [2, 2], "counts": "22"})
        [1.0, 0.0, 1.0, 2.0]
    """
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
    """Merge masks of one size into their union, or into their intersection.

    Args:
        rles: At least one mask.
        intersect: True for the intersection, False for the union.

    Raises:
        RLEError: There is no mask, or the masks have different sizes.

    Examples:
        >>> left = rle.encode(np.array([[1, 0], [1, 0]]))
        >>> top = rle.encode(np.array([[1, 1], [0, 0]]))
        >>> rle.decode(rle.merge([left, top])).astype(int).tolist()
        [[1, 1], [1, 0]]
        >>> rle.decode(rle.merge([left, top], intersect=True)).astype(int).tolist()
        [[1, 0], [0, 0]]
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
    """Count the pixels that each dt mask shares with each gt mask.

    Args:
        dt: D masks.
        gt: G masks of the same size.

    Returns:
        (D, G) int64.

    Examples:
        >>> left = rle.encode(np.array([[1, 0], [1, 0]]))
        >>> top = rle.encode(np.array([[1, 1], [0, 0]]))
        >>> rle.intersections([left], [left, top]).tolist()
        [[2, 1]]
    """
    if not dt or not gt:
        return np.zeros((len(dt), len(gt)), np.int64)
    size = size_of(gt[0])
    return _sweep.Spans(runs_of(gt, size), size[0]).intersections(runs_of(dt, size))


def iou(
    dt: Sequence[Mapping[str, Any]],
    gt: Sequence[Mapping[str, Any]],
    iscrowd: Sequence[bool] | None = None,
) -> NDArray[np.float64]:
    """Compute the intersection over union (IoU) of each dt mask with each gt mask.

    Args:
        dt: D masks.
        gt: G masks.
        iscrowd: (G,) flags. Against a crowd the dt mask's own area takes the place of the union, as
            in COCO.

    Returns:
        (D, G) in [0, 1].

    Examples:
        >>> left = rle.encode(np.array([[1, 0], [1, 0]]))
        >>> top = rle.encode(np.array([[1, 1], [0, 0]]))
        >>> rle.iou([left], [left, top]).round(3).tolist()
        [[1.0, 0.333]]
        >>> rle.iou([left], [left, top], iscrowd=[False, True]).tolist()
        [[1.0, 0.5]]
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
    """Divide (D, G) intersections by their unions; two empty masks have IoU 0, as in COCO."""
    union = np.where(iscrowd, dt_area[:, None], dt_area[:, None] + gt_area - common)
    return common / np.where(common, union, 1)


def to_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Convert any COCO segmentation to a checked RLE.

    Args:
        segmentation: Polygons, or an RLE with plain or compressed counts.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Raises:
        RLEError: The segmentation is broken, or its size is not the image's.

    Examples:
        >>> rle.to_rle({"size": [2, 2], "counts": [2, 2]}, height=2, width=2)
        {'size': [2, 2], 'counts': '22'}
        >>> rle.to_rle([[1, 0, 2, 0, 2, 2, 1, 2]], height=2, width=2)
        {'size': [2, 2], 'counts': '22'}
    """
    if isinstance(segmentation, list | tuple):
        return from_polygons(segmentation, height, width)
    size = size_of(segmentation)
    if size != (height, width):
        raise RLEError(f"size {list(size)} is not the image's [height, width] {[height, width]}")
    text = counts_of(segmentation)
    pack([text], size)
    return {"size": list(size), "counts": text if isinstance(text, str) else text.decode("ascii")}


def encode_id_map(id_map: NDArray[Any]) -> tuple[NDArray[np.int64], list[dict[str, Any]]]:
    """Encode every segment of an id map in one pass over its pixels.

    Args:
        id_map: (H, W) of whole numbers that fit 32 bits.

    Returns:
        The N ids that occur, (N,) ascending, and a list of the RLE of each.

    Raises:
        RLEError: The map has another shape or type, or an id does not fit.

    Examples:
        >>> ids, masks = rle.encode_id_map(np.array([[0, 7], [0, 7]]))
        >>> ids.tolist()
        [0, 7]
        >>> masks[1]
        {'size': [2, 2], 'counts': '22'}
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
    """Encode every segment of an id map whose runs were found elsewhere, for example on a GPU.

    Args:
        starts: (R,) positions where a run of one id begins, ascending from 0. Pixels are counted
            column by column.
        values: (R,) whole numbers, the id of each run. Neighbouring runs have different ids.
        height: Height of the map in pixels.
        width: Width of the map in pixels.

    Returns:
        What `encode_id_map` returns for the same map.

    Raises:
        RLEError: The runs are not those of a map of this size.

    Examples:
        >>> ids, masks = rle.encode_runs(starts=[0, 2], values=[0, 7], height=2, width=2)
        >>> ids.tolist()
        [0, 7]
        >>> masks[1]
        {'size': [2, 2], 'counts': '22'}
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
    """Draw masks into one id map. Where masks overlap, the pixel belongs to the later one.

    Args:
        rles: N masks of size [height, width].
        ids: (N,) the id that each mask is drawn with; it must fit 32 bits.
        height: Height of the map in pixels.
        width: Width of the map in pixels.
        background: The value of pixels that no mask covers.

    Returns:
        (H, W) int64.

    Examples:
        >>> left = rle.encode(np.array([[1, 0], [1, 0]]))
        >>> top = rle.encode(np.array([[1, 1], [0, 0]]))
        >>> rle.paint_id_map([left, top], ids=[7, 8], height=2, width=2).tolist()
        [[8, 8], [7, 0]]
    """
    canvas = np.full(height * width, background, np.int32)
    try:
        numbers = np.asarray(ids, np.int32)
    except (TypeError, OverflowError):
        raise ValueError("ids must be whole numbers of 32 bits") from None
    _rle.paint(runs_of(rles, (height, width)), numbers, canvas)
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
