"""Predict on pictures, batch by batch, and gather what was found."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import torch

from baselines.outputs import DATASET_KINDS, FORMATS, is_one_file
from baselines.pictures import Picture
from baselines.predictor import Entities, Predictor
from baselines.progress import Finished
from entity_api import rle
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.maps import check_names
from entityseg_bench.io import InputError
from entityseg_bench.turbulence import Air, distort
from entityseg_bench.types import Annotation, ImageInfo, Prediction

__all__ = ["Job", "dataset_of", "predict_pictures"]


@dataclass(frozen=True)
class Job:
    """What to predict on and what to write.

    Attributes:
        pictures: The images.
        out: A folder, or the one results file (``.json``, ``.json.gz``).
        formats: Some of "json" (one results file), "panoptic" (maps and one COCO panoptic file),
            "ids" and "npz" (one file for each image, and an index), "semantic", "drawings" and
            "binary" (one file for each image).
        batch_size: Number of images of one padded size that go through the network together.
        air: Turbulent air through which the images are seen; None for none.
    """

    pictures: Sequence[Picture]
    out: Path
    formats: tuple[str, ...]
    batch_size: int = 1
    air: Air | None = None

    def __post_init__(self) -> None:
        if self.is_file and self.formats != ("json",):
            what = f"{', '.join(self.formats)} are many files."
            raise InputError(self.out, "", what, "Name a folder.")
        if self.formats != ("json",):
            check_names((ImageInfo(p.image_id, p.file_name, 0, 0) for p in self.pictures), "images")

    @property
    def is_file(self) -> bool:
        """True if the output is one file."""
        return is_one_file(self.out)


class Record(Protocol):
    """What takes finished images: `Progress`, or a list."""

    def append(self, row: Finished, /) -> None:
        """Take one image."""


def predict_pictures(
    predictor: Predictor, pictures: Sequence[Picture], job: Job, record: Record
) -> Iterator[int]:
    """Predict on some images of a job; yield the size of each batch that is done.

    Args:
        predictor: The model.
        pictures: The images.
        job: What to write of each image, and how they are seen.
        record: Takes each image, with its predictions or with the reason why there are none.

    Raises:
        InputError: The device has too little memory, or the model's output is not finite.
    """
    for batch in _batches(predictor, pictures, job.batch_size):
        _predict_batch(predictor, job, record, batch)
        yield len(batch)


def _batches(
    predictor: Predictor, pictures: Sequence[Picture], batch_size: int
) -> Iterator[list[Picture]]:
    """Group images by padded size; an image with an unreadable header is a group of its own."""
    waiting: dict[tuple[int, int], list[Picture]] = {}
    for picture in pictures:
        if batch_size == 1:
            yield [picture]
            continue
        try:
            size = picture.measure()
        except InputError:
            # It is read once more later, where the reason is recorded.
            yield [picture]
            continue
        group = waiting.setdefault(predictor.layout(*size).padded_size, [])
        group.append(picture)
        if len(group) == batch_size:
            yield group.copy()
            group.clear()
    yield from (group for group in waiting.values() if group)


def _predict_batch(
    predictor: Predictor, job: Job, record: Record, batch: Sequence[Picture]
) -> None:
    images: dict[int, np.ndarray] = {}
    for idx, picture in enumerate(batch):
        try:
            images[idx] = picture.read()
            if job.air is not None:
                seed = zlib.crc32(picture.file_name.encode())
                images[idx] = distort(images[idx], job.air, seed)
        except InputError as error:
            record.append(Finished(picture.image_id, error=str(error)))
    if not images:
        return
    names = ", ".join(str(batch[idx].path) for idx in images)
    try:
        found = predictor.predict(list(images.values()))
    except torch.OutOfMemoryError:
        raise InputError(
            names, "", f"{predictor.device} has too little memory.", "Lower --batch-size."
        ) from None
    except FloatingPointError as error:
        raise InputError(names, "", f"{error}.", "Try --precision float32.") from None
    for (idx, image), entities in zip(images.items(), found, strict=True):
        for name in job.formats:
            if name in FORMATS:
                path = FORMATS[name].path(job.out, batch[idx].file_name)
                path.parent.mkdir(parents=True, exist_ok=True)
                FORMATS[name].write(path, entities, image)
        record.append(_row(job, batch[idx], entities))


def _row(job: Job, picture: Picture, entities: Entities) -> Finished:
    row = Finished(picture.image_id)
    if {"json", *DATASET_KINDS} & set(job.formats):
        predictions = list(entities.predictions(picture.image_id))
        row.predictions = msgspec.Raw(msgspec.json.encode(predictions))
    return row


def dataset_of(predictor: Predictor, rows: Mapping[Picture, msgspec.Raw]) -> EntityDataset:
    """Make a data set of the predictions from the records of each image."""
    images, annotations = [], []
    for picture, text in rows.items():
        records = msgspec.json.decode(text, type=list[Prediction])
        height, width = records[0].segmentation["size"] if records else picture.measure()
        images.append(ImageInfo(picture.image_id, picture.file_name, height, width))
        for one in records:
            annotations.append(
                Annotation(
                    id=len(annotations) + 1,
                    image_id=picture.image_id,
                    category_id=one.category_id,
                    segmentation=one.segmentation,
                    area=rle.area(one.segmentation),
                    bbox=one.bbox or tuple(rle.bbox(one.segmentation)),
                    extra={"score": one.score},
                )
            )
    return EntityDataset(images, annotations, predictor.categories, predictor.config.task)
