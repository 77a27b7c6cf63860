"""Ground truth and predictions in shards, scored shard by shard, here or on many machines.

The two sides may be split in any way. What is annotated of an image is in one shard of the ground
truth; its predictions may be in several.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams
from entity_api.state_room import Room
from entityseg_bench import formats
from entityseg_bench.categories import Task
from entityseg_bench.check import refuse
from entityseg_bench.formats import Inputs
from entityseg_bench.io import InputError, collector_paused, fingerprint
from entityseg_bench.masks import CodedMasks
from entityseg_bench.rules import problems
from entityseg_bench.scale.counted import Share, Side
from entityseg_bench.scale.engines import Engine, InOneProcess, in_order
from entityseg_bench.scale.parts import (
    Head,
    Part,
    Truth,
    image_shape,
    read_shard,
    refuse_kinds,
    score_part,
)
from entityseg_bench.scale.saved import SavedScoring
from entityseg_bench.scale.sources import Shard, at_hand, find_predictions, find_shards
from entityseg_bench.scale.spread import score_spread
from entityseg_bench.score import Sides, on_void
from entityseg_bench.score.type_counts import class_ids
from entityseg_bench.set_rules import set_problems
from entityseg_bench.table import Segments
from entityseg_bench.types import Category, ImageInfo, Images

__all__ = [
    "Engine",
    "InOneProcess",
    "Listed",
    "annotated",
    "evaluate_shards",
    "join_truth",
    "kept_images",
    "list_images",
    "one_table",
    "one_type",
    "predicted",
]

Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Listed:
    """Hold what a shard of ground truth lists.

    Attributes:
        images: Its images.
        share: Counts its annotations.
        categories: Its table.
        class_ids: Categories of the table and of annotations.
        task: Its type.
        warnings: What is unusual about it.
    """

    images: list[ImageInfo]
    share: Share
    categories: list[Category]
    class_ids: tuple[int, ...]
    task: Task
    warnings: Sequence[str] = ()

    @classmethod
    def of(cls, gt: Segments, warnings: Sequence[str] = ()) -> "Listed":
        """List what a shard has that was read."""
        images, table = list(gt.images), list(gt.categories)
        return cls(images, Share.of(gt), table, class_ids(gt), gt.task, warnings)


def list_images(shard: Shard, inputs: Inputs, class_aware: bool) -> Listed:
    """Read a shard of ground truth and check it; return what it lists."""
    with collector_paused(), at_hand(shard) as here:
        gt = formats.open(here.path, inputs, whole=False).segments.read()
        found = list(problems(gt, None, class_aware, is_part=True))
        refuse(found)
        return Listed.of(gt, [here.named(str(one)) for one in found])


def score_predictions(truth: Truth, shard: Shard) -> tuple[Head, list[Part]]:
    """Score a shard of predictions: one scoring for each shard of ground truth it meets."""
    with collector_paused(), read_shard(truth, shard) as (sides, head):
        owner = np.searchsorted(truth.starts, head.share.images, side="right") - 1
        return head, [
            score_part(truth, k, head.share.images[owner == k], sides, head.files)
            for k in np.unique(owner).tolist() or [0]
        ]


def score_rest(truth: Truth, shard: int, images: Ints) -> Part:
    """Score the images of a shard of ground truth that no predictions name."""
    with collector_paused():
        none = truth.images.replace(predicted=True, where_from="")
        sides = Sides(truth.images, none, "some", [], {})
        files = {"name": "none", "sha256": fingerprint([])}
        return score_part(truth, shard, images, sides, files)


def evaluate_shards(
    gt_path: str | Path,
    dt_path: str | Path,
    engine: Engine,
    params: EvalParams | None = None,
    inputs: Inputs | None = None,
    boundary: bool = False,
    progress: Callable[[int, int], None] | None = None,
    errors: bool = False,
) -> SavedScoring:
    """Score predictions in shards against ground truth in shards, equal to one file of each.

    Args:
        gt_path: A pattern, a folder of shards, or one file.
        dt_path: Likewise.
        engine: Runs the shards.
        params: What to measure.
        inputs: What the files are, where they do not say it.
        boundary: Whether to measure Boundary AP, too.
        progress: Called with (shards finished, shards).
        errors: Whether to tell errors, too: those of AP^e, of AP where overlaps are left.

    Raises:
        InputError: A bad record, with its file; an image that is annotated in two shards, or a
            prediction that stands in two.
    """
    inputs = inputs or Inputs()
    shards, dt_shards = find_shards(gt_path, inputs), find_predictions(dt_path, inputs)
    n_done, n_steps = 0, len(shards) + len(dt_shards)

    def done() -> None:
        nonlocal n_done
        n_done += 1
        if progress:
            progress(min(n_done, n_steps), n_steps)

    params = dataclasses.replace(params or EvalParams(), keep_matches=errors)
    items = [(shard, inputs, params.class_aware) for shard in shards]
    listed = in_order(engine, list_images, items, done)
    truth = join_truth(shards, listed, params, inputs, boundary, errors)
    shared = engine.share(truth)
    found = _score_apart(truth, shared, dt_shards, engine, done)
    if found is None:
        n_steps = n_done + len(dt_shards)
        found = score_spread(truth, shared, dt_shards, engine, done)
    heads, parts = found
    merged = SavedScoring.merge([part.scored for part in parts])
    gt, dt = annotated(truth, listed, gt_path), predicted(truth, heads, dt_path)
    of_set = list(set_problems(gt, dt, params.class_aware, params.max_dets[-1]))
    n_on_void = sum(part.n_on_void for part in parts)
    if n_on_void:
        of_set.append(on_void(dt, n_on_void))
    own = [text for one in (*listed, *heads) for text in one.warnings]
    warnings = dict.fromkeys([*own, *map(str, of_set)])
    return dataclasses.replace(merged, warnings=list(warnings))


def annotated(truth: Truth, listed: Sequence[Listed], path: str | Path) -> Side:
    """Count the annotations of all shards."""
    shares = []
    for own, kept, start in zip(listed, truth.kept, truth.starts, strict=False):
        # What is annotated of an image that is another shard's is nothing.
        images = np.searchsorted(kept, own.share.images) + start
        shares.append(own.share._replace(images=images))
    return Side.of(shares, truth.images, path)


def predicted(truth: Truth, heads: Sequence[Head], path: str | Path) -> Side:
    """Count the predictions of all shards."""
    return Side.of([head.share for head in heads], truth.images, path)


def _score_apart(
    truth: Truth, shared: Any, shards: Sequence[Shard], engine: Engine, done: Callable[[], None]
) -> tuple[list[Head], list[Part]] | None:
    """Score predictions shard by shard; None as soon as two shards hold some of one image."""
    seen, room = np.zeros(len(truth.images.images), bool), Room()
    found: dict[int, tuple[Head, list[Part]]] = {}
    # Where the first two have an image in common nothing else was begun.
    for start, end in ((0, 2), (2, len(shards))):
        items = [(shared, shard) for shard in shards[start:end]]
        for at, (head, parts) in engine.run(score_predictions, items):
            if seen[head.share.images].any():
                return None
            seen[head.share.images] = True
            found[start + at] = head, [part.kept(room) for part in parts]
            done()
    heads = [found[at][0] for at in range(len(shards))]
    refuse_kinds(shards, heads, spread=False)
    left = []
    for k, (start, end) in enumerate(zip(truth.starts, truth.starts[1:], strict=False)):
        if not seen[start:end].all():
            left.append((shared, k, start + np.flatnonzero(~seen[start:end])))
    parts = [part for at in range(len(shards)) for part in found[at][1]]
    rest = in_order(engine, score_rest, left, done, lambda part: part.kept(room))
    return heads, [*parts, *rest]


def join_truth(
    shards: list[Shard],
    listed: list[Listed],
    params: EvalParams,
    inputs: Inputs,
    boundary: bool = False,
    errors: bool = False,
) -> Truth:
    """Put the images of all shards into one table without segments."""
    task = one_type(shards, [own.task if own.images else None for own in listed])
    by_class = params.class_aware or task != "entity"
    categories = one_table(shards, [own.categories for own in listed], by_class)
    images = numbered([own.images for own in listed], task)
    kept = kept_images(shards, images, listed)
    starts = np.cumsum([0, *(len(own.images) for own in listed)])
    table = Segments.make(
        Images(images[at] for own, start in zip(kept, starts, strict=False) for at in start + own),
        [],
        CodedMasks([]),
        [],
        task=task,
        categories=categories,
        where_from=", ".join(map(str, shards[:3])),
    )
    if params.class_aware:
        ids = sorted({class_id for own in listed for class_id in own.class_ids})
        params = dataclasses.replace(params, category_ids=tuple(ids))
    starts = np.cumsum([0, *map(len, kept)])
    return Truth(shards, kept, starts, table, params, inputs, boundary, errors)


def one_type(shards: Sequence[Shard], tasks: Sequence[Task | None]) -> Task:
    """Return the annotation type of shards; None stands for one without images, of any type.

    Raises:
        InputError: There are several.
    """
    found = [(shard, task) for shard, task in zip(shards, tasks, strict=True) if task]
    for shard, task in found:
        first, other = found[0]
        if task != other:
            what = f"this is {task} ground truth, and {first.name} is {other}."
            raise InputError(str(shard), "", what)
    return found[0][1] if found else "entity"


def one_table(
    shards: Sequence[Shard], tables: Sequence[Sequence[Category]], by_class: bool = True
) -> list[Category]:
    """Join the category tables of shards, by rising id.

    Args:
        shards: The shards.
        tables: Of each.
        by_class: Whether categories matter.

    Raises:
        InputError: They matter, and an id is of two names.
    """
    found: dict[int, tuple[Category, Shard]] = {}
    for shard, table in zip(shards, tables, strict=True):
        for row in table:
            first, other = found.setdefault(row.id, (row, shard))
            if first.type is None and row.type is not None:
                # A file without images may be of another type, whose tables know no things.
                found[row.id] = row, shard
            types = {first.type, row.type} - {None}
            if by_class and (first.name != row.name or len(types) > 1):
                said = [
                    f"{one.name!r}" + f" ({one.type})" * (len(types) > 1) for one in (row, first)
                ]
                what = f"it is {said[0]}, and {said[1]} in {other.name}."
                hint = "Shards of one set have one table."
                raise InputError(str(shard), f"category {row.id}", what, hint)
    return [found[key][0] for key in sorted(found)]


def kept_images(
    shards: Sequence[Shard], images: Sequence[ImageInfo], listed: Sequence[Listed]
) -> list[Ints]:
    """Choose for each shard the images that are its own, by their place in it.

    An image may be listed in several shards if one alone has annotations of it.

    Raises:
        InputError: Two shards have some, or the image is another one in the second.
    """
    owners = np.repeat(np.arange(len(shards)), [len(own.images) for own in listed])
    n_annotations = np.concatenate([own.share.n_of(len(own.images)) for own in listed])
    chosen: dict[int | str, int] = {}
    for at, image in enumerate(images):
        first = chosen.setdefault(image.id, at)
        if first == at:
            continue
        if image_shape(images[first]) != image_shape(image):
            what = f"it is another image in {shards[owners[first]].name}."
        elif n_annotations[at] and n_annotations[first]:
            what = f"{shards[owners[first]].name} has annotations of it, too."
        else:
            chosen[image.id] = at if n_annotations[at] else first
            continue
        hint = "Put all that is annotated of an image into one shard."
        raise InputError(str(shards[owners[at]]), f"image_id {image.id!r}", what, hint)
    own = np.zeros(len(images), bool)
    own[list(chosen.values())] = True
    ends = np.cumsum([len(one.images) for one in listed])
    return [np.flatnonzero(part) for part in np.split(own, ends[:-1])]


def numbered(shards: Sequence[list[ImageInfo]], task: Task) -> list[ImageInfo]:
    """Join the images of shards; lists of maps, which number them by line, are one list."""
    images = [image for own in shards for image in own]
    by_line = all([one.id for one in own] == list(range(1, len(own) + 1)) for own in shards)
    if task != "semantic" or not by_line:
        return images
    return [
        ImageInfo(number, one.file_name, one.height, one.width, one.extra)
        for number, one in enumerate(images, start=1)
    ]
