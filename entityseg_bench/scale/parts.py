"""A shard read and checked, and some images of one scored."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams
from entityseg_bench import formats
from entityseg_bench.check import refuse, stop
from entityseg_bench.errors.judgements import Judgements
from entityseg_bench.formats import Inputs, Opened
from entityseg_bench.io import InputError
from entityseg_bench.rules import OF_PARTS, problems
from entityseg_bench.scale.saved import SavedScoring
from entityseg_bench.scale.sources import Shard, at_hand
from entityseg_bench.score import Sides, read_predictions, score_sides
from entityseg_bench.selection import rows_of
from entityseg_bench.table import Segments
from entityseg_bench.types import ImageInfo

__all__ = [
    "Truth",
    "described",
    "image_shape",
    "images_at",
    "read_shard",
    "score_part",
    "truth_part",
]

Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Truth:
    """Hold all images, shard after shard, and what is measured of them.

    Attributes:
        shards: (S,) those of the ground truth.
        kept: (S,) which of each shard's images are meant, by their place in it, rising; the others
            are annotated in another shard.
        starts: (S + 1,) where each one's kept images begin.
        images: All images, without their segments.
        params: What to measure.
        inputs: What the files are, where they do not say it.
        boundary: Whether to measure Boundary AP, too.
        errors: Whether to tell errors, too.
    """

    shards: list[Shard]
    kept: list[Ints]
    starts: Ints
    images: Segments
    params: EvalParams
    inputs: Inputs
    boundary: bool
    errors: bool


@dataclasses.dataclass(frozen=True)
class ReadShard:
    """Hold predictions of a shard that was read and checked.

    Attributes:
        sides: Predictions on all images, without ground truth.
        warnings: What is unusual about them.
        files: Name and hash of what they were read from.
        named: Gives the name of the shard in place of what stands for it here.
    """

    sides: Sides
    warnings: list[str]
    files: dict[str, str]
    named: Callable[[str], str]


@contextlib.contextmanager
def read_shard(truth: Truth, shard: Shard) -> Iterator[ReadShard]:
    """Read a shard of predictions and check it, for as long as the block runs.

    Raises:
        InputError: It is broken, or a record of it is.
    """
    with at_hand(shard) as here:
        none = Opened(truth.images, [])
        sides = read_predictions(none, truth.images, here.path, truth.inputs, True, stop)
        by_class, limit = truth.params.class_aware, truth.params.max_dets[-1]
        rules = problems(truth.images, sides.dt, by_class, limit, sides.classes == "all")
        found = [*sides.notes, *rules]
        refuse(found)
        warnings = [here.named(str(one)) for one in found if one.code not in OF_PARTS]
        files = here.described(sides.read["predictions"])
        yield ReadShard(sides, warnings, files, here.named)


def score_part(truth: Truth, shard: int, images: Ints, sides: Sides) -> SavedScoring:
    """Score some images of one shard of ground truth.

    Args:
        truth: All images.
        shard: Position of the shard.
        images: Positions of the images, rising; all of them are in the shard.
        sides: Predictions on all images, without ground truth.
    """
    with at_hand(truth.shards[shard]) as here:
        opened = formats.open(here.path, truth.inputs, whole=False)
        gt = opened.segments.read()
        refuse(list(problems(gt, None, truth.params.class_aware)))
        files = here.described(opened.read)
        part = Sides(
            truth_part(truth, shard, images, gt), images_at(sides.dt, images), sides.classes, [], {}
        )
        scoring = score_sides(part, truth.params, boundary=truth.boundary, is_part=True)
        removed = truth.params.remove_overlaps
        judged = Judgements.judge(scoring, removed) if truth.errors else None
    return dataclasses.replace(SavedScoring.of(scoring, judged), shards=[{"ground_truth": files}])


def truth_part(truth: Truth, shard: int, images: Ints, gt: Segments) -> Segments:
    """Return what a shard of ground truth, read whole, says of some images.

    Args:
        truth: All images.
        shard: Position of the shard.
        images: Positions of the images, rising; all of them are in the shard.
        gt: The shard.

    Raises:
        InputError: It holds other images than when they were listed.
    """
    (start, end), kept = truth.starts[shard : shard + 2], truth.kept[shard]
    listed = truth.images.images[start:end]
    own = [image_shape(gt.images[at]) for at in kept.tolist() if at < len(gt.images)]
    if own != [image_shape(image) for image in listed]:
        raise InputError(
            str(truth.shards[shard]), "", "it changed while it was scored.", "Run again."
        )
    renamed = list(gt.images)
    for at, image in zip(kept.tolist(), listed, strict=True):
        renamed[at] = image
    # The categories of one shard may be some of those of all.
    renamed_gt = gt.replace(images=renamed, categories=truth.images.categories)
    return images_at(renamed_gt, kept[images - start])


def described(
    part: SavedScoring, files: dict[str, str], named: Callable[[str], str] = str
) -> SavedScoring:
    """Say which predictions were scored.

    Args:
        part: A scoring of `score_part`.
        files: Name and hash of the predictions.
        named: Gives the name of their shard in place of what stood for it.
    """
    (shard,) = part.shards
    warnings = [named(text) for text in part.warnings]
    return dataclasses.replace(part, shards=[shard | {"predictions": files}], warnings=warnings)


def image_shape(image: ImageInfo) -> tuple[str, int, int]:
    """Return what of an image must be alike wherever it is listed."""
    return image.file_name, image.height, image.width


def images_at(table: Segments, images: Ints) -> Segments:
    """Return the segments of the images at some positions."""
    where = np.full(len(table.images) + 1, -1, np.int64)
    where[images] = np.arange(len(images))
    rows = np.flatnonzero(where[table.image_idx] >= 0)
    part = table if len(rows) == len(table) else rows_of(table, rows)
    return part.replace(
        images=[table.images[idx] for idx in images.tolist()], image_idx=where[part.image_idx]
    )
