"""Errors and comparisons as small figures, drawn where matplotlib is."""

from typing import TYPE_CHECKING, Any

from entity_api.names import TESTED, Metric

if TYPE_CHECKING:
    from entityseg_bench.compare.comparison import Comparison
    from entityseg_bench.errors.find import ErrorSummary

__all__ = ["plot_comparison", "plot_errors"]


def plot_errors(report: "ErrorSummary", axis: Any = None) -> Any:
    """Draw what each kind of error costs as bars, and return the axis."""
    axis = _axis(axis)
    kinds = list(report.costs)
    axis.barh(kinds, [100 * report.costs[kind].cost for kind in kinds])
    axis.bar_label(axis.containers[0], fmt="%.1f", padding=3)
    axis.invert_yaxis()
    label = "AP$^e$" if report.overlaps_removed else "AP"
    axis.set(xlabel=f"{label} that the errors cost, points")
    return axis


def plot_comparison(comparison: "Comparison", axis: Any = None) -> Any:
    """Draw the tested differences from the first file with their intervals; return the axis."""
    axis = _axis(axis)
    for k, differences in enumerate(comparison.differences):
        rows = [(name, differences[name]) for name in TESTED if name in differences]
        rows = [(name, one) for name, one in rows if one.low == one.low]
        values = [100 * one.value for _, one in rows]
        below = [100 * (one.value - one.low) for _, one in rows]
        above = [100 * (one.high - one.value) for _, one in rows]
        at = [n + 0.15 * k for n in range(len(rows))]
        axis.errorbar(values, at, xerr=[below, above], fmt="o", label=comparison.labels[k + 1])
        axis.set_yticks(range(len(rows)), [Metric.parse(name).text for name, _ in rows])
    axis.axvline(0, color="0.5", linewidth=0.8)
    axis.invert_yaxis()
    axis.set(xlabel=f"difference from {comparison.labels[0]}, points")
    axis.legend()
    return axis


def _axis(axis: Any) -> Any:
    if axis is not None:
        return axis
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]
