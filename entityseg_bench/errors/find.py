"""Where AP is lost: errors by kind and what each costs, scores, categories.

The kinds are defined in `errors.kinds`, the costs in `errors.costs`.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from entity_api.shown import Shown
from entityseg_bench import __version__
from entityseg_bench.errors.costs import ALL_UNFOUND, ALL_WRONG, Cost, Oracle, Part
from entityseg_bench.errors.judgements import Judgements
from entityseg_bench.errors.kinds import FOUND, KINDS, NONE
from entityseg_bench.errors.score_quality import (
    Calibration,
    OperatingPoint,
    best_point,
    calibrate,
    operating_points,
)
from entityseg_bench.errors.sorting import SortedErrors
from entityseg_bench.plots import plot_bars
from entityseg_bench.resampling.weighted import matches_of
from entityseg_bench.score import Scoring

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "KINDS",
    "CategoryRecall",
    "ErrorReport",
    "ErrorSummary",
    "error_record",
    "find_errors",
    "parts_by_size",
    "summarize",
    "summary_record",
]

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
class ErrorSummary(Shown):
    """Hold where a prediction file loses AP; fractions, nan where there is nothing to measure.

    Attributes:
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
        oracle: What found the costs, to correct other parts with.
    """

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
    oracle: Oracle

    def to_frame(self) -> "pd.DataFrame":
        """List what each kind of error costs, where pandas is: a row a kind, AP as fractions."""
        import pandas as pd

        rows = [{"kind": kind, **dataclasses.asdict(cost)} for kind, cost in self.costs.items()]
        return pd.DataFrame(rows)

    def plot(self, axis: Any = None) -> Any:
        """Draw what each kind of error costs, where matplotlib is; return the axis."""
        costs = {kind: 100 * one.cost for kind, one in self.costs.items()}
        label = "AP$^e$" if self.overlaps_removed else "AP"
        return plot_bars(costs, f"{label} that the errors cost, points", axis)


@dataclasses.dataclass(frozen=True, repr=False)
class ErrorReport(ErrorSummary):
    """Hold the same of a scoring that is at hand, with what became of each record.

    Attributes:
        scoring: What was judged.
        prediction_kind: (D,) kind of each prediction record at IoU 0.5: one of ``KINDS``,
            ``"found"``, or ``""`` where it counts neither way.
        prediction_iou: (D,) with its best entity; nan for those that are not among the first 100 of
            their image.
        entity_kind: (G,) likewise of each annotation record.
        entity_iou: (G,) with its best prediction.
    """

    scoring: Scoring
    prediction_kind: NDArray[np.str_]
    prediction_iou: NDArray[np.float64]
    entity_kind: NDArray[np.str_]
    entity_iou: NDArray[np.float64]

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
        scores: Least scores for `ErrorSummary.points`.
        progress: Called with (images finished, images to judge).

    Raises:
        ValueError: A scoring of another sort.
    """
    judged = Judgements.judge(scoring, overlaps_removed, progress)
    summary, found, dt = summarize(judged, scores), judged.found, scoring.result.dt
    records = matches_of(scoring.result, "e" if judged.overlaps_removed else "").records
    prediction_kind, entity_kind = _kinds_at(found, records, len(dt.scores), summary.oracle.half)
    prediction_iou = np.full(len(dt.scores), np.nan)
    prediction_iou[records] = found.iou
    own = {field.name: getattr(summary, field.name) for field in dataclasses.fields(summary)}
    return ErrorReport(
        **own,
        scoring=scoring,
        prediction_kind=prediction_kind,
        prediction_iou=prediction_iou,
        entity_kind=entity_kind,
        entity_iou=found.entity_iou,
    )


def summarize(judged: Judgements, scores: Sequence[float] = SCORES) -> ErrorSummary:
    """Compute what errors cost.

    Args:
        judged: What became of every prediction and entity.
        scores: Least scores for `ErrorSummary.points`.

    Raises:
        ValueError: IoU 0.5 is not among the thresholds.
    """
    oracle, found = Oracle(judged), judged.found
    half = oracle.half
    counted = found.kind[half] != NONE
    right, score = found.kind[half][counted] == FOUND, judged.scores[counted]
    return ErrorSummary(
        overlaps_removed=judged.overlaps_removed,
        ap=float(oracle.base.mean()),
        ap50=float(oracle.base[half]),
        costs={kind: oracle.cost(kind) for kind in (*KINDS, ALL_WRONG, ALL_UNFOUND)},
        by_size=oracle.costs(KINDS, parts_by_size(judged)),
        by_crowdedness=oracle.costs(KINDS, parts_by_crowdedness(judged)),
        points=operating_points(score, right, oracle.n_gt, scores),
        best=best_point(score, right, oracle.n_gt),
        categories=category_recall(judged, half),
        calibration=calibrate(score, right, found.iou[counted]),
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


def parts_by_size(judged: Judgements) -> dict[str, Part]:
    """Divide predictions and entities by the area ranges of the scoring but the first."""
    parts, found = {}, judged.found
    for a, (label, (least, greatest)) in enumerate(judged.params.area_ranges.items()):
        if a == 0:
            continue
        entities = ~judged.ignored[a]
        own = (found.area >= least) & (found.area <= greatest)
        # A false entry behind the entities: position -1, no best entity, reads it and is replaced.
        of_best = np.append(entities, False)[found.best]
        parts[label] = Part(np.where(found.best >= 0, of_best, own), entities)
    return parts


def parts_by_crowdedness(judged: Judgements) -> dict[str, Part]:
    """Divide predictions and entities by how many entities their image has, crowds left out."""
    of_column, of_entity = judged.n_gt[judged.image], judged.n_gt[judged.entity_image]
    return {
        label: Part(
            (of_column >= least) & (of_column <= most), (of_entity >= least) & (of_entity <= most)
        )
        for label, (least, most) in CROWDEDNESS.items()
    }


def category_recall(judged: Judgements, half: int) -> list[CategoryRecall]:
    """Find the recall of each category that has entities, the worst first."""
    ids, counts, names = judged.category_ids, judged.counted, judged.names
    found = judged.found.entity_kind == FOUND
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
    return summary_record(report, report.scoring.sides.files())


def summary_record(summary: ErrorSummary, files: Mapping[str, Any]) -> dict[str, Any]:
    """Make the JSON of a summary; see `error_record`.

    Args:
        summary: Of what was judged.
        files: Side -> name and hash.
    """
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "toolkit": {"name": "entityseg-bench", "version": __version__},
        "files": dict(files),
        "overlaps_removed": summary.overlaps_removed,
    }
    for name in ("ap", "ap50", "costs", "by_size", "by_crowdedness", "best", "points"):
        record[name] = _plain(getattr(summary, name))
    record["categories"] = _plain(summary.categories)
    record["calibration"] = _plain(summary.calibration)
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
