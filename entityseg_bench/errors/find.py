"""Where AP is lost: errors by kind and what each costs, scores, categories.

The kinds are defined in `errors.kinds`, the costs in `errors.costs`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalResult
from entity_api.shown import Shown
from entityseg_bench import __version__
from entityseg_bench.errors.costs import ALL_UNFOUND, ALL_WRONG, Cost, Oracle, Part
from entityseg_bench.errors.kinds import FOUND, KINDS, NONE
from entityseg_bench.errors.score_quality import (
    Calibration,
    OperatingPoint,
    best_point,
    calibrate,
    operating_points,
)
from entityseg_bench.errors.sorting import SortedErrors, sort_errors
from entityseg_bench.plots import plot_errors
from entityseg_bench.resampling.weighted import matches_of
from entityseg_bench.score import Scoring

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KINDS", "CategoryRecall", "ErrorReport", "error_record", "find_errors"]

# Version of the JSON: raised when a field changes its meaning.
SCHEMA = 1

# Entities in an image: our own bins around the mean of EntitySeg, 16 to 18.
CROWDEDNESS = {"1-10": (1, 10), "11-20": (11, 20), "21-30": (21, 30), "31+": (31, math.inf)}

SCORES = tuple(round(0.1 * k, 1) for k in range(1, 10))


@dataclasses.dataclass(frozen=True)
class CategoryRecall:
    """Hold how many of a category's entities are found.

    Attributes:
        category_id: From the ground truth.
        name: Likewise, "" where it has none.
        n: Entities, crowds left out.
        recall50: Share found at IoU 0.5.
        recall: The same, mean over the IoU thresholds.
    """

    category_id: int
    name: str
    n: int
    recall50: float
    recall: float


@dataclasses.dataclass(frozen=True, repr=False)
class ErrorReport(Shown):
    """Hold where a prediction file loses AP; fractions, nan where there is nothing to measure.

    Attributes:
        scoring: What was judged.
        overlaps_removed: Whether AP means AP^e throughout.
        ap: AP as it is.
        ap50: The same at IoU 0.5.
        costs: Kind -> cost; after the kinds, all ``false_positives`` and ``false_negatives``.
        by_size: Size -> kind -> cost of the errors of that size alone. A prediction has the size of
            its best entity, of its own mask where it has none.
        by_crowdedness: The same for images by their number of entities.
        points: At the scores asked for.
        best: The one of highest F1; None without predictions.
        categories: Worst recall first; empty where ground truth has no categories.
        calibration: Of the scores.
        prediction_kind: (D,) kind of each prediction record at IoU 0.5: one of ``KINDS``,
            ``"found"``, or ``""`` where it counts neither way.
        prediction_iou: (D,) with its best entity; nan for those that are not among the first 100 of
            their image.
        entity_kind: (G,) likewise of each annotation record.
        entity_iou: (G,) with its best prediction.
        oracle: What found the costs, to correct other parts with.
    """

    scoring: Scoring
    overlaps_removed: bool
    ap: float
    ap50: float
    costs: dict[str, Cost]
    by_size: dict[str, dict[str, Cost]]
    by_crowdedness: dict[str, dict[str, Cost]]
    points: list[OperatingPoint]
    best: OperatingPoint | None
    categories: list[CategoryRecall]
    calibration: Calibration
    prediction_kind: NDArray[np.str_]
    prediction_iou: NDArray[np.float64]
    entity_kind: NDArray[np.str_]
    entity_iou: NDArray[np.float64]
    oracle: Oracle

    def kinds_at(self, thr_idx: int) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
        """Return the kinds at another IoU threshold, as `prediction_kind` and `entity_kind`.

        Args:
            thr_idx: Position in ``EvalParams.iou_thrs``.
        """
        n = len(self.scoring.result.dt.scores)
        return _kinds_at(self.oracle.errors, self._records, n, thr_idx)

    def merged_entities(self) -> dict[int, list[int]]:
        """Return the entities of which each merged prediction covers at least half.

        Returns:
            Prediction record -> annotation records; of those that are merged at some threshold.
        """
        found: dict[int, list[int]] = {}
        for column, entity in self.oracle.errors.covered.tolist():
            found.setdefault(int(self._records[column]), []).append(entity)
        return found

    @property
    def _records(self) -> NDArray[np.int64]:
        return matches_of(self.scoring.result, "e" if self.overlaps_removed else "").records

    def to_frame(self) -> "pd.DataFrame":
        """List what each kind of error costs, where pandas is: a row a kind, AP as fractions."""
        import pandas as pd

        rows = [{"kind": kind, **dataclasses.asdict(cost)} for kind, cost in self.costs.items()]
        return pd.DataFrame(rows)

    def plot(self, axis: Any = None) -> Any:
        """Draw what each kind of error costs, where matplotlib is; return the axis."""
        return plot_errors(self, axis)


def find_errors(
    scoring: Scoring,
    overlaps_removed: bool = True,
    scores: Sequence[float] = SCORES,
    progress: Callable[[int, int], None] | None = None,
) -> ErrorReport:
    """Tell where a scored file loses AP.

    Args:
        scoring: Class-agnostic, by masks, with its matches kept.
        overlaps_removed: Judge AP^e; otherwise AP of the masks as submitted.
        scores: Least scores for `ErrorReport.points`.
        progress: Called with (images finished, images to judge).

    Raises:
        ValueError: A scoring of another sort.
    """
    result = scoring.result
    removed = overlaps_removed and result.disjoint is not None
    # Cut to the labelled pixels, as they were scored.
    gt, dt = scoring.gt.ground_truth(), result.dt
    found = sort_errors(gt, dt, result, removed, progress)
    oracle = Oracle(result, dt.scores, found, removed)
    kinds = (*KINDS, ALL_WRONG, ALL_UNFOUND)
    half = oracle.half
    records = matches_of(result, "e" if removed else "").records
    counted = found.kind[half] != NONE
    right, score = found.kind[half][counted] == FOUND, dt.scores[records[counted]]
    prediction_kind, entity_kind = _kinds_at(found, records, len(dt.scores), half)
    prediction_iou = np.full(len(dt.scores), np.nan)
    prediction_iou[records] = found.iou
    return ErrorReport(
        scoring=scoring,
        overlaps_removed=removed,
        ap=float(oracle.base.mean()),
        ap50=float(oracle.base[half]),
        costs={kind: oracle.cost(kind) for kind in kinds},
        by_size=oracle.costs(KINDS, parts_by_size(result, found)),
        by_crowdedness=oracle.costs(KINDS, parts_by_crowdedness(scoring, removed)),
        points=operating_points(score, right, oracle.n_gt, scores),
        best=best_point(score, right, oracle.n_gt),
        categories=category_recall(scoring, removed, half),
        calibration=calibrate(score, right, found.iou[counted]),
        prediction_kind=prediction_kind,
        prediction_iou=prediction_iou,
        entity_kind=entity_kind,
        entity_iou=found.entity_iou,
        oracle=oracle,
    )


def _kinds_at(
    found: SortedErrors, records: NDArray[np.int64], n: int, thr_idx: int
) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Name the kinds of n prediction records and of the annotations at a threshold."""
    names = np.array([*KINDS, "found", ""])
    of_records = np.full(n, "", names.dtype)
    of_records[records] = names[found.kind[thr_idx]]
    return of_records, names[found.entity_kind[thr_idx]]


def parts_by_size(result: EvalResult, found: SortedErrors) -> dict[str, Part]:
    """Divide predictions and entities by the area ranges of the scoring but the first."""
    parts = {}
    for a, (label, (least, greatest)) in enumerate(result.params.area_ranges.items()):
        if a == 0:
            continue
        entities = ~result.matches.gt_ignored[a]
        own = (found.area >= least) & (found.area <= greatest)
        # A false entry behind the entities: position -1, no best entity, reads it and is replaced.
        of_best = np.append(entities, False)[found.best]
        parts[label] = Part(np.where(found.best >= 0, of_best, own), entities)
    return parts


def parts_by_crowdedness(scoring: Scoring, removed: bool) -> dict[str, Part]:
    """Divide predictions and entities by how many entities their image has, crowds left out."""
    result = scoring.result
    counts = (~result.matches.gt_ignored[0]) & (result.groups.gt_category >= 0)
    n_images = len(result.groups.place)
    n_gt = np.bincount(scoring.gt.image_idx[counts], minlength=n_images)
    records = matches_of(result, "e" if removed else "").records
    of_column = n_gt[scoring.dt.image_idx[records]]
    of_entity = n_gt[scoring.gt.image_idx]
    return {
        label: Part(
            (of_column >= least) & (of_column <= most), (of_entity >= least) & (of_entity <= most)
        )
        for label, (least, most) in CROWDEDNESS.items()
    }


def category_recall(scoring: Scoring, removed: bool, half: int) -> list[CategoryRecall]:
    """Find the recall of each category that has entities, the worst first."""
    result, ids = scoring.result, scoring.gt.category_ids
    matches = matches_of(result, "e" if removed else "")
    counts = ~matches.gt_ignored[0] & (result.groups.gt_category >= 0)
    found = matches.gt_dt[0] >= 0
    names = {category.id: category.name for category in scoring.gt.categories}
    rows = []
    for category_id in np.unique(ids[counts]).tolist() if names else []:
        own = found[:, counts & (ids == category_id)]
        rows.append(
            CategoryRecall(
                category_id=category_id,
                name=names.get(category_id, ""),
                n=own.shape[1],
                recall50=float(own[half].mean()),
                recall=float(own.mean()),
            )
        )
    return sorted(rows, key=lambda row: (row.recall, -row.n))


def error_record(report: ErrorReport) -> dict[str, Any]:
    """Make the JSON of a report; fractions, null where there is nothing to measure."""
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "toolkit": {"name": "entityseg-bench", "version": __version__},
        "files": report.scoring.sides.files(),
        "overlaps_removed": report.overlaps_removed,
    }
    for name in ("ap", "ap50", "costs", "by_size", "by_crowdedness", "best", "points"):
        record[name] = _plain(getattr(report, name))
    record["categories"] = _plain(report.categories)
    record["calibration"] = _plain(report.calibration)
    return record


def _plain(value: Any) -> Any:
    """Turn dataclasses to dictionaries and nan to None, all the way down."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
