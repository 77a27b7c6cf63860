"""Ground truth and predictions in shards, scored shard by shard, here or on many machines.

The two sides may be split in any way. An image, and all predictions of it, is in one shard of each.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams, EvalState, RecordError, evaluate
from entityseg_bench import formats
from entityseg_bench.categories import Task
from entityseg_bench.check import refuse, stop
from entityseg_bench.formats import Inputs, Opened
from entityseg_bench.io import InputError, collector_paused, fingerprint
from entityseg_bench.masks import ListMasks
from entityseg_bench.rules import problems
from entityseg_bench.scale.engines import Engine, InOneProcess
from entityseg_bench.scale.saved import COUNTS, SavedScoring
from entityseg_bench.scale.sources import find_shards
from entityseg_bench.score import read_predictions
from entityseg_bench.selection import rows_of
from entityseg_bench.table import Segments
from entityseg_bench.types import Category, ImageInfo

__all__ = ["Engine", "InOneProcess", "evaluate_shards"]

# True of every shard that does not hold all images.
OF_PARTS = ("images-without-predictions", "no-predictions", "images-without-annotations")

Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Listed:
    """Hold what a shard of ground truth lists."""

    images: list[ImageInfo]
    categories: list[Category]
    task: Task


@dataclasses.dataclass(frozen=True)
class Truth:
    """Hold all images, shard after shard, and what is measured of them.

    Attributes:
        paths: (S,) shards of the ground truth.
        starts: (S + 1,) where each one's images begin.
        images: All images, without their segments.
        params: What to measure.
        inputs: What the files are, where they do not say it.
        boundary: Whether to measure Boundary AP, too.
    """

    paths: list[Path]
    starts: Ints
    images: Segments
    params: EvalParams
    inputs: Inputs
    boundary: bool


def list_images(path: Path, inputs: Inputs) -> Listed:
    """Read a shard of ground truth, check it, and return what it lists."""
    with collector_paused():
        gt = formats.open(path, inputs, whole=False).segments.read()
        refuse(list(problems(gt, None)))
    return Listed(list(gt.images), list(gt.categories), gt.task)


def score_predictions(truth: Truth, path: Path) -> list[SavedScoring]:
    """Score a shard of predictions: one scoring for each shard of ground truth it meets."""
    with collector_paused():
        opened = Opened(truth.images, list(truth.paths))
        sides = read_predictions(opened, truth.images, path, truth.inputs, True, stop)
        dt = sides.dt
        limit = truth.params.max_dets[-1]
        found = [*sides.notes, *problems(truth.images, dt, False, limit, sides.classes == "all")]
        refuse(found)
        warnings = [str(one) for one in found if one.code not in OF_PARTS]
        present = np.flatnonzero(dt.n_per_image)
        owner = np.searchsorted(truth.starts, present, side="right") - 1
        parts = [
            score_part(truth, shard, present[owner == shard], dt)
            for shard in np.unique(owner).tolist() or [0]
        ]
        files = {"name": path.name, "sha256": fingerprint(sides.read["predictions"])}
    described = [_described(part, "predictions", files) for part in parts]
    return [dataclasses.replace(described[0], warnings=warnings), *described[1:]]


def score_rest(truth: Truth, shard: int, images: Ints) -> SavedScoring:
    """Score the images of a shard of ground truth that no predictions name."""
    with collector_paused():
        none = truth.images.replace(predicted=True, where_from="")
        part = score_part(truth, shard, images, none)
    described = _described(part, "predictions", {"name": "none", "sha256": fingerprint([])})
    return dataclasses.replace(described, score_from=None)


def _described(part: SavedScoring, side: str, files: dict[str, str]) -> SavedScoring:
    (shard,) = part.shards
    return dataclasses.replace(part, shards=[shard | {side: files}])


def score_part(truth: Truth, shard: int, images: Ints, dt: Segments) -> SavedScoring:
    """Score some images of one shard of ground truth.

    Args:
        truth: All images.
        shard: Position of the shard.
        images: Positions of the images, rising; all of them are in the shard.
        dt: Predictions on all images.
    """
    opened = formats.open(truth.paths[shard], truth.inputs, whole=False)
    gt = opened.segments.read()
    start, end = truth.starts[shard : shard + 2]
    if [image.id for image in gt.images] != [one.id for one in truth.images.images[start:end]]:
        raise InputError(truth.paths[shard], "", "it changed while it was scored.", "Run again.")
    gt_part, gt_rows = _of_images(gt, images - start)
    dt_part, dt_rows = _of_images(dt, images)
    columns = gt_part.ground_truth(), dt_part.detections()
    ids = [image.id for image in gt_part.images]

    def state(**changes: Any) -> EvalState:
        params = dataclasses.replace(truth.params, **changes)
        try:
            return EvalState.of(evaluate(*columns, params), ids)
        except RecordError as error:
            side, rows = (gt, gt_rows) if error.side == "gt" else (dt, dt_rows)
            hint = "entityseg validate lists every one."
            raise side.error(int(rows[error.idx]), error.what, hint) from None

    counts = dict(zip(COUNTS, (len(ids), len(gt_part), len(dt_part)), strict=True))
    files = {"name": truth.paths[shard].name, "sha256": fingerprint(opened.read)}
    boundary = state(iou_type="boundary") if truth.boundary else None
    shards = [{"ground_truth": files}]
    return SavedScoring(gt.task, shards, counts, [], dt.score_from, state(), boundary)


def _of_images(table: Segments, images: Ints) -> tuple[Segments, Ints]:
    """Return the segments of some images, and which rows of the table they are."""
    where = np.full(len(table.images) + 1, -1, np.int64)
    where[images] = np.arange(len(images))
    rows = np.flatnonzero(where[table.image_idx] >= 0)
    # Masks of a whole table are read much faster than picked ones.
    part = table if len(rows) == len(table) else rows_of(table, rows)
    return part.replace(
        images=[table.images[idx] for idx in images.tolist()], image_idx=where[part.image_idx]
    ), rows


def evaluate_shards(
    gt_path: str | Path,
    dt_path: str | Path,
    engine: Engine,
    params: EvalParams | None = None,
    inputs: Inputs | None = None,
    boundary: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SavedScoring:
    """Score predictions in shards against ground truth in shards, equal to one file of each.

    Args:
        gt_path: A pattern, a folder of shards, or one file.
        dt_path: Likewise.
        engine: Runs the shards.
        params: What to measure; class-agnostic.
        inputs: What the files are, where they do not say it.
        boundary: Whether to measure Boundary AP, too.
        progress: Called with (shards finished, shards).

    Raises:
        InputError: A bad record, with its file, or an image in two shards of a side.
    """
    inputs, paths, dt_paths = inputs or Inputs(), find_shards(gt_path), find_shards(dt_path)
    done, n_steps = 0, len(paths) + len(dt_paths)

    def results(work: Callable[..., Any], items: list[tuple[Any, ...]]) -> list[Any]:
        nonlocal done
        found: dict[int, Any] = {}
        for at, result in engine.run(work, items):
            found[at] = result
            done += 1
            if progress:
                progress(min(done, n_steps), n_steps)
        return [found[at] for at in range(len(items))]

    listed = results(list_images, [(path, inputs) for path in paths])
    params = dataclasses.replace(params or EvalParams(), keep_matches=False)
    truth = _truth(paths, listed, params, inputs, boundary)
    owners = [path for path, own in zip(paths, listed, strict=True) for _ in own.images]
    _once([image.id for image in truth.images.images], owners)
    shared = engine.share(truth)
    scored = results(score_predictions, [(shared, path) for path in dt_paths])
    pairs = [(path, part) for path, own in zip(dt_paths, scored, strict=True) for part in own]
    ids = [image_id for _, part in pairs for image_id in part.state.image_ids]
    _once(ids, [path for path, part in pairs for _ in part.state.image_ids])
    seen = set(ids)
    rest = np.array([image.id not in seen for image in truth.images.images], bool)
    items = []
    for shard, (start, end) in enumerate(zip(truth.starts, truth.starts[1:], strict=False)):
        if rest[start:end].any():
            items.append((shared, shard, start + np.flatnonzero(rest[start:end])))
    return SavedScoring.merge([*(part for _, part in pairs), *results(score_rest, items)])


def _truth(
    paths: list[Path],
    listed: list[Listed],
    params: EvalParams,
    inputs: Inputs,
    boundary: bool,
) -> Truth:
    """Put the images of all shards into one table without segments."""
    first = listed[0]
    for path, other in zip(paths, listed, strict=True):
        if other.task != first.task:
            what = f"this is {other.task} ground truth, and {paths[0].name} is {first.task}."
            raise InputError(path, "", what)
    categories = {row.id: row for own in listed for row in own.categories}
    table = Segments.make(
        [image for own in listed for image in own.images],
        [],
        ListMasks([]),
        [],
        task=first.task,
        categories=[categories[key] for key in sorted(categories)],
        where_from=", ".join(map(str, paths[:3])),
    )
    starts = np.cumsum([0, *(len(own.images) for own in listed)])
    return Truth(paths, starts, table, params, inputs, boundary)


def _once(image_ids: Sequence[int | str], owners: Sequence[Path]) -> None:
    """Refuse an image that is in two shards."""
    if len(set(image_ids)) == len(image_ids):
        return
    seen: dict[int | str, Path] = {}
    for image_id, path in zip(image_ids, owners, strict=True):
        if image_id in seen:
            what = f"it is in {seen[image_id].name}, too."
            raise InputError(path, f"image_id {image_id!r}", what, "Each image is in one shard.")
        seen[image_id] = path
