"""The one table of segments: annotations and predictions, whatever file they come from."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from entity_api import Detections, GroundTruth
from entity_api import rle as rle_codes
from entity_api.counts import Codes, RLEError, pack
from entity_api.groups import as_idx
from entity_api.shown import Shown
from entityseg_bench.categories import Task
from entityseg_bench.io import InputError
from entityseg_bench.masks import Extras, Faults, ListMasks, Masks, in_threads
from entityseg_bench.types import RLE, Annotation, Category, ImageInfo, Images, Origin

__all__ = ["VOID_TASKS", "AnnotatedImages", "LazySegments", "Segments"]

# The annotation types whose pixels of no segment are void: a map says so of every pixel.
VOID_TASKS: tuple[Task, ...] = ("semantic", "panoptic")


class AnnotatedImages(Protocol):
    """What every writer takes: an `EntityDataset`, or another source of images and annotations."""

    @property
    def images(self) -> Sequence[ImageInfo]: ...
    @property
    def categories(self) -> Sequence[Category]: ...
    @property
    def task(self) -> Task: ...
    @property
    def info(self) -> dict[str, Any]: ...
    @property
    def where_from(self) -> str: ...
    def annotations(self, image_idx: int, /) -> list[Annotation]:
        """Return the annotations of the image at a position, in the order of the file."""


@dataclasses.dataclass(frozen=True, repr=False)
class Segments(Shown):
    """Hold N segments of I images: the annotations of a file, or its predictions.

    Attributes:
        images: (I,) the images; of predictions, those of the ground truth.
        image_idx: (N,) position of each segment's image, -1 where the file names an unknown one.
        masks: Where the masks come from.
        ids: (N,) ids as in the file, None where it has none.
        category_ids: (N,), -1 where the file names none.
        scores: (N,) of predictions, higher is surer; nan where the file has none.
        areas: (N,) pixels as the file says, nan where it does not.
        boxes: (N, 4) COCO xywh in pixels, nan where the file says nothing.
        iscrowd: (N,) bool.
        extras: Where other fields come from; None when there are none.
        categories: The table of the file, empty where it has none; of predictions, that of the
            ground truth.
        predicted: Whether the segments are predictions.
        task: Annotation type.
        info: Other top-level fields of the file.
        where_from: Name of the file, for errors; several, joined by commas.
        kind: How a person calls one: "record" of a JSON list, or "segment", "class", "prediction"
            of an image.
        unknown: Position -> the image id that the file names, where that is not among the images.
        notes: What was done to read the file, where it was not quite of its format; a sentence
            each.
        score_from: Which fields of a prediction its score is made from.
        origin: Where each segment stands, where the table is not one file as it is.
    """

    images: Sequence[ImageInfo]
    image_idx: NDArray[np.int64]
    masks: Masks
    ids: NDArray[np.int64] | Sequence[Any]
    category_ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    areas: NDArray[np.float64]
    boxes: NDArray[np.float64]
    iscrowd: NDArray[np.bool_]
    extras: Extras | None = None
    categories: Sequence[Category] = ()
    predicted: bool = False
    task: Task = "entity"
    info: dict[str, Any] = dataclasses.field(default_factory=dict)
    where_from: str = ""
    kind: str = "record"
    unknown: dict[int, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    score_from: str = "score"
    origin: Origin | None = None

    @classmethod
    def make(
        cls,
        images: Sequence[ImageInfo],
        image_idx: Sequence[int] | NDArray[np.int64],
        masks: Masks,
        ids: Sequence[Any] | NDArray[np.int64],
        **columns: Any,
    ) -> "Segments":
        """Make a table; columns that are left out say nothing of any segment."""
        n = len(ids)
        said = {name: value for name, value in columns.items() if value is not None}
        # What says nothing takes no memory.
        filled = {
            "category_ids": np.broadcast_to(np.int64(-1), n),
            "areas": np.broadcast_to(np.nan, n),
            "boxes": np.broadcast_to(np.nan, (n, 4)),
            "iscrowd": np.broadcast_to(np.bool_(False), n),
            "scores": np.broadcast_to(np.nan, n),
            **said,
        }
        return cls(images, np.asarray(image_idx, np.int64), masks, ids, **filled)

    @classmethod
    def from_annotations(
        cls, annotations: Iterable[Annotation], images: Sequence[ImageInfo], **about: Any
    ) -> "Segments":
        """Gather annotations into columns; a score in their ``extra`` makes them predictions."""
        rows = list(annotations)
        position = {image.id: idx for idx, image in enumerate(images)}
        image_idx = [position.get(row.image_id, -1) for row in rows]
        scores = [(row.extra or {}).get("score") for row in rows]
        return cls.make(
            images,
            image_idx,
            ListMasks([row.segmentation for row in rows]),
            np.array([row.id for row in rows], np.int64),
            category_ids=np.array([row.category_id for row in rows], np.int64),
            areas=np.array([row.area for row in rows], np.float64),
            boxes=np.array([row.bbox for row in rows], np.float64).reshape(-1, 4),
            iscrowd=np.array([row.iscrowd for row in rows], bool),
            scores=np.array(scores, np.float64),
            extras=[row.extra for row in rows] if any(row.extra for row in rows) else None,
            unknown={k: rows[k].image_id for k, at in enumerate(image_idx) if at < 0},
            **{"predicted": any(score is not None for score in scores), **about},
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def path(self) -> Path:
        """The file or folder that the segments come from, the first of several."""
        return Path(self.where_from.partition(", ")[0])

    @functools.cached_property
    def _by_image(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order = as_idx(np.argsort(self.image_idx, kind="stable"))
        return order, np.searchsorted(self.image_idx[order], np.arange(len(self.images) + 1))

    def of_image(self, image_idx: int) -> NDArray[np.int64]:
        """Return the positions of an image's segments in file order."""
        order, starts = self._by_image
        return order[starts[image_idx] : starts[image_idx + 1]]

    @functools.cached_property
    def sizes(self) -> NDArray[np.int64]:
        """(I, 2) height and width of the images."""
        return Images.of(self.images).sizes

    def size_of_image(self, image_idx: int) -> tuple[int, int]:
        """Return (height, width) of an image."""
        image = self.images[image_idx]
        return image.height, image.width

    @functools.cached_property
    def n_per_image(self) -> NDArray[np.int64]:
        """(I,) number of segments of each image."""
        return as_idx(np.bincount(self.image_idx[self.image_idx >= 0], minlength=len(self.images)))

    @functools.cached_property
    def counts_and_faults(self) -> tuple[Codes | list[Any], Faults]:
        """Compressed counts of all masks, and the fault of each that has none; read once."""
        return self.masks.read_all(self)

    @property
    def counts(self) -> Codes | list[Any]:
        """Compressed counts of all masks.

        Raises:
            InputError: The first mask that cannot be read, with its record.
        """
        counts, faults = self.counts_and_faults
        for fault in faults.values():
            raise fault
        return counts

    def rle(self, idx: int) -> RLE:
        """Return one mask.

        Raises:
            InputError: A mask that is broken or not of its image's size, with its record.
        """
        try:
            return self.masks.rle(idx, self.size_of_image(int(self.image_idx[idx])))
        except RLEError as error:
            raise self.error(idx, str(error), "Write the mask again.") from None

    def rles(self, image_idx: int) -> dict[int, RLE]:
        """Return the masks of an image by position, without those that cannot be read."""
        counts, faults = self.counts_and_faults
        rows = [row for row in self.of_image(image_idx).tolist() if row not in faults]
        if isinstance(counts, Codes):
            return {row: self.rle(row) for row in rows}
        size = list(self.size_of_image(image_idx))
        return {row: {"size": size, "counts": counts[row]} for row in rows}

    def extra(self, idx: int) -> dict[str, Any]:
        """Return the fields of a segment that have no column."""
        return (self.extras[idx] if self.extras is not None else None) or {}

    def file_of(self, idx: int) -> str:
        """Return the name of the file that a segment stands in."""
        origin = self.origin
        name = origin.files[int(origin.file_idx[idx])] if origin else self.where_from
        return name or "annotations"

    def where(self, idx: int) -> str:
        """Name a segment the way a person finds it in its file."""
        name = self.extra(idx).get("segment_id", self.ids[idx])
        at = int(self.image_idx[idx])
        if self.kind == "record":
            image_id = self.images[at].id if at >= 0 else self.unknown.get(idx)
            own = "" if name is None else f", id {plain(name)!r}"
            row = int(self.origin.rows[idx]) if self.origin else idx
            return f"record {row}{own} (image_id {image_id!r})"
        image = self.images[at]
        return f"image {image.id} ({image.file_name}), {self.kind} {name}"

    def error(self, idx: int, what: str, hint: str = "") -> InputError:
        """Make the error of one segment: it names file, image and record."""
        return InputError(self.file_of(idx), self.where(idx), f"{what}.", hint)

    def annotation(self, idx: int) -> Annotation:
        """Build one annotation; area and bbox come from the mask where the file has none."""
        mask = self.rle(idx)
        area = float(self.areas[idx])
        x, y, w, h = self.boxes[idx].tolist()
        extra = self.extra(idx)
        if not np.isnan(self.scores[idx]):
            extra = {**extra, "score": float(self.scores[idx])}
        return Annotation(
            id=int(self.ids[idx]),
            image_id=self.images[self.image_idx[idx]].id,
            category_id=int(self.category_ids[idx]),
            segmentation=mask,
            area=area if area == area else float(rle_codes.area(mask)),
            bbox=(x, y, w, h) if x == x else _box(mask),
            iscrowd=bool(self.iscrowd[idx]),
            extra=extra or None,
        )

    def annotations(self, image_idx: int) -> list[Annotation]:
        """Return the segments of an image in file order."""
        return [self.annotation(row) for row in self.of_image(image_idx).tolist()]

    def read(self, report: Callable[[InputError], None] | None = None) -> "Segments":
        """Return the table itself; `LazySegments` reads its maps here."""
        return self

    def replace(self, **changes: Any) -> "Segments":
        """Return a table with some columns or attributes changed."""
        return dataclasses.replace(self, **changes)

    def ground_truth(self) -> GroundTruth:
        """Return the evaluator's columns of annotations.

        Raises:
            InputError: A broken mask, or a map that does not fit, with file, image and record.
        """
        return GroundTruth(
            image_ids=[image.id for image in self.images],
            sizes=self.sizes,
            image_idx=self.image_idx,
            counts=self.counts,
            category_ids=self.category_ids,
            iscrowd=self.iscrowd,
            areas=self.areas,
            ids=self.ids,
            boxes=self.boxes,
            void=self.void() if self.task in VOID_TASKS else None,
        )

    def detections(self) -> Detections:
        """Return the evaluator's columns of predictions; one without a score gets 1.

        Raises:
            InputError: As `ground_truth`.
        """
        return Detections(
            image_idx=self.image_idx,
            counts=self.counts,
            category_ids=self.category_ids,
            scores=np.nan_to_num(self.scores, nan=1.0),
        )

    def void(self) -> list[str | None]:
        """Return the counts of each image's pixels of no segment, (I,); None where all have one.

        Raises:
            InputError: As `ground_truth`.
        """
        counts = self.counts
        return list(in_threads(lambda idx: self._void(idx, counts), len(self.images)))

    def _void(self, image_idx: int, counts: Codes | list[Any]) -> str | None:
        size = self.size_of_image(image_idx)
        runs = pack(counts, size, self.of_image(image_idx))
        bounds = np.concatenate([np.zeros(0, np.uint32), *map(runs.bounds_of, range(runs.n))])
        return _uncovered(bounds.astype(np.int64).reshape(-1, 2), size)


class LazySegments:
    """Give segments that are known only once their maps are read, image by image.

    Args:
        images: (I,) the images.
        of_image: From the position of an image to its annotations.
        about: What `Segments` is told beside them: categories, task, info, where_from, kind.
    """

    def __init__(
        self,
        images: Sequence[ImageInfo],
        of_image: Callable[[int], list[Annotation]],
        **about: Any,
    ) -> None:
        self.images = images
        self._of_image = of_image
        self._about = about
        self.categories: Sequence[Category] = about.get("categories", ())
        self.task: Task = about.get("task", "entity")
        self.info: dict[str, Any] = about.get("info", {})
        self.where_from: str = about.get("where_from", "")

    def annotations(self, image_idx: int) -> list[Annotation]:
        """Return the annotations of one image."""
        return self._of_image(image_idx)

    def read(self, report: Callable[[InputError], None] | None = None) -> Segments:
        """Read all images into columns, in threads: decoding releases the interpreter lock.

        Args:
            report: Takes the faults of images, which are then left without segments; the first is
                raised by default.
        """

        def attempt(image_idx: int) -> list[Annotation] | InputError:
            try:
                return self._of_image(image_idx)
            except InputError as error:
                return error

        rows: list[Annotation] = []
        for found in in_threads(attempt, len(self.images)):
            if not isinstance(found, InputError):
                rows += found
            elif report is None:
                raise found
            else:
                report(found)
        return Segments.from_annotations(rows, self.images, **self._about)

    def replace(self, **changes: Any) -> "LazySegments":
        """Return the same with some of what is told beside the images changed."""
        return LazySegments(self.images, self._of_image, **{**self._about, **changes})


def plain(value: Any) -> Any:
    """Return a NumPy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def _uncovered(bounds: NDArray[np.int64], size: tuple[int, int]) -> str | None:
    """Return the counts of the pixels that no run covers, None where there are none.

    Args:
        bounds: (R, 2) start and end of the runs in any order, by column-major positions.
        size: (height, width).
    """
    bounds = bounds[np.argsort(bounds[:, 0], kind="stable")]
    reached = np.maximum.accumulate(np.append(0, bounds[:, 1]))
    gaps = np.stack([reached, np.append(bounds[:, 0], size[0] * size[1])], axis=1)
    gaps = gaps[gaps[:, 0] < gaps[:, 1]]
    if not len(gaps):
        return None
    return str(rle_codes.from_bounds(gaps.reshape(-1).astype(np.uint32), size)["counts"])


def _box(mask: RLE) -> tuple[float, float, float, float]:
    x, y, w, h = rle_codes.bbox(mask)
    return x, y, w, h
