"""What a user says of a path, and what opening it gives: the terms between formats and callers."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from entityseg_bench.categories import Task
from entityseg_bench.formats.maps import map_name
from entityseg_bench.io import InputError
from entityseg_bench.layout import Resolution, Split
from entityseg_bench.table import LazySegments, Segments
from entityseg_bench.types import ImageInfo

__all__ = ["INDEX", "Classes", "Inputs", "Opened", "Side", "agree", "base_name"]

INDEX = "annotations.json"

Side = Literal["gt", "dt"]
# What the category ids of predictions are worth: nothing; something, though they may be fillers; or
# all, where the format is one of classes.
Classes = Literal["none", "some", "all"]


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Say what ground truth and predictions are, where their files do not.

    Attributes:
        task: Type of the ground truth; None looks.
        split: Of a data set's folder.
        resolution: Of a data set's folder.
        parts: Some of "01", "02", "03" of a data set's folder; None for all that are there.
        gt_maps: Folder of the maps of panoptic JSON or of a semantic list; None looks beside it.
        pred_maps: The same for predictions.
        gt_format: A name of `entityseg_bench.formats.FORMATS`; None looks.
        pred_format: The same for predictions.
        connected: Take each connected part of a class of an ADE20K map as an entity.
        image_id: Image of predictions that name none.
        score_from: What the score of predictions is: a key, or ``mean``, ``product``, ``min`` or
            ``max`` of keys; None for ``score``, or what stands in its place.
    """

    task: Task | None = None
    split: Split = "val"
    resolution: Resolution = "high"
    parts: tuple[str, ...] | None = None
    gt_maps: Path | None = None
    pred_maps: Path | None = None
    gt_format: str | None = None
    pred_format: str | None = None
    connected: bool = False
    image_id: str | None = None
    score_from: str | None = None


@dataclasses.dataclass(frozen=True)
class Opened:
    """Hold what was opened.

    Attributes:
        segments: Annotations, or predictions on the images of the ground truth.
        read: Files and folders it is read from.
        classes: Of predictions, what their category ids are worth.
        notes: What the user should know of how it was read.
        part: Part of the data set, where a folder is of one.
    """

    segments: Segments | LazySegments
    read: list[Path]
    classes: Classes = "some"
    notes: Sequence[str] = ()
    part: str | None = None


def agree(path: Path, found: Task, asked: Task | None) -> None:
    """Check that ground truth is of the type that the user named.

    Raises:
        InputError: It is not.
    """
    if asked not in (None, found):
        raise InputError(
            path,
            "",
            f"this is {found} ground truth, and --task says {asked}.",
            f"Leave it out, or make {asked} ground truth of it: entityseg convert.",
        )


def base_name(image: ImageInfo) -> str:
    """Return the name of an image's map without folders."""
    return PurePosixPath(map_name(image.file_name)).name
