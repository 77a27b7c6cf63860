"""What a COCO file holds: entity and instance JSON, and COCO's own."""

from pathlib import Path
from typing import Any

import msgspec

from entityseg_bench.contents.contents import Contents
from entityseg_bench.contents.records import Records, positions
from entityseg_bench.formats.coco_scan import scan
from entityseg_bench.io import InputError
from entityseg_bench.types import Category, ImageInfo

__all__ = ["CATEGORY_FIELDS", "IMAGE_FIELDS", "coco_contents", "to_category", "to_image"]

IMAGE_FIELDS = ("id", "file_name", "height", "width")
CATEGORY_FIELDS = ("id", "name", "supercategory", "type", "c_name")


def coco_contents(path: Path, cache: bool = True) -> Contents:
    """Read a file, plain or ``.gz``; see `formats.coco.read_coco`.

    Raises:
        InputError: With file and record.
    """
    found = scan(path, cache)
    images = [to_image(row, path, idx) for idx, row in enumerate(found.head.pop("images"))]
    table = [to_category(row, path, i) for i, row in enumerate(found.head.pop("categories"))]
    where = {image.id: idx for idx, image in enumerate(images)}
    rows = Records(
        ids=found.columns["id"],
        image_idx=positions(where, found.image_ids, str(path)),
        category_ids=found.columns["category_id"],
        areas=found.columns["area"],
        boxes=found.columns["bbox"],
        iscrowd=found.columns["iscrowd"],
        masks=found.masks,
        extras=found.extras,
        where=str(path),
    )
    return Contents(images, rows, table or None, found.head, str(path))


def to_image(row: dict[str, Any], path: Path, idx: int) -> ImageInfo:
    """Check and read one image row."""
    try:
        kept = {name: row[name] for name in IMAGE_FIELDS}
        extra = {name: row[name] for name in row if name not in kept}
        return msgspec.convert({**kept, "extra": extra or None}, ImageInfo)
    except (KeyError, msgspec.ValidationError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(path, f"images[{idx}]", f"{what}.") from None


def to_category(row: dict[str, Any], path: Path, idx: int) -> Category:
    """Check and read one category row; COCO's ``isthing`` becomes the type."""
    extra = {name: row[name] for name in row if name not in CATEGORY_FIELDS}
    fields = {name: row[name] for name in CATEGORY_FIELDS if name in row}
    if "isthing" in extra and "type" not in fields:
        fields["type"] = "thing" if extra.pop("isthing") else "stuff"
    try:
        return msgspec.convert({**fields, "extra": extra or None}, Category)
    except msgspec.ValidationError as error:
        raise InputError(path, f"categories[{idx}]", f"{error}.") from None
