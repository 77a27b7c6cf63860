"""EntityDataset: images, their annotations and categories, however they are stored."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api.tables import GroundTruth
from entityseg_bench import categories as category_tables
from entityseg_bench.categories import TASKS, Task
from entityseg_bench.contents import layout, records
from entityseg_bench.contents.contents import LazyAnnotations, check_images
from entityseg_bench.contents.layout import ImageFiles, Resolution, Split
from entityseg_bench.contents.opening import open_folder
from entityseg_bench.contents.records import Records
from entityseg_bench.dataset.truth import ground_truth
from entityseg_bench.faults import Report, stop
from entityseg_bench.formats.png import read_rgb
from entityseg_bench.io import InputError
from entityseg_bench.types import Annotation, Category, ImageInfo

__all__ = ["EntityDataset", "one_of"]


class EntityDataset:
    """Hold one annotation type of one split: images, annotations, categories.

    Iterating yields ``(ImageInfo, list[Annotation])`` in the order of the file; masks and images
    are read only when asked for.

    Args:
        images: Each id once.
        annotations: Any order; those of an image keep theirs.
        categories: None takes the package's table of the task.
        task: Annotation type.
        split: train or val, where known.
        resolution: high (the original pixels) or low (short side 800, long side at most 1333).
        image_files: Where the image files are.
        info: Other top-level fields of the file.
        where: Name of the file, for errors.

    Raises:
        InputError: An image id stands twice, an image has no size, an annotation has no image.
    """

    def __init__(
        self,
        images: Iterable[ImageInfo],
        annotations: Iterable[Annotation] | Records | LazyAnnotations,
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
        check_images(self.images, where)
        self._lazy: LazyAnnotations | None = None
        self._records: Records | None = None
        if isinstance(annotations, Records):
            self._records = annotations
        elif isinstance(annotations, LazyAnnotations):
            self._lazy = annotations
        else:
            self._records = Records.from_annotations(annotations, self.images, where)

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

        Where each part has a file of its own, parts are joined: images and annotations are then
        numbered anew from 1, since ids restart in each part, and image paths begin with the part's
        folder.

        Args:
            root: Folder that holds ``annotations`` and ``images``, or the release's files.
            task: entity, instance, semantic or panoptic.
            split: train or val.
            resolution: high, or low for the ``_lr`` files.
            parts: Some of "01", "02", "03"; None takes all that are there.
            cache: Keep what was read of a large JSON file in the user's cache folder.
            report: Takes the faults of single records of maps; by default the first is raised.

        Raises:
            InputError: A file is missing (with the expected and the found ones) or broken.
        """
        one_of("task", task, TASKS)
        one_of("split", split, layout.SPLITS)
        one_of("resolution", resolution, layout.RESOLUTIONS)
        root = Path(root)
        contents, part = open_folder(root, task, split, resolution, parts, cache, report)
        return cls(
            **contents._asdict(),
            task=task,
            split=split,
            resolution=resolution,
            image_files=ImageFiles(root, resolution, part),
        )

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[ImageInfo, list[Annotation]]]:
        for image_idx, image in enumerate(self.images):
            yield image, self.annotations(image_idx)

    def __repr__(self) -> str:
        parts = [self.task, self.split, self.resolution, f"{len(self)} images"]
        return f"EntityDataset({', '.join(part for part in parts if part)})"

    def annotations(self, image_idx: int) -> list[Annotation]:
        """Return the annotations of the image at a position, in the order of the file.

        Raises:
            InputError: A broken mask, or a map that does not fit, with file, image and record.
        """
        if self._records is None and self._lazy is not None:
            return self._lazy.of_image(image_idx)
        image = self.images[image_idx]
        rows = self.records.of_image(image_idx)
        return [self.records.annotation(int(row), image) for row in rows]

    @property
    def records(self) -> Records:
        """All annotations as columns; semantic maps are read for it, once."""
        if self._records is None:
            assert self._lazy is not None
            self._records = self._lazy.records()
        return self._records

    def image_path(self, image: ImageInfo) -> Path:
        """Return the file of an image.

        Raises:
            InputError: It is missing, or several files could be meant.
        """
        if self.image_files is None:
            raise InputError(
                self.where or "dataset",
                f"image {image.id} ({image.file_name})",
                "nothing says where the images are.",
                "Open the dataset with the folder of its images.",
            )
        return self.image_files.find(image)

    def read_image(self, image: ImageInfo) -> NDArray[np.uint8]:
        """Read an image, (height, width, 3) RGB in 0..255.

        Raises:
            InputError: It is missing, unreadable, or not of the size its annotations are for.
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
        """Return the evaluator's columns; masks are read while it scores.

        In semantic and panoptic data the pixels of no segment are void: they do not count against
        a prediction.
        """
        has_void = self.task in ("semantic", "panoptic")
        return ground_truth(self.images, self.records, has_void)

    def take(
        self,
        image_idx: Iterable[int] | None = None,
        category_ids: Iterable[int] | None = None,
    ) -> "EntityDataset":
        """Return a dataset of some images and of the annotations of some categories.

        Args:
            image_idx: Positions of the images, in the order wanted; None keeps all.
            category_ids: Categories whose annotations and rows stay; None keeps all.
        """
        picked = np.arange(len(self)) if image_idx is None else np.array(list(image_idx), np.int64)
        kept = self.categories
        wanted = None
        if category_ids is not None:
            wanted = set(category_ids)
            kept = tuple(category for category in kept if category.id in wanted)
        return self.replace(
            images=[self.images[idx] for idx in picked],
            annotations=records.take(self.records, picked, len(self), wanted),
            categories=kept,
        )

    def replace(self, **changes: Any) -> "EntityDataset":
        """Return a dataset with some arguments of the constructor changed."""
        kept: dict[str, Any] = {
            "images": self.images,
            "annotations": self._lazy if self._records is None else self._records,
            "categories": self.categories,
            "task": self.task,
            "split": self.split,
            "resolution": self.resolution,
            "image_files": self.image_files,
            "info": self.info,
            "where": self.where,
        }
        return EntityDataset(**{**kept, **changes})


def one_of(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """Return a value that is among those allowed.

    Raises:
        ValueError: It is not.
    """
    if value not in allowed:
        raise ValueError(f"{name} {value!r} must be one of {', '.join(allowed)}")
    return value
