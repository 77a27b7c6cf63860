"""Object keypoint similarity (OKS): how alike two sets of keypoints are, as IoU is for masks.

Definition and constants are those of the COCO keypoint task (Lin et al., "Microsoft COCO", 2014;
cocoapi's ``computeOks``); results equal cocoapi's to the last bit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COCO_SIGMAS", "oks"]

Floats = NDArray[np.float64]

# How far annotators stray, as a share of an object's size, from nose to ankles in COCO's order.
# fmt: off
COCO_SIGMAS = np.array([
    0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72,
    0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89,
]) / 10.0
# fmt: on


def oks(dt: Sequence[Mapping[str, Any]], gt: Sequence[Mapping[str, Any]], sigmas: Floats) -> Floats:
    """Compute the similarity of each detection with each ground truth.

    Args:
        dt: D records with ``keypoints``: x, y, score in turn, K of each, in pixels.
        gt: G annotations with ``keypoints`` (x, y, visibility in turn), ``bbox`` (xywh) and
            ``area``. Where none of the keypoints is labelled, what counts is how far a detection
            lies outside of the box twice as large.
        sigmas: (K,) spread of each keypoint.

    Returns:
        (D, G) in [0, 1].

    Examples:
        >>> person = {"keypoints": [4, 4, 2, 8, 4, 2], "bbox": [0, 0, 10, 10], "area": 100}
        >>> oks([{"keypoints": [4, 4, 1, 8, 4, 1]}], [person], np.array([0.1, 0.1])).tolist()
        [[1.0]]
    """
    out = np.zeros((len(dt), len(gt)))
    if not len(dt):
        return out
    points = np.array([record["keypoints"] for record in dt])
    dt_x, dt_y = points[:, 0::3], points[:, 1::3]
    variances = (np.asarray(sigmas) * 2) ** 2
    for column, annotation in enumerate(gt):
        x, y, visibility = (np.array(annotation["keypoints"][axis::3]) for axis in range(3))
        labelled = visibility > 0
        if labelled.any():
            dx, dy = dt_x - x, dt_y - y
        else:
            left, top, width, height = annotation["bbox"][:4]
            dx = _outside(dt_x, left - width, left + width * 2)
            dy = _outside(dt_y, top - height, top + height * 2)
            labelled = np.ones(len(variances), bool)
        # cocoapi's order of operations, to the last bit.
        errors = (dx**2 + dy**2) / variances / (annotation["area"] + np.spacing(1)) / 2
        alike = np.exp(-np.ascontiguousarray(errors[:, labelled]))
        out[:, column] = np.sum(alike, axis=1) / alike.shape[1]
    return out


def _outside(position: Floats, low: float, high: float) -> Floats:
    """Return by how much positions lie outside of a range, 0 within."""
    return np.maximum(0, low - position) + np.maximum(0, position - high)
