"""COCO results: predictions as a dataset whose annotations have ``extra["score"]``.

So every format that holds a dataset holds predictions.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from entity_api import rle as rle_codes
from entityseg_bench.contents.checked_rows import Whole
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.io import InputError, atomic_path, decode_json, read_bytes
from entityseg_bench.types import Annotation, Category, ImageInfo, Prediction

__all__ = ["predictions_of", "read_results", "write_results"]


class Result(msgspec.Struct):
    """Hold one record of a results file."""

    image_id: int | str
    score: float
    segmentation: Any
    category_id: Whole = 0


class Wrapped(msgspec.Struct):
    """Hold a results file that is no list."""

    annotations: list[Result]


def read_results(
    path: str | Path,
    images: Iterable[ImageInfo] | None = None,
    categories: Sequence[Category] | None = None,
) -> EntityDataset:
    """Read predictions; annotation ids are record numbers from 1, ``extra`` holds the score.

    Boxes are those of the masks: the original's files state zeros.

    Args:
        path: A list of COCO results, or ``{"annotations": [...]}``.
        images: Those of the ground truth, which give names and images without predictions; without
            them images are what the records name, called ``<image_id>.jpg``.
        categories: Of ``category_id``.

    Raises:
        InputError: A record that is broken or of an unknown image.
    """
    path = Path(path)
    data = read_bytes(path)
    wrapped = bytes(data[:64]).lstrip()[:1] == b"{"
    decoder: Any = msgspec.json.Decoder(Wrapped if wrapped else list[Result])
    found = decode_json(path, data, decoder)
    rows: list[Result] = found.annotations if wrapped else found
    known = {image.id: image for image in _images_of(rows, path) if images is None}
    known.update((image.id, image) for image in images or ())
    annotations = [_annotation(row, idx, known, path) for idx, row in enumerate(rows)]
    return EntityDataset(known.values(), annotations, categories, where=str(path))


def _annotation(
    row: Result, idx: int, images: Mapping[int | str, ImageInfo], path: Path
) -> Annotation:
    """Check and read one record."""
    place = f"record {idx}, image {row.image_id}"
    if row.image_id not in images:
        raise InputError(path, place, "this image is not in the ground truth.")
    if not math.isfinite(row.score):
        raise InputError(path, place, f"score {row.score} is not finite.")
    image = images[row.image_id]
    try:
        mask = rle_codes.to_rle(row.segmentation, image.height, image.width)
    except rle_codes.RLEError as error:
        raise InputError(path, place, f"{error}.") from None
    x, y, w, h = rle_codes.bbox(mask)
    return Annotation(
        id=idx + 1,
        image_id=row.image_id,
        category_id=row.category_id,
        segmentation=mask,  # type: ignore[arg-type]
        area=float(rle_codes.area(mask)),
        bbox=(x, y, w, h),
        extra={"score": row.score},
    )


def _images_of(rows: Sequence[Result], path: Path) -> list[ImageInfo]:
    """Make up the images that the records name, of the size of their first mask."""
    images: dict[int | str, ImageInfo] = {}
    for idx, row in enumerate(rows):
        if row.image_id in images:
            continue
        try:
            height, width = rle_codes.size_of(row.segmentation)
        except rle_codes.RLEError as error:
            place = f"record {idx}, image {row.image_id}"
            raise InputError(path, place, f"{error}.", "Give the ground truth.") from None
        images[row.image_id] = ImageInfo(row.image_id, f"{row.image_id}.jpg", height, width)
    return list(images.values())


def write_results(dataset: EntityDataset, path: str | Path) -> dict[str, int]:
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
        for _, annotations in dataset:
            for annotation in annotations:
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


def predictions_of(dataset: EntityDataset) -> list[Prediction]:
    """Return a dataset of predictions as records, in the order of its images."""
    return [
        Prediction(
            image_id=annotation.image_id,
            segmentation=annotation.segmentation,
            score=float((annotation.extra or {}).get("score", 1.0)),
            category_id=annotation.category_id,
            bbox=annotation.bbox,
        )
        for _, annotations in dataset
        for annotation in annotations
    ]
