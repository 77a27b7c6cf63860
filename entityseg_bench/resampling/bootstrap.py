"""How sure a metric is: bootstrap intervals and paired permutation, over images.

Images are what was sampled, so images are what is resampled (Efron and Tibshirani, "An Introduction
to the Bootstrap", 1993: percentile intervals and their bias, permutation tests).
How a resampled set is scored without matching a mask again stands in
`entityseg_bench.resampling.weighted`.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalResult, EvalState
from entity_api.groups import Groups
from entity_api.names import Metric
from entityseg_bench.resampling.measures import measure
from entityseg_bench.resampling.weighted import (
    IGNORED,
    TRUE_POSITIVE,
    Columns,
    Evidence,
    image_precision,
    matches_of,
)

__all__ = [
    "Interval",
    "bounds",
    "confidence_intervals",
    "image_metrics",
    "image_weights",
    "interval_record",
    "interval_table",
    "permutation_test",
    "resampled_metrics",
    "state_intervals",
]

# Whose curves are held in memory.
IMAGES_AT_ONCE = 2048

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Interval:
    """Hold a metric and the ends of its confidence interval; fractions, nan where not measured."""

    value: float
    low: float
    high: float


def confidence_intervals(
    result: EvalResult,
    scores: Floats,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> dict[str, Interval]:
    """Bound each metric of a result by the bootstrap over its images (see `bounds`).

    Args:
        result: As `entity_api.evaluate` returned it.
        scores: (D,) of the detection records.
        n_resamples: Sets of images drawn with replacement.
        level: Share of such intervals that hold the true value, in (0, 1).
        seed: Of the draw; the same seed draws the same images for every file of one ground truth.
        names: Metrics to bound; all of ``result.metrics`` by default.

    Returns:
        Name -> interval. Resamples in which nothing can be measured are left out.
    """
    weights = image_weights(result.groups, n_resamples, seed)
    return _intervals(result, resampled_metrics(result, scores, weights, names), level)


def state_intervals(
    state: EvalState,
    result: EvalResult,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Bound each metric of a state by the bootstrap over its images.

    These are the `confidence_intervals` of one file whose images stand by rising id.

    Args:
        state: Of all images.
        result: The state, finished.
        n_resamples: As for `confidence_intervals`.
        level: Likewise.
        seed: Likewise.
    """

    def evidence(mark: str, area: int) -> list[Evidence]:
        return [
            Evidence.of_columns(
                [Columns.of_state(state, mark == "e", k, area)],
                [state.scores],
                state.params,
                as_ranks=False,
            )
            for k in range(len(state.category_ids))
        ]

    weights = _drawn(len(state.image_ids), n_resamples, seed)
    alike = result.disjoint is result.submitted
    drawn = measure(state.params, list(result.metrics), evidence, weights, alike)
    return _intervals(result, drawn, level)


def _intervals(
    result: EvalResult, drawn: Mapping[str, Floats], level: float
) -> dict[str, Interval]:
    return {
        name: Interval(result.metrics[name], *bounds(values, result.metrics[name], level))
        for name, values in drawn.items()
    }


def bounds(values: Floats, estimate: float, level: float) -> tuple[float, float]:
    """Take the ends of a confidence interval from resampled values.

    The quantiles are moved by where the estimate stands among the values: the bias-corrected
    percentile method (Efron, "Nonparametric standard errors and confidence intervals", 1981). AP
    needs it: the interpolated precision is a maximum, so a small set scores too high and its
    resamples higher still, and plain percentiles miss the true value too often on that side.

    Args:
        values: (B,), nan where a resample has nothing to measure.
        estimate: The metric of all images.
        level: In (0, 1).

    Returns:
        Low and high, nan where there is nothing to measure.
    """
    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, not at {level}")
    measured = values[~np.isnan(values)]
    if not measured.size or math.isnan(estimate):
        return math.nan, math.nan
    normal = NormalDist()
    below = np.count_nonzero(measured < estimate) + np.count_nonzero(measured == estimate) / 2
    # Half a resample from either end, since no more can be told from so many.
    share = min(max(below, 0.5), measured.size - 0.5) / measured.size
    shift = 2 * normal.inv_cdf(share)
    ends = [normal.cdf(shift + normal.inv_cdf((1 + side * level) / 2)) for side in (-1, 1)]
    low, high = np.quantile(measured, ends)
    return float(low), float(high)


def interval_record(
    intervals: Mapping[str, Interval], n_resamples: int, level: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """Make the JSON of intervals: how they were made, and metric -> [low, high], null likewise."""
    ends = {name: [own.low, own.high] for name, own in intervals.items()}
    return {
        "method": "bias-corrected percentile bootstrap over images",
        "level": level,
        "resamples": n_resamples,
        "seed": seed,
        "metrics": {name: None if math.isnan(own[0]) else own for name, own in ends.items()},
    }


def interval_table(intervals: Mapping[str, Interval], n_resamples: int, level: float = 0.95) -> str:
    """Lay out intervals as text, in percent, those that were measured."""
    lines = [f"{100 * level:g} % confidence intervals ({n_resamples:,} resamples of the images)"]
    for name, own in intervals.items():
        if not math.isnan(own.low):
            ends = f"[{100 * own.low:.2f}, {100 * own.high:.2f}]"
            lines.append(f"{name:8}{100 * own.value:8.2f}  {ends}")
    return "\n".join(lines)


def image_weights(groups: Groups, n_resamples: int, seed: int) -> Ints:
    """Draw sets of images with replacement, as many as are scored.

    Returns:
        (B, I) how often each resample holds each image; 0 for images that are not scored.
    """
    if n_resamples < 1:
        raise ValueError(f"there must be at least 1 resample, not {n_resamples}")
    weights = np.zeros((n_resamples, len(groups.place)), np.int64)
    weights[:, groups.images] = _drawn(len(groups.images), n_resamples, seed)
    return weights


def _drawn(n: int, n_resamples: int, seed: int) -> Ints:
    """Draw n of n images with replacement, again and again: how often each is in, (B, n)."""
    if not n:
        return np.zeros((n_resamples, 0), np.int64)
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_resamples)


def resampled_metrics(
    result: EvalResult, scores: Floats, weights: Ints, names: Sequence[str] | None = None
) -> dict[str, Floats]:
    """Compute metrics of resampled sets.

    Args:
        result: As `entity_api.evaluate` returned it.
        scores: (D,) of the detection records.
        weights: (B, I) how often each set holds each image.
        names: Metrics to compute; all of ``result.metrics`` by default.

    Returns:
        Name -> (B,) fractions, nan where a set has nothing to measure.
    """

    def evidence(mark: str, area: int) -> "list[Evidence]":
        matches = matches_of(result, mark)
        return [
            Evidence.of_columns(
                [Columns.of(result, matches, k, area)], [scores], result.params, as_ranks=False
            )
            for k in range(len(result.category_ids))
        ]

    alike = result.disjoint is result.submitted
    return measure(result.params, names or list(result.metrics), evidence, weights, alike)


def permutation_test(
    first: EvalResult,
    second: EvalResult,
    scores: tuple[Floats, Floats],
    n_permutations: int = 1000,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Test whether two prediction files differ by more than chance gives.

    Under the null hypothesis it does not matter which file an image's detections stand in. Each
    permutation exchanges those of some images, each with probability 1/2, and scores both files
    again. Detections of both then meet in one ranking, which scores on different scales would
    spoil; so each is ranked by the number of its own file's detections that score higher. This
    leaves the metrics of the two files as they are, since those depend on the order alone.

    Args:
        first: Result of one file.
        second: Result of another file on the same ground truth with the same parameters.
        scores: (D,) of the detection records of each.
        n_permutations: Exchanges drawn.
        seed: Of the draw.
        names: Metrics to test; AP and, where both have it, APe by default.

    Returns:
        Name -> two-sided p: the share of exchanges, the actual assignment included, in which the
        metrics differ at least as much as they do; nan where they cannot be measured.
    """
    check_pair(first, second)
    both = first.metrics.keys() & second.metrics.keys()
    names = names or [name for name in (Metric("AP").name, Metric("AP", "e").name) if name in both]
    n_images = len(first.groups.place)
    exchanged = np.random.default_rng(seed).integers(0, 2, (n_permutations, n_images))
    kept = 1 - exchanged
    sides = (first, second)
    ones = _mixed_metrics(sides, scores, np.hstack([kept, exchanged]), names)
    twos = _mixed_metrics(sides, scores, np.hstack([exchanged, kept]), names)
    found = {}
    for name in names:
        actual = abs(second.metrics[name] - first.metrics[name])
        # Sums in another order may differ in the last bits.
        as_far = np.abs(twos[name] - ones[name]) >= actual - 1e-12
        found[name] = float((1 + as_far.sum()) / (1 + n_permutations))
        if math.isnan(actual):
            found[name] = math.nan
    return found


def _mixed_metrics(
    sides: tuple[EvalResult, EvalResult],
    scores: tuple[Floats, Floats],
    weights: Ints,
    names: Sequence[str],
) -> dict[str, Floats]:
    """Measure files that are put together from two, image by image.

    Args:
        sides: Results of the two, with I images each.
        scores: (D,) of the detection records of each.
        weights: (P, 2 I) how often each of P files has the images of the first, then the second.
        names: Metrics to measure.

    Returns:
        Name -> (P,).
    """
    params = sides[0].params

    def evidence(mark: str, area: int) -> "list[Evidence]":
        pairs = [(side, matches_of(side, mark)) for side in sides]
        return [
            Evidence.of_columns(
                [Columns.of(side, matches, k, area) for side, matches in pairs],
                scores,
                params,
                as_ranks=True,
            )
            for k in range(len(sides[0].category_ids))
        ]

    alike = all(side.disjoint is side.submitted for side in sides)
    return measure(params, names, evidence, weights, alike)


def check_pair(first: EvalResult, second: EvalResult) -> None:
    """Refuse results that cannot be compared image by image."""
    same = np.array_equal(first.groups.images, second.groups.images) and np.array_equal(
        first.groups.gt_category, second.groups.gt_category
    )
    keys = (
        "iou_thrs", "rec_thrs", "area_ranges", "max_dets", "ap_limit", "class_aware", "iou_type",
        "overlap_rule",
    )  # fmt: skip
    same_params = all(getattr(first.params, key) == getattr(second.params, key) for key in keys)
    if not same or not same_params:
        raise ValueError("results to compare need one ground truth and the same parameters")


def image_metrics(result: EvalResult, overlaps_removed: bool = True) -> Floats:
    """Compute AP of each image by itself.

    Args:
        result: As `entity_api.evaluate` returned it.
        overlaps_removed: Take AP^e where the result has it.

    Returns:
        (I,) fractions; nan for images without ground truth and images not scored.
    """
    has_both = overlaps_removed and result.disjoint is not None
    matches = matches_of(result, "e" if has_both else "")
    n_images, params = len(result.groups.place), result.params
    total, measured = np.zeros(n_images), np.zeros(n_images)
    for k in range(len(result.category_ids)):
        columns = Columns.of(result, matches, k, 0)
        by_image = np.argsort(columns.image_idx, kind="stable")
        start = np.searchsorted(columns.image_idx[by_image], np.arange(n_images + 1))
        scored, outcome = np.flatnonzero(columns.n_gt), columns.outcome[:, by_image]
        for at in range(0, len(scored), IMAGES_AT_ONCE):
            images = scored[at : at + IMAGES_AT_ONCE]
            curves = [
                image_precision(
                    images,
                    start,
                    (own == TRUE_POSITIVE).astype(np.int64),
                    (own != TRUE_POSITIVE) & (own != IGNORED),
                    columns.n_gt[images],
                    params,
                )
                for own in outcome
            ]
            total[images] += np.stack(curves, axis=1).reshape(len(images), -1).mean(axis=1)
            measured[images] += 1
    return np.divide(total, measured, out=np.full(n_images, np.nan), where=measured > 0)
