"""What AP^e hangs on: the rule by which overlaps are removed, and the granularity of the masks."""

import dataclasses
import math
from collections.abc import Mapping
from typing import get_args

import numpy as np

from entity_api import EvalResult, evaluate
from entity_api.granularity import GranularityRecall, granularity_recall
from entity_api.names import MAIN, Metric
from entity_api.params import OverlapRule
from entityseg_bench.io import InputError
from entityseg_bench.score.files import Scoring

__all__ = ["granularity_of", "granularity_table", "overlap_sensitivity", "sensitivity_table"]

ABOUT_RULES: dict[OverlapRule, str] = {
    "score": "score (the benchmark's)",
    "small-first": "small-first",
    "large-first": "large-first",
    "order": "order (of the file)",
}


def overlap_sensitivity(scoring: Scoring) -> dict[OverlapRule, EvalResult]:
    """Score with overlaps removed by each rule.

    Raises:
        InputError: Overlaps were left in the scoring, so there is no AP^e.
    """
    if scoring.result.disjoint is None:
        what = "there is no AP^e where overlaps are left, so no rule changes it."
        raise InputError("overlap sensitivity", "", what)
    columns, params = (scoring.gt.ground_truth(), scoring.dt.detections()), scoring.result.params
    found: dict[OverlapRule, EvalResult] = {}
    for rule in get_args(OverlapRule):
        found[rule] = scoring.result
        if rule != params.overlap_rule:
            changed = dataclasses.replace(params, overlap_rule=rule, keep_matches=False)
            found[rule] = evaluate(*columns, changed)
    return found


def sensitivity_table(found: Mapping[OverlapRule, EvalResult]) -> str:
    """Lay out AP^e under each overlap rule, in percent, and how far it is from the benchmark's."""
    shown = [Metric("AP", "e", rest) for rest in ("", "50", "75")]
    lines = [f"{'overlap rule':28}{''.join(f'{one.text:>9}' for one in shown)}{'change':>9}"]
    usual = found["score"].metrics[MAIN]
    for rule, result in found.items():
        cells = "".join(f"{100 * result.metrics[one.name]:>9.2f}" for one in shown)
        change = f"{100 * (result.metrics[MAIN] - usual):>+9.2f}" if rule != "score" else ""
        lines.append(f"{ABOUT_RULES[rule]:28}{cells}{change}".rstrip())
    return "\n".join(lines)


def granularity_of(scoring: Scoring) -> GranularityRecall:
    """Tell how each entity is recovered; see `entity_api.granularity`.

    Raises:
        InputError: The scoring has no class-agnostic AP^e.
    """
    try:
        return granularity_recall(scoring.gt.ground_truth(), scoring.result)
    except ValueError as error:
        raise InputError("granularity", "", f"{error}.") from None


def granularity_table(found: GranularityRecall) -> str:
    """Lay out granularity-agnostic recall and its parts, in percent."""
    metrics = found.metrics()
    names = ("any way", "whole", "pieces", "merged")
    lines = [f"{'granularity-agnostic recall':28}{''.join(f'{name:>9}' for name in names)}"]
    mean = [metrics["GR"], *(metrics[name] for name in names[1:])]
    lines.append(f"{'all IoU':28}{''.join(f'{_percent(value):>9}' for value in mean)}")
    for at in np.flatnonzero(np.isclose(found.iou_thrs, 0.5)).tolist():
        own = [metrics["GR50"], *(float(found.share(name)[at]) for name in names[1:])]
        lines.append(f"{'IoU .50':28}{''.join(f'{_percent(value):>9}' for value in own)}")
    if not math.isnan(metrics["pieces_per_entity"]):
        lines.append(f"An entity in pieces has {metrics['pieces_per_entity']:.1f} on average.")
    return "\n".join(lines)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"
