"""A result as a text table."""

import math
from collections.abc import Mapping
from typing import Protocol

from entity_api.names import KINDS, MARKS, Metric, as_submitted
from entity_api.overlap import Overlap
from entity_api.params import EvalParams
from entity_api.shown import html_table

__all__ = ["html_metrics", "text_table"]


class Printed(Protocol):
    """What is printed of a result, such as `entity_api.EvalResult`."""

    @property
    def metrics(self) -> dict[str, float]:
        """Fractions by name, nan where there is nothing to measure."""

    @property
    def overlap(self) -> Overlap | None:
        """How much overlapped, where overlaps were removed."""

    @property
    def params(self) -> EvalParams:
        """What was measured."""


def text_table(result: Printed) -> str:
    """Lay out the metrics in percent: AP as submitted, AP^e with overlaps removed.

    A metric that there is nothing to measure for is printed as a dash.
    """
    metrics = result.metrics
    own, marks = _metrics_and_marks(metrics)
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
    return "\n\n".join(
        [*blocks, _overlap_line(result.overlap, result.params.overlap_rule)]
    ).rstrip()


def html_metrics(metrics: Mapping[str, float]) -> str:
    """Lay out the same numbers as a small HTML table."""
    own, marks = _metrics_and_marks(metrics)
    rows = [["", *(metric.text for metric in own)]]
    for mark, what in marks.items():
        rows.append([what, *(_percent(metrics[metric.marked(mark).name]) for metric in own)])
    return html_table(rows)


def _metrics_and_marks(metrics: Mapping[str, float]) -> tuple[list[Metric], dict[str, str]]:
    """Return the metrics as submitted, and the marks of the passes that were scored."""
    own = [Metric.parse(name) for name in as_submitted(metrics)]
    scored = {mark: what for mark, what in MARKS.items() if own[0].marked(mark).name in metrics}
    return own, scored


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def _overlap_line(overlap: Overlap | None, rule: str) -> str:
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
