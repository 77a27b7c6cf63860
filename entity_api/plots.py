"""Precision over recall, and AP over the IoU threshold, drawn where matplotlib is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["plot_precision"]

# Thresholds whose curves are drawn, as far as they were scored.
DRAWN = (0.5, 0.75, 0.9)


def plot_precision(
    passes: Mapping[str, NDArray[np.float64]],
    iou_thrs: Sequence[float],
    rec_thrs: Sequence[float],
    axes: Any = None,
) -> Any:
    """Draw the curves of the first pass on the left, and AP over the threshold of all on the right.

    Args:
        passes: Label -> precision (T, R, K) in [0, 1], -1 for a category without ground truth;
            categories are averaged.
        iou_thrs: (T,).
        rec_thrs: (R,).
        axes: Two of matplotlib's; a new figure by default.

    Returns:
        The two axes.
    """
    if axes is None:
        import matplotlib.pyplot as plt

        _, axes = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
    left, right = axes
    thrs = np.array(iou_thrs)
    curves = {
        label: np.ma.masked_less(precision, 0).mean(axis=2).filled(np.nan)
        for label, precision in passes.items()
    }
    main = next(iter(curves))
    drawn = [int(np.flatnonzero(np.isclose(thrs, thr))[0]) for thr in DRAWN
             if np.isclose(thrs, thr).any()] or range(min(3, len(thrs)))  # fmt: skip
    for t in drawn:
        left.plot(rec_thrs, 100 * curves[main][t], label=f"IoU {thrs[t]:.2f}")
    left.set(xlabel="recall", ylabel="precision, %", ylim=(0, 101))
    left.legend()
    for label, of_pass in curves.items():
        right.plot(thrs, 100 * of_pass.mean(axis=1), "o-" if label == main else "o--", label=label)
    if len(curves) > 1:
        right.legend()
    right.set(xlabel="IoU threshold", ylabel=f"{main}, %", ylim=(0, None))
    return axes
