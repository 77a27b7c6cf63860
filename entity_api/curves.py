"""From outcomes sorted by score descending to precision and recall."""

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import _match
from entity_api.groups import Idx
from entity_api.params import EvalParams

__all__ = ["Ranked", "precision_and_recall"]


class Ranked(NamedTuple):
    """Hold n detections of one category, by score descending.

    Attributes:
        order: (n,) positions in what ``outcome_of`` gives.
        scores: (n,) descending.
        ranks: (n,) place in the group.
        outcome_of: Gives the outcomes at an area range and a threshold.
    """

    order: Idx
    scores: NDArray[np.float64]
    ranks: NDArray[np.integer]
    outcome_of: Callable[[int, int], NDArray[np.int8]]

    def within(self, max_det: int) -> tuple[Idx, NDArray[np.float64]]:
        """Return order and scores of those that are among so many of their group."""
        own = self.ranks < max_det
        return (self.order, self.scores) if own.all() else (self.order[own], self.scores[own])


def precision_and_recall(
    ranked: Callable[[int], Iterable[Ranked]], n_gt: NDArray[np.int64], params: EvalParams
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Compute the arrays of `Scored`.

    Args:
        ranked: Gives the detections of a category, in parts of which each has lower scores than the
            one before, or equal ones.
        n_gt: (K, A) ground truth that counts.
        params: Thresholds and limits.

    Returns:
        Precision, recall and scores.
    """
    n_thrs, n_recs, (n_cats, n_areas) = len(params.iou_thrs), len(params.rec_thrs), n_gt.shape
    n_limits = len(params.max_dets)
    shape = (n_thrs, n_recs, n_cats, n_areas, n_limits)
    precision, score_at = np.full(shape, -1.0), np.full(shape, -1.0)
    recall = np.full((n_thrs, n_cats, n_areas, n_limits), -1.0)
    rec_thrs = np.array(params.rec_thrs, np.float64)
    for k in range(n_cats):
        areas = np.flatnonzero(n_gt[k]).tolist()
        counts = np.zeros((n_areas, n_thrs, n_limits, 4), np.int64)
        for a in areas:
            precision[:, :, k, a], score_at[:, :, k, a] = 0, 0
        for part in ranked(k) if areas else ():
            kept = [part.within(max_det) for max_det in params.max_dets]
            for a, t in itertools.product(areas, range(n_thrs)):
                outcome = part.outcome_of(a, t)
                for m, (order, scores) in enumerate(kept):
                    _match.add_to_curve(
                        outcome,
                        order,
                        scores,
                        int(n_gt[k, a]),
                        rec_thrs,
                        counts[a, t, m],
                        precision[t, :, k, a, m],
                        score_at[t, :, k, a, m],
                    )
        for a in areas:
            recall[:, k, a] = counts[a, :, :, 0] / n_gt[k, a]
            rising = np.maximum.accumulate(precision[:, ::-1, k, a], axis=1)
            precision[:, :, k, a] = rising[:, ::-1]
    return precision, recall, score_at
