"""The sections of the report, each a function from findings to what stands in it."""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from entity_api.names import BY_SIZE, HEADLINE, MAIN, TESTED, Metric
from entityseg_bench.report.blocks import (
    Block,
    Cell,
    Chart,
    Charts,
    Details,
    Heading,
    Item,
    Items,
    Key,
    Table,
    Text,
    number,
    points,
    span,
)
from entityseg_bench.report.charts import COLOURS, Axis, Bar, Effect, Series, bars, forest, lines
from entityseg_bench.report.findings import Findings, Side
from entityseg_bench.report.gallery import link
from entityseg_bench.resampling import Interval

__all__ = ["cards", "curves", "difference", "headline", "keys_of", "overlap", "provenance", "sizes",
           "type_metrics"]  # fmt: skip

# IoU thresholds of the precision-recall curves: solid and dashed.
CURVES = ((0.5, False), (0.75, True))
PERCENT = (0, 20, 40, 60, 80, 100)


class Card(NamedTuple):
    """Hold one number in large type, what it is and what to know of it."""

    name: str
    big: str
    small: str


def keys_of(sides: Sequence[Side]) -> list[Key]:
    """Name the colour of each file."""
    return [Key(side.name, COLOURS[k]) for k, side in enumerate(sides)]


def _ends(interval: Interval) -> str:
    return span(interval.low, interval.high)


def cards(side: Side) -> list[Card]:
    """Choose the few numbers that a reader looks for first."""
    scoring, overlap = side.scoring, side.result.overlap
    share = f"{100 * overlap.share:.1f} %" if overlap is not None else "-"
    ape, ap = side.intervals["APe"], side.intervals["AP"]
    sides = f"{len(scoring.gt):,} entities, {len(scoring.dt):,} predictions"
    return [
        Card("AP^e", number(ape.value), f"95 %: {_ends(ape)}"),
        Card("AP, as submitted", number(ap.value), f"95 %: {_ends(ap)}"),
        Card("overlap", share, "of the covered pixels"),
        Card("images", f"{len(scoring.gt.images):,}", sides),
    ]


def headline(sides: Sequence[Side]) -> list[Block]:
    """List the headline metrics of each file with their intervals."""
    rows = []
    for metric in HEADLINE:
        cells: list[str | Cell] = [Metric.parse(metric).phrase]
        texts = [number(side.intervals[metric].value) for side in sides]
        best = number(np.nanmax([side.intervals[metric].value for side in sides], initial=-1))
        for side, text in zip(sides, texts, strict=True):
            is_best = text == best and len(sides) > 1
            cells.append(Cell(text, best=is_best, under=_ends(side.intervals[metric])))
        rows.append(cells)
    caption = (
        "Percent, and below each number its 95 % interval: bias-corrected bootstrap over images. "
        "AR is average recall."
    )
    heads = ["metric", *(side.name for side in sides)]
    return [Table(heads, rows, caption), *type_metrics(sides)]


def type_metrics(sides: Sequence[Side]) -> list[Block]:
    """List the metrics that an annotation type has of its own; nothing for entities."""
    found = [side.scoring.own for side in sides]
    if found[0] is None:
        return []
    names = {name: None for own in found if own for row in own.groups.values() for name in row}
    names.pop("n", None)
    rows = [
        [f"{side.name}, {group.replace('_', ' ')}", *(number(row.get(k, math.nan)) for k in names)]
        for side, own in zip(sides, found, strict=True)
        if own
        for group, row in own.groups.items()
    ]
    blocks: list[Block] = [
        Text(own.left_out, f"{side.name}, left out by category")
        for side, own in zip(sides, found, strict=True)
        if own and own.left_out
    ]
    caption = f"By category: the metrics of {sides[0].scoring.gt.task} ground truth"
    return [Table(["%", *names], rows, caption), *blocks] if rows else blocks


def difference(findings: Findings) -> list[Block]:
    """List how the other files differ from the first, and how sure that is."""
    if findings.comparison is None:
        return []
    first, *others = findings.sides
    effects: list[Effect] = []
    blocks: list[Block] = []
    for k, side in enumerate(others, start=1):
        changes = findings.comparison.differences[k - 1]
        rows: list[list[str | Cell]] = []
        for metric in dict.fromkeys((*HEADLINE, *BY_SIZE)):
            own, name = changes[metric], Metric.parse(metric)
            p = "" if math.isnan(own.p) else f"{own.p:.3f}"
            ends = span(own.low, own.high, "+")
            rows.append([name.phrase, points(own.value, "+"), Cell(ends, muted=True), p])
            if metric in TESTED:
                label = name.phrase.removesuffix(", masks as submitted")
                text = f"{points(own.value, '+')}{f', p {p}' if p else ''}"
                low, high = 100 * own.low, 100 * own.high
                heading = side.name if metric == MAIN and len(others) > 1 else ""
                effects.append(Effect(label, 100 * own.value, low, high, text, k, heading))
        moved = findings.comparison.changes(k)
        summary = (
            f"{side.name}: every metric; images by their own AP^e: "
            f"{np.count_nonzero(moved > 0):,} better, {np.count_nonzero(moved < 0):,} worse, "
            f"{np.count_nonzero(moved == 0):,} the same"
        )
        caption = (
            f"{side.name} minus {first.name}, in points. Interval: both files on the same "
            "resampled images. p: paired permutation test over images, two-sided."
        )
        heads = ["metric", "difference", "95 % interval", "p"]
        blocks.append(Details(summary, [Table(heads, rows, caption)]))
    chart = forest(effects, "Differences with their intervals", "points")
    about = f"What is gained and lost against {first.name}, with 95 % intervals; hollow where the "
    plot = Chart(chart, keys_of(findings.sides)[1:], about + "interval holds zero")
    return [Charts([plot]), *blocks]


def curves(sides: Sequence[Side]) -> list[Block]:
    """Draw precision against recall, and AP^e against the IoU threshold."""
    params = sides[0].result.params
    recalls, thrs = list(params.rec_thrs), list(params.iou_thrs)
    pr = [
        Series(f"{side.name}, IoU {thr:.2f}", recalls, (100 * side.precision_at(thr)).tolist(),
               k, dashed)
        for k, side in enumerate(sides)
        for thr, dashed in CURVES
    ]  # fmt: skip
    by_iou = [
        Series(side.name, thrs, (100 * side.ap_by_iou()).tolist(), k, marks=True)
        for k, side in enumerate(sides)
    ]
    recall = Axis(0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1), "recall", 1)
    precision = Axis(0, 100, PERCENT, "precision, %")
    thresholds = Axis(0.5, 0.95, (0.5, 0.6, 0.7, 0.8, 0.9), "IoU threshold", 1)
    top = max((y for one in by_iou for y in one.ys if math.isfinite(y)), default=1.0)
    values = Axis.around([0.0, top], "AP^e, %")
    return [
        Charts([
            Chart(
                lines(pr, recall, precision, "Precision against recall"),
                [Key(one.name, COLOURS[one.colour], one.dashed) for one in pr],
                "Precision against recall, overlaps removed",
            ),
            Chart(
                lines(by_iou, thresholds, values, "AP^e by IoU threshold"),
                keys_of(sides),
                "AP^e by IoU threshold; their mean is AP^e",
            ),
        ])
    ]  # fmt: skip


def sizes(sides: Sequence[Side]) -> list[Block]:
    """Draw AP^e by size with intervals, and how AP^e of single images is spread."""
    words = ("small, under 32²", "medium, to 96²", "large, over 96²")
    groups = []
    for metric, label in zip(BY_SIZE, words, strict=True):
        own = [side.intervals[metric] for side in sides]
        groups.append(
            Bar(label, [100 * one.value for one in own], [number(one.value) for one in own],
                [(100 * one.low, 100 * one.high) for one in own])
        )  # fmt: skip
    edges = np.linspace(0, 1, 11)
    corners = np.repeat(100 * edges, 2).tolist()
    spread = []
    for k, side in enumerate(sides):
        known = side.per_image[~np.isnan(side.per_image)]
        share = 100 * np.histogram(known, edges)[0] / max(len(known), 1)
        heights = [0.0, *np.repeat(share, 2).tolist(), 0.0]
        spread.append(Series(side.name, corners, heights, k))
    most = max((y for one in spread for y in one.ys), default=1.0)
    x = Axis(0, 100, PERCENT, "AP^e of the image, %")
    y = Axis.around([0.0, most], "share of the images, %")
    by_size = "AP^e by size of the entity in pixels, with 95 % intervals"
    return [
        Charts([
            Chart(bars(groups, "AP^e by size of the entity"), keys_of(sides), by_size),
            Chart(lines(spread, x, y, "Spread of AP^e"), keys_of(sides),
                  "Images by their own AP^e, in steps of 10"),
        ])
    ]  # fmt: skip


def overlap(sides: Sequence[Side], shown: Collection[int]) -> list[Block]:
    """Say how much the predictions overlap, what it costs, and where it is worst."""
    blocks: list[Block] = []
    for side in sides:
        found, images = side.result.overlap, side.scoring.gt.images
        if found is None or not found.n_images:
            none = "no predictions overlap, so AP^e and AP are one and the same."
            blocks.append(Text(none, side.name))
            continue
        gain = side.intervals["APe"].value - side.intervals["AP"].value
        counted = bool((found.pairs >= 0).all())
        pairs = f"{found.pairs.sum():,} pairs of masks" if counted else "very many pairs of masks"
        text = (
            f"predictions overlap in {found.n_images:,} of {len(images):,} images, {pairs}, "
            f"{100 * found.share:.1f} % of all covered pixels. Removing the overlaps moves AP from "
            f"{number(side.intervals['AP'].value)} to AP^e "
            f"{number(side.intervals['APe'].value)}, by {points(gain, '+')}."
        )
        worst = np.argsort(-found.pixels, kind="stable")[: min(5, found.n_images)]
        rows: list[list[str | Cell]] = [
            [link(images[idx].id, idx in shown), f"{found.pixels[idx]:,}",
             f"{100 * found.pixels[idx] / max(found.covered[idx], 1):.1f} %",
             f"{found.pairs[idx]:,}" if found.pairs[idx] >= 0 else "-"]
            for idx in worst.tolist()
        ]  # fmt: skip
        heads = ["image", "pixels in common", "of the covered", "pairs"]
        caption = f"{side.name}: the images with most overlap"
        blocks += [Text(text, side.name), Table(heads, rows, caption)]
    return blocks


def provenance(findings: Findings, version: str) -> list[Block]:
    """Say what was scored with what, so that it can be done again."""
    sides = findings.sides
    read = [side.scoring.sides.files() for side in sides]
    files = [("ground truth", read[0]["ground_truth"])]
    files += [(side.name, own["predictions"]) for side, own in zip(sides, read, strict=True)]
    listed = [Item(own["name"], name, f"sha256 {own['sha256']}") for name, own in files]
    params = sides[0].result.params
    text = (
        f"Scored with entityseg-bench {version}: IoU {params.iou_thrs[0]:.2f} to "
        f"{params.iou_thrs[-1]:.2f}, at most {params.max_dets[-1]} predictions an image, "
        f"{findings.n_resamples:,} resamples of the images."
    )
    warnings = [Item(str(problem)) for side in sides for problem in side.scoring.warnings]
    blocks: list[Block] = [Items(listed), Text(text)]
    return [*blocks, Heading("Warnings"), Items(warnings)] if warnings else blocks
