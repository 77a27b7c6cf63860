"""Ground truth and predictions in shards, scored shard by shard, here or on many machines.

The two sides may be split in any way. What is annotated of an image is in one shard of the ground
truth; its predictions may be in several.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams
from entityseg_bench import formats
from entityseg_bench.categories import Task
from entityseg_bench.formats import Inputs
from entityseg_bench.io import InputError, collector_paused, fingerprint
from entityseg_bench.masks import ListMasks
from entityseg_bench.scale.engines import Engine, InOneProcess, in_order
from entityseg_bench.scale.parts import Truth, described, image_shape, read_shard, score_part
from entityseg_bench.scale.saved import SavedScoring
from entityseg_bench.scale.sources import Shard, at_hand, find_shards
from entityseg_bench.scale.spread import score_spread
from entityseg_bench.score import Sides
from entityseg_bench.score.type_counts import class_ids
from entityseg_bench.table import Segments
from entityseg_bench.types import Category, ImageInfo

__all__ = ["Engine", "InOneProcess", "Listed", "evaluate_shards", "join_truth"]

Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Listed:
    """Hold what a shard of ground truth lists."""

    images: list[ImageInfo]
    n_annotations: Ints
    categories: list[Category]
    class_ids: tuple[int, ...]
    task: Task


def list_images(shard: Shard, inputs: Inputs) -> Listed:
    """Read a shard of ground truth without its masks, and return what it lists."""
    with collector_paused(), at_hand(shard) as here:
        gt = formats.open(here.path, inputs, whole=False).segments.read()
    return Listed(list(gt.images), gt.n_per_image, list(gt.categories), class_ids(gt), gt.task)


def score_predictions(truth: Truth, shard: Shard) -> list[SavedScoring]:
    """Score a shard of predictions: one scoring for each shard of ground truth it meets."""
    with collector_paused(), read_shard(truth, shard) as found:
        present = np.flatnonzero(found.sides.dt.n_per_image)
        owner = np.searchsorted(truth.starts, present, side="right") - 1
        parts = [
            score_part(truth, k, present[owner == k], found.sides)
            for k in np.unique(owner).tolist() or [0]
        ]
        parts[0] = dataclasses.replace(parts[0], warnings=[*found.warnings, *parts[0].warnings])
        return [described(part, found.files, found.named) for part in parts]


def score_rest(truth: Truth, shard: int, images: Ints) -> SavedScoring:
    """Score the images of a shard of ground truth that no predictions name."""
    with collector_paused():
        none = truth.images.replace(predicted=True, where_from="")
        part = score_part(truth, shard, images, Sides(truth.images, none, "some", [], {}))
    files = {"name": "none", "sha256": fingerprint([])}
    return dataclasses.replace(described(part, files), score_from=None)


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
    shards, dt_shards = find_shards(gt_path, inputs), find_shards(dt_path)
    n_done, n_steps = 0, len(shards) + len(dt_shards)

    def done() -> None:
        nonlocal n_done
        n_done += 1
        if progress:
            progress(min(n_done, n_steps), n_steps)

    params = dataclasses.replace(params or EvalParams(), keep_matches=errors)
    items = [(shard, inputs) for shard in shards]
    listed = in_order(engine, list_images, items, done)
    truth = join_truth(shards, listed, params, inputs, boundary, errors)
    shared = engine.share(truth)
    parts = _score_apart(truth, shared, dt_shards, engine, done)
    if parts is None:
        n_steps = n_done + len(dt_shards)
        parts = score_spread(truth, shared, dt_shards, engine, done)
    return SavedScoring.merge(parts)


def _score_apart(
    truth: Truth, shared: Any, shards: Sequence[Shard], engine: Engine, done: Callable[[], None]
) -> list[SavedScoring] | None:
    """Score predictions shard by shard; None as soon as two shards hold some of one image."""
    seen: set[int | str] = set()
    found: dict[int, list[SavedScoring]] = {}
    items = [(shared, shard) for shard in shards]
    with contextlib.closing(engine.run(score_predictions, items)) as results:
        for at, parts in results:
            ids = [image_id for part in parts for image_id in part.state.image_ids]
            if not seen.isdisjoint(ids):
                return None
            seen.update(ids)
            found[at] = parts
            done()
    rest = np.array([image.id not in seen for image in truth.images.images], bool)
    left = []
    for k, (start, end) in enumerate(zip(truth.starts, truth.starts[1:], strict=False)):
        if rest[start:end].any():
            left.append((shared, k, start + np.flatnonzero(rest[start:end])))
    parts = [part for at in range(len(shards)) for part in found[at]]
    return [*parts, *in_order(engine, score_rest, left, done)]


def join_truth(
    shards: list[Shard],
    listed: list[Listed],
    params: EvalParams,
    inputs: Inputs,
    boundary: bool = False,
    errors: bool = False,
) -> Truth:
    """Put the images of all shards into one table without segments."""
    first = listed[0]
    for shard, other in zip(shards, listed, strict=True):
        if other.task != first.task:
            what = f"this is {other.task} ground truth, and {shards[0].name} is {first.task}."
            raise InputError(str(shard), "", what)
    categories = {row.id: row for own in listed for row in own.categories}
    images = numbered([own.images for own in listed], first.task)
    kept = _kept(shards, images, listed)
    starts = np.cumsum([0, *(len(own.images) for own in listed)])
    table = Segments.make(
        [images[at] for own, start in zip(kept, starts, strict=False) for at in start + own],
        [],
        ListMasks([]),
        [],
        task=first.task,
        categories=[categories[key] for key in sorted(categories)],
        where_from=", ".join(map(str, shards[:3])),
    )
    if params.class_aware:
        ids = sorted({class_id for own in listed for class_id in own.class_ids})
        params = dataclasses.replace(params, category_ids=tuple(ids))
    starts = np.cumsum([0, *map(len, kept)])
    return Truth(shards, kept, starts, table, params, inputs, boundary, errors)


def _kept(
    shards: Sequence[Shard], images: Sequence[ImageInfo], listed: Sequence[Listed]
) -> list[Ints]:
    """Choose for each shard the images that are its own, by their place in it.

    An image may be listed in several shards if one alone has annotations of it.

    Raises:
        InputError: Two shards have some, or the image is another one in the second.
    """
    owners = np.repeat(np.arange(len(shards)), [len(own.images) for own in listed])
    n_annotations = np.concatenate([own.n_annotations for own in listed])
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
