"""The boxes of the first records of a file, which scoring does not read otherwise."""

import json
import math
from typing import Any

__all__ = ["sampled_boxes"]

# How many records are looked at, and how much text.
MOST_RECORDS, MOST_BYTES = 32, 1 << 18


Box = tuple[float, float, float, float]


def sampled_boxes(data: bytes) -> dict[int, Box | None]:
    """Return position -> COCO xywh of the first records of COCO JSON, None of one without a box.

    Args:
        data: A list of records, or an object with one under ``annotations``.
    """
    at = 0 if data[:1] == b"[" else data.find(b'"annotations"')
    start = data.find(b"[", at) + 1
    if at < 0 or not start:
        return {}
    text = data[start : start + MOST_BYTES].decode("utf-8", "ignore")
    decoder, place = json.JSONDecoder(), 0
    found: dict[int, Box | None] = {}
    for idx in range(MOST_RECORDS):
        end, place = place, text.find("{", place)
        if place < 0 or "]" in text[end:place]:
            break
        try:
            record, place = decoder.raw_decode(text, place)
        except ValueError:
            # The end of what is looked at.
            break
        found[idx] = _box(record.get("bbox"))
    return found


def _box(value: Any) -> Box | None:
    """Return a box that says something: four numbers, of some size."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    if not all(isinstance(x, int | float) and math.isfinite(x) for x in value):
        return None
    x, y, w, h = map(float, value)
    return (x, y, w, h) if w > 0 and h > 0 else None
