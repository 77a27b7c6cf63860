"""EntityDataset: images, annotations and categories, independent of how they are stored."""

import operator
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from entity_api import GroundTruth
from entity_api.shown import html_table
from entityseg_bench import categories as category_tables
from entityseg_bench import layout
from entityseg_bench.categories import TASKS, Task
from entityseg_bench.check import Report, check_image, known_images, stop
from entityseg_bench.formats.entityseg import Part, read_folder
from entityseg_bench.formats.png import read_rgb
from entityseg_bench.io import InputError
from entityseg_bench.layout import ImageFiles, Resolution, Split
from entityseg_bench.selection import take
from entityseg_bench.table import LazySegments, Segments
from entityseg_bench.types import Annotation, Category, ImageInfo

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EntityDataset", "one_of"]

# Images that a notebook shows of a data set.
SHOWN = 5


class EntityDataset:
    """Hold one annotation type of one split: images, annotations, categories.

    Iterating yields ``(ImageInfo, list[Annotation])`` in the order of the file. Masks and images
    are read only when they are used.

    Args:
        images: The images; each id once.
        annotations: The annotations in any order; those of an image keep their order.
        categories: The category table; None for the package's table of the task.
        task: Annotation type.
        split: train or val, if known.
        resolution: high (the original pixels) or low (short side 800, long side at most 1333).
        image_files: The place of the image files.
        info: Other top-level fields of the file.
        where: Name of the file, for error messages.

    Raises:
        InputError: An image id occurs twice, an image has no size, or an annotation has no image.
    """

    def __init__(
        self,
        images: Iterable[ImageInfo],
        annotations: Iterable[Annotation] | Segments | LazySegments,
        categories: Iterable[Category] | None = None,
        task: Task = "entity",
        *,
        split: Split | None = None,
        resolution: Resolution = "high",
        image_files: ImageFiles | None = None,
        info: dict[str, Any] | None = None,
        where: str = "",
    ) -> None:
        self.images = tuple(images)
        self.task = one_of("task", task, TASKS)
        self.categories = tuple(category_tables.table(task) if categories is None else categories)
        self.split = split
        self.resolution = resolution
        self.image_files = image_files
        self.info = dict(info or {})
        self.where = where
        seen: set[int | str] = set()
        for image in self.images:
            check_image(image, seen, where or "images")
            seen.add(image.id)
        if not isinstance(annotations, Segments | LazySegments):
            annotations = Segments.from_annotations(annotations, self.images, where_from=where)
        if isinstance(annotations, Segments):
            known_images(annotations)
            annotations = _numbered(annotations)
        self._source = annotations

    @classmethod
    def of(cls, segments: Segments | LazySegments, **about: Any) -> "EntityDataset":
        """Make a data set of the segments of a file (see `entityseg_bench.formats.open`).

        Args:
            segments: The segments of the file.
            about: Other arguments of the constructor. They replace what the file says.
        """
        said = {
            "images": segments.images,
            "annotations": segments,
            "categories": segments.categories or None,
            "task": segments.task,
            "info": segments.info,
            "where": segments.where_from,
        }
        return cls(**{**said, **about})

    @classmethod
    def open(
        cls,
        root: str | Path,
        task: Task = "entity",
        split: Split = "val",
        resolution: Resolution = "high",
        parts: Sequence[str] | None = None,
        cache: bool = True,
        report: Report = stop,
    ) -> "EntityDataset":
        """Open a folder of EntitySeg: the documented layout, or the names of the v1.0 release.

        If each part has its own file, the parts are joined. Images and annotations are then
        numbered anew from 1, because ids restart in each part, and image paths begin with the
        part's folder.

        Args:
            root: Folder that holds ``annotations`` and ``images``, or the release's files.
            task: entity, instance, semantic or panoptic.
            split: train or val.
            resolution: high, or low for the ``_lr`` files.
            parts: Some of "01", "02", "03"; None for all that exist.
            cache: It has no effect any more, because nothing is kept between runs.
            report: Called with the faults of single records of maps. By default the first is
                raised.

        Raises:
            InputError: A file is missing or broken. The message lists expected and found files.
        """
        one_of("task", task, TASKS)
        one_of("split", split, layout.SPLITS)
        one_of("resolution", resolution, layout.RESOLUTIONS)
        root = Path(root)
        found = read_folder(root, task, Part(split, resolution, parts), report=report)
        return cls.of(
            found.segments,
            task=task,
            split=split,
            resolution=resolution,
            image_files=ImageFiles(root, resolution, found.part),
        )

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[ImageInfo, list[Annotation]]]:
        for image_idx, image in enumerate(self.images):
            yield image, self.annotations(image_idx)

    def __repr__(self) -> str:
        parts = [self.task, self.split, self.resolution, f"{len(self)} images"]
        return f"EntityDataset({', '.join(part for part in parts if part)})"

    def _repr_html_(self) -> str:
        head: list[tuple[str, ...]] = [("image", "file_name", "height", "width", "annotations")]
        for idx, image in enumerate(self.images[:SHOWN]):
            numbers = (image.height, image.width, len(self.annotations(idx)))
            head.append((str(image.id), image.file_name, *map(str, numbers)))
        more = f"<p>{escape(repr(self))}{', the first' if len(self) > SHOWN else ''}</p>"
        return more + html_table(head, n_heads=2)

    @overload
    def __getitem__(self, key: int) -> tuple[ImageInfo, list[Annotation]]: ...
    @overload
    def __getitem__(self, key: slice) -> "EntityDataset": ...
    def __getitem__(self, key: int | slice) -> "tuple[ImageInfo, list[Annotation]] | EntityDataset":
        """Return an image and its annotations by position, or a data set of a slice of the images.

        >>> dataset = EntityDataset([ImageInfo(7, "a.jpg", 4, 6), ImageInfo(9, "b.jpg", 4, 6)], [])
        >>> dataset[-1]
        (ImageInfo(id=9, file_name='b.jpg', height=4, width=6, extra=None), [])
        >>> dataset[:1]
        EntityDataset(entity, high, 1 images)
        """
        if isinstance(key, slice):
            return self.take(range(*key.indices(len(self))))
        idx = operator.index(key)
        if not -len(self) <= idx < len(self):
            raise IndexError(f"there is no image {idx} among {len(self)}")
        return self.images[idx], self.annotations(idx % len(self))

    def head(self, n: int = 5) -> "EntityDataset":
        """Return a data set of the first images."""
        return self[:n]

    def to_frame(self) -> "pd.DataFrame":
        """List all annotations, where pandas is.

        Returns:
            A row an annotation: ``id``, ``image_id``, ``file_name``, ``category_id``, ``category``
            (name), ``area`` (pixels as the file says, nan where it does not), ``iscrowd``.
        """
        import pandas as pd

        rows = self.records
        names = {category.id: category.name for category in self.categories}
        return pd.DataFrame(
            {
                "id": rows.ids,
                "image_id": [self.images[idx].id for idx in rows.image_idx],
                "file_name": [self.images[idx].file_name for idx in rows.image_idx],
                "category_id": rows.category_ids,
                "category": [names.get(one, "") for one in rows.category_ids.tolist()],
                "area": rows.areas,
                "iscrowd": rows.iscrowd,
            }
        )

    def annotations(self, image_idx: int) -> list[Annotation]:
        """Return the annotations of the image at a position, in the order of the file.

        Raises:
            InputError: A mask is broken, or a map does not fit. The message names file, image and
                record.
        """
        return self._source.annotations(image_idx)

    @property
    def records(self) -> Segments:
        """All annotations as columns. Maps are read the first time."""
        if isinstance(self._source, LazySegments):
            self._source = self._source.read()
        return self._source.replace(
            images=self.images, categories=self.categories, task=self.task, info=self.info
        )

    @property
    def predicted(self) -> bool:
        """Whether these are predictions."""
        return isinstance(self._source, Segments) and self._source.predicted

    @property
    def notes(self) -> list[str]:
        """What was done to read the file, where it was not quite of its format."""
        source = self._source
        return [*source.notes, *source.masks.notes()] if isinstance(source, Segments) else []

    @property
    def where_from(self) -> str:
        """Name of the file, under the name that writers use."""
        return self.where

    def image_path(self, image: ImageInfo) -> Path:
        """Return the file of an image.

        Raises:
            InputError: It is missing, or several files have its name.
        """
        if self.image_files is None:
            raise InputError(
                self.where or "dataset",
                f"image {image.id} ({image.file_name})",
                "the folder of the images is not known.",
                "Open the dataset with the folder of its images.",
            )
        return self.image_files.find(image)

    def read_image(self, image: ImageInfo) -> NDArray[np.uint8]:
        """Read an image.

        Returns:
            (height, width, 3) uint8, RGB.

        Raises:
            InputError: It is missing, cannot be read, or has another size than its annotations.
        """
        path = self.image_path(image)
        pixels = read_rgb(path)
        if pixels.shape[:2] != (image.height, image.width):
            raise InputError(
                path,
                f"image {image.id}",
                f"its {pixels.shape[0]} x {pixels.shape[1]} pixels (height x width) are not the "
                f"{image.height} x {image.width} of its annotations.",
                "Is it the other resolution's image?",
            )
        return pixels

    def ground_truth(self) -> GroundTruth:
        """Return the columns for the evaluator; masks are read while it scores.

        In semantic and panoptic data, pixels without a segment are void: they do not count against
        a prediction.
        """
        return self.records.ground_truth()

    def take(
        self,
        image_idx: Iterable[int] | None = None,
        category_ids: Iterable[int] | None = None,
    ) -> "EntityDataset":
        """Return a dataset of some images and of the annotations of some categories.

        Args:
            image_idx: Positions of the images, in the wanted order; None for all.
            category_ids: Categories whose annotations and table rows are kept; None for all.
        """
        picked = np.arange(len(self)) if image_idx is None else np.array(list(image_idx), np.int64)
        kept = self.categories
        wanted = None
        if category_ids is not None:
            wanted = set(category_ids)
            kept = tuple(category for category in kept if category.id in wanted)
        return self.replace(
            images=[self.images[idx] for idx in picked],
            annotations=take(self.records, picked, wanted),
            categories=kept,
        )

    def replace(self, **changes: Any) -> "EntityDataset":
        """Return a dataset with some arguments of the constructor changed."""
        kept: dict[str, Any] = {
            "images": self.images,
            "annotations": self._source,
            "categories": self.categories,
            "task": self.task,
            "split": self.split,
            "resolution": self.resolution,
            "image_files": self.image_files,
            "info": self.info,
            "where": self.where,
        }
        return EntityDataset(**{**kept, **changes})


def _numbered(segments: Segments) -> Segments:
    """Return annotations whose ids are whole numbers; predictions are numbered from 1.

    Raises:
        InputError: The id of an annotation is not a whole number, or it has no category.
    """
    if segments.predicted and segments.kind == "record":
        return segments.replace(ids=np.arange(1, len(segments) + 1, dtype=np.int64))
    if not isinstance(segments.ids, np.ndarray):
        fits = [type(own) is int and -(2**63) <= own < 2**63 for own in segments.ids]
        if not all(fits):
            what = "its id is no whole number of 64 bits"
            raise segments.error(fits.index(False), what, "Number the annotations.")
        segments = segments.replace(ids=np.array(segments.ids, np.int64))
    for row in np.flatnonzero(segments.category_ids == -1).tolist():
        raise segments.error(row, "it has no category_id", "Write 0 for unknown.")
    return segments


def one_of(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """Return a value that is among those allowed.

    Raises:
        ValueError: It is not.
    """
    if value not in allowed:
        raise ValueError(f"{name} {value!r} must be one of {', '.join(allowed)}")
    return value
