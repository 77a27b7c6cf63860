"""Files in, result and provenance out."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from entity_api import EvalParams, EvalResult, RecordError, evaluate
from entityseg_bench import __version__
from entityseg_bench.coco_records import FileRecords, read_ground_truth, read_predictions
from entityseg_bench.io import InputError, sha256
from entityseg_bench.validate import Problem, quick_problems

__all__ = ["Scoring", "evaluate_files", "result_record"]

# Version of the result JSON: raised when a field changes its meaning.
SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Scoring:
    """Hold a scored pair of files."""

    gt: FileRecords
    dt: FileRecords
    result: EvalResult
    warnings: list[Problem]


def evaluate_files(
    gt_path: str | Path,
    dt_path: str | Path,
    params: EvalParams | None = None,
    progress: Callable[[int, int], None] | None = None,
    predicted_images_only: bool = False,
) -> Scoring:
    """Check and score a prediction file.

    Args:
        gt_path: COCO ground truth, ``.json`` or ``.json.gz``.
        dt_path: COCO results, a list or wrapped in ``annotations``.
        params: What to measure.
        progress: Called with (images finished, images to score) now and then.
        predicted_images_only: Leave out images without predictions instead of counting them as
            missed.

    Raises:
        InputError: A file or record that would give a wrong number.
    """
    params = params or EvalParams()
    gt = read_ground_truth(gt_path)
    dt = read_predictions(dt_path, gt)
    if predicted_images_only:
        predicted = [gt.images[idx].id for idx in np.unique(dt.image_idx) if idx >= 0]
        params = dataclasses.replace(params, image_ids=predicted)
    n_images = len(gt.images if params.image_ids is None else params.image_ids)
    problems = list(quick_problems(gt, dt, params.class_aware))
    refuse([problem for problem in problems if problem.severity == "error"])
    done = 0

    def report(n: int) -> None:
        nonlocal done
        done += n
        if progress:
            progress(done, n_images)

    try:
        result = evaluate(gt.ground_truth(), dt.detections(), params, report)
    except RecordError as error:
        side = gt if error.side == "gt" else dt
        raise side.error(error.idx, error.what, "entityseg validate lists every one.") from None
    return Scoring(gt, dt, result, [p for p in problems if p.severity == "warning"])


def refuse(errors: list[Problem]) -> None:
    """Raise the first of some errors, saying how many more there are."""
    if not errors:
        return
    first, more = errors[0], len(errors) - 1
    tail = f" ({more} more like it: entityseg validate lists them.)" if more else ""
    raise InputError(first.file, first.where, first.what, first.mend + tail)


def result_record(scoring: Scoring) -> dict[str, Any]:
    """Make the result JSON: metrics, parameters, provenance, counts, overlap.

    Metrics are fractions in [0, 1], null where there is nothing to measure.
    """
    result, params = scoring.result, scoring.result.params
    files = {"ground_truth": scoring.gt.path, "predictions": scoring.dt.path}
    return {
        "schema": SCHEMA,
        "toolkit": {"name": "entityseg-bench", "version": __version__},
        "metrics": {k: None if math.isnan(v) else v for k, v in result.metrics.items()},
        "parameters": {
            "iou_thrs": list(params.iou_thrs),
            "area_ranges": {label: list(ends) for label, ends in params.area_ranges.items()},
            "max_dets": list(params.max_dets),
            "class_aware": params.class_aware,
            "iou_type": params.iou_type,
            "images": "all" if params.image_ids is None else len(params.image_ids),
        },
        "files": {
            side: {"name": path.name, "sha256": sha256(path)} for side, path in files.items()
        },
        "counts": {
            "images": len(scoring.gt.images),
            "ground_truth": len(scoring.gt.records),
            "predictions": len(scoring.dt.records),
        },
        "overlap": overlap_record(result, scoring.gt),
        "warnings": [str(problem) for problem in scoring.warnings],
    }


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
