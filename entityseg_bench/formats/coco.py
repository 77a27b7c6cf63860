"""Entity and instance JSON: COCO's format with run-length masks.

COCO instance files (polygons, crowds) are read as they are; their categories stay COCO's.
"""

import functools
from pathlib import Path
from typing import Any

import msgspec

from entityseg_bench.categories import Task
from entityseg_bench.contents.coco import CATEGORY_FIELDS, IMAGE_FIELDS, coco_contents
from entityseg_bench.contents.layout import ImageFiles, Resolution, Split
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.identity import identity
from entityseg_bench.io import atomic_path
from entityseg_bench.parallel import Journal
from entityseg_bench.types import Annotation, Category, ImageInfo

__all__ = [
    "annotation_row",
    "category_row",
    "image_row",
    "read_coco",
    "write_coco",
]


def read_coco(
    path: str | Path,
    task: Task = "entity",
    *,
    split: Split | None = None,
    resolution: Resolution = "high",
    image_files: ImageFiles | None = None,
    cache: bool = True,
) -> EntityDataset:
    """Read entity, instance or COCO JSON, plain or ``.gz``.

    Polygons, plain and compressed run lengths are read; area and bbox are computed where missing.
    Every other field is kept (`ImageInfo.extra`, `Annotation.extra`, `EntityDataset.info`).

    Args:
        path: The file.
        task: What it holds; it decides the category table when the file has none.
        split: Of the data set, where known.
        resolution: Of the pixels.
        image_files: Where its images are; the file's folder by default.
        cache: Keep what was read of a large file in the user's cache folder.

    Raises:
        InputError: With file and record.
    """
    path = Path(path)
    return EntityDataset(
        **coco_contents(path, cache)._asdict(),
        task=task,
        split=split,
        resolution=resolution,
        image_files=image_files or ImageFiles(path.parent, resolution),
    )


def write_coco(
    dataset: EntityDataset, path: str | Path, jobs: int = 1, label: str | None = None
) -> dict[str, int]:
    """Write a dataset as entity or instance JSON, ``.gz`` by name; nothing is lost.

    A run that broke off goes on where it stopped.

    Args:
        dataset: What to write.
        path: The file.
        jobs: Processes that read the masks.
        label: Title of a progress bar.

    Returns:
        What was lost: nothing.
    """
    path = Path(path)
    journal = Journal(path.with_name(f".{path.name}.journal"), identity(dataset, "coco"))
    journal.run(functools.partial(_rows, dataset), len(dataset), jobs, label)
    head = {
        **dataset.info,
        "images": [image_row(image) for image in dataset.images],
        "categories": [category_row(category) for category in dataset.categories],
    }
    with atomic_path(path) as temporary, _opened(temporary, str(path)) as file:
        file.write(msgspec.json.encode(head)[:-1] + b',"annotations":[')
        first = True
        for line in journal.lines():
            rows = line.strip()[1:-1]
            if rows:
                file.write((b"\n" if first else b",\n") + rows)
                first = False
        file.write(b"\n]}\n")
    journal.finish()
    return {}


def _rows(dataset: EntityDataset, idx: int) -> list[dict[str, Any]]:
    return [annotation_row(annotation) for annotation in dataset.annotations(idx)]


def _opened(path: Path, name: str) -> Any:
    if name.endswith(".gz"):
        import gzip

        return gzip.GzipFile(path, "wb", mtime=0)
    return path.open("wb")


def image_row(image: ImageInfo) -> dict[str, Any]:
    """Return an image as a COCO row."""
    row = {name: getattr(image, name) for name in IMAGE_FIELDS}
    return {**row, **(image.extra or {})}


def annotation_row(annotation: Annotation) -> dict[str, Any]:
    """Return an annotation as a COCO row."""
    return {
        "id": annotation.id,
        "image_id": annotation.image_id,
        "category_id": annotation.category_id,
        "bbox": annotation.bbox,
        "area": annotation.area,
        "iscrowd": int(annotation.iscrowd),
        "segmentation": annotation.segmentation,
        **(annotation.extra or {}),
    }


def category_row(category: Category) -> dict[str, Any]:
    """Return a category as a COCO row."""
    fields = {name: getattr(category, name) for name in CATEGORY_FIELDS}
    known = {name: value for name, value in fields.items() if value is not None}
    return {**known, **(category.extra or {})}
