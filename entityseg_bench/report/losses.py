"""The sections on where AP^e is lost and what scores are worth."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from entityseg_bench.errors import KINDS
from entityseg_bench.errors.costs import Cost
from entityseg_bench.report.charts import Axis, Bar, Series, bars, figures, lines
from entityseg_bench.report.findings import Side
from entityseg_bench.report.gallery import SUP, number
from entityseg_bench.report.style import table

__all__ = ["errors", "scores"]

MEANING = {
    "missed": "no prediction is near the entity",
    "spurious": "a prediction that is on no entity",
    "duplicate": "the entity has been found already",
    "localisation": "the right place, the wrong shape",
    "merged": "one prediction over several entities",
    "split": "several predictions over one entity",
    "boundary": "wrong along the outline alone",
}
PERCENT = (0, 20, 40, 60, 80, 100)
FIFTHS = (0, 0.2, 0.4, 0.6, 0.8, 1)

# SVG, entries of its legend, caption.
Figure = tuple[str, Sequence[tuple[str, int, bool]], str]


def errors(sides: Sequence[Side]) -> str:
    """Draw what each kind of error costs, and count them."""
    groups = [
        Bar(
            kind,
            [100 * side.errors.costs[kind].cost for side in sides],
            [points(side.errors.costs[kind].cost) for side in sides],
        )
        for kind in KINDS
    ]
    chart = figures(
        (
            bars(groups, "AP^e that each kind of error costs"),
            [(side.name, k, False) for k, side in enumerate(sides)],
            f"AP{SUP} that mending each kind of error alone would gain, in points; costs do not "
            "add up, since mending one kind moves the ranks of all others",
        )
    )
    words = "".join(f"<dt>{kind}</dt><dd>{MEANING[kind]}</dd>" for kind in KINDS)
    parts = [f'<div class="charts">{chart}<dl class="words">{words}</dl></div>']
    for side in sides:
        rows = [[kind, *_counts(kind, side.errors.costs[kind])] for kind in KINDS]
        heads = ["error", f"AP{SUP} cost", "predictions", "entities", "cost at IoU .50"]
        heads += ["predictions", "entities"]
        caption = "mean over the IoU thresholds, then at IoU .50"
        parts.append(table(heads, rows, f"{side.name}: {caption}"))
        by_part = {"size": side.errors.by_size, "entities in the image": side.errors.by_crowdedness}
        tables = "".join(_by_part(name, costs) for name, costs in by_part.items())
        parts.append(
            f"<details><summary>{escape(side.name)}: by size and crowdedness</summary>{tables}"
            "</details>"
        )
    return "\n".join(parts)


def _counts(kind: str, cost: Cost) -> list[str]:
    """Print costs and numbers; a dash for what has no error of the kind."""
    mean = [points(cost.cost), f"{cost.n_predictions:,.1f}", f"{cost.n_entities:,.1f}"]
    half = [points(cost.cost50), f"{cost.n_predictions50:,}", f"{cost.n_entities50:,}"]
    cells = mean + half
    if kind == "missed":
        cells[1] = cells[4] = "-"
    if kind in ("spurious", "duplicate"):
        cells[2] = cells[5] = "-"
    return cells


def _by_part(name: str, costs: Mapping[str, Mapping[str, Cost]]) -> str:
    rows = [[kind, *(points(own[kind].cost) for own in costs.values())] for kind in KINDS]
    return table(["error", *map(escape, costs)], rows, f"AP^e cost by {name}, in points")


def points(value: float) -> str:
    """Print a difference in points, a dash where nothing was measured."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def scores(sides: Sequence[Side]) -> str:
    """Draw precision, recall and F1 above each score, and how well scores are calibrated."""
    charts = figures(_above_a_score(sides), _calibration(sides))
    rows = []
    for side in sides:
        best, ece = side.errors.best, side.errors.calibration.ece_tp
        if best is not None:
            cells = [number(best.precision), number(best.recall), number(best.f1)]
            rows.append([escape(side.name), f"{best.score:.3f}", *cells, number(ece)])
    heads = ["best F1", "least score", "precision", "recall", "F1", "calibration error"]
    return f'<div class="charts">{charts}</div>' + table(heads, rows, "At IoU .50, in percent")


def _above_a_score(sides: Sequence[Side]) -> Figure:
    """Draw F1 of what scores more than each score; of one file precision and recall too."""
    shown = []
    for k, side in enumerate(sides):
        own = [point for point in side.errors.points if not math.isnan(point.f1)]
        xs = [point.score for point in own]
        ys = [100 * point.f1 for point in own]
        shown.append(Series(f"{side.name}, F1", xs, ys, k, marks=True))
        if len(sides) == 1:
            for name, colour in (("precision", 1), ("recall", 2)):
                ys = [100 * getattr(point, name) for point in own]
                shown.append(Series(name, xs, ys, colour, dashed=True))
    chart = lines(
        shown,
        Axis(0, 1, FIFTHS, "least score", 1),
        Axis(0, 100, PERCENT, "%"),
        "Precision, recall and F1 above a score",
    )
    caption = "What is found at IoU .50 by the predictions from some score on"
    return chart, _legend(shown), caption


def _calibration(sides: Sequence[Side]) -> Figure:
    """Draw the share of right predictions by score; what it should be where scores are shares."""
    shown = []
    for k, side in enumerate(sides):
        used = [one for one in side.errors.calibration.bins if one.n]
        xs = [one.score for one in used]
        shown.append(Series(side.name, xs, [100 * one.tp_rate for one in used], k, marks=True))
    known = [x for one in shown for x in one.xs] or [0.0, 1.0]
    if min(known) >= 0 and max(known) <= 1:
        score = Axis(0, 1, FIFTHS, "mean score of the bin", 1)
        shown.append(Series("calibrated", (0, 1), (0, 100), 3, dashed=True))
    else:
        score = Axis.around(known, "mean score of the bin", zero=False)
    right = Axis(0, 100, PERCENT, "right at IoU .50, %")
    chart = lines(shown, score, right, "Calibration of the scores")
    return chart, _legend(shown), "Share of right predictions by their score"


def _legend(series: Sequence[Series]) -> list[tuple[str, int, bool]]:
    return [(one.name, one.colour, one.dashed) for one in series]
