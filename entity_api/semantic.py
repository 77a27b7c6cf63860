"""Mean IoU of semantic label maps, with the accuracies that are printed beside it."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["IGNORE", "SemanticError", "SemanticResult", "count", "summarize"]

IGNORE = 255


class SemanticError(ValueError):
    """Raised for label maps that cannot be counted.

    Examples:
        >>> semantic.count(np.array([[0, 1]]), np.array([[0, 1, 1]]), n_classes=2)
        Traceback (most recent call last):
        entity_api.semantic.SemanticError: the maps have sizes [1, 2] and [1, 3]
    """


class SemanticResult(NamedTuple):
    """Hold the metrics of label maps as fractions in [0, 1], nan where there is nothing to measure.

    Attributes:
        mIoU: Mean of ``iou`` over the classes that occur in the ground truth.
        fwIoU: The same mean, weighted by the number of ground-truth pixels of each class.
        mACC: Mean of ``accuracy`` over the classes that occur in the ground truth.
        pACC: Share of labelled pixels whose class is predicted correctly.
        iou: (C,) intersection over union of each class.
        accuracy: (C,) share of each class's pixels that are predicted correctly (recall).

    Examples:
        >>> counts = semantic.count(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]]), n_classes=2)
        >>> result = semantic.summarize(counts)
        >>> result.iou.round(3).tolist(), result.accuracy.tolist()
        ([0.5, 0.667], [0.5, 1.0])
    """

    mIoU: float
    fwIoU: float
    mACC: float
    pACC: float
    iou: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def count(
    gt: NDArray[Any], dt: NDArray[Any], n_classes: int, ignore: int = IGNORE
) -> NDArray[np.int64]:
    """Count the pixels of one image by predicted and true label. Counts of images can be added.

    Args:
        gt: (H, W) of labels 0..C-1, or ``ignore`` for pixels that are not scored.
        dt: (H, W) of labels 0..C-1, or ``ignore`` for pixels without a predicted class. Such a
            prediction is wrong where the ground truth has a class.
        n_classes: Number of classes, C.
        ignore: The label that stands for no class.

    Returns:
        (C + 1, C) int64: ``[p, g]`` is the number of pixels with predicted class p and true class
        g. Row C counts the pixels without a predicted class.

    Raises:
        SemanticError: The maps differ in size, or a label is neither a class nor ``ignore``.

    Examples:
        >>> gt, dt = np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 0]])
        >>> semantic.count(gt, dt, n_classes=2).tolist()
        [[1, 0], [1, 1], [0, 0]]
    """
    gt, dt = np.asarray(gt), np.asarray(dt)
    if gt.shape != dt.shape or gt.ndim != 2:
        raise SemanticError(f"the maps have sizes {list(gt.shape)} and {list(dt.shape)}")
    span = max(n_classes, ignore + 1)
    for side, labels in (("ground-truth", gt), ("predicted", dt)):
        _check_labels(side, labels, n_classes, ignore)
    code = dt.astype(np.intp)
    code *= span
    code += gt.astype(np.intp, copy=False)
    table = np.bincount(code.ravel(), minlength=span * span).reshape(span, span)
    counted = np.vstack([table[:n_classes, :n_classes], table[ignore, :n_classes]])
    return counted.astype(np.int64, copy=False)


def _check_labels(side: str, labels: NDArray[Any], n_classes: int, ignore: int) -> None:
    if labels.dtype.kind not in "iu":
        raise SemanticError(f"the {side} map holds {labels.dtype}, not whole numbers")
    outside = (labels < 0) | ((labels >= n_classes) & (labels != ignore))
    if outside.any():
        raise SemanticError(
            f"the {side} map has the label {labels[outside][0]}; labels are 0..{n_classes - 1}, "
            f"and {ignore} outside of them"
        )


def summarize(counts: NDArray[np.int64]) -> SemanticResult:
    """Compute the metrics from counts that are summed over the images.

    A class that does not occur in the ground truth is not averaged. Where it is predicted, that is
    an error of the class that the pixel really has. Predictions on ignored pixels are no errors:
    `count` leaves them out.

    Args:
        counts: (C + 1, C) as `count` returns them.

    Examples:
        >>> first = semantic.count(np.array([[0, 0]]), np.array([[0, 1]]), n_classes=2)
        >>> second = semantic.count(np.array([[1, 1]]), np.array([[1, 1]]), n_classes=2)
        >>> total = first + second
        >>> round(semantic.summarize(total).mIoU, 3)
        0.583
    """
    right = np.diagonal(counts).astype(np.float64)
    in_gt = counts.sum(axis=0).astype(np.float64)
    in_dt = counts[:-1].sum(axis=1).astype(np.float64)
    present = in_gt > 0
    nan = np.full(len(right), np.nan)
    iou = np.divide(right, in_gt + in_dt - right, out=nan.copy(), where=present)
    accuracy = np.divide(right, in_gt, out=nan, where=present)
    if not present.any():
        return SemanticResult(np.nan, np.nan, np.nan, np.nan, iou, accuracy)
    share = in_gt[present] / in_gt.sum()
    return SemanticResult(
        mIoU=float(iou[present].mean()),
        fwIoU=float((iou[present] * share).sum()),
        mACC=float(accuracy[present].mean()),
        pACC=float(right.sum() / in_gt.sum()),
        iou=iou,
        accuracy=accuracy,
    )
