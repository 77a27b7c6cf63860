"""Results become annotations: each record is completed by what COCOeval needs of it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import mask
from entity_api.rle import RLEError

__all__ = ["completed", "records_of_array"]

Record = dict[str, Any]


def completed(records: Sequence[Record], rle_of: Callable[[Record], Any]) -> list[Record]:
    """Copy results and add what the first record shows to be missing, as pycocotools does.

    Args:
        records: All of the first one's kind: captions, boxes (with masks or without), masks or
            keypoints.
        rle_of: Returns the run-length code of a record's mask, at the size of its image.

    Raises:
        ValueError: A record of another kind, or with a broken mask, with its position.
    """
    if not records:
        return []
    complete = _completer(records[0], rle_of)
    out = []
    for idx, record in enumerate(records):
        try:
            out.append({**record, **complete(record), "id": idx + 1})
        except KeyError as error:
            raise ValueError(f"result {idx}: it has no {error}, unlike result 0") from None
        except ValueError as error:
            raise RLEError(f"result {idx}: {error}", idx) from None
    return out


def _completer(first: Record, rle_of: Callable[[Record], Any]) -> Callable[[Record], Record]:
    """Choose how records are completed: by the first of the fields that the first record has."""
    if "caption" in first:
        return lambda record: {}
    if first.get("bbox") is not None and len(first["bbox"]):
        return _with_box
    if "segmentation" in first:
        return lambda record: _with_mask(record, rle_of(record))
    if "keypoints" in first:
        return _with_keypoints
    raise ValueError("result 0: it has no segmentation, bbox, keypoints or caption")


def _with_box(record: Record) -> Record:
    x, y, width, height = record["bbox"][:4]
    left, right, top, bottom = x, x + width, y, y + height
    outline = [left, top, left, bottom, right, bottom, right, top]
    return {
        "segmentation": record.get("segmentation", [outline]),
        # The box's even where there is a mask: numbers made by pycocotools rest on it.
        "area": width * height,
        "iscrowd": 0,
    }


def _with_mask(record: Record, code: Any) -> Record:
    box = record["bbox"] if "bbox" in record else mask.toBbox(code)
    return {"area": mask.area(code), "bbox": box, "iscrowd": 0}


def _with_keypoints(record: Record) -> Record:
    x, y = record["keypoints"][0::3], record["keypoints"][1::3]
    left, right, top, bottom = np.min(x), np.max(x), np.min(y), np.max(y)
    width, height = right - left, bottom - top
    return {"area": width * height, "bbox": [left, top, width, height]}


def records_of_array(data: NDArray[Any]) -> list[Record]:
    """Bring rows (N, 7) of image_id, x, y, width, height, score, category_id to records.

    Raises:
        AssertionError: An array of another shape.
    """
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 7:
        raise AssertionError("results as an array have the shape (N, 7)")
    return [
        {
            "image_id": int(row[0]),
            "bbox": [row[1], row[2], row[3], row[4]],
            "score": row[5],
            "category_id": int(row[6]),
        }
        for row in data
    ]
