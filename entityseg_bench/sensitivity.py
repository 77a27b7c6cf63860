"""How much of AP^e hangs on the rule by which overlaps are removed."""

import dataclasses
from collections.abc import Mapping
from typing import get_args

from entity_api import EvalResult, evaluate
from entity_api.names import MAIN, Metric
from entity_api.params import OverlapRule
from entityseg_bench.io import InputError
from entityseg_bench.score import Scoring

__all__ = ["overlap_sensitivity", "sensitivity_table"]

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
