"""What an evaluation found: arrays, matches, twelve numbers."""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from entity_api.groups import Groups
from entity_api.overlap import Overlap
from entity_api.params import EvalParams
from entity_api.tables import Detections

__all__ = ["EvalResult", "Matches", "Scored", "summarize"]

# Labels of COCO's area ranges -> the letter in the metric's name.
LETTERS = {"small": "s", "medium": "m", "large": "l"}


@dataclasses.dataclass(frozen=True)
class Matches:
    """Hold what was matched with what, at each area range and threshold.

    Attributes:
        records: (N,) detection record of each column (see `Groups`).
        ranks: (N,) place in its group, 0 = highest score.
        groups: The order of the columns; with overlaps removed it is without hidden masks.
        outcome: (A, T, N) int8: 0 false positive, 1 true positive, 2 ignored.
        dt_gt: (A, T, N) int32: record of the matched ground truth, or -1; (A, T, 0) where
            `EvalParams.keep_matches` is off.
        gt_dt: (A, T, G) int32: record of the matched detection, or -1.
        gt_ignored: (A, G): a crowd, or outside the area range.
    """

    records: NDArray[np.int64]
    ranks: NDArray[np.int64]
    groups: Groups
    outcome: NDArray[np.int8]
    dt_gt: NDArray[np.int32]
    gt_dt: NDArray[np.int32]
    gt_ignored: NDArray[np.bool_]

    @classmethod
    def empty(
        cls, n_areas: int, n_thrs: int, groups: Groups, n_gt: int, keep: bool = True
    ) -> "Matches":
        """Make the arrays that the images are matched into; without ``dt_gt`` unless kept."""
        n = len(groups.records)
        return cls(
            records=groups.records,
            ranks=groups.ranks,
            groups=groups,
            outcome=np.zeros((n_areas, n_thrs, n), np.int8),
            dt_gt=np.full((n_areas, n_thrs, n if keep else 0), -1, np.int32),
            gt_dt=np.full((n_areas, n_thrs, n_gt), -1, np.int32),
            gt_ignored=np.zeros((n_areas, n_gt), bool),
        )


@dataclasses.dataclass(frozen=True)
class Scored:
    """Hold the arrays of one pass; -1 marks a category without ground truth, as in COCO.

    Attributes:
        precision: (T, R, K, A, M) in [0, 1].
        recall: (T, K, A, M) in [0, 1].
        scores: (T, R, K, A, M) score at which each recall is reached.
        matches: What they were counted from.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    scores: NDArray[np.float64]
    matches: Matches


@dataclasses.dataclass(frozen=True)
class EvalResult:
    """Hold the outcome of one evaluation.

    Attributes:
        params: What was measured.
        metrics: AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl as submitted, then APe ...
            with overlaps removed; fractions in [0, 1], nan where there is nothing to measure.
        submitted: Arrays of the masks as submitted.
        disjoint: Arrays with overlaps removed; the same object where nothing overlaps, None where
            they were not asked for.
        overlap: How much overlapped, or None likewise.
        groups: The order in which records were matched as submitted; `Matches.groups` has that of
            either pass.
        dt: The detections as they were scored: cut to the labelled pixels.
        on_void: (D,) detections on void pixels alone, which are left out and take no rank.
    """

    params: EvalParams
    metrics: dict[str, float]
    submitted: Scored
    disjoint: Scored | None
    overlap: Overlap | None
    groups: Groups
    dt: Detections
    on_void: NDArray[np.bool_]

    @property
    def category_ids(self) -> list[int]:
        """(K,) categories of class-aware scoring; [-1] otherwise."""
        return self.groups.category_ids

    @property
    def precision(self) -> NDArray[np.float64]:
        """Precision as submitted, (T, R, A, M); class-aware (T, R, K, A, M)."""
        return self._without_k(self.submitted.precision)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Recall as submitted, (T, A, M); class-aware (T, K, A, M)."""
        return self._without_k(self.submitted.recall)

    @property
    def matches(self) -> Matches:
        """What was matched with what, as submitted."""
        return self.submitted.matches

    def _without_k(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values if self.params.class_aware else values[..., 0, :, :]

    def per_category(self) -> dict[int, float]:
        """Return AP as submitted of each category of class-aware scoring, nan without gt."""
        return {
            category_id: mean(self.submitted.precision[:, :, k, 0, -1])
            for k, category_id in enumerate(self.category_ids)
        }


def mean(values: NDArray[np.float64]) -> float:
    """Average what was measured: -1 marks what was not, nan where nothing was."""
    measured = values[values > -1]
    return float(np.mean(measured)) if measured.size else math.nan


def summarize(submitted: Scored, disjoint: Scored | None, params: EvalParams) -> dict[str, float]:
    """Reduce the arrays to COCO's twelve numbers, with an ``e`` for overlaps removed."""
    metrics = summarize_one(submitted, params, "")
    if disjoint is not None:
        metrics |= summarize_one(disjoint, params, "e")
    return metrics


def summarize_one(scored: Scored, params: EvalParams, mark: str) -> dict[str, float]:
    """Name and average one pass's arrays."""
    precision, recall = scored.precision, scored.recall
    metrics = {f"AP{mark}": mean(precision[:, :, :, 0, -1])}
    for thr in (0.5, 0.75):
        at = np.isclose(params.iou_thrs, thr)
        metrics[f"AP{mark}{round(100 * thr)}"] = mean(precision[at][:, :, :, 0, -1])
    labels = list(params.area_ranges)
    letters = [LETTERS.get(label, f"_{label}") for label in labels]
    for a in range(1, len(labels)):
        metrics[f"AP{mark}{letters[a]}"] = mean(precision[:, :, :, a, -1])
    for m, max_det in enumerate(params.max_dets):
        metrics[f"AR{mark}{max_det}"] = mean(recall[:, :, 0, m])
    for a in range(1, len(labels)):
        metrics[f"AR{mark}{letters[a]}"] = mean(recall[:, :, a, -1])
    return metrics
