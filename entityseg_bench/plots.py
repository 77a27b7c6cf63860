"""Small figures of numbers by name, drawn where matplotlib is."""

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Estimate", "plot_bars", "plot_estimates"]


class Estimate(NamedTuple):
    """Hold a value with the ends of its interval, in points; nan ends where there is none."""

    value: float
    low: float
    high: float


def plot_bars(values: Mapping[str, float], label: str, axis: Any = None) -> Any:
    """Draw a bar for each name, from the top down, and return the axis."""
    axis = _axis(axis)
    axis.barh(list(values), list(values.values()))
    axis.bar_label(axis.containers[0], fmt="%.1f", padding=3)
    axis.invert_yaxis()
    axis.set(xlabel=label)
    return axis


def plot_estimates(
    series: Mapping[str, Mapping[str, Estimate]], label: str, axis: Any = None
) -> Any:
    """Draw the estimates of each series by name, those with an interval, and return the axis.

    Args:
        series: Name in the legend -> name on the axis -> estimate. All name the same in one order.
        label: Of the horizontal axis.
        axis: One of matplotlib's; a new figure by default.
    """
    axis = _axis(axis)
    for k, (name, estimates) in enumerate(series.items()):
        drawn = {text: one for text, one in estimates.items() if one.low == one.low}
        values = [one.value for one in drawn.values()]
        below = [one.value - one.low for one in drawn.values()]
        above = [one.high - one.value for one in drawn.values()]
        at = [n + 0.15 * k for n in range(len(drawn))]
        axis.errorbar(values, at, xerr=[below, above], fmt="o", label=name)
        axis.set_yticks(range(len(drawn)), list(drawn))
    axis.axvline(0, color="0.5", linewidth=0.8)
    axis.invert_yaxis()
    axis.set(xlabel=label)
    axis.legend()
    return axis


def _axis(axis: Any) -> Any:
    if axis is not None:
        return axis
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]
