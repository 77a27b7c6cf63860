"""Every problem of ground truth and predictions in shards, found shard by shard."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams
from entityseg_bench import formats
from entityseg_bench.check import Collector, Problem, Report, problem_of, reported, stop
from entityseg_bench.formats import Inputs, Opened
from entityseg_bench.io import collector_paused
from entityseg_bench.scale.counted import Share
from entityseg_bench.scale.engines import Engine, in_order
from entityseg_bench.scale.parts import Head, Truth, images_at, refuse_kinds, truth_part
from entityseg_bench.scale.shards import Listed, annotated, join_truth, predicted
from entityseg_bench.scale.sources import Shard, at_hand, find_predictions, find_shards
from entityseg_bench.scale.spread import COPY_HINT
from entityseg_bench.score import Sides, read_predictions
from entityseg_bench.score.type_counts import count_type
from entityseg_bench.set_rules import set_problems
from entityseg_bench.table import VOID_TASKS, Segments
from entityseg_bench.validate.problems import not_checked, prediction_problems, truth_problems

__all__ = ["validate_shards"]

Ints = NDArray[np.int64]


class CheckedTruth(NamedTuple):
    """Hold what was found of a shard of ground truth.

    Attributes:
        problems: Of it.
        listed: Its images; None where it cannot be read.
        lost: Whether it has images that are not listed.
        whole: Whether nothing was left out of it.
    """

    problems: list[Problem]
    listed: Listed | None
    lost: bool
    whole: bool


class CheckedPredictions(NamedTuple):
    """Hold what was found of a shard of predictions.

    Attributes:
        problems: Of it.
        head: What does not hang on the image; None where something was left out of it.
    """

    problems: list[Problem]
    head: Head | None


def validate_shards(
    gt_path: str | Path,
    dt_path: str | Path | None,
    engine: Engine,
    class_aware: bool = False,
    inputs: Inputs | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Problem]:
    """Name every problem of both sides, as `entityseg_bench.validate.validate` does of two files.

    Args:
        gt_path: A pattern, a folder of shards, or one file.
        dt_path: Likewise; None for ground truth alone.
        engine: Runs the shards.
        class_aware: Check the categories too.
        inputs: What the two sides are, where they do not say it.
        progress: Called with (shards finished, shards).

    Raises:
        InputError: There is no shard.
    """
    inputs = inputs or Inputs()
    shards = find_shards(gt_path, inputs)
    dt_shards = find_predictions(dt_path, inputs) if dt_path else []
    n_done, n_steps = 0, len(shards) + len(dt_shards)

    def done() -> None:
        nonlocal n_done
        n_done += 1
        if progress:
            progress(min(n_done, n_steps), n_steps)

    results = functools.partial(in_order, engine, done=done)
    checked = results(check_truth, [(shard, inputs, class_aware) for shard in shards])
    found = [problem for own in checked for problem in own.problems]
    truth = None
    faults = Collector()
    with reported(faults):
        truth = _joined(shards, checked, class_aware, inputs)
    found += map(problem_of, faults)
    lost = truth is None or any(own.lost for own in checked)
    whole = truth is not None and all(own.whole for own in checked)
    if truth is None:
        found += [not_checked(str(shard)) for shard in dt_shards]
        return list(_in_order(found))
    if whole:
        listed = [own.listed for own in checked if own.listed]
        found += set_problems(annotated(truth, listed, gt_path), None)
    shared = engine.share(truth)
    items = [(shared, shard, class_aware, lost) for shard in dt_shards]
    predictions = results(check_predictions, items)
    found += [problem for own in predictions for problem in own.problems]
    heads = [own.head for own in predictions if own.head]
    if heads and len(heads) == len(predictions):
        images = np.concatenate([head.share.images for head in heads])
        several = np.flatnonzero(np.bincount(images) > 1)
        shared_by = [(shared, shard, several) for shard in dt_shards] if len(several) else []
        found += copies(truth, dt_shards, results(digests, shared_by))
        faults = Collector()
        with reported(faults):
            refuse_kinds(dt_shards, heads, spread=len(several) > 0)
        found += map(problem_of, faults)
        if whole:
            found += set_problems(None, predicted(truth, heads, dt_path or ""), class_aware)
    return list(_in_order(found))


def check_truth(shard: Shard, inputs: Inputs, class_aware: bool) -> CheckedTruth:
    """Check a shard of ground truth, and list its images."""
    faults = Collector()
    with collector_paused(), reported(faults), at_hand(shard) as here:
        found, read = truth_problems(here.path, inputs, class_aware)
        found = [_named(one, here.named) for one in found]
        if read is None:
            return CheckedTruth(found, None, True, False)
        return CheckedTruth(found, Listed.of(read.gt), read.lost, read.whole)
    return CheckedTruth([problem_of(fault) for fault in faults], None, True, False)


def check_predictions(
    truth: Truth, shard: Shard, class_aware: bool, lost: bool
) -> CheckedPredictions:
    """Check a shard of predictions on the images of all shards of ground truth."""
    faults = Collector()

    def count(sides: Sides, report: Report) -> None:
        if truth.images.task in VOID_TASKS:
            _count(truth, sides, report)

    with collector_paused(), reported(faults), at_hand(shard) as here:
        found, sides = prediction_problems(
            truth.images, here.path, truth.inputs, class_aware, lost, count
        )
        found = [_named(one, here.named) for one in found]
        if sides is None:
            return CheckedPredictions(found, None)
        dt = sides.dt
        return CheckedPredictions(found, Head(Share.of(dt), {}, [], sides.classes, dt.score_from))
    return CheckedPredictions([problem_of(fault) for fault in faults], None)


def digests(truth: Truth, shard: Shard, images: Ints) -> list[tuple[int, bytes]]:
    """List the predictions on some images: the position of the image, and what stands for all else.

    Args:
        truth: All images.
        shard: Of predictions, without faults.
        images: Positions of the images.
    """
    with collector_paused(), at_hand(shard) as here:
        none = Opened(truth.images, [])
        dt = read_predictions(none, truth.images, here.path, truth.inputs, True, stop).dt
        rows = np.flatnonzero(np.isin(dt.image_idx, images)).tolist()
        return [(int(dt.image_idx[row]), _digest(dt, row)) for row in rows]


def _digest(dt: Segments, row: int) -> bytes:
    said = f"{dt.category_ids[row]} {float(dt.scores[row])!r} {dt.rle(row)['counts']}"
    return hashlib.blake2b(said.encode(), digest_size=16).digest()


def copies(
    truth: Truth, shards: Sequence[Shard], found: Sequence[list[tuple[int, bytes]]]
) -> Iterator[Problem]:
    """Find images of which two shards hold one prediction, as scoring refuses them."""
    seen: dict[tuple[int, bytes], Shard] = {}
    told = set()
    for shard, rows in zip(shards, found, strict=bool(found)):
        for row in rows:
            first = seen.setdefault(row, shard)
            if first is not shard and (shard, row[0]) not in told:
                told.add((shard, row[0]))
                image_id = truth.images.images[row[0]].id
                what = f"the same prediction is in {first.name}, too."
                yield Problem(str(shard), f"image_id {image_id!r}", what, COPY_HINT)


def _count(truth: Truth, sides: Sides, report: Report) -> None:
    """Count the type's metric with each shard of ground truth, for the faults that this meets."""
    present = np.flatnonzero(sides.dt.n_per_image)
    owner = np.searchsorted(truth.starts, present, side="right") - 1
    for k in np.unique(owner).tolist():
        images = present[owner == k]
        # What is wrong with the ground truth was told of its own shard.
        with reported(lambda _: None), at_hand(truth.shards[k]) as here:
            gt = formats.open(here.path, truth.inputs, whole=False).segments.read(lambda _: None)
            gt_part = truth_part(truth, k, images, gt)
            dt_part = images_at(sides.dt, images)
            count_type(gt_part, dt_part, sides.classes, False, report, lambda done, total: None)


def _joined(
    shards: Sequence[Shard], checked: Sequence[CheckedTruth], class_aware: bool, inputs: Inputs
) -> Truth | None:
    """Put the images of the shards that could be read into one table; None where none could.

    Raises:
        InputError: They are not of one set.
    """
    pairs = [(shard, own.listed) for shard, own in zip(shards, checked, strict=True) if own.listed]
    if not pairs:
        return None
    params = EvalParams(class_aware=class_aware)
    return join_truth([pair[0] for pair in pairs], [pair[1] for pair in pairs], params, inputs)


def _named(problem: Problem, named: Callable[[str], str]) -> Problem:
    """Name the shard where a problem names its copy."""
    file, where, what, hint = map(named, (problem.file, problem.where, problem.what, problem.hint))
    return dataclasses.replace(problem, file=file, where=where, what=what, hint=hint)


def _in_order(found: Sequence[Problem]) -> Iterator[Problem]:
    """Put errors before warnings; of each the ground truth comes first."""
    for severity in ("error", "warning"):
        yield from (problem for problem in found if problem.severity == severity)
