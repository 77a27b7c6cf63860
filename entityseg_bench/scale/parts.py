"""A shard read and checked, and some images of one scored."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams
from entity_api.state_room import Room
from entityseg_bench import formats
from entityseg_bench.check import refuse, stop
from entityseg_bench.errors.judgements import Judgements
from entityseg_bench.formats import Inputs, Opened
from entityseg_bench.formats.opened import Classes
from entityseg_bench.io import InputError
from entityseg_bench.rules import problems
from entityseg_bench.scale.counted import Share
from entityseg_bench.scale.saved import SavedScoring
from entityseg_bench.scale.sources import Shard, at_hand
from entityseg_bench.score import Sides, read_predictions, score_sides
from entityseg_bench.selection import rows_of
from entityseg_bench.table import Segments
from entityseg_bench.types import ImageInfo

__all__ = [
    "Head",
    "Part",
    "Truth",
    "image_shape",
    "images_at",
    "read_shard",
    "refuse_kinds",
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


class Head(NamedTuple):
    """Say of a shard of predictions what does not hang on the image.

    Attributes:
        share: How many predictions it holds.
        files: Name and hash of what they were read from.
        warnings: What is unusual about them.
        classes: What their categories are worth.
        score_from: What their scores are.
    """

    share: Share
    files: dict[str, str]
    warnings: list[str]
    classes: Classes
    score_from: str


class Part(NamedTuple):
    """Hold the scoring of some images, and how many predictions lie on no labelled pixel."""

    scored: SavedScoring
    n_on_void: int

    def kept(self, room: Room) -> "Part":
        """Return the part with what it has of each detection in some room."""
        return self._replace(scored=self.scored.kept(room))


@contextlib.contextmanager
def read_shard(truth: Truth, shard: Shard) -> Iterator[tuple[Sides, Head]]:
    """Read a shard of predictions and check it, for as long as the block runs.

    Yields:
        Predictions on all images, without ground truth; and what does not hang on the image.

    Raises:
        InputError: It is broken, or a record of it is.
    """
    with at_hand(shard) as here:
        none = Opened(truth.images, [])
        sides = read_predictions(none, truth.images, here.path, truth.inputs, True, stop)
        dt, all_classes = sides.dt, sides.classes == "all"
        rules = problems(None, dt, truth.params.class_aware, all_classes=all_classes, is_part=True)
        found = [*sides.notes, *rules]
        refuse(found)
        warnings = [here.named(str(one)) for one in found]
        files = here.described(sides.read["predictions"])
        yield sides, Head(Share.of(dt), files, warnings, sides.classes, dt.score_from)


def refuse_kinds(shards: Sequence[Shard], heads: Sequence[Head], spread: bool) -> None:
    """Refuse shards of predictions that are not to be ranked together.

    Args:
        shards: The shards.
        heads: What each of them says.
        spread: Whether some image has predictions in several of them.

    Raises:
        InputError: With the first shard that differs.
    """
    full = [k for k, head in enumerate(heads) if len(head.share.n)]
    for k in full:
        one, other = heads[full[0]], heads[k]
        name, what = shards[full[0]].name, ""
        if one.score_from != other.score_from:
            what = f"its scores are `{other.score_from}`, those of {name} `{one.score_from}`."
        elif spread and one.classes != other.classes:
            what = f"its categories are of another kind than those of {name}."
        if what:
            raise InputError(str(shards[k]), "", what, "Score shards of one kind.")


def score_part(truth: Truth, shard: int, images: Ints, sides: Sides, files: dict[str, str]) -> Part:
    """Score some images of one shard of ground truth.

    Args:
        truth: All images.
        shard: Position of the shard.
        images: Positions of the images, rising; all of them are in the shard.
        sides: Predictions on all images, without ground truth.
        files: Name and hash of what they were read from.
    """
    with at_hand(truth.shards[shard]) as here:
        opened = formats.open(here.path, truth.inputs, whole=False)
        gt = opened.segments.read()
        read = {"ground_truth": here.described(opened.read), "predictions": files}
        part = Sides(
            truth_part(truth, shard, images, gt), images_at(sides.dt, images), sides.classes, [], {}
        )
        scoring = score_sides(part, truth.params, boundary=truth.boundary, is_part=True)
        removed = truth.params.remove_overlaps
        judged = Judgements.judge(scoring, removed) if truth.errors else None
    saved = dataclasses.replace(SavedScoring.of(scoring, judged), shards=[read])
    return Part(saved, int(scoring.result.on_void.sum()))


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
    # The categories of one shard may be some of those of all; without images it is of any type.
    table = truth.images
    renamed_gt = gt.replace(images=renamed, categories=table.categories, task=table.task)
    return images_at(renamed_gt, kept[images - start])


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
