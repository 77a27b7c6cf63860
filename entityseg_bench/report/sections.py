"""The sections of the report, each a function from findings to HTML."""

import math
from collections.abc import Collection, Sequence
from html import escape

import numpy as np

from entityseg_bench.report.charts import Axis, Bar, Series, bars, figures, lines
from entityseg_bench.report.findings import BY_SIZE, HEADLINE, Findings, Side
from entityseg_bench.report.gallery import SUP, link, number
from entityseg_bench.report.style import table
from entityseg_bench.resampling import Interval

__all__ = ["cards", "curves", "difference", "headline", "overlap", "provenance",
           "sizes"]  # fmt: skip

NAMES = {
    "APe": f"AP{SUP}", "APe50": f"AP{SUP} at IoU .50", "APe75": f"AP{SUP} at IoU .75",
    "AP": "AP, masks as submitted", "AP50": "AP at IoU .50", "AP75": "AP at IoU .75",
    "ARe100": f"AR{SUP}, 100 predictions an image",
    "APes": f"AP{SUP}, small", "APem": f"AP{SUP}, medium", "APel": f"AP{SUP}, large",
}  # fmt: skip
# IoU thresholds of the precision-recall curves: solid and dashed.
CURVES = ((0.5, False), (0.75, True))


def span(interval: Interval) -> str:
    """Print the ends of an interval."""
    if math.isnan(interval.low):
        return ""
    return f"{number(interval.low)} to {number(interval.high)}"


def cards(side: Side) -> str:
    """Show the few numbers that a reader looks for first."""
    counts, overlap = side.scoring, side.result.overlap
    share = f"{100 * overlap.share:.1f} %" if overlap is not None else "-"
    shown = [
        (f"AP{SUP}", number(side.intervals["APe"].value), f"95 %: {span(side.intervals['APe'])}"),
        ("AP, as submitted", number(side.intervals["AP"].value),
         f"95 %: {span(side.intervals['AP'])}"),
        ("overlap", share, "of the covered pixels"),
        ("images", f"{len(counts.gt.images):,}",
         f"{len(counts.gt):,} entities, {len(counts.dt):,} predictions"),
    ]  # fmt: skip
    parts = [f'<div><dt>{name}</dt><dd class="big">{big}</dd><dd class="muted">{small}</dd></div>'
             for name, big, small in shown]  # fmt: skip
    return f'<dl class="cards">{"".join(parts)}</dl>'


def headline(sides: Sequence[Side]) -> str:
    """List the headline metrics of each file with their intervals."""
    heads = ["%"]
    for side in sides:
        heads += [escape(side.name), "95 % interval"]
    rows = []
    for metric in HEADLINE:
        cells = [NAMES[metric]]
        for side in sides:
            interval = side.intervals[metric]
            cells += [number(interval.value), f'<span class="muted">{span(interval)}</span>']
        rows.append(cells)
    caption = "Intervals: bias-corrected bootstrap over images. AR is average recall."
    return table(heads, rows, caption)


def difference(findings: Findings) -> str:
    """List how the second file differs from the first, and how sure that is; "" for one file."""
    if findings.comparison is None:
        return ""
    first, second = findings.sides
    changes = findings.comparison.differences[0]
    rows = []
    for metric in (*HEADLINE, *BY_SIZE):
        own = changes[metric]
        ends = "" if math.isnan(own.low) else f"{100 * own.low:+.1f} to {100 * own.high:+.1f}"
        p = "" if math.isnan(own.p) else f"{own.p:.3f}"
        value = "-" if math.isnan(own.value) else f"{100 * own.value:+.1f}"
        rows.append([NAMES[metric], value, f'<span class="muted">{ends}</span>', p])
    moved = findings.comparison.changes(1)
    counts = f"{np.count_nonzero(moved > 0):,} images are better, {np.count_nonzero(moved < 0):,} "
    caption = (
        f"{second.name} minus {first.name}, in points. Interval: both files on the same resampled "
        "images. p: paired permutation test over images, two-sided."
    )
    return (
        f"<p>{counts}worse and {np.count_nonzero(moved == 0):,} the same by their own AP{SUP}.</p>"
        + table(["metric", "difference", "95 % interval", "p"], rows, caption)
    )


def curves(sides: Sequence[Side]) -> str:
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
    percent = (0, 20, 40, 60, 80, 100)
    recall = Axis(0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1), "recall", 1)
    precision = Axis(0, 100, percent, "precision, %")
    thresholds = Axis(0.5, 0.95, (0.5, 0.6, 0.7, 0.8, 0.9), "IoU threshold", 1)
    top = max((y for one in by_iou for y in one.ys if math.isfinite(y)), default=1.0)
    values = Axis.around([0.0, top], "AP^e, %")
    return beside(
        (
            lines(pr, recall, precision, "Precision against recall"),
            [(one.name, one.colour, one.dashed) for one in pr],
            "Precision against recall, overlaps removed",
        ),
        (
            lines(by_iou, thresholds, values, "AP^e by IoU threshold"),
            [(one.name, one.colour, False) for one in by_iou],
            f"AP{SUP} by IoU threshold; their mean is AP{SUP}",
        ),
    )


def beside(*charts: tuple[str, Sequence[tuple[str, int, bool]], str]) -> str:
    """Set charts beside each other where there is room."""
    return f'<div class="charts">{figures(*charts)}</div>'


def sizes(sides: Sequence[Side]) -> str:
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
    x = Axis(0, 100, (0, 20, 40, 60, 80, 100), "AP^e of the image, %")
    keys = [(side.name, k, False) for k, side in enumerate(sides)]
    return beside(
        (bars(groups, "AP^e by size of the entity"), keys,
         f"AP{SUP} by size of the entity in pixels, with 95 % intervals"),
        (lines(spread, x, Axis.around([0.0, most], "share of the images, %"), "Spread of AP^e"),
         keys, f"Images by their own AP{SUP}, in steps of 10"),
    )  # fmt: skip


def overlap(sides: Sequence[Side], shown: Collection[int]) -> str:
    """Say how much the predictions overlap, what it costs, and where it is worst."""
    parts = []
    for side in sides:
        found, images = side.result.overlap, side.scoring.gt.images
        if found is None or not found.n_images:
            parts.append(
                f"<p><b>{escape(side.name)}</b>: no predictions overlap, so AP{SUP} and AP are one "
                "and the same.</p>"
            )
            continue
        gain = side.intervals["APe"].value - side.intervals["AP"].value
        counted = bool((found.pairs >= 0).all())
        pairs = f"{found.pairs.sum():,} pairs of masks" if counted else "very many pairs of masks"
        parts.append(
            f"<p><b>{escape(side.name)}</b>: predictions overlap in {found.n_images:,} of "
            f"{len(images):,} images, {pairs}, {100 * found.share:.1f} % of all covered pixels. "
            f"Removing the overlaps moves AP from {number(side.intervals['AP'].value)} to AP{SUP} "
            f"{number(side.intervals['APe'].value)}, by {100 * gain:+.1f}.</p>"
        )
        worst = np.argsort(-found.pixels, kind="stable")[: min(5, found.n_images)]
        rows = [
            [link(images[idx].id, idx in shown), f"{found.pixels[idx]:,}",
             f"{100 * found.pixels[idx] / max(found.covered[idx], 1):.1f} %",
             f"{found.pairs[idx]:,}" if found.pairs[idx] >= 0 else "-"]
            for idx in worst.tolist()
        ]  # fmt: skip
        heads = ["image", "pixels in common", "of the covered", "pairs"]
        parts.append(table(heads, rows, f"{side.name}: the images with most overlap"))
    return "\n".join(parts)


def provenance(findings: Findings, version: str) -> str:
    """Say what was scored with what, so that it can be done again."""
    sides = findings.sides
    read = [side.scoring.sides.files() for side in sides]
    files = [("ground truth", read[0]["ground_truth"])]
    files += [(side.name, own["predictions"]) for side, own in zip(sides, read, strict=True)]
    rows = "".join(
        f"<li>{escape(name)}: {escape(file['name'])}, <code>sha256 {file['sha256']}</code></li>"
        for name, file in files
    )
    thrs = sides[0].result.params.iou_thrs
    warnings = [str(problem) for side in sides for problem in side.scoring.warnings]
    listed = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return (
        f"<ul>{rows}</ul><p>Scored with entityseg-bench {escape(version)}: IoU {thrs[0]:.2f} to "
        f"{thrs[-1]:.2f}, at most {sides[0].result.params.max_dets[-1]} predictions an image, "
        f"{findings.n_resamples:,} resamples of the images.</p>"
        + (f"<h3>Warnings</h3><ul>{listed}</ul>" if warnings else "")
    )
