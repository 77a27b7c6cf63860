"""A scored file as resampling sees it: its images, and what was found in each, whatever it is from.

Images are drawn by rising id, so that neither the order of a file nor how a set was split into
states makes a difference.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams, EvalResult, EvalState
from entityseg_bench.resampling.measures import measure
from entityseg_bench.resampling.weighted import (
    IGNORED,
    TRUE_POSITIVE,
    Columns,
    Evidence,
    matches_of,
    precision_at_recall,
)

__all__ = ["Sample", "drawn_weights", "mixed_metrics"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# What two files must have been scored with alike to be compared.
KEYS = (
    "iou_thrs", "rec_thrs", "area_ranges", "max_dets", "ap_limit", "class_aware", "iou_type",
    "overlap_rule",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """Hold what was found in the I images of one file.

    Attributes:
        params: What was measured.
        metrics: Of all images.
        scores: (D,) of the detections.
        places: (I,) image rank of each: its position by rising id.
        scored: Positions of the images that are scored.
        n_categories: K, 1 when class-agnostic.
        alike: Nothing overlaps, so that the metrics of both kinds come from the same matches.
        truth: What is equal where the ground truth is.
        columns: Gives the detections of a mark ("" or "e"), a category and an area range.
    """

    params: EvalParams
    metrics: Mapping[str, float]
    scores: Floats
    places: Ints
    scored: Ints
    n_categories: int
    alike: bool
    truth: Sequence[Ints]
    columns: Callable[[str, int, int], Columns]

    @classmethod
    def of(cls, result: EvalResult, scores: Floats) -> "Sample":
        """Take a result, and the (D,) scores of its detection records."""
        groups = result.groups
        return cls(
            params=result.params,
            metrics=result.metrics,
            scores=scores,
            places=groups.place,
            scored=groups.images,
            n_categories=len(result.category_ids),
            alike=result.disjoint is result.submitted,
            truth=(groups.images, groups.gt_category),
            columns=lambda mark, k, area: Columns.of(result, matches_of(result, mark), k, area),
        )

    @classmethod
    def of_state(cls, state: EvalState, result: EvalResult) -> "Sample":
        """Take a state, and the same finished."""
        has_gt = state.n_gt.any(axis=1)
        images = np.arange(len(state.image_ids))
        return cls(
            params=state.params,
            metrics=result.metrics,
            scores=state.scores,
            places=images,
            scored=images,
            n_categories=len(state.category_ids),
            alike=result.disjoint is result.submitted,
            truth=(images, state.group_category[has_gt], state.group_image[has_gt],
                   state.n_gt[has_gt]),
            columns=lambda mark, k, area: Columns.of_state(
                state, mark == "e" and result.disjoint is not None, k, area
            ),
        )  # fmt: skip

    def check_pair(self, other: "Sample") -> None:
        """Refuse a sample that cannot be compared image by image.

        Raises:
            ValueError: It is of other images, or of other parameters.
        """
        same = len(self.truth) == len(other.truth) and all(
            np.array_equal(mine, its) for mine, its in zip(self.truth, other.truth, strict=True)
        )
        same_params = all(getattr(self.params, key) == getattr(other.params, key) for key in KEYS)
        if not same or not same_params:
            raise ValueError("results to compare need one ground truth and the same parameters")

    def n_gt(self) -> Ints:
        """Count the entities of each image that are asked for, (I,)."""
        counts = [self.columns("", k, 0).n_gt for k in range(self.n_categories)]
        return np.asarray(np.sum(counts, axis=0, dtype=np.int64))

    def resampled(self, weights: Ints, names: Sequence[str] | None = None) -> dict[str, Floats]:
        """Compute metrics of sets that hold each image so often; see `resampled_metrics`."""

        def evidence(mark: str, area: int) -> list[Evidence]:
            return [
                Evidence.of_columns(
                    [self.columns(mark, k, area)], [self.scores], self.params, as_ranks=False
                )
                for k in range(self.n_categories)
            ]

        return measure(self.params, names or list(self.metrics), evidence, weights, self.alike)

    def image_metrics(self, overlaps_removed: bool = True) -> Floats:
        """Compute AP of each image by itself; see `bootstrap.image_metrics`."""
        mark, params, n_images = "e" if overlaps_removed else "", self.params, len(self.places)
        total, measured = np.zeros(n_images), np.zeros(n_images)
        for k in range(self.n_categories):
            columns = self.columns(mark, k, 0)
            by_image = np.argsort(columns.image_idx, kind="stable")
            starts = np.searchsorted(columns.image_idx[by_image], np.arange(n_images + 1))
            for image_idx in np.flatnonzero(columns.n_gt):
                own = columns.outcome[:, by_image[starts[image_idx] : starts[image_idx + 1]]]
                right, counted = own == TRUE_POSITIVE, np.cumsum(own != IGNORED, axis=1)
                n_gt = columns.n_gt[image_idx : image_idx + 1]
                precision = []
                for hit, count in zip(right, counted, strict=True):
                    found = np.arange(1, np.count_nonzero(hit) + 1)
                    precision.append(
                        precision_at_recall(found[None], count[hit][None], n_gt, params)
                    )
                total[image_idx] += np.mean(precision)
                measured[image_idx] += 1
        return np.divide(total, measured, out=np.full(n_images, np.nan), where=measured > 0)


def drawn_weights(places: Ints, scored: Ints, n_resamples: int, seed: int) -> Ints:
    """Draw sets of images with replacement, as many as are scored, by rising id.

    Args:
        places: (I,) image rank of each image.
        scored: Positions of the images that are scored.
        n_resamples: B.
        seed: Of the draw.

    Returns:
        (B, I) how often each resample holds each image; 0 for images that are not scored.
    """
    if n_resamples < 1:
        raise ValueError(f"there must be at least 1 resample, not {n_resamples}")
    weights, n = np.zeros((n_resamples, len(places)), np.int64), len(scored)
    if n:
        drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_resamples)
        weights[:, scored[np.argsort(places[scored])]] = drawn
    return weights


def mixed_metrics(
    sides: tuple[Sample, Sample], weights: Ints, names: Sequence[str]
) -> dict[str, Floats]:
    """Measure files that are put together from two, image by image.

    Args:
        sides: The two, with I images each.
        weights: (P, 2 I) how often each of P files has the images of the first, then the second.
        names: Metrics to measure.

    Returns:
        Name -> (P,).
    """
    params, scores = sides[0].params, [side.scores for side in sides]

    def evidence(mark: str, area: int) -> list[Evidence]:
        return [
            Evidence.of_columns(
                [side.columns(mark, k, area) for side in sides], scores, params, as_ranks=True
            )
            for k in range(sides[0].n_categories)
        ]

    alike = all(side.alike for side in sides)
    return measure(params, names, evidence, weights, alike)
