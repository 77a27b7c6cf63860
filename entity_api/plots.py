"""Curves of a result, drawn where matplotlib is."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from entity_api.result import EvalResult

__all__ = ["plot_result"]

# Thresholds whose curves are drawn, as far as they were scored.
DRAWN = (0.5, 0.75, 0.9)


def plot_result(result: "EvalResult", axes: Any = None) -> Any:
    """Draw precision over recall, and AP over the IoU threshold; overlaps removed where they were.

    Args:
        result: Class-aware ones are averaged over their categories.
        axes: Two of matplotlib's; a new figure by default.

    Returns:
        The two axes.
    """
    if axes is None:
        import matplotlib.pyplot as plt

        _, axes = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
    left, right = axes
    removed, at = result.disjoint is not None, result.params.ap_at
    main = result.disjoint or result.submitted
    # Categories without ground truth are -1, as in COCO.
    curves = np.ma.masked_less(main.precision[:, :, :, 0, at], 0).mean(axis=2).filled(np.nan)
    thrs, label = np.array(result.params.iou_thrs), "AP$^e$" if removed else "AP"
    drawn = [int(np.flatnonzero(np.isclose(thrs, thr))[0]) for thr in DRAWN
             if np.isclose(thrs, thr).any()] or range(min(3, len(thrs)))  # fmt: skip
    for t in drawn:
        left.plot(result.params.rec_thrs, 100 * curves[t], label=f"IoU {thrs[t]:.2f}")
    left.set(xlabel="recall", ylabel="precision, %", ylim=(0, 101))
    left.legend()
    right.plot(thrs, 100 * curves.mean(axis=1), "o-", label=label)
    if removed and result.disjoint is not result.submitted:
        plain = np.ma.masked_less(result.submitted.precision[:, :, :, 0, at], 0).mean(axis=(1, 2))
        right.plot(thrs, 100 * plain.filled(np.nan), "o--", label="AP, masks as submitted")
        right.legend()
    right.set(xlabel="IoU threshold", ylabel=f"{label}, %", ylim=(0, None))
    return axes
