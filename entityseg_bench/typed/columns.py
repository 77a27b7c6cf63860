"""Read ground truth and predictions of any type into the columns that files are scored by.

Images go by one at a time: their masks are cut to the labelled pixels and kept as run-length codes,
and the type's own metric is counted, so that no two images' pixels are in memory at once.

What AP^e is on each type: every segment of the ground truth is an entity, a semantic class of an
image being one segment. Pixels of no segment in semantic and panoptic maps are void: predictions
are cut to the labelled pixels, and one that lies on void alone is left out, so that nothing drawn
on void changes the result (as in panoptic quality). Crowds are those of COCO.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from entity_api import rle as rle_codes
from entity_api.panoptic import PanopticError
from entity_api.semantic import SemanticError
from entityseg_bench.coco_records import (
    FileRecords,
    RawAnnotation,
    RawCategory,
    RawImage,
    RawPrediction,
)
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.faults import Report, reported, stop
from entityseg_bench.inputs import Inputs, Sides
from entityseg_bench.io import InputError
from entityseg_bench.rules import Problem
from entityseg_bench.typed.own_metrics import PanopticCounter, SemanticCounter, class_fault
from entityseg_bench.typed.predictions import Predictions, open_predictions
from entityseg_bench.typed.truth import Truth, open_truth
from entityseg_bench.types import RLE, Annotation, ImageInfo

__all__ = ["read_opened", "read_typed"]

COUNTERS: dict[str, type[SemanticCounter] | type[PanopticCounter]] = {
    "semantic": SemanticCounter,
    "panoptic": PanopticCounter,
}


def read_typed(
    gt_path: Path,
    dt_path: Path,
    inputs: Inputs,
    progress: Callable[[int, int], None],
    predicted_images_only: bool = False,
    report: Report = stop,
) -> Sides:
    """Read both sides of a scoring, and count the own metric of semantic and panoptic types.

    Args:
        gt_path: Any ground truth that `truth.open_truth` opens.
        dt_path: Any predictions that `predictions.open_predictions` opens.
        inputs: What the user said of them.
        progress: Called with (images read, images to read).
        predicted_images_only: Leave images without predictions out of the own metric.
        report: Takes the faults that something is left of the sides without.

    Raises:
        InputError: They cannot be told, are missing or broken, or do not fit each other.
    """
    truth = open_truth(gt_path, inputs, report)
    some = predicted_images_only
    predictions = open_predictions(dt_path, truth.dataset, inputs, some, report)
    return read_opened(gt_path, dt_path, truth, predictions, progress, some, report)


def read_opened(
    gt_path: Path,
    dt_path: Path,
    truth: Truth,
    predictions: Predictions,
    progress: Callable[[int, int], None],
    predicted_images_only: bool,
    report: Report,
) -> Sides:
    """Read the images of both sides; see `read_typed`."""
    sides = _Reader(truth.dataset, predictions, predicted_images_only, report)
    for image_idx, image in enumerate(truth.dataset.images):
        sides.one_image(image_idx, image)
        progress(image_idx + 1, len(truth.dataset))
    left_out = sides.class_fault()
    counter = sides.counter
    return Sides(
        task=truth.dataset.task,
        gt=sides.records(gt_path, sides.gt_rows, sides.gt_image_idx, sides.gt_names),
        dt=sides.records(dt_path, sides.dt_rows, sides.dt_image_idx, sides.dt_names),
        class_fault=left_out,
        own=None if counter is None else counter.result(left_out),
        notes=sides.notes(dt_path),
        predicted_ids=sides.predicted_ids,
        read={"ground_truth": truth.read, "predictions": predictions.read},
    )


@dataclasses.dataclass(frozen=True)
class SegmentRecords(FileRecords):
    """Hold segments that were read from other files than COCO's; ``names`` are within an image."""

    names: Sequence[str] = ()

    def where(self, idx: int) -> str:
        """Name a segment the way a person finds it: image, name within it."""
        image = self.images[self.image_idx[idx]]
        return f"image {image.id} ({image.file_name}), {self.names[idx]}"


class _Reader:
    """Carry what the images add to: records of both sides, and the counts of the own metric."""

    def __init__(
        self, truth: EntityDataset, predictions: Predictions, only_some: bool, report: Report
    ) -> None:
        self.truth, self.predictions, self.only_some = truth, predictions, only_some
        self.report = report
        self.void = truth.task in COUNTERS
        self.counter = COUNTERS[truth.task](truth.categories) if self.void else None
        self.known = {category.id for category in truth.categories}
        self.by_class = predictions.classes != "none"
        self.gt_rows: list[RawAnnotation] = []
        self.dt_rows: list[RawPrediction] = []
        self.gt_names: list[str] = []
        self.dt_names: list[str] = []
        self.gt_image_idx: list[int] = []
        self.dt_image_idx: list[int] = []
        self.predicted_ids: list[Any] = []
        self.dt_categories: set[int] = set()
        self.n_on_void = 0
        self.n_unscored = 0

    def one_image(self, image_idx: int, image: ImageInfo) -> None:
        """Read one image on both sides."""
        gt: list[Annotation] = []
        dt: list[Annotation] = []
        if self.truth.task == "panoptic":
            # Of the JSON, which says so whether its maps can be read or not.
            both = self.predictions.classes == "all"
            for side in (self.truth, self.predictions.dataset) if both else (self.truth,):
                self.check_categories(listed_segments(side, image_idx), image, side.where)
        with reported(self.report):
            gt = self.known_rows(self.truth.annotations(image_idx), image, self.truth.where)
        with reported(self.report):
            dt = self.note_categories(self.predictions.of(image), image)
        size = (image.height, image.width)
        self.gt_rows += [_gt_row(annotation, size) for annotation in gt]
        self.gt_image_idx += [image_idx] * len(gt)
        self.gt_names += [self.name_of(annotation) for annotation in gt]
        if dt:
            self.predicted_ids.append(image.id)
        if self.counter is not None and (dt or not self.only_some):
            try:
                self.counter.add(size, gt, dt, self.by_class)
            except (PanopticError, SemanticError) as error:
                place = f"image {image.id} ({image.file_name})"
                self.report(InputError(self.truth.where, place, f"{error}."))
        masks: Sequence[RLE | None] = [prediction.segmentation for prediction in dt]
        if self.void:
            masks = cut_to_labelled(masks, [one.segmentation for one in gt], size)
        for prediction, mask in zip(dt, masks, strict=True):
            if mask is None:
                self.n_on_void += 1
                continue
            with reported(self.report):
                self.dt_rows.append(self.dt_row(prediction, mask, size))
                self.dt_image_idx.append(image_idx)
                self.dt_names.append(f"prediction {prediction.id}")

    def name_of(self, annotation: Annotation) -> str:
        """Name a segment of the ground truth within its image."""
        if self.truth.task == "semantic":
            return f"class {annotation.category_id}"
        kind = "segment" if self.truth.task == "panoptic" else "annotation"
        return f"{kind} {segment_id(annotation)}"

    def known_rows(self, rows: list[Annotation], image: ImageInfo, where: str) -> list[Annotation]:
        """Leave out unknown categories, where the format says that they must be in the table."""
        if not self.void:
            return rows
        if self.truth.task == "semantic":
            self.check_categories([(row.category_id, "") for row in rows], image, where)
        return [row for row in rows if row.category_id in self.known]

    def check_categories(
        self, found: Iterable[tuple[int, str]], image: ImageInfo, where: str
    ) -> None:
        """Report those categories, each with the segment that has it, that are not in the table."""
        semantic = self.truth.task == "semantic"
        for category_id, segment in found:
            if category_id not in self.known:
                what = f"category {category_id} is not among the {len(self.known)} categories"
                mend = "Is this map of the same table, and 255 where there is no class?"
                place = f"image {image.id} ({image.file_name}){segment}"
                what += " of the ground truth."
                self.report(InputError(where, place, what, mend if semantic else ""))

    def note_categories(self, dt: list[Annotation], image: ImageInfo) -> list[Annotation]:
        """Remember the categories of predictions; from the first unknown one count none."""
        if self.predictions.classes == "all":
            return self.known_rows(dt, image, self.predictions.dataset.where)
        if self.predictions.classes == "some":
            self.dt_categories.update(prediction.category_id for prediction in dt)
            self.by_class = self.dt_categories <= self.known
        return dt

    def dt_row(self, prediction: Annotation, mask: RLE, size: tuple[int, int]) -> RawPrediction:
        """Make a prediction's record; one without a score gets 1."""
        score = (prediction.extra or {}).get("score")
        if score is None:
            self.n_unscored += 1
            score = 1.0
        elif isinstance(score, bool) or not isinstance(score, int | float):
            where = self.predictions.dataset.where
            place = f"image {prediction.image_id}, segment {prediction.id}"
            raise InputError(where, place, f"its score {score!r} is no number.")
        classes = self.predictions.classes != "none"
        return RawPrediction(
            image_id=prediction.image_id,
            score=float(score),
            segmentation=_raw(mask, size),
            id=prediction.id,
            category_id=prediction.category_id if classes else None,
        )

    def class_fault(self) -> str:
        """Say why the predictions cannot be scored by category; empty when they can."""
        if self.predictions.classes == "none":
            return f"these predictions do not have the {self.truth.task} categories"
        if self.predictions.classes == "all":
            return ""
        present = {row.category_id for row in self.gt_rows if row.category_id is not None}
        return class_fault(self.dt_categories, self.truth.categories, present)

    def notes(self, path: Path) -> list[Problem]:
        """Gather what the user should know."""
        n = len(self.dt_rows)
        if 0 < self.n_unscored < n:
            what = f"{self.n_unscored} of {n} predictions have no score, the others do."
            self.report(InputError(path, "", what, "Write a score for each, or for none."))
        notes = list(self.predictions.notes)
        if self.n_unscored:
            notes.append("the predictions have no scores: each gets 1.")
        if self.n_on_void:
            notes.append(
                f"{self.n_on_void} predictions lie on unlabelled pixels alone and are left out."
            )
        return [Problem(str(path), "", note, "", "warning") for note in notes]

    def records(
        self, path: Path, rows: Sequence[Any], image_idx: Sequence[int], names: Sequence[str]
    ) -> FileRecords:
        """Put one side's records together."""
        images = [RawImage(i.id, i.height, i.width, i.file_name) for i in self.truth.images]
        table = [RawCategory(category.id, category.name) for category in self.truth.categories]
        at = np.array(image_idx, np.int64)
        return SegmentRecords(path, images, rows, at, table, self.void, names)


def listed_segments(dataset: EntityDataset, image_idx: int) -> Iterator[tuple[int, str]]:
    """Yield the category and the name of each segment that panoptic JSON lists of an image."""
    rows = dataset.records
    for row in rows.of_image(image_idx).tolist():
        extra = (rows.extras[row] if rows.extras is not None else None) or {}
        yield int(rows.category_ids[row]), f", segment {extra.get('segment_id', rows.ids[row])}"


def segment_id(annotation: Annotation) -> Any:
    """Return the id by which a map knows an annotation, where that is another than its own."""
    return (annotation.extra or {}).get("segment_id", annotation.id)


def cut_to_labelled(
    masks: Sequence[Any], truth: Sequence[RLE], size: tuple[int, int]
) -> list[RLE | None]:
    """Cut masks to the pixels of the ground truth's segments; None for one of void pixels alone.

    Args:
        masks: Predicted, of the size.
        truth: All segments of the image, crowds too.
        size: (height, width).
    """
    if not masks or not truth:
        return [None] * len(masks)
    labelled: Any = rle_codes.merge(truth)
    if rle_codes.area(labelled) == size[0] * size[1]:
        return list(masks)
    inside = rle_codes.intersections(masks, [labelled])[:, 0].tolist()
    cut: list[Any] = []
    for mask, kept in zip(masks, inside, strict=True):
        full = rle_codes.area(mask)
        if kept == full:
            cut.append(mask)
        else:
            cut.append(rle_codes.merge([mask, labelled], intersect=True) if kept else None)
    return cut


def _gt_row(annotation: Annotation, size: tuple[int, int]) -> RawAnnotation:
    return RawAnnotation(
        image_id=annotation.image_id,
        segmentation=_raw(annotation.segmentation, size),
        id=annotation.id,
        category_id=annotation.category_id,
        area=None if math.isnan(annotation.area) else annotation.area,
        iscrowd=annotation.iscrowd,
    )


def _raw(mask: RLE, size: tuple[int, int]) -> msgspec.Raw:
    """Write a mask as records of a file hold it, as JSON."""
    return msgspec.Raw(msgspec.json.encode({"size": size, "counts": mask["counts"]}))
