"""The records every format is read into and written from, and what was done to read them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypedDict

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["RLE", "Annotation", "Category", "ImageInfo", "Origin", "Prediction", "Tally"]


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
