"""The result of a scoring as JSON."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from entity_api import EvalParams, Overlap
from entity_api.groups import rising
from entityseg_bench import __version__
from entityseg_bench.score.files import BENCHMARK, Scoring

__all__ = ["SCHEMA", "overlap_record", "parameters_record", "plain", "result_record"]

# Version of the result JSON: raised when a field changes its meaning. From 2 on, masks that overlap
# removal hides whole cost nothing in AP^e.
SCHEMA = 2


def result_record(scoring: Scoring) -> dict[str, Any]:
    """Make the result JSON: metrics, parameters, provenance, counts, overlap.

    Metrics are fractions in [0, 1], null where there is nothing to measure. ``task`` is the type of
    the ground truth, and ``own_metrics`` the type's metric beside AP^e, null for entities (the
    keys are those of `type_metrics.TypeMetrics`: groups of categories, ``per_category``, and
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
        "parameters": parameters_record(params, scoring.sides.protocol),
        "files": scoring.sides.files(),
        "score_from": scoring.dt.score_from,
        "counts": {
            "images": len(scoring.gt.images),
            "ground_truth": len(scoring.gt),
            "predictions": len(scoring.dt),
        },
        "overlap": overlap_record(result.overlap, [image.id for image in scoring.gt.images]),
        "warnings": [str(problem) for problem in scoring.warnings],
    }


def parameters_record(params: EvalParams, protocol: str = BENCHMARK) -> dict[str, Any]:
    """Say what was measured."""
    return {
        "protocol": protocol,
        "iou_thrs": list(params.iou_thrs),
        "area_ranges": {label: list(ends) for label, ends in params.area_ranges.items()},
        "max_dets": list(params.max_dets),
        "ap_max_det": params.ap_limit,
        "overlap_rule": params.overlap_rule,
        "class_aware": params.class_aware,
        "iou_type": params.iou_type,
        "images": "all" if params.image_ids is None else len(params.image_ids),
    }


def plain(metrics: dict[str, float]) -> dict[str, float | None]:
    """Turn nan into null."""
    return {name: None if math.isnan(value) else value for name, value in metrics.items()}


def overlap_record(
    overlap: Overlap | None, image_ids: Sequence[int | str], most: int = 10
) -> dict[str, Any] | None:
    """Say how much predictions overlap, and in which images most; of equal ones by rising id."""
    if overlap is None:
        return None
    by_id = np.array(list(rising(image_ids)), np.int64)
    order = by_id[(-overlap.pixels[by_id]).argsort(kind="stable")]
    worst = order[: min(most, overlap.n_images)].tolist()
    return {
        "images": overlap.n_images,
        "pixels": int(overlap.pixels.sum()),
        "share_of_covered": overlap.share,
        "hidden": int(overlap.hidden.sum()),
        "pairs": int(overlap.pairs.sum()) if (overlap.pairs >= 0).all() else None,
        "most": [
            {
                "image_id": image_ids[idx],
                "pixels": int(overlap.pixels[idx]),
                "pairs": int(overlap.pairs[idx]) if overlap.pairs[idx] >= 0 else None,
            }
            for idx in worst
        ],
    }
