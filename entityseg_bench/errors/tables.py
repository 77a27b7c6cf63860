"""An error report as text."""

import math

from entity_api.names import Metric
from entityseg_bench.errors.costs import ALL_UNFOUND, ALL_WRONG, Cost
from entityseg_bench.errors.find import ErrorSummary
from entityseg_bench.errors.kinds import KINDS

__all__ = ["error_table"]

# Kinds that no entity has, and that no prediction has.
ON_PREDICTIONS = ("spurious", "duplicate", ALL_WRONG)
ON_ENTITIES = ("missed", ALL_UNFOUND)


def error_table(report: ErrorSummary, n_categories: int = 10) -> str:
    """Lay out a report as text, AP and shares in percent.

    Args:
        report: As `find_errors` made it.
        n_categories: Categories to list, those of the worst recall.
    """
    blocks = [
        _costs_block(report),
        _parts_block(f"cost in {_name(report)} by size", report.by_size),
        _parts_block("and by entities in the image", report.by_crowdedness),
        _scores_block(report),
        _calibration_block(report),
        _categories_block(report, n_categories),
    ]
    return "\n\n".join(block for block in blocks if block)


def _costs_block(report: ErrorSummary) -> str:
    name = _name(report)
    lines = [
        f"{name} {_percent(report.ap)}, at IoU .50 {_percent(report.ap50)}",
        f"{'':18}{'mean over IoU .50 to .95':>36}{'at IoU .50':>36}",
        f"{'error':18}" + 2 * f"{'costs ' + name:>12}{'predictions':>13}{'entities':>11}",
    ]
    for kind, cost in report.costs.items():
        cells = [
            f"{_percent(gain):>12}"
            f"{'' if kind in ON_ENTITIES else f'{n_predictions:,.{digits}f}':>13}"
            f"{'' if kind in ON_PREDICTIONS else f'{n_entities:,.{digits}f}':>11}"
            for gain, n_predictions, n_entities, digits in (
                (cost.cost, cost.n_predictions, cost.n_entities, 1),
                (cost.cost50, cost.n_predictions50, cost.n_entities50, 0),
            )
        ]
        lines.append(f"{kind.replace('_', ' '):18}{cells[0]}{cells[1]}")
    lines.append("[each cost is what correcting that kind alone would gain: costs do not add up]")
    return "\n".join(lines)


def _parts_block(title: str, parts: dict[str, dict[str, Cost]]) -> str:
    lines = [f"{title:30}" + "".join(f"{label:>18}" for label in parts)]
    for kind in KINDS:
        cells = []
        for own in parts.values():
            n = own[kind].n_entities if kind in ON_ENTITIES else own[kind].n_predictions
            cells.append(f"{_percent(own[kind].cost)} ({n:,.1f})")
        lines.append(f"{kind:30}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


def _name(report: ErrorSummary) -> str:
    return Metric("AP", "e" if report.overlaps_removed else "").text


def _scores_block(report: ErrorSummary) -> str:
    lines = [f"{'score from':>12}{'precision':>10}{'recall':>8}{'F1':>8}{'right':>9}{'wrong':>9}"]
    best = [(report.best, "  best F1")] if report.best else []
    for point, note in [*((point, "") for point in report.points), *best]:
        lines.append(
            f"{point.score:12.4g}{_percent(point.precision):>10}{_percent(point.recall):>8}"
            f"{_percent(point.f1):>8}{point.tp:9,}{point.fp:9,}{note}"
        )
    return "\n".join(lines)


def _calibration_block(report: ErrorSummary) -> str:
    calibration = report.calibration
    lines = [f"{'scores':>15}{'n':>10}{'mean score':>12}{'right':>8}{'mean IoU':>10}"]
    for own in calibration.bins:
        if own.n:
            lines.append(
                f"{f'{own.low:.4g} to {own.high:.4g}':>15}{own.n:10,}{_percent(own.score):>12}"
                f"{_percent(own.tp_rate):>8}{_percent(own.iou):>10}"
            )
    if math.isnan(calibration.ece_tp):
        lines.append("[no calibration error: scores lie outside 0 to 1]" if len(lines) > 1 else "")
    else:
        lines.append(
            f"calibration error {_percent(calibration.ece_tp)} against being right at IoU .50, "
            f"{_percent(calibration.ece_iou)} against IoU"
        )
    return "\n".join(lines).rstrip()


def _categories_block(report: ErrorSummary, n_categories: int) -> str:
    rows = report.categories[:n_categories]
    if not rows:
        return ""
    lines = [
        f"worst recall of {len(report.categories)} categories",
        f"{'id':>6}{'entities':>10}{'at .50':>8}{'mean':>8}  name",
    ]
    for row in rows:
        lines.append(
            f"{row.category_id:6}{row.n:10,}{_percent(row.recall50):>8}{_percent(row.recall):>8}"
            f"  {row.name.strip()}"
        )
    return "\n".join(lines)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"
