"""The sections on where AP^e is lost and what scores are worth."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from entityseg_bench.errors import KINDS
from entityseg_bench.errors.costs import Cost
from entityseg_bench.errors.signs import MEANINGS, SIGNS
from entityseg_bench.report.blocks import Block, Chart, Charts, Details, Key, Table, number, points
from entityseg_bench.report.charts import COLOURS, Axis, Series, lines
from entityseg_bench.report.findings import Side
from entityseg_bench.report.viewer import thresholds_of

__all__ = ["KindLine", "error_tables", "kind_lines", "scores"]

PERCENT = (0, 20, 40, 60, 80, 100)
FIFTHS = (0, 0.2, 0.4, 0.6, 0.8, 1)


class KindCost(NamedTuple):
    """Hold what a kind of error costs one file: text, bar, and the images to look at.

    ``share`` is the length of the bar in percent of the longest. ``n_images`` have such errors at
    the threshold at position ``at``, printed as ``iou``: the least at which any image has.
    """

    file: str
    colour: str
    text: str
    share: float
    n_images: int
    at: int
    iou: str


class KindLine(NamedTuple):
    """Hold what is said of one kind of error: its sign, its meaning, what it costs each file."""

    kind: str
    sign: str
    meaning: str
    costs: Sequence[KindCost]


def kind_lines(sides: Sequence[Side]) -> list[KindLine]:
    """Say what each kind of error is, what it costs each file, and in how many images it is."""
    costs = np.array([[side.errors.costs[kind].cost for side in sides] for kind in KINDS])
    shares = 100 * np.clip(np.nan_to_num(costs), 0, None) / max(np.nanmax(costs, initial=0), 1e-9)
    return [
        KindLine(kind, SIGNS[kind], MEANINGS[kind], [
            KindCost(side.name, colour, points(side.errors.costs[kind].cost), round(share, 2),
                     *_first_seen(side, code))
            for side, colour, share in zip(sides, COLOURS, shares[code].tolist(), strict=False)
        ])
        for code, kind in enumerate(KINDS)
    ]  # fmt: skip


def _first_seen(side: Side, code: int) -> tuple[int, int, str]:
    """Count the images with a kind of error at the least threshold at which any has it."""
    n_images = (side.by_image.counts[:, code, :, 0] > 0).sum(axis=1)
    at = int((n_images > 0).argmax())
    return int(n_images[at]), at, thresholds_of(side)[at]


def error_tables(sides: Sequence[Side]) -> list[Block]:
    """Count the errors of each kind, folded up."""
    blocks: list[Block] = []
    for side in sides:
        rows = [[kind, *_counts(kind, side.errors.costs[kind])] for kind in KINDS]
        heads = ["error", "AP^e cost", "predictions", "entities", "cost at IoU .50"]
        heads += ["predictions", "entities"]
        caption = "mean over the IoU thresholds, then at IoU .50"
        by_part = {"size": side.errors.by_size, "entities in the image": side.errors.by_crowdedness}
        tables = [_by_part(f"{side.name}: AP^e cost by {name}, in points", costs)
                  for name, costs in by_part.items()]  # fmt: skip
        tables = [Table(heads, rows, f"{side.name}: {caption}"), *tables]
        blocks.append(Details(f"{side.name}: counts, and costs by size and crowdedness", tables))
    return blocks


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


def _by_part(caption: str, costs: Mapping[str, Mapping[str, Cost]]) -> Table:
    rows = [[kind, *(points(own[kind].cost) for own in costs.values())] for kind in KINDS]
    return Table(["error", *costs], rows, caption)


def scores(sides: Sequence[Side]) -> list[Block]:
    """Draw precision, recall and F1 above each score, and how well scores are calibrated."""
    rows = []
    for side in sides:
        best, ece = side.errors.best, side.errors.calibration.ece_tp
        if best is not None:
            cells = [number(best.precision), number(best.recall), number(best.f1)]
            rows.append([side.name, f"{best.score:.3f}", *cells, number(ece)])
    heads = ["best F1", "least score", "precision", "recall", "F1", "calibration error"]
    table = Table(heads, rows, "At IoU .50, in percent")
    return [Charts([_above_a_score(sides), _calibration(sides)]), table]


def _above_a_score(sides: Sequence[Side]) -> Chart:
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
    return Chart(chart, _keys(shown), caption)


def _calibration(sides: Sequence[Side]) -> Chart:
    """Draw the share of right predictions by score; what it should be where scores are shares."""
    shown = []
    for k, side in enumerate(sides):
        used = [one for one in side.errors.calibration.bins if one.n]
        xs = [one.score for one in used]
        shown.append(Series(side.name, xs, [100 * one.tp_rate for one in used], k, marks=True))
    known = [x for one in shown for x in one.xs] or [0.0, 1.0]
    if min(known) >= 0 and max(known) <= 1:
        score = Axis(0, 1, FIFTHS, "mean score of the bin", 1)
        shown.append(Series("calibrated", (0, 1), (0, 100), len(sides) % len(COLOURS), dashed=True))
    else:
        score = Axis.around(known, "mean score of the bin", zero=False)
    right = Axis(0, 100, PERCENT, "right at IoU .50, %")
    chart = lines(shown, score, right, "Calibration of the scores")
    return Chart(chart, _keys(shown), "Share of right predictions by their score")


def _keys(series: Sequence[Series]) -> list[Key]:
    return [Key(one.name, COLOURS[one.colour], one.dashed) for one in series]
