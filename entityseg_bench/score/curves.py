"""Curves of a class-agnostic result: over all areas, with the most detections that count."""

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalResult
from entity_api.result import Scored

__all__ = ["ap_by_iou", "precision_at"]


def precision_at(result: EvalResult, iou_thr: float) -> NDArray[np.float64]:
    """Return precision at each recall threshold, (R,) fractions, nan where not measured.

    Overlaps are removed where the result has that; of the IoU thresholds the nearest is taken.
    """
    at = int(np.argmin(np.abs(np.array(result.params.iou_thrs) - iou_thr)))
    precision = _scored(result).precision[at, :, 0, 0, -1]
    return np.where(precision < 0, np.nan, precision)


def ap_by_iou(result: EvalResult) -> NDArray[np.float64]:
    """Return AP at each IoU threshold, (T,) fractions, nan where not measured; likewise."""
    precision = _scored(result).precision[:, :, 0, 0, -1]
    return np.where(precision[:, 0] < 0, np.nan, precision.mean(axis=1))


def _scored(result: EvalResult) -> Scored:
    return result.disjoint if result.disjoint is not None else result.submitted
