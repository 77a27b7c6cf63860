"""What records of COCO JSON are decoded into, and what a file of them says."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from entityseg_bench.formats.coco.columns import Columns
from entityseg_bench.formats.coco.masks import TextExtras
from entityseg_bench.types import Category, ImageInfo

__all__ = [
    "AnnotationRow",
    "Box",
    "CategoryRow",
    "Content",
    "File",
    "Head",
    "ImageRow",
    "ResultRow",
    "Results",
    "Whole",
    "WrappedResults",
]

# Whole numbers that the columns hold: JSON knows larger ones.
Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Pixels = Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]


class ImageRow(msgspec.Struct, gc=False):
    """Hold what scoring needs of an image; LVIS has ``coco_url`` in place of a name."""

    id: int | str
    height: Pixels
    width: Pixels
    file_name: str = ""
    coco_url: str | None = None
    not_exhaustive_category_ids: msgspec.Raw = msgspec.Raw(b"")


class CategoryRow(msgspec.Struct, gc=False):
    """Hold what scoring needs of a category."""

    id: int
    name: str = ""


class AnnotationRow(msgspec.Struct, gc=False):
    """Hold what scoring needs of an annotation; ``area`` may be missing: then the mask's counts."""

    image_id: int | str
    segmentation: msgspec.Raw
    id: int | str | None = None
    category_id: Whole | None = None
    area: float | None = None
    iscrowd: int | bool = 0


class ResultRow(msgspec.Struct, gc=False):
    """Hold what scoring needs of a prediction; ``bbox`` and the rest are not read."""

    image_id: int | str
    score: float
    segmentation: msgspec.Raw
    id: int | str | None = None
    category_id: Whole | None = None


class Box(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """Hold a bbox; a tuple would be watched by the garbage collector."""

    x: float
    y: float
    w: float
    h: float


class File(msgspec.Struct):
    """Hold a ground-truth file."""

    images: list[ImageRow]
    annotations: list[AnnotationRow]
    categories: list[CategoryRow] = []


class WrappedResults(msgspec.Struct):
    """Hold predictions that stand under a key, as some tools write them."""

    annotations: list[ResultRow]
    images: Any = None


class Head(msgspec.Struct):
    """Hold a ground-truth file whose annotations stay text."""

    images: list[ImageRow]
    annotations: msgspec.Raw
    categories: list[CategoryRow] = []


class Content(NamedTuple):
    """Hold what a COCO file says; ``boxes`` and ``extras`` only where all fields were wanted.

    ``data`` is the text that the segmentations of the records lie in where that is not the file's,
    and ``notes`` says what was turned to make it.
    """

    images: list[ImageInfo]
    columns: Columns
    categories: list[Category]
    info: dict[str, Any]
    boxes: NDArray[np.float64] | None = None
    extras: TextExtras | None = None
    data: bytes | None = None
    notes: Sequence[str] = ()


class Results(NamedTuple):
    """Hold what a file of predictions says.

    ``images`` are the names of the images that it lists itself, by id; ``data``, ``notes`` and
    ``score_from`` are None, empty and empty for a file that needed no turning.
    """

    columns: Columns
    images: dict[Any, str]
    data: bytes | None = None
    notes: Sequence[str] = ()
    score_from: str = ""
