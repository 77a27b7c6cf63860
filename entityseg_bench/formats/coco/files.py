"""COCO JSON: entity and instance annotations, COCO's own, and results.

COCO instance files (polygons, crowds) are read as they are; their categories stay COCO's.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from entityseg_bench import categories as category_tables
from entityseg_bench.categories import Task
from entityseg_bench.check import Report, stop
from entityseg_bench.formats.coco.masks import JsonMasks
from entityseg_bench.formats.coco.row_types import Content, Results
from entityseg_bench.formats.coco.rows import (
    decode_ground_truth,
    decode_results,
    results_of,
    truth_content,
)
from entityseg_bench.formats.coco.tables import CATEGORY_FIELDS, IMAGE_FIELDS
from entityseg_bench.formats.json_files import read_json
from entityseg_bench.formats.matching import ImageIds, positions
from entityseg_bench.formats.opened import Inputs, Opened, agree
from entityseg_bench.formats.tolerant.results import Hints, plain_results
from entityseg_bench.io import InputError, atomic_path
from entityseg_bench.table import AnnotatedImages, Segments, plain
from entityseg_bench.types import Annotation, Category, ImageInfo, Tally

if TYPE_CHECKING:
    from entityseg_bench.parallel import Journal

__all__ = [
    "annotation_row",
    "category_row",
    "image_row",
    "read_coco",
    "read_results",
    "table_of_content",
    "truth_of_content",
    "write_coco",
    "write_results",
]


def read_coco(path: str | Path, task: Task = "entity", *, whole: bool = True) -> Segments:
    """Read entity, instance or COCO JSON, plain or ``.gz``.

    Polygons, plain and compressed run lengths are read, masks where they lie in the file and when
    they are asked for.

    Args:
        path: The file.
        task: What it holds.
        whole: Read boxes and every other field, too (`ImageInfo.extra`, `Annotation.extra`,
            `Segments.info`); scoring does without.

    Raises:
        InputError: With file and record.
    """
    path = Path(path)
    data = read_json(path)
    return _truth_table(path, decode_ground_truth(path, data, whole), data, task)


def truth_of_content(path: Path, content: Any, whole: bool) -> Segments:
    """Make the table of ground truth that stands as Python values: COCO's, or files of SA-1B.

    Raises:
        InputError: With the record.
    """
    return _truth_table(path, truth_content(path, content, whole), b"", "entity")


def _truth_table(path: Path, content: Content, data: bytes, task: Task) -> Segments:
    columns = content.columns
    image_idx, unknown, notes = positions(path, content.images, columns.image_ids)
    return Segments.make(
        content.images,
        image_idx,
        columns.masks(path, data, content.data),
        columns.ids,
        category_ids=columns.category_ids,
        areas=columns.areas,
        boxes=content.boxes,
        iscrowd=columns.iscrowd,
        extras=content.extras,
        categories=content.categories,
        task=task,
        info=content.info,
        where_from=str(path),
        unknown=unknown,
        notes=(*content.notes, *notes),
    )


def read_results(
    path: str | Path,
    images: Sequence[ImageInfo] | None = None,
    categories: Sequence[Category] | None = None,
    image_id: str | None = None,
    score_from: str | None = None,
) -> Segments:
    """Read predictions: a list of COCO results, one under a key, or another tool's records.

    Args:
        path: The file, plain or ``.gz``.
        images: Those of the ground truth, which give names and images without predictions; without
            them images are what the records name, called ``<image_id>.jpg``.
        categories: Of ``category_id``.
        image_id: Image of records that name none.
        score_from: Where the score comes from (`score_from.ScoreFrom`); ``score`` by default.

    Raises:
        InputError: With file and record.
    """
    path = Path(path)
    data = read_json(path)
    results = decode_results(path, data, Hints(images, image_id, score_from))
    masks = results.columns.masks(path, data, results.data)
    return results_table(path, results, masks, images, categories)


def table_of_content(
    path: Path, content: Any, inputs: Inputs, truth: Segments | None, tally: Tally
) -> Segments:
    """Make the table of predictions that stand as Python values, in any form `read_results` reads.

    Args:
        path: Where they come from.
        content: Lists and dictionaries, masks as `formats.tolerant.shapes` reads them.
        inputs: What the user says of them.
        truth: Ground truth, which gives images and categories; None where there is none.
        tally: Counts what was turned.

    Raises:
        InputError: With the record.
    """
    # A table without segments is false.
    images = None if truth is None else truth.images
    categories = None if truth is None else truth.categories
    hints = Hints(images, inputs.image_id, inputs.score_from)
    results = results_of(path, plain_results(path, content, hints, tally))
    masks = results.columns.masks(path, b"", results.data)
    return results_table(path, results, masks, images, categories)


def results_table(
    path: Path,
    results: Results,
    masks: JsonMasks,
    images: Sequence[ImageInfo] | None,
    categories: Sequence[Category] | None,
) -> Segments:
    """Make the table of predictions whose records were decoded; see `read_results`."""
    columns = results.columns
    if images is None:
        images = _images_named(columns.image_ids, masks, path)
    image_idx, unknown, notes = positions(path, images, columns.image_ids, results.images)
    return Segments.make(
        images,
        image_idx,
        masks,
        columns.ids,
        category_ids=columns.category_ids,
        scores=columns.scores,
        predicted=True,
        categories=categories,
        where_from=str(path),
        unknown=unknown,
        notes=(*results.notes, *notes),
        score_from=results.score_from or "score",
    )


def _images_named(image_ids: ImageIds, masks: JsonMasks, path: Path) -> list[ImageInfo]:
    """Make up the images that the records name, of the size of their first mask."""
    images: dict[int | str, ImageInfo] = {}
    for idx, image_id in enumerate(image_ids):
        image_id = plain(image_id)
        if image_id in images:
            continue
        size = masks.stated_size(idx)
        if size is None:
            place = f"record {idx}, image {image_id}"
            raise InputError(path, place, "its mask states no size.", "Give the ground truth.")
        images[image_id] = ImageInfo(image_id, f"{image_id}.jpg", *size)
    return list(images.values())


def write_coco(
    dataset: AnnotatedImages, path: str | Path, jobs: int = 1, label: str | None = None
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
    # They bring OpenSSL and multiprocessing along, which scoring does without.
    from entityseg_bench.formats.identity import identity
    from entityseg_bench.parallel import Journal

    path = Path(path)
    with Journal(
        path.with_name(f".{path.name}.journal"), identity(dataset, "coco"), list
    ) as journal:
        journal.run(functools.partial(_rows, dataset), len(dataset.images), jobs, label)
        _write_joined(dataset, path, journal)
        journal.finish()
    return {}


def _write_joined(dataset: AnnotatedImages, path: Path, journal: "Journal") -> None:
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


def _rows(dataset: AnnotatedImages, idx: int) -> list[dict[str, Any]]:
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


def write_results(dataset: AnnotatedImages, path: str | Path) -> dict[str, int]:
    """Write predictions as a list of COCO results, with the boxes of the masks.

    Lost: annotation ids, crowd flags, other extra fields, and images without predictions. A record
    without a score (bare maps have none) gets 1.0, which is counted.

    Returns:
        What was lost -> how often.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    n_missing = 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(b"[")
        first = True
        for image_idx in range(len(dataset.images)):
            for annotation in dataset.annotations(image_idx):
                n_missing += "score" not in (annotation.extra or {})
                file.write((b"\n" if first else b",\n") + msgspec.json.encode(_result(annotation)))
                first = False
        file.write(b"\n]\n")
    return {"scores missing: written as 1.0": n_missing} if n_missing else {}


def _result(annotation: Annotation) -> dict[str, Any]:
    return {
        "image_id": annotation.image_id,
        "category_id": annotation.category_id,
        "score": (annotation.extra or {}).get("score", 1.0),
        "bbox": annotation.bbox,
        "segmentation": annotation.segmentation,
    }


def open_gt(path: Path, inputs: Inputs, *, whole: bool = True, report: Report = stop) -> Opened:
    """Open entity, instance or COCO JSON; see `entityseg_bench.formats.open`."""
    table = read_coco(path, whole=whole)
    task = inputs.task or _task_of_categories(table.categories)
    if task not in ("entity", "instance") and (table.images or len(table)):
        # A shard without images is one of any type.
        agree(path, "entity", task)
    return Opened(table.replace(task=task), [path])


def _task_of_categories(found: Sequence[Category]) -> Task:
    """Tell entity from instance annotations: the latter have the table of its 206 categories."""
    instance = [category.id for category in category_tables.table("instance")]
    ids = sorted(category.id for category in found) if len(found) == len(instance) else []
    return "instance" if ids == instance else "entity"


def open_results(
    path: Path, inputs: Inputs, *, whole: bool = True, report: Report = stop
) -> Opened:
    """Open predictions without their ground truth: images are what the records name."""
    table = read_results(path, image_id=inputs.image_id, score_from=inputs.score_from)
    return Opened(table, [path])


def open_dt(
    path: Path, truth: Segments, inputs: Inputs, *, some_images: bool, report: Report
) -> Opened:
    """Open results; images are matched by id, or else by name (`matching.match_ids`)."""
    about = inputs.image_id, inputs.score_from
    table = read_results(path, truth.images, truth.categories, *about)
    notes = []
    by_place = truth.task == "semantic" and len(table) and not table.unknown and not table.notes
    if by_place:
        notes.append("each image_id is taken as the image's place in the list of maps, from 1.")
    return Opened(table, [path], "some", notes)
