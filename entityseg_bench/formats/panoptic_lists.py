"""Panoptic predictions of other tools: lists without a head, and maps that stand in the JSON.

Hugging Face's ``post_process_panoptic_segmentation`` and ``post_process_instance_segmentation``
give ``{"segmentation": (H, W) ids, -1 or 0 where there is none, "segments_info": [...]}``, where a
category is called ``label_id``.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from entity_api import rle as rle_codes
from entity_api.counts import RLEError
from entityseg_bench.formats.json_files import read_json, read_records
from entityseg_bench.formats.panoptic_rows import File
from entityseg_bench.formats.tolerant import Tally, whole
from entityseg_bench.formats.tolerant_results import parsed_results
from entityseg_bench.formats.tolerant_rows import IMAGE_KEYS
from entityseg_bench.io import InputError

__all__ = ["has_maps", "read_predictions", "records_of_maps", "rows_of_images"]


def read_predictions(path: Path, tally: Tally) -> File:
    """Read panoptic predictions: COCO's panoptic JSON, or its rows as they may stand.

    Raises:
        InputError: There are no rows with segments_info, or it is no JSON.
    """
    try:
        return read_records(path, File)
    except InputError as error:
        rows = rows_of_images(parsed_results(path, read_json(path), tally, error), tally)
        if rows is None:
            raise error from None
    return File(annotations=rows)


def rows_of_images(found: Any, tally: Tally) -> list[Any] | None:
    """Find the rows of images, None where there are none or several lists of them."""
    if isinstance(found, list):
        return found if any(map(_is_row, found)) else None
    if not isinstance(found, dict):
        return None
    if _is_row(found):
        tally.once("it holds a single image, not a list.")
        return [found]
    lists = {key: value for key, value in found.items() if isinstance(value, list)}
    holders = [key for key, value in lists.items() if rows_of_images(value, tally)]
    if len(holders) == 1:
        tally.once(f"the records stand under the key {holders[0]!r}.")
        return list(found[holders[0]])
    if found and all(map(_is_row, found.values())):
        tally.once(f"the records are keyed by image (key {next(iter(found))!r} first).")
        return [{"image_id": key, **row} for key, row in found.items()]
    return None


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("segments_info"), list)


def has_maps(rows: Sequence[Any]) -> bool:
    """Tell whether the maps of images stand in their rows."""
    return any(isinstance(row, dict) and isinstance(row.get("segmentation"), list) for row in rows)


def records_of_maps(rows: Sequence[Any], path: Path, tally: Tally) -> Iterator[dict[str, Any]]:
    """Yield a prediction for each segment of rows whose maps stand in them.

    Raises:
        InputError: With the row: no map, or a segment that is not in it.
    """
    tally.once("the maps of segments stand in the JSON (Hugging Face): they were read there.")
    for idx, row in enumerate(rows):
        place = f"record {idx}"
        named = {key: row[key] for key in IMAGE_KEYS if key in row} if _is_row(row) else {}
        if not _is_row(row):
            raise InputError(path, place, "it has no segments_info, as others have.")
        masks = _masks(row.get("segmentation"), path, place)
        for segment in row["segments_info"]:
            fields = segment if isinstance(segment, dict) else {}
            number = whole(fields.get("id"), "id", tally)
            if not isinstance(number, int) or number not in masks:
                what = f"segment {number!r:.40} is not in its map."
                raise InputError(path, place, what, "Map and segments_info belong together.")
            record = {"score": fields.get("score"), "segmentation": masks[number], **named}
            category = fields.get("category_id", fields.get("label_id"))
            yield record if category is None else {**record, "category_id": category}


def _masks(values: Any, path: Path, place: str) -> dict[Any, dict[str, Any]]:
    """Return the mask of each id of a map that stands as lists."""
    try:
        pixels = np.array(values, np.float64)
        fit = pixels.ndim == 2 and (np.abs(pixels) < 2**31).all()
        if fit and (pixels == pixels.astype(np.int64)).all():
            ids, masks = rle_codes.encode_id_map(pixels.astype(np.int64))
            return dict(zip(ids.tolist(), masks, strict=True))
    except (ValueError, TypeError, OverflowError, RLEError):
        # Lists of several lengths, or of other things than numbers.
        pass
    what = "its segmentation is no map of whole numbers, (height, width)."
    raise InputError(path, place, what)
