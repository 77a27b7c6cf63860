"""The records every format is read into and written from, and what was done to read them."""

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypedDict

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["RLE", "Annotation", "Category", "ImageInfo", "Images", "Origin", "Prediction", "Tally"]


class RLE(TypedDict):
    """Hold one mask as COCO run-length counts in column-major order.

    ``size`` is ``[height, width]``; ``counts`` is COCO's compressed string.
    """

    size: list[int]
    counts: str


class Category(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Describe one row of a category table.

    ``id`` is the key: names repeat and carry stray spaces in the published tables. ``c_name`` is
    the Chinese name; ``extra`` keeps other fields of a file (COCO's ``color``).
    """

    id: int
    name: str
    supercategory: str | None = None
    type: Literal["thing", "stuff"] | None = None
    c_name: str | None = None
    extra: dict[str, Any] | None = None


class ImageInfo(msgspec.Struct, frozen=True):
    """Describe one image: its id in the file, its path below the image folder, its pixels.

    ``extra`` keeps the file's optional fields (``img_source``, ``url_*`` ...).
    """

    id: int | str
    file_name: str
    height: int
    width: int
    extra: dict[str, Any] | None = None


class Images(list[ImageInfo]):
    """List the images of many tables: what is made of all of them is made once."""

    @functools.cached_property
    def sizes(self) -> NDArray[np.int64]:
        """(I, 2) height and width."""
        sides = (side for image in self for side in (image.height, image.width))
        return np.fromiter(sides, np.int64, 2 * len(self)).reshape(-1, 2)

    @functools.cached_property
    def numbers(self) -> NDArray[np.int64] | None:
        """(I,) ids, where all are whole numbers of 64 bits and there are any."""
        ids = [image.id for image in self]
        if set(map(type, ids)) != {int}:
            return None
        try:
            return np.array(ids, np.int64)
        except OverflowError:
            return None

    @functools.cached_property
    def by_number(self) -> NDArray[np.int64]:
        """(I,) positions by rising ``numbers``."""
        assert self.numbers is not None
        return np.argsort(self.numbers, kind="stable").astype(np.int64, copy=False)

    @classmethod
    def of(cls, images: Sequence[ImageInfo]) -> "Images":
        """Return images as such a list; one that is remains itself."""
        return images if isinstance(images, cls) else cls(images)


class Annotation(msgspec.Struct, frozen=True):
    """Hold one ground-truth segment.

    ``area`` is in pixels, ``bbox`` is COCO xywh in pixels. ``extra`` keeps the file's optional
    fields (``category_id_ori``, ``img_source``, ``url_*`` ...) so that writing loses nothing.
    """

    id: int
    image_id: int | str
    category_id: int
    segmentation: RLE
    area: float
    bbox: tuple[float, float, float, float]
    iscrowd: bool = False
    extra: dict[str, Any] | None = None


class Prediction(msgspec.Struct, frozen=True):
    """Hold one predicted segment: a mask with a finite score, higher is surer."""

    image_id: int | str
    segmentation: RLE
    score: float
    category_id: int = 0
    bbox: tuple[float, float, float, float] | None = None


class Origin(NamedTuple):
    """Say where the segments of a table stand that is a part of a file, or made of several.

    Attributes:
        files: Names of the files.
        file_idx: (N,) which of them each segment is of.
        rows: (N,) position of each in its file.
    """

    files: Sequence[str]
    file_idx: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def in_file(cls, name: str, rows: NDArray[np.int64]) -> "Origin":
        """Say that all are of one file."""
        return cls([name], np.broadcast_to(np.int64(0), len(rows)), rows)

    def take(self, rows: NDArray[np.int64]) -> "Origin":
        """Return what is said of some of them."""
        return Origin(self.files, self.file_idx[rows], self.rows[rows])


class Tally:
    """Count what was done to the records of a file, one note for each kind of thing."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, what: str) -> None:
        """Count a record; ``what`` is a sentence with {n} for how many there are."""
        self._counts[what] += 1

    def once(self, what: str) -> None:
        """Take a sentence about the whole file."""
        self._counts[what] = 1

    def update(self, other: "Tally") -> None:
        """Count the records of another part of the file, too."""
        self._counts.update(other._counts)

    def notes(self) -> list[str]:
        """Return a sentence for each kind of thing."""
        return [
            what.replace("{n}", f"{n} record{'s' * (n != 1)}") for what, n in self._counts.items()
        ]
