"""Ground truth and predictions that a program holds, brought to the table that files are read into.

What is in memory goes through the same rules as what is in files.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from entity_api import Detections, EvalParams, GroundTruth, RecordError
from entity_api.inputs import detections_of, ground_truth_of
from entityseg_bench import formats
from entityseg_bench.check import stop
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats import Inputs, Opened
from entityseg_bench.io import InputError, collector_paused
from entityseg_bench.masks import CodedMasks
from entityseg_bench.score.files import (
    BENCHMARK,
    Scoring,
    Sides,
    evaluate_files,
    evaluate_sides,
    read_predictions,
)
from entityseg_bench.score.protocols import protocol_of
from entityseg_bench.table import LazySegments, Segments
from entityseg_bench.types import Category, ImageInfo

__all__ = ["evaluate", "open_truth"]


def evaluate(
    gt: Any,
    dt: Any,
    params: EvalParams | None = None,
    *,
    inputs: Inputs | None = None,
    progress: Callable[[int, int], None] | None = None,
    predicted_images_only: bool = False,
    boundary: bool = False,
    protocol: str = BENCHMARK,
) -> Scoring:
    """Check and score predictions against ground truth, files or what a program holds.

    The rules, warnings and numbers are those of ``entityseg evaluate``.

    Args:
        gt: A path of anything that the command takes, an `EntityDataset`, a COCO dictionary, or
            what else `entity_api.evaluate` takes.
        dt: A path likewise, a list of COCO results, masks and scores of each image, or what else
            `entity_api.evaluate` takes.
        params: What to measure.
        inputs: What paths are, where they do not say it.
        progress: Called with (images finished, images to go through) now and then.
        predicted_images_only: Leave out images without predictions instead of counting them as
            missed.
        boundary: Whether to measure Boundary AP, too.
        protocol: As in `evaluate_files`.

    Raises:
        InputError: A file, record or mask that would give a wrong number.
        ValueError: There is no such protocol.
    """
    chosen = protocol_of(protocol)
    inputs = inputs or Inputs()
    if isinstance(gt, str | Path) and isinstance(dt, str | Path):
        return evaluate_files(
            gt, dt, params, progress, predicted_images_only, inputs, boundary, protocol
        )
    only = predicted_images_only or chosen.predicted_images_only
    with collector_paused():
        truth = open_truth(gt, inputs)
        table, notes = chosen.truth(truth.segments.read(stop))
        if isinstance(dt, str | Path):
            sides = read_predictions(truth, table, Path(dt), inputs, only, stop)
        else:
            sides = Sides(table, _predictions(dt, table), "some", [], _read(truth))
        sides = dataclasses.replace(sides, notes=[*notes, *sides.notes], protocol=protocol)
        settled = chosen.settled(params or EvalParams())
        return evaluate_sides(sides, settled, progress, only, boundary)


def open_truth(source: Any, inputs: Inputs) -> Opened:
    """Open ground truth: a path, a data set, or what `entity_api.evaluate` takes.

    Raises:
        InputError: It cannot be read, or an annotation cannot be scored.
    """
    if isinstance(source, str | Path):
        return formats.open(source, inputs, whole=False)
    if isinstance(source, EntityDataset):
        return Opened(source.records.replace(where_from=source.where or "ground truth"), [])
    if isinstance(source, Segments | LazySegments):
        return Opened(source, [])
    content = getattr(source, "dataset", source)
    try:
        table = ground_truth_of(content)
    except RecordError as error:
        raise InputError("ground truth", f"record {error.idx}", f"{error.what}.") from None
    except ValueError as error:
        raise InputError("ground truth", "", f"{error}.") from None
    rows = content if isinstance(content, Mapping) else {}
    names = [image.get("file_name") or "" for image in rows.get("images") or ()]
    images = [
        ImageInfo(image_id, names[idx] if names else "", height, width)
        for idx, (image_id, (height, width)) in enumerate(
            zip(table.image_ids, table.sizes.tolist(), strict=True)
        )
    ]
    segments = Segments.make(
        images,
        table.image_idx,
        CodedMasks(table.counts),
        table.ids,
        category_ids=table.category_ids,
        areas=table.areas,
        iscrowd=table.iscrowd,
        categories=_categories(rows),
        task=inputs.task or "entity",
        where_from="ground truth",
    )
    return Opened(segments, [])


def _categories(content: Mapping[str, Any]) -> list[Category]:
    """Return the categories that have an id; class-aware scoring misses the others."""
    found = []
    for row in content.get("categories") or ():
        category_id, kind = row.get("id"), row.get("type")
        if isinstance(category_id, int):
            known = kind if kind in ("thing", "stuff") else None
            found.append(Category(category_id, str(row.get("name") or ""), type=known))
    return found


def _predictions(source: Any, gt: Segments) -> Segments:
    """Bring predictions to the table.

    Raises:
        InputError: One that cannot be scored.
    """
    try:
        found = detections_of(source, images_alone(gt))
    except RecordError as error:
        raise InputError("predictions", f"record {error.idx}", f"{error.what}.") from None
    except ValueError as error:
        raise InputError("predictions", "", f"{error}.") from None
    return as_segments(found, gt)


def images_alone(gt: Segments) -> GroundTruth:
    """Return the images of ground truth without its annotations, for predictions to be read."""
    none = np.zeros(0, np.int64)
    return GroundTruth(
        image_ids=[image.id for image in gt.images],
        sizes=gt.sizes,
        image_idx=none,
        counts=[],
        category_ids=none,
        iscrowd=np.zeros(0, bool),
        areas=np.zeros(0),
        ids=none,
    )


def as_segments(found: Detections, gt: Segments) -> Segments:
    """Return detections as a table on the images of the ground truth."""
    return Segments.make(
        gt.images,
        found.image_idx,
        CodedMasks(found.counts),
        np.arange(len(found.scores)),
        category_ids=found.category_ids,
        scores=found.scores,
        predicted=True,
        categories=gt.categories,
        task=gt.task,
        where_from="predictions",
    )


def _read(truth: Opened) -> dict[str, list[Path]]:
    """Say which files the ground truth was read from, if it was from any."""
    return {"ground_truth": truth.read} if truth.read else {}
