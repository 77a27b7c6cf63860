"""The face of ``pycocotools.mask``: same names, same arguments, checked codes.

Counts come back as bytes, as pycocotools gives them. Broken codes raise `RLEError` where
pycocotools hangs or reads past its memory.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import rle
from entity_api.boxes import iou_of_boxes

__all__ = ["area", "decode", "encode", "frPyObjects", "iou", "merge", "toBbox"]


def encode(bimask: NDArray[Any]) -> Any:
    """Code a mask (H, W) as one RLE, or masks (H, W, N) as a list of N."""
    bimask = np.asarray(bimask)
    if bimask.ndim == 3:
        return [_as_bytes(rle.encode(bimask[:, :, idx])) for idx in range(bimask.shape[2])]
    return _as_bytes(rle.encode(bimask))


def decode(rleObjs: Any) -> NDArray[np.uint8]:
    """Draw one RLE as (H, W), or a list of N as (H, W, N), uint8 of 0 and 1, column-major."""
    if isinstance(rleObjs, dict):
        return rle.decode(rleObjs).view(np.uint8)
    if not rleObjs:
        return np.zeros((0, 0, 0), np.uint8)
    return np.asfortranarray(np.stack([rle.decode(one) for one in rleObjs], axis=-1).view(np.uint8))


def area(rleObjs: Any) -> Any:
    """Count the pixels of one RLE, or of each of a list, uint32."""
    if isinstance(rleObjs, dict):
        return np.uint32(rle.area(rleObjs))
    return np.array([rle.area(one) for one in rleObjs], np.uint32)


def toBbox(rleObjs: Any) -> NDArray[np.float64]:
    """Return the xywh box of one RLE, (4,), or of each of a list, (N, 4)."""
    if isinstance(rleObjs, dict):
        return np.array(rle.bbox(rleObjs))
    return np.array([rle.bbox(one) for one in rleObjs]).reshape(-1, 4)


def iou(dt: Sequence[Any], gt: Sequence[Any], pyiscrowd: Sequence[int]) -> Any:
    """Compute IoU of D with G masks, or of boxes (xywh), (D, G); [] when either side is empty."""
    if not len(dt) or not len(gt):
        return []
    crowd = np.asarray(pyiscrowd, bool)
    if isinstance(dt[0], dict):
        return rle.iou(dt, gt, crowd.tolist())
    return iou_of_boxes(np.asarray(dt, np.float64), np.asarray(gt, np.float64), crowd)


def merge(rleObjs: Sequence[Any], intersect: bool = False) -> dict[str, Any]:
    """Join RLEs into their union or intersection."""
    if not rleObjs:
        return {"size": [0, 0], "counts": b""}
    return _as_bytes(rle.merge(rleObjs, bool(intersect)))


def frPyObjects(pyobj: Any, h: int, w: int) -> Any:
    """Bring polygons, boxes or plain RLE to RLE: a list gives a list, one object gives one."""
    if isinstance(pyobj, dict):
        return _as_bytes(rle.to_rle(pyobj, h, w))
    if len(pyobj) and isinstance(pyobj[0], dict):
        return [_as_bytes(rle.to_rle(one, h, w)) for one in pyobj]
    return rle.coco_rasteriser().frPyObjects(pyobj, h, w)


def _as_bytes(code: dict[str, Any]) -> dict[str, Any]:
    return {"size": code["size"], "counts": code["counts"].encode("ascii")}
