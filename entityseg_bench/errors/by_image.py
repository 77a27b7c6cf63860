"""Errors image by image: how many of each kind there are, and what each kind costs the image."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from entityseg_bench.errors.find import ErrorReport, parts_by_size
from entityseg_bench.errors.kinds import FOUND, KINDS, MISSED
from entityseg_bench.resampling.weighted import image_precision, matches_of

__all__ = ["ImageErrors", "errors_by_image"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class ImageErrors:
    """Hold the errors of I images; kinds are those of ``KINDS``, in their order.

    Attributes:
        sizes: (S,) what the last axis of ``counts`` is about: "all", then each size.
        thrs: (K,) positions of the IoU thresholds that ``counts`` and ``scores`` are about.
        counts: (K, 7, I, S) errors: entities that are missed, predictions of other kinds.
        costs: (7, I) what correcting the image's errors of a kind would gain in AP of the image by
            itself, mean over the IoU thresholds; 0 where it has none, nan without entities.
        scores: (K, 7, I) highest score of a prediction with an error of the kind; else nan.
    """

    sizes: list[str]
    thrs: list[int]
    counts: Ints
    costs: Floats
    scores: Floats


def errors_by_image(report: ErrorReport, iou_thrs: Sequence[float] = (0.5,)) -> ImageErrors:
    """Count the errors of each image and find what they cost it.

    Args:
        report: Of one prediction file.
        iou_thrs: Thresholds to count at; those that were not scored are left out.
    """
    oracle, scoring = report.oracle, report.scoring
    found = oracle.errors
    at = [k for k, thr in enumerate(scoring.result.params.iou_thrs)
          if any(math.isclose(thr, wanted) for wanted in iou_thrs)]  # fmt: skip
    result, n_images = scoring.result, len(scoring.gt.images)
    records = matches_of(result, "e" if report.overlaps_removed else "").records
    of_column, of_entity = result.dt.image_idx[records], scoring.gt.image_idx
    parts = {"all": oracle.everything, **parts_by_size(oracle.judged)}
    counts = np.zeros((len(at), len(KINDS), n_images, len(parts)), np.int64)
    scores = np.full((len(at), len(KINDS), n_images), np.nan)
    for (k, t), code in itertools.product(enumerate(at), range(len(KINDS))):
        columns, entities = found.kind[t] == code, found.entity_kind[t] == code
        for s, part in enumerate(parts.values()):
            where = of_entity[entities & part.entities]
            if code != MISSED:
                where = of_column[columns & part.columns]
            counts[k, code, :, s] = np.bincount(where, minlength=n_images)
        np.fmax.at(scores[k, code], of_column[columns], result.dt.scores[records[columns]])
    return ImageErrors(list(parts), at, counts, _costs(report, of_column, of_entity), scores)


def _costs(report: ErrorReport, of_column: Ints, of_entity: Ints) -> Floats:
    oracle, result = report.oracle, report.scoring.result
    found, n_images = oracle.errors, len(report.scoring.gt.images)
    counts = ~result.matches.gt_ignored[0] & (result.groups.gt_category >= 0)
    n_gt = np.bincount(of_entity[counts], minlength=n_images)
    costs = np.zeros((len(KINDS), n_images))
    costs[:, n_gt == 0] = np.nan
    order = np.argsort(of_column, kind="stable")
    start = np.searchsorted(of_column[order], np.arange(n_images + 1))

    def ap(images: Ints, hits: Ints, wrong: NDArray[np.bool_], n: Ints) -> Floats:
        """Compute AP of images with n entities each, 1 where that is none."""
        curves = image_precision(images, start, hits[order], wrong[order], n, result.params)
        return np.where(n < 1, 1.0, curves.mean(axis=1))

    before, scored = np.zeros(n_images), np.flatnonzero(n_gt)
    for t, own in enumerate(found.kind):
        right, wrong = (own == FOUND).astype(np.int64), (own >= 0) & (own != FOUND)
        before[scored] = ap(scored, right, wrong, n_gt[scored])
        for code, kind in enumerate(KINDS):
            chosen, won, dropped = oracle.correcting(t, kind, oracle.everything)
            hits, left_wrong = right + np.bincount(won, minlength=len(right)), wrong & ~chosen
            n_dropped = np.bincount(of_entity[dropped], minlength=n_images)
            touched = np.union1d(of_column[own == code], np.flatnonzero(n_dropped))
            touched = touched[n_gt[touched] > 0]
            after = ap(touched, hits, left_wrong, n_gt[touched] - n_dropped[touched])
            costs[code, touched] += (after - before[touched]) / len(found.kind)
    return costs
