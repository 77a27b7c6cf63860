"""A result as a text table."""

import math
from typing import TYPE_CHECKING

from entity_api.names import KINDS, MARKS, Metric, as_submitted
from entity_api.shown import html_table

if TYPE_CHECKING:
    from entity_api.result import EvalResult

__all__ = ["html_metrics", "text_table"]


def text_table(result: "EvalResult") -> str:
    """Lay out the metrics in percent: AP as submitted, AP^e with overlaps removed.

    A metric that there is nothing to measure for is printed as a dash.
    """
    metrics = result.metrics
    own = [Metric.parse(name) for name in as_submitted(metrics)]
    marks = MARKS if result.disjoint is not None else {"": MARKS[""]}
    blocks = []
    for kind, title in KINDS.items():
        shown = [metric for metric in own if metric.kind == kind]
        width = max(8, *(len(metric.heading) + 1 for metric in shown)) if shown else 8
        lines = [f"{title:28}" + "".join(f"{metric.heading:>{width}}" for metric in shown)]
        for mark, what in marks.items():
            values = (_percent(metrics[metric.marked(mark).name]) for metric in shown)
            cells = "".join(f"{value:>{width}}" for value in values)
            lines.append(f"{Metric(kind, mark).text:6}{what:22}{cells}")
        blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, _overlap_line(result)]).rstrip()


def html_metrics(result: "EvalResult") -> str:
    """Lay out the same numbers as a small HTML table."""
    metrics = result.metrics
    own = [Metric.parse(name) for name in as_submitted(metrics)]
    marks = MARKS if result.disjoint is not None else {"": MARKS[""]}
    rows = [["", *(metric.text for metric in own)]]
    for mark, what in marks.items():
        rows.append([what, *(_percent(metrics[metric.marked(mark).name]) for metric in own)])
    return html_table(rows)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def _overlap_line(result: "EvalResult") -> str:
    overlap, rule = result.overlap, result.params.overlap_rule
    if overlap is None:
        return ""
    if not overlap.n_images:
        return "No predictions overlap: AP^e and AP are one and the same."
    other = (
        f"\nOverlap rule {rule}: not the benchmark's, which is score." if rule != "score" else ""
    )
    pairs = f"{overlap.pairs.sum():,} pairs of masks, " if (overlap.pairs >= 0).all() else ""
    hidden = int(overlap.hidden.sum())
    note = f" {hidden:,} masks are hidden whole by others: AP^e leaves them out." if hidden else ""
    return (
        f"Predictions overlap in {overlap.n_images:,} of {len(overlap.pixels):,} images: {pairs}"
        f"{overlap.pixels.sum():,} pixels, {100 * overlap.share:.2f} % of all covered."
        + note.replace(" ", "\n", 1)
        + other
    )
