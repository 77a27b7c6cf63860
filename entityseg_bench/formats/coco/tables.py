"""Images and categories of COCO JSON, each with all its fields."""

import contextlib
from pathlib import Path
from typing import Any

import msgspec

from entityseg_bench.formats.tolerant.fields import settle_category, settle_image
from entityseg_bench.io import InputError
from entityseg_bench.types import Category, ImageInfo, Tally

__all__ = ["CATEGORY_FIELDS", "IMAGE_FIELDS", "end_of_address", "to_category", "to_image"]

IMAGE_FIELDS = ("id", "file_name", "height", "width")
CATEGORY_FIELDS = ("id", "name", "supercategory", "type", "c_name")


def end_of_address(url: str | None) -> str:
    """Return the file name that an address ends in."""
    return (url or "").rpartition("/")[2]


def to_image(
    row: dict[str, Any], path: Path, idx: int, named: bool = False, tally: Tally | None = None
) -> ImageInfo:
    """Check and read one image row with all its fields; ``named``: it must have a name.

    Where ``tally`` is given, fields of other types that can be meant are settled.
    """
    try:
        return _image(row, path, idx, named)
    except (InputError, msgspec.ValidationError) as error:
        if tally is not None:
            with contextlib.suppress(InputError, msgspec.ValidationError):
                return _image(settle_image(row, tally), path, idx, named)
        if isinstance(error, InputError):
            raise
        raise InputError(path, f"images[{idx}]", f"{error}.") from None


def _image(row: dict[str, Any], path: Path, idx: int, named: bool) -> ImageInfo:
    url = row.get("coco_url")
    kept = {
        "file_name": end_of_address(url if isinstance(url, str) else None),
        **{name: row[name] for name in IMAGE_FIELDS if name in row},
    }
    extra = {name: row[name] for name in row if name not in kept}
    for name in ("id", "height", "width", *(("file_name",) if named else ())):
        if name not in row:
            raise InputError(path, f"images[{idx}]", f"{name!r} is missing.")
    return msgspec.convert({**kept, "extra": extra or None}, ImageInfo)


def to_category(row: dict[str, Any], path: Path, idx: int, tally: Tally | None = None) -> Category:
    """Check and read one category row; COCO's ``isthing`` becomes the type; see `to_image`."""
    try:
        return _category(row)
    except msgspec.ValidationError as error:
        if tally is not None:
            with contextlib.suppress(msgspec.ValidationError):
                return _category(settle_category(row, tally))
        raise InputError(path, f"categories[{idx}]", f"{error}.") from None


def _category(row: dict[str, Any]) -> Category:
    extra = {name: row[name] for name in row if name not in CATEGORY_FIELDS}
    fields = {"name": "", **{name: row[name] for name in CATEGORY_FIELDS if name in row}}
    if "isthing" in extra and "type" not in fields:
        fields["type"] = "thing" if extra.pop("isthing") else "stuff"
    return msgspec.convert({**fields, "extra": extra or None}, Category)
