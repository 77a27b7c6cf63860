"""What COCOeval asks of single records: their masks, areas, numbers and order."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from entity_api import mask as maskUtils
from entity_api.columns import RecordError, Side

if TYPE_CHECKING:
    from entity_api.coco import COCO

__all__ = ["area_of", "best", "check_numbers", "coded", "mark_ignored"]

Record = dict[str, Any]
# (image id, category id) -> records, as `COCOeval._gts` has them.
ById = Mapping[tuple[Any, Any], list[Record]]

# Fields of the ground truth and of the detections in which nan has no rank and no extent.
NUMBERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "segm": ((), ("score",)),
    "bbox": (("bbox",), ("score", "bbox")),
    "keypoints": (("area", "bbox"), ("score",)),
}


def check_numbers(gts: ById, dts: ById, iou_type: str) -> None:
    """Refuse what pycocotools gives any number for.

    Raises:
        RecordError: A detection without a score, or nan in a number that is compared.
    """
    of_gt, of_dt = NUMBERS.get(iou_type, NUMBERS["segm"])
    sides: list[tuple[Side, ById, tuple[str, ...]]] = [("gt", gts, of_gt), ("dt", dts, of_dt)]
    for side, records, names in sides:
        for ann in (ann for anns in records.values() for ann in anns):
            for name in names:
                value = ann.get(name, float("nan") if name == "score" else ())
                if any(one != one for one in (value if name == "bbox" else [value])):
                    what = f"annotation {ann['id']!r}: its {name} must hold numbers, not nan"
                    raise RecordError(side, 0, what)


def best(dt: list[Record], limit: int) -> list[Record]:
    """Return the detections by score, descending, no more than the limit."""
    order = np.argsort([-ann["score"] for ann in dt], kind="stable")
    return [dt[idx] for idx in order[:limit]]


def mark_ignored(gts: Iterable[Record], area_range: Sequence[float]) -> None:
    """Write into annotations whether they are ignored at an area range, as ``_ignore``.

    pycocotools leaves that of the last range there, and code that goes past its face reads it.
    """
    low, high = area_range
    for gt in gts:
        gt["_ignore"] = int(bool(gt["ignore"] or gt["area"] < low or gt["area"] > high))


def area_of(ann: Record, iou_type: str) -> float:
    """Measure a record that states no area: its mask, or its box."""
    if iou_type == "segm":
        return float(maskUtils.area(ann["segmentation"]))
    _, _, width, height = ann["bbox"]
    return float(width * height)


def coded(coco: "COCO", ann: Record) -> Any:
    """Return an annotation's mask as RLE; what is wrong with it is said with its id."""
    try:
        return coco.annToRLE(ann)
    except ValueError as error:
        where = f"annotation id {ann['id']!r}, image {ann['image_id']!r}"
        raise ValueError(f"{where}: {error}") from None
