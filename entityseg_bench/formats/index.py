"""The JSON beside files of pixels: all of a dataset but its masks, and the checks of its rows."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from entityseg_bench.categories import IGNORE, TASKS, Task
from entityseg_bench.check import (
    IMAGE_UNKNOWN,
    Report,
    check_image,
    image_reported,
    mismatch,
    reported,
    stop,
)
from entityseg_bench.formats.coco import annotation_row, category_row, image_row
from entityseg_bench.formats.coco.row_types import Whole
from entityseg_bench.formats.coco.tables import to_category, to_image
from entityseg_bench.formats.json_files import read_records
from entityseg_bench.formats.matching import match_ids, match_names
from entityseg_bench.formats.opened import INDEX, Opened, base_name
from entityseg_bench.formats.tolerant.fields import loosely_converted, settle_row
from entityseg_bench.io import InputError, write_json
from entityseg_bench.masks import Masks
from entityseg_bench.names import check_name, outside_is_allowed
from entityseg_bench.selection import rows_of
from entityseg_bench.table import AnnotatedImages, Segments
from entityseg_bench.types import Annotation, Category, ImageInfo, Tally

__all__ = [
    "INDEX",
    "aligned",
    "category_rows",
    "converted",
    "image_rows",
    "index_row",
    "open_indexed_dt",
    "placed",
    "read_index",
    "write_index",
]

T = TypeVar("T")

ROW_FIELDS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "value")


class File(msgspec.Struct):
    """Hold the index."""

    task: str
    images: list[Any]
    annotations: list[Any]
    categories: list[Any]
    info: dict[str, Any] = {}


class Row(msgspec.Struct):
    """Hold one annotation; ``value`` says which mask of its image's file is its own."""

    id: Whole
    image_id: int | str
    category_id: Whole
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: int
    value: Whole


def index_row(annotation: Annotation, value: int) -> dict[str, Any]:
    """Return an annotation's row without its mask."""
    row = annotation_row(annotation)
    del row["segmentation"]
    return {**row, "value": value}


def write_index(
    dataset: AnnotatedImages, folder: Path, rows: Iterable[Sequence[dict[str, Any]]]
) -> None:
    """Write the index of a folder from the rows of each image."""
    content = {
        "task": dataset.task,
        "info": dataset.info,
        "images": [image_row(image) for image in dataset.images],
        "annotations": [row for of_image in rows for row in of_image],
        "categories": [category_row(category) for category in dataset.categories],
    }
    write_json(folder / INDEX, content)


def read_index(
    folder: Path,
    masks_of: Callable[[list[ImageInfo], Any, Any], Masks],
    report: Report = stop,
) -> Segments:
    """Read the index of a folder.

    Args:
        folder: Where it lies.
        masks_of: From the images, and each annotation's image position and value, (N,) arrays, to
            the masks.
        report: Takes the faults of single rows.

    Raises:
        InputError: A broken index.
    """
    path = folder / INDEX
    content = read_records(path, File)
    if content.task not in TASKS:
        raise InputError(path, "task", f"{content.task!r} is none of {', '.join(TASKS)}.")
    tally = Tally()
    images = image_rows(content.images, path, report, tally)
    read = converted(content.annotations, Row, path, report, tally)
    at = placed(read, images, path, report, tally)
    image_idx = np.array([idx for idx, _, _ in at], np.int64)
    rows = [row for _, _, row in at]
    extras = [_extra(content.annotations[idx]) for _, idx, _ in at]
    scores = [extra.get("score") for extra in extras]
    values = np.array([row.value for row in rows], np.int64)
    return Segments.make(
        images,
        image_idx,
        masks_of(images, image_idx, values),
        np.array([row.id for row in rows], np.int64),
        category_ids=np.array([row.category_id for row in rows], np.int64),
        scores=_scores(scores, rows, path),
        predicted=any(score is not None for score in scores),
        areas=np.array([row.area for row in rows], np.float64),
        boxes=np.array([row.bbox for row in rows], np.float64).reshape(-1, 4),
        iscrowd=np.array([bool(row.iscrowd) for row in rows], bool),
        extras=extras if any(extras) else None,
        categories=category_rows(content.categories, path, report, content.task),
        task=content.task,
        info=content.info,
        where_from=str(path),
        kind="annotation",
        notes=tuple(tally.notes()),
    )


def _scores(scores: Sequence[Any], rows: Sequence[Row], path: Path) -> Any:
    """Return scores as a column, nan where there is none."""
    for score, row in zip(scores, rows, strict=True):
        if score is not None and (isinstance(score, bool) or not isinstance(score, int | float)):
            place = f"image {row.image_id}, segment {row.id}"
            raise InputError(path, place, f"its score {score!r} is no number.")
    return np.array([np.nan if s is None else s for s in scores], np.float64)


def _extra(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in ROW_FIELDS}


def image_rows(
    rows: Sequence[Any], path: Path, report: Report, tally: Tally | None = None
) -> list[ImageInfo]:
    """Read the images of a file; those at fault are reported and left out."""
    tally = tally or Tally()
    images: dict[int | str, ImageInfo] = {}
    for idx, row in enumerate(rows):
        with image_reported(report):
            fields = _mapping(row, path, f"images[{idx}]")
            image = to_image(fields, path, idx, named=True, tally=tally)
            check_image(image, images, path)
            place = f"image {image.id}"
            check_name(path, image.file_name, place, outside_is_allowed())
            images[image.id] = image
    return list(images.values())


def category_rows(
    rows: Sequence[Any],
    path: Path,
    report: Report,
    task: Task = "entity",
    tally: Tally | None = None,
) -> list[Category]:
    """Read the categories of a file; those at fault are reported and left out."""
    tally = tally or Tally()
    found = []
    for idx, row in enumerate(rows):
        with reported(report):
            place = f"categories[{idx}]"
            category = to_category(_mapping(row, path, place), path, idx, tally)
            if task == "semantic" and not 0 <= category.id < IGNORE:
                what = f"category id {category.id} does not fit an 8-bit map (0..254)."
                raise InputError(path, place, what)
            found.append(category)
    return found


def converted(
    rows: Sequence[Any], kind: type[T], path: Path, report: Report, tally: Tally | None = None
) -> list[tuple[int, T]]:
    """Read the annotations of a file, each with its position in it; faults are reported."""
    tally = tally or Tally()
    found = []
    for idx, row in enumerate(rows):
        try:
            found.append((idx, loosely_converted(row, kind, settle_row, tally)))
        except msgspec.ValidationError as error:
            known = isinstance(row, dict) and "image_id" in row
            image = f" (image_id {row['image_id']!r})" if known else ""
            report(InputError(path, f"annotations[{idx}]{image}", f"{error}."))
    return found


def placed(
    rows: Sequence[tuple[int, T]],
    images: Sequence[ImageInfo],
    path: Path,
    report: Report,
    tally: Tally | None = None,
    own: dict[Any, str] | None = None,
) -> list[tuple[int, int, T]]:
    """Give each row the position of its image, before its own; unknown images are reported.

    Args:
        rows: Each with its position in the file.
        images: Of the ground truth.
        path: The file.
        report: Takes the faults.
        tally: Counts what was turned.
        own: Of a file of predictions, id -> name of the images that it lists itself; else None.
    """
    tally = tally or Tally()
    where: dict[Any, int] = {image.id: idx for idx, image in enumerate(images)}
    ids = dict.fromkeys(row.image_id for _, row in rows)  # type: ignore[attr-defined]
    found_by = match_names(own, images, path) if own else None
    if found_by is None and any(image_id not in where for image_id in ids):
        found_by = match_ids(ids, images, path)
    if found_by is not None:
        where = found_by.where
        for note in found_by.notes:
            tally.once(note)
    found = []
    for idx, row in rows:
        image_id = row.image_id  # type: ignore[attr-defined]
        if image_id in where:
            found.append((where[image_id], idx, row))
            continue
        what = f"its image_id {image_id!r} is not among the images"
        hint = "Add the image or take the annotation out."
        if own is not None:
            what, hint = f"{what} of the ground truth", "Is this the right split?"
        report(InputError(path, f"annotations[{idx}]", f"{what}.", hint, IMAGE_UNKNOWN))
    return found


def _mapping(row: Any, path: Path, place: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise InputError(path, place, f"{row!r:.80} is no object.")
    return row


# What may be behind predictions of another size.
MISMATCHES = {
    "swapped": "Height and width are swapped.",
    "scaled": "Score them against the ground truth of their resolution.",
    "other": "Masks must have the image's own size.",
}


def open_indexed_dt(table: Segments, folder: Path, truth: Segments, report: Report) -> Opened:
    """Open predictions that have an index: they are brought to the images of the ground truth."""
    found = aligned(table, truth, truth.task == "semantic", report)
    return Opened(found, [folder], "some" if _same_names(table, truth) else "none")


def aligned(table: Segments, truth: Segments, by_name: bool, report: Report) -> Segments:
    """Bring predictions that list images of their own to the images of the ground truth.

    Args:
        table: The predictions.
        truth: The ground truth.
        by_name: Whether an image is found by its name and not by its id: semantic lists give none.
        report: Takes the faults of images, which are then left without predictions.
    """

    found, notes = _renumbered(table, truth)

    def key(image: ImageInfo) -> Any:
        return base_name(image) if by_name else image.id

    where = {key(image): idx for idx, image in enumerate(truth.images)}
    target = np.full(len(table.images), -1, np.int64)
    for idx, image in enumerate(table.images):
        with reported(report):
            at = found[image.id] if found else where.get(key(image))
            if at is None:
                place = f"image {image.id} ({image.file_name})"
                what = "this image is not among the images of the ground truth."
                hint = "Is this the right split?"
                raise InputError(table.where_from, place, what, hint, IMAGE_UNKNOWN)
            _check_same(image, truth.images[at], table.where_from)
            target[idx] = at
    moved = target[table.image_idx]
    kept = rows_of(table, np.flatnonzero(moved >= 0)) if (moved < 0).any() else table
    return kept.replace(
        images=truth.images,
        image_idx=moved[moved >= 0],
        predicted=True,
        categories=truth.categories,
        task=truth.task,
        kind="prediction",
        notes=(*table.notes, *notes),
    )


def _renumbered(table: Segments, truth: Segments) -> tuple[dict[Any, int] | None, list[str]]:
    """Match images by their names where no id of the predictions is one of the ground truth's."""
    ids = {image.id for image in truth.images}
    if any(image.id in ids for image in table.images):
        return None, []
    own = {image.id: image.file_name for image in table.images}
    try:
        found = match_names(own, truth.images, table.where_from)
    except InputError:
        # Each image is named by its id below.
        return None, []
    return (found.where, found.notes) if found else (None, [])


def _check_same(own: ImageInfo, image: ImageInfo, where: str) -> None:
    """Check that predictions are of the image that has their id, and of its size."""
    place = f"image {image.id} ({image.file_name})"
    # Predictions that were read without their ground truth call their images by the id.
    if base_name(own) not in (base_name(image), f"{image.id}.png"):
        what = f"under this id the predictions have the image {own.file_name}."
        raise InputError(where, place, what, "Image ids restart in each part.")
    if (own.height, own.width) != (image.height, image.width):
        raise InputError(
            where,
            place,
            f"the predictions are of {own.height} x {own.width} pixels (height x width), the "
            f"ground truth of {image.height} x {image.width}.",
            MISMATCHES[mismatch((own.height, own.width), (image.height, image.width))],
        )


def _same_names(table: Segments, truth: Segments) -> bool:
    """Tell whether the ids that two category tables share mean the same."""
    names = {category.id: category.name.strip() for category in truth.categories}
    own = [(category.id, category.name.strip()) for category in table.categories]
    return all(names.get(category_id, name) == name for category_id, name in own)
