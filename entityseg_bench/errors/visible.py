"""The masks of an image's errors, as they are drawn."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import rle
from entity_api.counts import bare
from entity_api.overlap import remove_overlaps
from entityseg_bench.errors.find import ErrorReport
from entityseg_bench.errors.kinds import KINDS
from entityseg_bench.resampling.weighted import matches_of
from entityseg_bench.score import Scoring

__all__ = ["counted_records", "errors_of_image"]

RLEDict = dict[str, Any]


def counted_records(scoring: Scoring, image_idx: int) -> NDArray[np.int64]:
    """Return the records of an image that count for AP^e, by score descending, (N,).

    None of those that are left out, hidden whole or of too low a rank, hides any part of these.
    """
    groups = matches_of(scoring.result, "e").groups
    return groups.records[groups.columns(image_idx, 0)]


def errors_of_image(report: ErrorReport, image_idx: int) -> list[tuple[str, RLEDict]]:
    """List the errors of an image at IoU 0.5.

    Returns:
        Kind and mask of each: first the entities that are missed, then the predictions that are
        wrong, the highest score last; of a prediction the part that AP^e sees.
    """
    gt = report.scoring.gt
    missed: list[tuple[str, RLEDict]] = [
        ("missed", {**gt.rle(row)})
        for row in gt.of_image(image_idx).tolist()
        if report.entity_kind[row] == "missed"
    ]
    size, counts = list(gt.size_of_image(image_idx)), report.scoring.result.dt.counts
    rows = counted_records(report.scoring, image_idx).tolist()
    counted = [{"size": size, "counts": bare(counts[row])} for row in rows]
    # They stand by score already; equal scores keep their order.
    visible = remove_overlaps(counted, [0.0] * len(counted))
    kinds = [str(report.prediction_kind[row]) for row in rows]
    wrong = [
        (kind, mask)
        for kind, mask in zip(kinds, visible, strict=True)
        if kind in KINDS and rle.area(mask)
    ]
    return missed + wrong[::-1]
