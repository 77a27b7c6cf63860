"""AP and AP^e: group, intersect, match, accumulate, summarize.

AP is COCO's average precision (Lin et al., "Microsoft COCO", 2014; protocol of cocoapi's
``COCOeval``) with every category collapsed to one. AP^e is the same after overlaps between the
predictions of an image are removed: each pixel goes to the highest score that covers it (Qi et al.,
"High-Quality Entity Segmentation", ICCV 2023).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api.curves import Ranked, precision_and_recall
from entity_api.groups import by_score_descending, group
from entity_api.images import Run
from entity_api.inputs import check_names, detections_of, ground_truth_of
from entity_api.loading import loaded
from entity_api.params import EvalParams
from entity_api.result import EvalResult, Matches, Scored, summarize
from entity_api.tables import Detections, GroundTruth
from entity_api.void import cut_to_labelled

__all__ = ["accumulate", "evaluate"]


def evaluate(
    gt: GroundTruth | Mapping[str, Any] | Sequence[Any] | str | Path,
    dt: Detections | Mapping[Any, Any] | Sequence[Any] | str | Path,
    params: EvalParams | None = None,
    progress: Callable[[int], None] | None = None,
) -> EvalResult:
    """Score detections against ground truth.

    Masks may be run-length codes, polygons, or dense arrays and tensors (H, W), everywhere.

    Args:
        gt: Columns; a COCO dictionary, a `COCO` object, or the path of COCO JSON; or a list of the
            masks of each image (see `GroundTruth.from_masks`).
        dt: Columns; a list of COCO results or the path of one; or the masks of each image with
            their scores (see `entity_api.inputs.detections_of`).
        params: Thresholds, ranges, grouping, threads.
        progress: Called with the number of images finished since the last call.

    Returns:
        Metrics of the masks as submitted (AP ...) and with overlaps removed (APe ...), the arrays
        behind them, the matches, and what overlapped.

    Raises:
        RecordError: A record that cannot be scored, with its side and position.
        ValueError: Sides of another form.

    Examples:
        >>> mask = rle.encode(np.array([[0, 1], [0, 1]]))
        >>> truth = {"images": [{"id": 7, "height": 2, "width": 2}],
        ...          "annotations": [{"id": 1, "image_id": 7, "segmentation": mask}]}
        >>> from entity_api import EvalParams, evaluate
        >>> result = evaluate(truth, [{"image_id": 7, "segmentation": mask, "score": 0.9}],
        ...                   EvalParams(max_dets=(1, 10, 100)))
        >>> round(result.metrics["AP"], 6), round(result.metrics["APe"], 6)
        (1.0, 1.0)
        >>> masks = np.ones((1, 8, 8), bool)
        >>> round(evaluate([masks], [(masks, [0.9])]).metrics["APe"], 6)
        1.0
    """
    params = params or EvalParams()
    boxes = params.iou_type == "bbox"
    gt, dt = loaded(gt, "ground truth"), loaded(dt, "detections")
    check_names(gt, dt)
    gt = ground_truth_of(gt, boxes)
    dt = detections_of(dt, gt, boxes)
    dt, on_void = cut_to_labelled(gt, dt) if not boxes else (dt, np.zeros(len(dt.scores), bool))
    groups = group(gt, dt, params, on_void)
    run = Run(gt, dt, params, groups)
    run.all_images(progress)
    submitted = accumulate(run.submitted, dt.scores, params)
    disjoint = None
    if run.removes_overlaps:
        disjoint = submitted
        if run.overlap.n_images:
            disjoint = accumulate(run.disjoint(), dt.scores, params)
    return EvalResult(
        params=params,
        metrics=summarize(submitted, disjoint, params),
        submitted=submitted,
        disjoint=disjoint,
        overlap=run.overlap if run.removes_overlaps else None,
        groups=groups,
        dt=dt,
        on_void=on_void,
    )


def accumulate(matches: Matches, scores: NDArray[np.float64], params: EvalParams) -> Scored:
    """Turn matches into precision and recall for each threshold, category, area and limit.

    Args:
        matches: As found by `evaluate`.
        scores: (D,) of the detection records.
        params: Thresholds and limits.
    """
    groups = matches.groups
    n_gt = [
        [np.count_nonzero(groups.gt_category[~out] == k) for out in matches.gt_ignored]
        for k in range(len(groups.category_ids))
    ]
    all_scores = scores[groups.records]

    def ranked(k: int) -> Iterator[Ranked]:
        first, end = groups.category_start[k : k + 2].tolist()
        columns = by_score_descending(all_scores[first:end])
        columns += first
        outcome = matches.outcome
        ranks = groups.ranks[columns]
        yield Ranked(columns, all_scores[columns], ranks, lambda a, t: outcome[a, t])

    counted = np.array(n_gt, np.int64).reshape(-1, len(params.area_ranges))
    arrays = precision_and_recall(ranked, counted, params)
    return Scored(*arrays, matches)
