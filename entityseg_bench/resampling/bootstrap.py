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

from entity_api import EvalResult
from entity_api.groups import Groups
from entity_api.names import Metric
from entityseg_bench.resampling.sample import Sample, drawn_weights, mixed_metrics

__all__ = [
    "Interval",
    "bounds",
    "confidence_intervals",
    "exchange_test",
    "image_metrics",
    "image_weights",
    "interval_record",
    "interval_table",
    "permutation_test",
    "resampled_metrics",
    "sample_intervals",
]

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
    return sample_intervals(Sample.of(result, scores), n_resamples, level, seed, names)


def sample_intervals(
    sample: Sample,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> dict[str, Interval]:
    """Bound each metric of a sample, as `confidence_intervals` does; a state gives the same."""
    weights = drawn_weights(sample.places, sample.scored, n_resamples, seed)
    return {
        name: Interval(sample.metrics[name], *bounds(values, sample.metrics[name], level))
        for name, values in sample.resampled(weights, names).items()
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
    return drawn_weights(groups.place, groups.images, n_resamples, seed)


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
    return Sample.of(result, scores).resampled(weights, names)


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
    one, other = (Sample.of(side, own) for side, own in zip((first, second), scores, strict=True))
    return exchange_test(one, other, n_permutations, seed, names)


def exchange_test(
    first: Sample,
    second: Sample,
    n_permutations: int = 1000,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Test whether two samples differ, as `permutation_test` does."""
    first.check_pair(second)
    both = first.metrics.keys() & second.metrics.keys()
    names = names or [name for name in (Metric("AP").name, Metric("AP", "e").name) if name in both]
    shape = n_permutations, len(first.places)
    exchanged = np.random.default_rng(seed).integers(0, 2, shape)[:, first.places]
    kept = 1 - exchanged
    ones = mixed_metrics((first, second), np.hstack([kept, exchanged]), names)
    twos = mixed_metrics((first, second), np.hstack([exchanged, kept]), names)
    found = {}
    for name in names:
        actual = abs(second.metrics[name] - first.metrics[name])
        # Sums in another order may differ in the last bits.
        as_far = np.abs(twos[name] - ones[name]) >= actual - 1e-12
        found[name] = float((1 + as_far.sum()) / (1 + n_permutations))
        if math.isnan(actual):
            found[name] = math.nan
    return found


def image_metrics(result: EvalResult, overlaps_removed: bool = True) -> Floats:
    """Compute AP of each image by itself.

    Args:
        result: As `entity_api.evaluate` returned it.
        overlaps_removed: Take AP^e where the result has it.

    Returns:
        (I,) fractions; nan for images without ground truth and images not scored.
    """
    return Sample.of(result, result.dt.scores).image_metrics(overlaps_removed)
