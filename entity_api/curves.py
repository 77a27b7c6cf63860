"""From outcomes sorted by score descending to precision and recall."""

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from entity_api import _match
from entity_api.groups import Idx, by_score_descending
from entity_api.params import EvalParams

__all__ = ["precision_and_recall"]


def precision_and_recall(
    outcome_of: Callable[[int, int], NDArray[np.int8]],
    scores: NDArray[np.float64],
    ranks: Idx,
    category_start: Idx,
    n_gt: NDArray[np.int64],
    params: EvalParams,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Compute the arrays of `Scored` from columns in the order of `Groups`.

    Args:
        outcome_of: Gives the outcomes of all columns, (N,), at an area range and a threshold.
        scores: (N,).
        ranks: (N,) place in the group.
        category_start: (K + 1,) where each category's columns start.
        n_gt: (K, A) ground truth that counts.
        params: Thresholds and limits.

    Returns:
        Precision, recall and scores.
    """
    n_thrs, n_recs, (n_cats, n_areas) = len(params.iou_thrs), len(params.rec_thrs), n_gt.shape
    shape = (n_thrs, n_recs, n_cats, n_areas, len(params.max_dets))
    precision, score_at = np.full(shape, -1.0), np.full(shape, -1.0)
    recall = np.full((n_thrs, n_cats, n_areas, len(params.max_dets)), -1.0)
    rec_thrs = np.array(params.rec_thrs, np.float64)
    for k in range(n_cats):
        columns = np.arange(category_start[k], category_start[k + 1])
        by_score = by_score_descending(scores[columns])
        columns = columns[by_score]
        limits = [columns[ranks[columns] < max_det] for max_det in params.max_dets]
        kept_scores = [scores[kept] for kept in limits]
        for a, t in itertools.product(np.flatnonzero(n_gt[k]).tolist(), range(n_thrs)):
            outcome = outcome_of(a, t)
            for m, (kept, kept_score) in enumerate(zip(limits, kept_scores, strict=True)):
                recall[t, k, a, m] = _match.precision_at_recall(
                    outcome,
                    kept,
                    kept_score,
                    int(n_gt[k, a]),
                    rec_thrs,
                    precision[t, :, k, a, m],
                    score_at[t, :, k, a, m],
                )
    return precision, recall, score_at
