"""Panoptic predictions of other tools: lists without a head, and maps that stand in the JSON.

Hugging Face's ``post_process_panoptic_segmentation`` and ``post_process_instance_segmentation``
give ``{"segmentation": (H, W) ids, -1 or 0 where there is none, "segments_info": [...]}``, where a
category is called ``label_id``. With ``return_binary_maps`` the segmentation is a mask a segment.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from entity_api import rle as rle_codes
from entity_api.counts import RLEError
from entityseg_bench.formats.json_files import read_json, read_records
from entityseg_bench.formats.panoptic.rows import File
from entityseg_bench.formats.tolerant.fields import FUSED, is_fused, whole
from entityseg_bench.formats.tolerant.results import parsed_results
from entityseg_bench.formats.tolerant.rows import IMAGE_KEYS
from entityseg_bench.io import InputError
from entityseg_bench.types import Tally

__all__ = ["has_maps", "read_predictions", "records_of_maps", "rows_of_images"]

BELONG = "Map and segments_info belong together."
# Behind a fused segment, transformers (5.24) gives ids that it has given before.
MERGE = "Merge them; of Hugging Face's, call it without label_ids_to_fuse, which gives ids twice."
# Fields that only Hugging Face's segments have.
OF_HUGGING_FACE = {"label_id", "was_fused"}
# Its -1 for nothing, in 8 bits.
WRAPPED = 255


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

    Segments that later ones hide, and the parts of a segment that was fused, are one or none.

    Raises:
        InputError: With the row: no map, or a segment that is not in it.
    """
    tally.once("the maps of segments stand in the JSON (Hugging Face): they were read there.")
    for idx, row in enumerate(rows):
        place = f"record {idx}"
        named = {key: row[key] for key in IMAGE_KEYS if key in row} if _is_row(row) else {}
        if not _is_row(row):
            raise InputError(path, place, "it has no segments_info, as others have.")
        place += f" ({', '.join(f'{key} {value!r:.60}' for key, value in named.items())})" * bool(
            named
        )
        segments = _segments(row["segments_info"], path, place, tally)
        if not segments and row.get("segmentation") is None:
            continue
        masks = _masks(row.get("segmentation"), segments, path, place)
        for number, fields in segments.items():
            if number not in masks:
                if not OF_HUGGING_FACE & set(fields):
                    what = f"segment {number!r:.40} is not in its map."
                    raise InputError(path, place, what, BELONG)
                tally.add("{n}: others hide the segment in its map, left out.")
                continue
            record = {"score": fields.get("score"), "segmentation": masks[number], **named}
            category = fields.get("category_id", fields.get("label_id"))
            yield record if category is None else {**record, "category_id": category}


def _segments(
    listed: Sequence[Any], path: Path, place: str, tally: Tally
) -> dict[Any, dict[str, Any]]:
    """Return the segments of a row by id; parts that were fused stand once for each of them."""
    found: dict[Any, dict[str, Any]] = {}
    for segment in listed:
        fields = segment if isinstance(segment, dict) else {}
        number = whole(fields.get("id"), "id", tally)
        if not isinstance(number, int):
            raise InputError(path, place, f"segment {number!r:.40} is not in its map.", BELONG)
        if number not in found:
            found[number] = fields
            continue
        if not (is_fused(fields) and is_fused(found[number])):
            raise InputError(path, place, f"segment {number} stands twice.", MERGE)
        tally.add(FUSED)
        found[number] = max(found[number], fields, key=_score)
    return found


def _score(segment: dict[str, Any]) -> float:
    score = segment.get("score")
    return score if isinstance(score, int | float) else float("-inf")


def _masks(
    values: Any, segments: dict[Any, dict[str, Any]], path: Path, place: str
) -> dict[Any, dict[str, Any]]:
    """Return the mask of each id of a map, or of masks (N, H, W), that stand as lists."""
    try:
        pixels = np.array(values, np.float64)
        fit = (np.abs(pixels) < 2**31).all() and (pixels == pixels.astype(np.int64)).all()
        if fit and pixels.ndim == 3 and len(pixels) == len(segments):
            binary = np.isin(pixels, (0, 1)).all()
            if binary:
                return {k: rle_codes.encode(m != 0) for k, m in zip(segments, pixels, strict=True)}
        if fit and pixels.ndim == 2:
            ids, masks = rle_codes.encode_id_map(pixels.astype(np.int64))
            found = dict(zip(ids.tolist(), masks, strict=True))
            unknown = [k for k in found if k > 0 and k not in segments and k != WRAPPED]
            if unknown:
                what = f"segment {unknown[0]} of its map is not in segments_info."
                raise InputError(path, place, what, BELONG)
            return found
    except (ValueError, TypeError, OverflowError, RLEError):
        # Lists of several lengths, or of other things than numbers.
        if _are_pairs(values):
            what = "its segmentation is of return_coco_annotation, which is no code of COCO's:"
            hint = "Call post_process_instance_segmentation with return_binary_maps=True."
            raise InputError(path, place, f"{what} starts and lengths by rows.", hint) from None
    what = "its segmentation is no map of whole numbers, (height, width), nor a mask a segment."
    raise InputError(path, place, what)


def _are_pairs(values: Any) -> bool:
    """Tell lists of starts and lengths, of a segment each."""
    return isinstance(values, list) and all(
        isinstance(part, list) and len(part) % 2 == 0 and all(type(x) is int for x in part)
        for part in values
    )
