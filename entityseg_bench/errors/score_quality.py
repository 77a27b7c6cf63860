"""What scores are worth: precision and recall above a score, and calibration."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Calibration",
    "OperatingPoint",
    "ScoreBin",
    "best_point",
    "calibrate",
    "operating_points",
]

N_BINS = 10

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """Hold what predictions with at least some score find, at IoU 0.5.

    Attributes:
        score: The least score.
        precision: True positives over predictions; nan without any.
        recall: True positives over entities; nan without any.
        f1: Harmonic mean of the two, 2 tp / (predictions + entities).
        tp: True positives.
        fp: False positives.
        fn: Entities that are not found.
    """

    score: float
    precision: float
    recall: float
    f1: float
    tp: int
    fp: int
    fn: int


def operating_points(
    scores: Floats, right: Bools, n_gt: int, least: Sequence[float]
) -> list[OperatingPoint]:
    """Count what is found above some scores.

    A prediction's match depends on higher scores only, so cutting a file at a score changes no
    match above it.

    Args:
        scores: (N,) of the predictions that count.
        right: (N,) true positives among them.
        n_gt: Entities that count.
        least: Scores at which to cut.
    """
    points = []
    for score in least:
        kept = scores >= score
        n, tp = int(np.count_nonzero(kept)), int(np.count_nonzero(right & kept))
        points.append(
            OperatingPoint(
                score=float(score),
                precision=tp / n if n else math.nan,
                recall=tp / n_gt if n_gt else math.nan,
                f1=2 * tp / (n + n_gt) if n + n_gt else math.nan,
                tp=tp,
                fp=n - tp,
                fn=n_gt - tp,
            )
        )
    return points


def best_point(scores: Floats, right: Bools, n_gt: int) -> OperatingPoint | None:
    """Find the score above which F1 is highest, the higher score where two are equal.

    Returns:
        Its operating point; None without predictions.
    """
    if not len(scores):
        return None
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    # Predictions of one score stand or fall together.
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    f1 = 2 * np.cumsum(right[order])[last] / (last + 1 + n_gt)
    return operating_points(scores, right, n_gt, [ordered[last[int(np.argmax(f1))]]])[0]


@dataclasses.dataclass(frozen=True)
class ScoreBin:
    """Hold the predictions with scores from ``low`` up to ``high``.

    Attributes:
        low: Included.
        high: Excluded, but for the last bin's.
        n: Predictions.
        score: Their mean score; nan without any, like the next two.
        tp_rate: Share of true positives at IoU 0.5.
        iou: Mean IoU with their best entity.
    """

    low: float
    high: float
    n: int
    score: float
    tp_rate: float
    iou: float


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Say how well scores tell what they promise.

    Attributes:
        bins: Ten of equal width over [0, 1], or over the range of scores that leave it.
        ece_tp: Expected calibration error (Naeini et al., AAAI 2015): mean over predictions of how
            far their bin's mean score is from its share of true positives; nan where a score is
            outside [0, 1] and so is no probability.
        ece_iou: The same from the bin's mean IoU.
    """

    bins: list[ScoreBin]
    ece_tp: float
    ece_iou: float


def calibrate(scores: Floats, right: Bools, iou: Floats) -> Calibration:
    """Compare scores with what became of their predictions.

    Args:
        scores: (N,) of the predictions that count.
        right: (N,) true positives among them.
        iou: (N,) of each with its best entity.
    """
    is_share = not len(scores) or (scores.min() >= 0 and scores.max() <= 1)
    ends = (0.0, 1.0) if is_share else (float(scores.min()), float(scores.max()))
    edges = np.linspace(*ends, N_BINS + 1)
    which = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, N_BINS - 1)
    bins = []
    for k in range(N_BINS):
        own = which == k
        n = int(np.count_nonzero(own))
        means = [float(v[own].mean()) if n else math.nan for v in (scores, right, iou)]
        bins.append(ScoreBin(float(edges[k]), float(edges[k + 1]), n, *means))
    if not is_share or not len(scores):
        return Calibration(bins, math.nan, math.nan)
    used = [own for own in bins if own.n]
    weights = np.array([own.n for own in used]) / len(scores)
    gaps_tp, gaps_iou = (
        np.abs([own.score - getattr(own, name) for own in used]) for name in ("tp_rate", "iou")
    )
    return Calibration(bins, float(weights @ gaps_tp), float(weights @ gaps_iou))
