"""Records of panoptic JSON, checked one by one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from entityseg_bench.check import Report, reported
from entityseg_bench.formats.coco.row_types import Whole
from entityseg_bench.formats.index import converted, placed
from entityseg_bench.formats.tolerant.fields import (
    FUSED,
    is_fused,
    loosely_converted,
    settle_segment,
)
from entityseg_bench.io import InputError
from entityseg_bench.types import ImageInfo, Tally

__all__ = ["MOST_ID", "File", "ImageRow", "Segment", "checked_segments", "image_segments"]

MOST_ID = (1 << 24) - 1
SEGMENT_FIELDS = ("id", "category_id", "area", "bbox", "iscrowd", "score")


class ImageRow(msgspec.Struct):
    """Hold one image's row of the JSON; predictions may leave the name out."""

    image_id: int | str
    segments_info: list[Any]
    file_name: str = ""


class File(msgspec.Struct):
    """Hold the JSON; predictions may leave images and categories out."""

    annotations: list[Any]
    images: list[Any] | None = None
    categories: list[Any] | None = None
    info: Any = None
    licenses: Any = None


class Segment(msgspec.Struct):
    """Hold what is known of a segment beside its pixels.

    A score is no part of COCO's format, but is read where predictions have it.
    """

    id: Whole
    category_id: Whole
    area: float | None = None
    bbox: tuple[float, float, float, float] | None = None
    iscrowd: bool | int = 0
    score: float | None = None


def image_segments(
    rows: Sequence[Any],
    images: Sequence[ImageInfo],
    path: Path,
    report: Report,
    tally: Tally,
    own: dict[Any, str] | None = None,
) -> dict[int, ImageRow]:
    """Give the position of each image its row; rows at fault are reported and left out.

    Args:
        rows: As the file has them.
        images: Of the ground truth.
        path: The file.
        report: Takes the faults.
        tally: Counts what was turned.
        own: Of a file of predictions, id -> name of the images that it lists itself; else None.
    """
    if rows and not any(isinstance(row, dict) and "segments_info" in row for row in rows):
        what = "no record has segments_info: this is no panoptic JSON."
        hint = "Is it COCO JSON with masks in it, of another type?"
        report(InputError(path, "annotations", what, hint))
        return {}
    found: dict[int, ImageRow] = {}
    read = converted(rows, ImageRow, path, report, tally)
    if own is not None:
        # The map of an image is called like the image.
        own = {row.image_id: own.get(row.image_id, row.file_name) for _, row in read}
    for image_idx, idx, row in placed(read, images, path, report, tally, own):
        if image_idx in found:
            place = f"annotations[{idx}] (image_id {images[image_idx].id!r})"
            report(InputError(path, place, "an image stands twice.", "Join its segments."))
            continue
        found[image_idx] = row
    return found


def checked_segments(
    rows: Sequence[Any], path: Path, place: str, report: Report, tally: Tally
) -> list[tuple[Segment, dict[str, Any] | None]]:
    """Read the segments of one image, and other fields that they have; faults are reported."""
    found: list[tuple[Segment, dict[str, Any] | None]] = []
    fused: dict[int, int] = {}
    taken: set[int] = set()
    for idx, fields in enumerate(rows):
        with reported(report):
            where = f"{place}, segments_info[{idx}]"
            try:
                segment = loosely_converted(fields, Segment, settle_segment, tally)
            except msgspec.ValidationError as error:
                raise InputError(path, where, f"{error}.") from None
            if not 0 < segment.id <= MOST_ID:
                what = f"segment id {segment.id} must lie in 1..{MOST_ID}: 0 is void."
                hint = "Add 1 to the ids of JSON and map." if segment.id == 0 else ""
                raise InputError(path, where, what, hint)
            if segment.id in fused and is_fused(fields):
                tally.add(FUSED)
                kept = found[fused[segment.id]][0]
                kept.score = max(
                    (s for s in (kept.score, segment.score) if s is not None), default=None
                )
                continue
            if is_fused(fields):
                fused[segment.id] = len(found)
            if segment.id in taken:
                raise InputError(path, where, f"segment {segment.id} stands twice.", "Merge them.")
            taken.add(segment.id)
            extra = {name: value for name, value in fields.items() if name not in SEGMENT_FIELDS}
            found.append((segment, extra or None))
    return found
