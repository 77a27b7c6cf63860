"""One sentence on top of the report: how good, or how much better, and where it lies."""

import math
from collections.abc import Mapping

from entity_api.names import BY_SIZE, MAIN, Metric
from entityseg_bench.errors import KINDS
from entityseg_bench.errors.costs import Cost
from entityseg_bench.report.blocks import points, span
from entityseg_bench.report.findings import Findings, Side

__all__ = ["verdicts"]

# What masks of a kind are called in a sentence.
PHRASES = {
    "missed": "missed entities", "spurious": "spurious masks", "duplicate": "duplicates",
    "localisation": "poorly localised masks", "merged": "merged masks", "split": "split masks",
    "boundary": "wrong outlines",
}  # fmt: skip


def verdicts(findings: Findings) -> list[str]:
    """Say in a sentence how each file compares with the first, or how good the only one is."""
    first, *others = findings.sides
    if findings.comparison is None:
        return [_alone(first)]
    return [
        _compared(first, other, findings.comparison.differences[k][MAIN].p, findings, k)
        for k, other in enumerate(others)
    ]


def _alone(side: Side) -> str:
    own = side.intervals[MAIN]
    text = f"{side.name} has AP^e {points(own.value)} ({span(own.low, own.high)})"
    largest = _largest({kind: side.errors.costs[kind].cost for kind in KINDS})
    if not largest:
        return text + "."
    parts = [f"{PHRASES[kind]} ({points(value)} points)" for kind, value in largest]
    return f"{text}; what costs it most are {' and '.join(parts)}."


def _compared(first: Side, other: Side, p: float, findings: Findings, k: int) -> str:
    if findings.comparison is None:
        raise ValueError("there is no comparison")
    changes = findings.comparison.differences[k]
    change = changes[MAIN]
    if math.isnan(change.value):
        return f"{other.name} cannot be compared with {first.name}: there is nothing to measure."
    sure = "" if math.isnan(p) else f", p = {p:.3f}"
    ends = span(change.low, change.high, "+")
    if change.value == 0:
        return f"{other.name} and {first.name} have the same AP^e ({ends}{sure})."
    better = change.value > 0
    text = (
        f"{other.name} is {points(abs(change.value))} points of AP^e "
        f"{'better' if better else 'worse'} than {first.name} ({ends}{sure})"
    )
    if change.low <= 0 <= change.high:
        text += ", within what chance alone can do"
    turn = 1 if better else -1
    by_size = _largest({name: turn * changes[name].value for name in BY_SIZE})[:1]
    costs = _moved(first.errors.costs, other.errors.costs, -turn)
    parts = [f"in {Metric.parse(name).heading} entities ({points(turn * value, '+')})"
             for name, value in by_size]  # fmt: skip
    parts += [
        f"in what {PHRASES[kind]} cost ({points(-turn * value, '+')})"
        for kind, value in _largest(costs)[:1]
    ]
    return f"{text}; it shows most {' and '.join(parts)}." if parts else text + "."


def _moved(first: Mapping[str, Cost], other: Mapping[str, Cost], turn: int) -> dict[str, float]:
    return {kind: turn * (other[kind].cost - first[kind].cost) for kind in KINDS}


def _largest(values: Mapping[str, float], n: int = 2) -> list[tuple[str, float]]:
    """Return the largest values that print as more than zero, the largest first."""
    known = [pair for pair in values.items() if pair[1] >= 0.0005]
    return sorted(known, key=lambda pair: -pair[1])[:n]
