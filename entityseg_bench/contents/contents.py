"""What an annotation file says, whatever its format: images, annotations, categories."""

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from entityseg_bench.contents.records import Records
from entityseg_bench.io import InputError
from entityseg_bench.types import Annotation, Category, ImageInfo

__all__ = ["Contents", "LazyAnnotations", "check_image", "check_images"]


@runtime_checkable
class LazyAnnotations(Protocol):
    """Give annotations that are read image by image (from maps) and gathered only when needed."""

    def of_image(self, image_idx: int) -> list[Annotation]:
        """Return the annotations of one image."""

    def records(self) -> Records:
        """Read all images into columns."""


class Contents(NamedTuple):
    """Hold what a file says; the names are those of `EntityDataset`'s arguments.

    ``categories`` is None where the file has no table, ``info`` has its other top-level fields and
    ``where`` is its name.
    """

    images: Sequence[ImageInfo]
    annotations: Records | LazyAnnotations
    categories: Sequence[Category] | None
    info: dict[str, Any]
    where: str

    def columns(self) -> Records:
        """Return all annotations as columns; maps are read for it."""
        rows = self.annotations
        return rows if isinstance(rows, Records) else rows.records()


def check_images(images: Sequence[ImageInfo], where: str) -> None:
    """Check that ids stand once and that each image has pixels.

    Raises:
        InputError: With the image.
    """
    seen: set[int | str] = set()
    for image in images:
        check_image(image, seen, where or "images")
        seen.add(image.id)


def check_image(image: ImageInfo, others: Container[int | str], where: str | Path) -> None:
    """Check that an image's id is none of others, and that it has pixels.

    Raises:
        InputError: With the image.
    """
    place = f"image {image.id} ({image.file_name})"
    if image.id in others:
        raise InputError(where, place, "its id stands twice.", "Number it anew.")
    if image.height < 1 or image.width < 1:
        size = f"{image.height} x {image.width}"
        raise InputError(where, place, f"it has no pixels: {size}.")
