"""Rows of the JSON beside files of pixels, checked one by one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from entity_api.counts import MAX_PIXELS
from entityseg_bench.categories import IGNORE, Task
from entityseg_bench.contents.coco import to_category, to_image
from entityseg_bench.contents.contents import check_image
from entityseg_bench.faults import Report, UnknownImage, image_reported, reported
from entityseg_bench.io import InputError
from entityseg_bench.types import Category, ImageInfo

__all__ = ["Whole", "category_rows", "converted", "image_rows", "placed"]

T = TypeVar("T")

# Whole numbers that the columns hold: JSON knows larger ones.
Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


def image_rows(rows: Sequence[Any], path: Path, report: Report) -> list[ImageInfo]:
    """Read the images of a file; those at fault are reported and left out."""
    images: dict[int | str, ImageInfo] = {}
    for idx, row in enumerate(rows):
        with image_reported(report):
            image = to_image(_mapping(row, path, f"images[{idx}]"), path, idx)
            check_image(image, images, path)
            if image.height * image.width > MAX_PIXELS:
                place = f"image {image.id} ({image.file_name})"
                what = f"{image.height} x {image.width} pixels are too many: the limit is 2**32."
                raise InputError(path, place, what, "Are height and width in pixels?")
            images[image.id] = image
    return list(images.values())


def category_rows(
    rows: Sequence[Any], path: Path, report: Report, task: Task = "entity"
) -> list[Category]:
    """Read the categories of a file; those at fault are reported and left out."""
    found = []
    for idx, row in enumerate(rows):
        with reported(report):
            place = f"categories[{idx}]"
            category = to_category(_mapping(row, path, place), path, idx)
            if task == "semantic" and not 0 <= category.id < IGNORE:
                what = f"category id {category.id} does not fit an 8-bit map (0..254)."
                raise InputError(path, place, what)
            found.append(category)
    return found


def converted(
    rows: Sequence[Any], kind: type[T], path: Path, report: Report
) -> list[tuple[int, T]]:
    """Read the annotations of a file, each with its place in it; those at fault are reported."""
    found = []
    for idx, row in enumerate(rows):
        try:
            found.append((idx, msgspec.convert(row, kind)))
        except msgspec.ValidationError as error:
            image = f" (image_id {row['image_id']!r})" if "image_id" in _fields(row) else ""
            report(InputError(path, f"annotations[{idx}]{image}", f"{error}."))
    return found


def placed(
    rows: Sequence[tuple[int, T]],
    images: Sequence[ImageInfo],
    path: Path,
    report: Report,
    predicted: bool = False,
) -> list[tuple[int, int, T]]:
    """Give each row the position of its image, before its own; unknown images are reported.

    Args:
        rows: Each with its place in the file.
        images: Of the ground truth.
        path: The file.
        report: Takes the faults.
        predicted: Whether the file is one of predictions, and the images are another's.
    """
    where = {image.id: idx for idx, image in enumerate(images)}
    found = []
    for idx, row in rows:
        image_id = row.image_id  # type: ignore[attr-defined]
        if image_id in where:
            found.append((where[image_id], idx, row))
            continue
        what = f"its image_id {image_id!r} is not among the images"
        mend = "Add the image or take the annotation out."
        if predicted:
            what, mend = f"{what} of the ground truth", "Is this the right split?"
        report(UnknownImage(path, f"annotations[{idx}]", f"{what}.", mend))
    return found


def _mapping(row: Any, path: Path, place: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise InputError(path, place, f"{row!r:.80} is no object.")
    return row


def _fields(row: Any) -> dict[str, Any]:
    return row if isinstance(row, dict) else {}
