"""Ground truth and predictions in shards, scored shard by shard, here or on many machines.

The two sides may be split in any way. An image, and all predictions of it, is in one shard of each.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams, RecordError
from entityseg_bench import formats
from entityseg_bench.categories import Task
from entityseg_bench.check import refuse, stop
from entityseg_bench.errors.judgements import Judgements
from entityseg_bench.formats import Inputs, Opened
from entityseg_bench.io import InputError, collector_paused, fingerprint
from entityseg_bench.masks import ListMasks
from entityseg_bench.rules import OF_PARTS, problems
from entityseg_bench.scale.engines import Engine, InOneProcess
from entityseg_bench.scale.saved import SavedScoring
from entityseg_bench.scale.sources import find_shards
from entityseg_bench.score import Sides, read_predictions, score_sides
from entityseg_bench.score.type_counts import class_ids
from entityseg_bench.selection import rows_of
from entityseg_bench.table import Segments
from entityseg_bench.types import Category, ImageInfo

__all__ = ["Engine", "InOneProcess", "evaluate_shards"]

Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Listed:
    """Hold what a shard of ground truth lists."""

    images: list[ImageInfo]
    categories: list[Category]
    class_ids: tuple[int, ...]
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
        errors: Whether to tell errors, too.
    """

    paths: list[Path]
    starts: Ints
    images: Segments
    params: EvalParams
    inputs: Inputs
    boundary: bool
    errors: bool


def list_images(path: Path, inputs: Inputs, class_aware: bool) -> Listed:
    """Read a shard of ground truth, check it, and return what it lists."""
    with collector_paused():
        gt = formats.open(path, inputs, whole=False).segments.read()
        refuse(list(problems(gt, None, class_aware)))
    return Listed(list(gt.images), list(gt.categories), class_ids(gt), gt.task)


def score_predictions(truth: Truth, path: Path) -> list[SavedScoring]:
    """Score a shard of predictions: one scoring for each shard of ground truth it meets."""
    with collector_paused():
        opened = Opened(truth.images, list(truth.paths))
        sides = read_predictions(opened, truth.images, path, truth.inputs, True, stop)
        dt, by_class, limit = sides.dt, truth.params.class_aware, truth.params.max_dets[-1]
        rules = problems(truth.images, dt, by_class, limit, sides.classes == "all")
        found = [*sides.notes, *rules]
        refuse(found)
        warnings = [str(one) for one in found if one.code not in OF_PARTS]
        present = np.flatnonzero(dt.n_per_image)
        owner = np.searchsorted(truth.starts, present, side="right") - 1
        parts = [
            score_part(truth, shard, present[owner == shard], sides)
            for shard in np.unique(owner).tolist() or [0]
        ]
        files = {"name": path.name, "sha256": fingerprint(sides.read["predictions"])}
    first = dataclasses.replace(parts[0], warnings=[*warnings, *parts[0].warnings])
    return [_described(part, files) for part in (first, *parts[1:])]


def score_rest(truth: Truth, shard: int, images: Ints) -> SavedScoring:
    """Score the images of a shard of ground truth that no predictions name."""
    with collector_paused():
        none = truth.images.replace(predicted=True, where_from="")
        part = score_part(truth, shard, images, Sides(truth.images, none, "some", [], {}))
    files = {"name": "none", "sha256": fingerprint([])}
    return dataclasses.replace(_described(part, files), score_from=None)


def _described(part: SavedScoring, files: dict[str, str]) -> SavedScoring:
    """Say which predictions were scored."""
    (shard,) = part.shards
    return dataclasses.replace(part, shards=[shard | {"predictions": files}])


def score_part(truth: Truth, shard: int, images: Ints, sides: Sides) -> SavedScoring:
    """Score some images of one shard of ground truth.

    Args:
        truth: All images.
        shard: Position of the shard.
        images: Positions of the images, rising; all of them are in the shard.
        sides: Predictions on all images, without ground truth.
    """
    opened = formats.open(truth.paths[shard], truth.inputs, whole=False)
    gt = opened.segments.read()
    start, end = truth.starts[shard : shard + 2]
    listed = truth.images.images[start:end]
    if [_shape(image) for image in gt.images] != [_shape(image) for image in listed]:
        raise InputError(truth.paths[shard], "", "it changed while it was scored.", "Run again.")
    gt = gt.replace(images=listed)
    gt_part, gt_rows = of_images(gt, images - start)
    dt_part, dt_rows = of_images(sides.dt, images)

    def named(error: RecordError) -> InputError:
        side, rows = (gt, gt_rows) if error.side == "gt" else (sides.dt, dt_rows)
        hint = "entityseg validate lists every one."
        return side.error(int(rows[error.idx]), error.what, hint)

    # The categories of one shard may be some of those of all.
    gt_part = gt_part.replace(categories=truth.images.categories)
    part = Sides(gt_part, dt_part, sides.classes, [], {"ground_truth": opened.read})
    scoring = score_sides(part, truth.params, boundary=truth.boundary, is_part=True, named=named)
    judged = Judgements.judge(scoring, truth.params.remove_overlaps) if truth.errors else None
    return SavedScoring.of(scoring, judged)


def _shape(image: ImageInfo) -> tuple[str, int, int]:
    return image.file_name, image.height, image.width


def of_images(table: Segments, images: Ints) -> tuple[Segments, Ints]:
    """Return the segments of the images at some positions, and which rows of the table they are."""
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

    params = dataclasses.replace(params or EvalParams(), keep_matches=errors)
    listed = results(list_images, [(path, inputs, params.class_aware) for path in paths])
    truth = _truth(paths, listed, params, inputs, boundary, errors)
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
    errors: bool,
) -> Truth:
    """Put the images of all shards into one table without segments."""
    first = listed[0]
    for path, other in zip(paths, listed, strict=True):
        if other.task != first.task:
            what = f"this is {other.task} ground truth, and {paths[0].name} is {first.task}."
            raise InputError(path, "", what)
    categories = {row.id: row for own in listed for row in own.categories}
    table = Segments.make(
        numbered([own.images for own in listed], first.task),
        [],
        ListMasks([]),
        [],
        task=first.task,
        categories=[categories[key] for key in sorted(categories)],
        where_from=", ".join(map(str, paths[:3])),
    )
    starts = np.cumsum([0, *(len(own.images) for own in listed)])
    if params.class_aware:
        ids = sorted({class_id for own in listed for class_id in own.class_ids})
        params = dataclasses.replace(params, category_ids=tuple(ids))
    return Truth(paths, starts, table, params, inputs, boundary, errors)


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
