"""Files in, result and provenance out."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entity_api import EvalParams, EvalResult, RecordError, evaluate
from entityseg_bench import __version__
from entityseg_bench.coco_records import FileRecords
from entityseg_bench.inputs import Inputs, Sides
from entityseg_bench.io import InputError, collector_paused
from entityseg_bench.rules import Problem, quick_problems
from entityseg_bench.sides import read_sides

if TYPE_CHECKING:
    from entityseg_bench.typed.own_metrics import OwnMetrics

__all__ = ["Scoring", "evaluate_files", "result_record"]

# Version of the result JSON: raised when a field changes its meaning.
SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Scoring:
    """Hold a scored pair of files.

    Attributes:
        gt: Ground truth, one record a segment whatever its type.
        dt: Predictions likewise.
        result: AP and AP^e.
        warnings: What is odd.
        sides: Where both came from, and the type of the ground truth.
        own: The type's own metric; None for entities, which have none.
        boundary: Boundary AP and AP^e, where they were asked for.
    """

    gt: FileRecords
    dt: FileRecords
    result: EvalResult
    warnings: list[Problem]
    sides: Sides
    own: "OwnMetrics | None" = None
    boundary: EvalResult | None = None


def evaluate_files(
    gt_path: str | Path,
    dt_path: str | Path,
    params: EvalParams | None = None,
    progress: Callable[[int, int], None] | None = None,
    predicted_images_only: bool = False,
    inputs: Inputs | None = None,
    boundary: bool = False,
) -> Scoring:
    """Check and score predictions against ground truth of any of the four types.

    Args:
        gt_path: COCO or panoptic JSON, plain or ``.gz``, a semantic list (.txt) or folder of class
            maps, or the root of a data set.
        dt_path: COCO results, a list or wrapped in ``annotations``; panoptic JSON; or a folder of
            class maps, id maps or NPZ.
        params: What to measure.
        progress: Called with (images finished, images to go through) now and then; each time that
            all images are gone through it begins anew.
        predicted_images_only: Leave out images without predictions instead of counting them as
            missed.
        inputs: What the two sides are, where they do not say it.
        boundary: Whether to measure Boundary AP, too.

    Raises:
        InputError: A file or record that would give a wrong number.
    """
    params = params or EvalParams()
    with collector_paused():
        read = progress or (lambda done, total: None)
        sides = read_sides(gt_path, dt_path, inputs or Inputs(), read, predicted_images_only)
        return _evaluate_sides(sides, params, progress, predicted_images_only, boundary)


def _evaluate_sides(
    sides: Sides,
    params: EvalParams,
    progress: Callable[[int, int], None] | None,
    predicted_images_only: bool,
    boundary: bool,
) -> Scoring:
    gt, dt = sides.gt, sides.dt
    if predicted_images_only:
        params = dataclasses.replace(params, image_ids=sides.predicted())
    n_images = len(gt.images if params.image_ids is None else params.image_ids)
    problems = [*sides.notes, *quick_problems(gt, dt, params.class_aware, params.max_dets[-1])]
    refuse([problem for problem in problems if problem.severity == "error"])
    warnings = [problem for problem in problems if problem.severity == "warning"]
    columns = gt.ground_truth(), dt.detections()

    def score(**changes: Any) -> EvalResult:
        done = 0

        def report(n: int) -> None:
            nonlocal done
            done += n
            if progress:
                progress(done, n_images)

        try:
            return evaluate(*columns, dataclasses.replace(params, **changes), report)
        except RecordError as error:
            side = gt if error.side == "gt" else dt
            mend = "entityseg validate lists every one."
            raise side.error(error.idx, error.what, mend) from None

    return Scoring(
        gt,
        dt,
        score(),
        warnings,
        sides,
        own_metrics(sides, score),
        score(iou_type="boundary") if boundary else None,
    )


def own_metrics(sides: Sides, score: Callable[..., EvalResult]) -> "OwnMetrics | None":
    """Return the metric that the type of the ground truth has of its own."""
    if sides.task != "instance":
        return sides.own
    from entityseg_bench.typed.own_metrics import OwnMetrics, instance_metrics

    if sides.class_fault:
        return OwnMetrics("instance", {}, {}, sides.class_fault)
    return instance_metrics(score(class_aware=True, remove_overlaps=False))


def refuse(errors: list[Problem]) -> None:
    """Raise the first of some errors, saying how many more there are."""
    if not errors:
        return
    first, more = errors[0], len(errors) - 1
    tail = f" ({more} more like it: entityseg validate lists them.)" if more else ""
    raise InputError(first.file, first.where, first.what, first.mend + tail)


def result_record(scoring: Scoring) -> dict[str, Any]:
    """Make the result JSON: metrics, parameters, provenance, counts, overlap.

    Metrics are fractions in [0, 1], null where there is nothing to measure. ``task`` is the type of
    the ground truth, and ``own_metrics`` what it is scored by beside AP^e, null for entities (the
    keys are those of `typed.own_metrics.OwnMetrics`: groups of categories, ``per_category``, and
    ``left_out``, why something is missing). ``boundary_metrics`` is ``metrics`` by Boundary IoU,
    null unless asked for.
    """
    result, params = scoring.result, scoring.result.params
    return {
        "schema": SCHEMA,
        "toolkit": {"name": "entityseg-bench", "version": __version__},
        "task": scoring.sides.task,
        "metrics": plain(result.metrics),
        "own_metrics": scoring.own.record() if scoring.own else None,
        "boundary_metrics": plain(scoring.boundary.metrics) if scoring.boundary else None,
        "parameters": {
            "iou_thrs": list(params.iou_thrs),
            "area_ranges": {label: list(ends) for label, ends in params.area_ranges.items()},
            "max_dets": list(params.max_dets),
            "class_aware": params.class_aware,
            "iou_type": params.iou_type,
            "images": "all" if params.image_ids is None else len(params.image_ids),
        },
        "files": scoring.sides.files(),
        "counts": {
            "images": len(scoring.gt.images),
            "ground_truth": len(scoring.gt.records),
            "predictions": len(scoring.dt.records),
        },
        "overlap": overlap_record(result, scoring.gt),
        "warnings": [str(problem) for problem in scoring.warnings],
    }


def plain(metrics: dict[str, float]) -> dict[str, float | None]:
    """Turn nan into null."""
    return {name: None if math.isnan(value) else value for name, value in metrics.items()}


def overlap_record(result: EvalResult, gt: FileRecords, most: int = 10) -> dict[str, Any] | None:
    """Say how much predictions overlap, and in which images most."""
    overlap = result.overlap
    if overlap is None:
        return None
    worst = (-overlap.pixels).argsort(kind="stable")[: min(most, overlap.n_images)]
    return {
        "images": overlap.n_images,
        "pixels": int(overlap.pixels.sum()),
        "share_of_covered": overlap.share,
        "pairs": int(overlap.pairs.sum()) if (overlap.pairs >= 0).all() else None,
        "most": [
            {
                "image_id": gt.images[idx].id,
                "pixels": int(overlap.pixels[idx]),
                "pairs": int(overlap.pairs[idx]) if overlap.pairs[idx] >= 0 else None,
            }
            for idx in worst
        ],
    }
