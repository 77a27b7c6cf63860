"""The JSON beside files of pixels: all of a dataset but its masks."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from entityseg_bench.categories import TASKS
from entityseg_bench.contents.checked_rows import (
    Whole,
    category_rows,
    converted,
    image_rows,
    placed,
)
from entityseg_bench.contents.layout import ImageFiles
from entityseg_bench.contents.records import Masks, Records
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.faults import Report, stop
from entityseg_bench.formats.coco import annotation_row, category_row, image_row
from entityseg_bench.io import InputError, decode_json, read_bytes, write_json
from entityseg_bench.types import Annotation, ImageInfo

__all__ = ["INDEX", "index_row", "read_index", "write_index"]

INDEX = "annotations.json"
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
    dataset: EntityDataset, folder: Path, rows: Iterable[Sequence[dict[str, Any]]]
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
) -> EntityDataset:
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
    content = decode_json(path, read_bytes(path), msgspec.json.Decoder(File))
    if content.task not in TASKS:
        raise InputError(path, "task", f"{content.task!r} is none of {', '.join(TASKS)}.")
    images = image_rows(content.images, path, report)
    at = placed(converted(content.annotations, Row, path, report), images, path, report)
    image_idx = np.array([idx for idx, _, _ in at], np.int64)
    rows = [row for _, _, row in at]
    extras = [_extra(content.annotations[idx]) for _, idx, _ in at]
    values = np.array([row.value for row in rows], np.int64)
    return EntityDataset(
        images,
        Records(
            ids=np.array([row.id for row in rows], np.int64),
            image_idx=image_idx,
            category_ids=np.array([row.category_id for row in rows], np.int64),
            areas=np.array([row.area for row in rows], np.float64),
            boxes=np.array([row.bbox for row in rows], np.float64).reshape(-1, 4),
            iscrowd=np.array([row.iscrowd for row in rows], bool),
            masks=masks_of(images, image_idx, values),
            extras=extras if any(extras) else None,
            where=str(path),
        ),
        category_rows(content.categories, path, report, content.task),
        content.task,
        image_files=ImageFiles(folder),
        info=content.info,
        where=str(path),
    )


def _extra(fields: dict[str, Any]) -> dict[str, Any] | None:
    return {name: value for name, value in fields.items() if name not in ROW_FIELDS} or None
