"""The face of ``pycocotools.mask``: same names, same arguments, checked codes.

Counts come back as bytes, as pycocotools gives them. Broken codes, and polygons so far outside of
their image that they cannot be drawn, raise `ValueError` where pycocotools hangs, reads past its
memory or takes all of it.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import polygons, rle
from entity_api.boxes import iou_of_boxes
from entity_api.counts import counts_of, pixels_of

__all__ = ["area", "decode", "encode", "frPyObjects", "iou", "merge", "toBbox"]

# Code that goes past the face to pycocotools' compiled module finds the same functions there.
_mask = sys.modules[__name__]


def encode(bimask: NDArray[Any]) -> Any:
    """Code a mask (H, W) as one RLE, or masks (H, W, N) as a list of N.

    Examples:
        >>> encode(np.array([[0, 1], [0, 1]]))
        {'size': [2, 2], 'counts': b'22'}
    """
    bimask = np.asarray(bimask)
    if bimask.ndim == 3:
        return [encode(bimask[:, :, idx]) for idx in range(bimask.shape[2])]
    code = _as_bytes(rle.encode(bimask))
    # One run of no pixels, as pycocotools has it.
    return code if bimask.size else {**code, "counts": b"0"}


def decode(rleObjs: Any) -> NDArray[np.uint8]:
    """Draw one RLE as (H, W), or a list of N as (H, W, N), uint8 of 0 and 1, column-major.

    Examples:
        >>> decode({"size": [2, 2], "counts": b"22"}).tolist()
        [[0, 1], [0, 1]]
    """
    if isinstance(rleObjs, dict):
        return rle.decode(rleObjs).view(np.uint8)
    if not len(rleObjs):
        return np.zeros((0, 0, 0), np.uint8)
    if len({rle.size_of(one) for one in rleObjs}) > 1:
        raise rle.RLEError("masks of several sizes cannot be drawn into one array")
    return np.asfortranarray(np.stack([rle.decode(one) for one in rleObjs], axis=-1).view(np.uint8))


def area(rleObjs: Any) -> Any:
    """Count the pixels of one RLE, or of each of a list, uint32.

    Examples:
        >>> int(area({"size": [2, 2], "counts": b"22"}))
        2
    """
    if isinstance(rleObjs, dict):
        return np.uint32(rle.area(rleObjs))
    return np.array([rle.area(one) for one in rleObjs], np.uint32)


def toBbox(rleObjs: Any) -> NDArray[np.float64]:
    """Return the xywh box in pixels of one RLE, (4,), or of each of a list, (N, 4).

    Examples:
        >>> toBbox({"size": [2, 2], "counts": b"22"}).tolist()
        [1.0, 0.0, 1.0, 2.0]
    """
    if isinstance(rleObjs, dict):
        return np.array(rle.bbox(rleObjs))
    return np.array([rle.bbox(one) for one in rleObjs]).reshape(-1, 4)


def iou(dt: Sequence[Any], gt: Sequence[Any], pyiscrowd: Sequence[int]) -> Any:
    """Compute IoU of D with G masks, or of boxes (xywh), (D, G); [] when either side is empty.

    Masks of two sizes have an IoU of -1 where their boxes meet and 0 elsewhere, as in pycocotools.

    Raises:
        AssertionError: The number of crowd flags is not that of the ground truth.
        RLEError: Masks on one side and boxes on the other, or a broken code.

    Examples:
        >>> iou([[0, 0, 2, 2]], [[1, 0, 2, 2]], [0]).round(3).tolist()
        [[0.333]]
    """
    if not len(dt) or not len(gt):
        return []
    if len(pyiscrowd) != len(gt):
        raise AssertionError(f"{len(gt)} of ground truth have {len(pyiscrowd)} crowd flags")
    crowd = np.asarray(pyiscrowd).astype(np.uint8) > 0
    coded = {isinstance(one, dict) for one in (*dt, *gt)}
    if coded == {True, False}:
        raise rle.RLEError("both sides must be masks, or both boxes")
    measure = _iou_of_masks if coded == {True} else _iou_of_boxes
    # In pycocotools' order in memory: sums over it round alike.
    return np.asfortranarray(measure(dt, gt, crowd))


def _iou_of_boxes(
    dt: Sequence[Any], gt: Sequence[Any], crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    boxes = [np.asarray(side, np.float64) for side in (dt, gt)]
    if any(side.ndim != 2 or side.shape[1] != 4 or np.isnan(side).any() for side in boxes):
        raise rle.RLEError("a box is a list of four numbers: x, y, width, height")
    return iou_of_boxes(boxes[0], boxes[1], crowd)


def _iou_of_masks(
    dt: Sequence[Any], gt: Sequence[Any], crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    dt_sizes, gt_sizes = ([rle.size_of(one) for one in side] for side in (dt, gt))
    sizes = {*dt_sizes, *gt_sizes}
    if len(sizes) == 1:
        return rle.iou(dt, gt, crowd.tolist())
    out = np.where(iou_of_boxes(toBbox([*dt]), toBbox([*gt]), crowd) > 0, -1.0, 0.0)
    for size in sizes:
        rows = [idx for idx, own in enumerate(dt_sizes) if own == size]
        columns = [idx for idx, own in enumerate(gt_sizes) if own == size]
        out[np.ix_(rows, columns)] = rle.iou(
            [dt[idx] for idx in rows], [gt[idx] for idx in columns], crowd[columns].tolist()
        )
    return out


def merge(rleObjs: Sequence[Any], intersect: bool = False) -> dict[str, Any]:
    """Join RLEs into their union or intersection.

    Examples:
        >>> merge([{"size": [2, 2], "counts": b"22"}, {"size": [2, 2], "counts": b"112"}])
        {'size': [2, 2], 'counts': b'13'}
    """
    if not len(rleObjs):
        return {"size": [0, 0], "counts": b""}
    return _as_bytes(rle.merge(rleObjs, bool(int(intersect))))


def frPyObjects(pyobj: Any, h: int, w: int) -> Any:
    """Bring polygons, boxes (xywh) or plain RLE to RLE.

    Args:
        pyobj: A list of polygons, boxes or RLE dicts, an array of boxes (N, 4); or one of them.
        h: Height of the image in pixels; an RLE keeps its own size.
        w: Width of the image in pixels.

    Returns:
        A list of RLEs for several, one RLE for one.

    Raises:
        RLEError: What is none of these.
        ValueError: What reaches too far out of the image to be drawn.

    Examples:
        >>> frPyObjects([[0, 0, 2, 0, 2, 2, 0, 2]], 2, 3)
        [{'size': [2, 3], 'counts': b'042'}]
    """
    if isinstance(pyobj, dict):
        # Whether they fill the mask is looked at where it is read, as for any other code.
        return {"size": list(rle.size_of(pyobj)), "counts": counts_of(_in_whole_numbers(pyobj))}
    if isinstance(pyobj, np.ndarray) and pyobj.ndim == 2:
        if pyobj.shape[1] != 4:
            raise rle.RLEError(f"an array of boxes has the shape (N, 4), not {pyobj.shape}")
        return _drawn(pyobj, h, w) if len(pyobj) else []
    several = isinstance(pyobj, list | tuple | np.ndarray) and len(pyobj) > 0
    if several and all(isinstance(one, dict) for one in pyobj):
        return [frPyObjects(one, h, w) for one in pyobj]
    if several and all(isinstance(one, int | float | np.number) for one in pyobj):
        return _drawn([pyobj], h, w)[0]
    if several:
        return _drawn(pyobj, h, w)
    raise rle.RLEError("a mask is drawn from polygons, boxes or RLE dicts, at least one")


def frPoly(poly: Any, h: int, w: int) -> Any:
    """Bring polygons to RLE; here an array of them is none of boxes.

    >>> frPoly(np.array([[0, 0, 2, 0, 2, 2, 0, 2]]), 2, 3)
    [{'size': [2, 3], 'counts': b'042'}]
    """
    return frPyObjects(list(poly), h, w)


# One for each kind of shape in pycocotools' compiled module.
frBbox = frUncompressedRLE = frPyObjects


def _in_whole_numbers(code: dict[str, Any]) -> dict[str, Any]:
    """Take run lengths such as 3.0 or "3" for numbers, as pycocotools does."""
    counts = code["counts"]
    if isinstance(counts, list) and any(isinstance(n, float | str) for n in counts):
        try:
            lengths = np.asarray(counts, np.float64)
        except ValueError:
            return code
        if (lengths == np.floor(lengths)).all():
            return {**code, "counts": [int(n) for n in lengths]}
    return code


def _drawn(shapes: Sequence[Any] | NDArray[Any], h: int, w: int) -> Any:
    """Rasterise boxes or polygons as COCO does, if they can be drawn."""
    pixels_of((h, w))
    try:
        flat = [np.asarray(shape, np.float64) for shape in shapes]
    except (TypeError, ValueError):
        raise rle.RLEError("a polygon or box is a flat list of numbers") from None
    if any(shape.ndim != 1 or shape.size < 4 for shape in flat):
        raise rle.RLEError("a polygon or box is a flat list of at least four numbers")
    boxes = len(flat[0]) == 4
    if boxes and any(len(shape) != 4 for shape in flat):
        raise rle.RLEError("a list that begins with a box must hold boxes alone")
    _check_reach(flat, boxes)
    rasteriser = polygons.coco_rasteriser()
    if boxes:
        return rasteriser.frPyObjects(np.stack(flat), h, w)
    return rasteriser.frPyObjects([shape.tolist() for shape in flat], h, w)


def _check_reach(shapes: list[NDArray[np.float64]], boxes: bool) -> None:
    """Refuse what the rasteriser has no memory for: it steps along every outline."""
    length = 0.0
    for shape in shapes:
        # An odd last number is no point, for the rasteriser neither.
        points = shape[: len(shape) // 2 * 2].reshape(-1, 2)
        if boxes:
            points = np.stack([points[0], points[0] + points[1]])
        if not np.abs(points).max() <= polygons.MAX_REACH:
            raise ValueError(
                "a polygon or box must be finite and reach no further than "
                f"{polygons.MAX_REACH} pixels from its image's corner"
            )
        steps = np.abs(points - np.roll(points, 1, axis=0))
        length += 2 * steps[0].sum() if boxes else steps.max(axis=1).sum()
    if length > polygons.MAX_OUTLINE:
        raise ValueError(f"an outline of {length:.0f} pixels is too long to be drawn")


def _as_bytes(code: dict[str, Any]) -> dict[str, Any]:
    return {"size": code["size"], "counts": code["counts"].encode("ascii")}
