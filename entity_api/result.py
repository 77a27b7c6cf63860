"""What an evaluation found: arrays, matches, twelve numbers."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from entity_api.groups import Groups
from entity_api.names import Metric, as_submitted, averages
from entity_api.overlap import Overlap
from entity_api.params import EvalParams
from entity_api.report import html_metrics, text_table
from entity_api.shown import Shown
from entity_api.tables import Detections

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EvalResult", "Matches", "Scored", "summarize"]


@dataclasses.dataclass(frozen=True, repr=False)
class Matches(Shown):
    """Hold what was matched with what, at each area range and threshold.

    Attributes:
        records: (N,) detection record of each column (see `Groups`).
        ranks: (N,) place in its group, 0 = highest score.
        groups: The order of the columns; with overlaps removed it is without hidden masks.
        outcome: (A, T, N) int8: 0 false positive, 1 true positive, 2 ignored.
        dt_gt: (A, T, N) int32: record of the matched ground truth, or -1; (A, T, 0) where
            `EvalParams.keep_matches` is off.
        gt_dt: (A, T, G) int32: record of the matched detection, or -1; (A, T, 0) likewise.
        gt_ignored: (A, G): a crowd, or outside the area range.

    Examples:
        >>> mask = rle.encode(np.array([[0, 1], [0, 1]]))
        >>> truth = {"images": [{"id": 7, "height": 2, "width": 2}],
        ...          "annotations": [{"id": 1, "image_id": 7, "segmentation": mask}]}
        >>> from entity_api import evaluate
        >>> found = evaluate(truth, [{"image_id": 7, "segmentation": mask, "score": 0.9}]).matches
        >>> found.outcome.shape, int(found.outcome[0, 0, 0]), int(found.dt_gt[0, 0, 0])
        ((4, 10, 1), 1, 0)
    """

    records: NDArray[np.int64]
    ranks: NDArray[np.int64]
    groups: Groups
    outcome: NDArray[np.int8]
    dt_gt: NDArray[np.int32]
    gt_dt: NDArray[np.int32]
    gt_ignored: NDArray[np.bool_]

    @classmethod
    def empty(
        cls, n_areas: int, n_thrs: int, groups: Groups, n_gt: int, keep: bool = True
    ) -> "Matches":
        """Make the arrays that the images are matched into; who matched whom only if kept."""
        n = len(groups.records)
        return cls(
            records=groups.records,
            ranks=groups.ranks,
            groups=groups,
            outcome=np.zeros((n_areas, n_thrs, n), np.int8),
            dt_gt=np.full((n_areas, n_thrs, n if keep else 0), -1, np.int32),
            gt_dt=np.full((n_areas, n_thrs, n_gt if keep else 0), -1, np.int32),
            gt_ignored=np.zeros((n_areas, n_gt), bool),
        )


@dataclasses.dataclass(frozen=True, repr=False)
class Scored(Shown):
    """Hold the arrays of one pass; -1 marks a category without ground truth, as in COCO.

    Attributes:
        precision: (T, R, K, A, M) in [0, 1].
        recall: (T, K, A, M) in [0, 1].
        scores: (T, R, K, A, M) score at which each recall is reached.
        matches: What they were counted from.

    Examples:
        >>> mask = rle.encode(np.array([[0, 1], [0, 1]]))
        >>> truth = {"images": [{"id": 7, "height": 2, "width": 2}],
        ...          "annotations": [{"id": 1, "image_id": 7, "segmentation": mask}]}
        >>> from entity_api import evaluate
        >>> result = evaluate(truth, [{"image_id": 7, "segmentation": mask, "score": 0.9}])
        >>> scored = result.submitted
        >>> scored.precision.shape, float(scored.scores[0, 0, 0, 0, 0])
        ((10, 101, 1, 4, 3), 0.9)
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    scores: NDArray[np.float64]
    matches: Matches


@dataclasses.dataclass(frozen=True, repr=False)
class EvalResult:
    """Hold the outcome of one evaluation.

    Attributes:
        params: What was measured.
        metrics: AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl as submitted, then APe ...
            with overlaps removed; fractions in [0, 1], nan where there is nothing to measure.
        submitted: Arrays of the masks as submitted.
        disjoint: Arrays with overlaps removed; the same object where nothing overlaps, None where
            they were not asked for.
        overlap: How much overlapped, or None likewise.
        groups: The order in which records were matched as submitted; `Matches.groups` has that of
            either pass.
        dt: The detections as they were scored: cut to the labelled pixels.
        on_void: (D,) detections on void pixels alone, which are left out and take no rank.

    Examples:
        >>> mask = rle.encode(np.array([[0, 1], [0, 1]]))
        >>> truth = {"images": [{"id": 7, "height": 2, "width": 2}],
        ...          "annotations": [{"id": 1, "image_id": 7, "segmentation": mask}]}
        >>> from entity_api import evaluate
        >>> result = evaluate(truth, [{"image_id": 7, "segmentation": mask, "score": 0.9}])
        >>> round(result.metrics["AP"], 6), result.precision.shape, result.recall.shape
        (1.0, (10, 101, 4, 3), (10, 4, 3))
    """

    params: EvalParams
    metrics: dict[str, float]
    submitted: Scored
    disjoint: Scored | None
    overlap: Overlap | None
    groups: Groups
    dt: Detections
    on_void: NDArray[np.bool_]

    def __repr__(self) -> str:
        return text_table(self)

    def _repr_html_(self) -> str:
        return html_metrics(self.metrics)

    def to_frame(self) -> "pd.DataFrame":
        """List the metrics, where pandas is.

        Returns:
            A row a metric: ``metric`` (the name without ``e``, AP AP50 ... ARl), ``submitted``
            (masks as submitted), ``disjoint`` (overlaps removed; nan where that was not scored).
        """
        import pandas as pd

        names = as_submitted(self.metrics)
        disjoint = (Metric.parse(name).marked("e").name for name in names)
        return pd.DataFrame(
            {
                "metric": names,
                "submitted": [self.metrics[name] for name in names],
                "disjoint": [self.metrics.get(name, math.nan) for name in disjoint],
            }
        )

    def plot(self, axes: Any = None) -> Any:
        """Draw precision over recall, and AP over the IoU threshold, where matplotlib is.

        Args:
            axes: Two of matplotlib's; a new figure by default.

        Returns:
            The two axes.
        """
        from entity_api.plots import plot_precision

        passes = {"AP": self.submitted}
        if self.disjoint is not None:
            passes = {"AP$^e$": self.disjoint}
            if self.disjoint is not self.submitted:
                passes["AP, masks as submitted"] = self.submitted
        at = self.params.ap_at
        curves = {label: scored.precision[:, :, :, 0, at] for label, scored in passes.items()}
        return plot_precision(curves, self.params.iou_thrs, self.params.rec_thrs, axes)

    @property
    def category_ids(self) -> list[int]:
        """(K,) categories of class-aware scoring; [-1] otherwise."""
        return self.groups.category_ids

    @property
    def precision(self) -> NDArray[np.float64]:
        """Precision as submitted, (T, R, A, M); class-aware (T, R, K, A, M)."""
        return self._without_k(self.submitted.precision)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Recall as submitted, (T, A, M); class-aware (T, K, A, M)."""
        return self._without_k(self.submitted.recall)

    @property
    def matches(self) -> Matches:
        """What was matched with what, as submitted."""
        return self.submitted.matches

    def _without_k(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values if self.params.class_aware else values[..., 0, :, :]

    def per_category(self) -> dict[int, float]:
        """Return AP as submitted of each category of class-aware scoring, nan without gt.

        Examples:
            >>> from entity_api import EvalParams, evaluate
            >>> mask = rle.encode(np.array([[0, 1], [0, 1]]))
            >>> row = {"image_id": 7, "category_id": 3, "segmentation": mask}
            >>> truth = {"images": [{"id": 7, "height": 2, "width": 2}], "annotations": [row]}
            >>> result = evaluate(truth, [{**row, "score": 0.9}], EvalParams(class_aware=True))
            >>> {category_id: round(ap, 6) for category_id, ap in result.per_category().items()}
            {3: 1.0}
        """
        return {
            category_id: mean(self.submitted.precision[:, :, k, 0, self.params.ap_at])
            for k, category_id in enumerate(self.category_ids)
        }


def mean(values: NDArray[np.float64]) -> float:
    """Average what was measured: -1 marks what was not, nan where nothing was."""
    measured = values[values > -1]
    return float(np.mean(measured)) if measured.size else math.nan


def summarize(submitted: Scored, disjoint: Scored | None, params: EvalParams) -> dict[str, float]:
    """Reduce the arrays to COCO's twelve numbers, with an ``e`` for overlaps removed.

    Examples:
        >>> mask = rle.encode(np.array([[0, 1], [0, 1]]))
        >>> truth = {"images": [{"id": 7, "height": 2, "width": 2}],
        ...          "annotations": [{"id": 1, "image_id": 7, "segmentation": mask}]}
        >>> from entity_api import evaluate
        >>> from entity_api.result import summarize
        >>> found = evaluate(truth, [{"image_id": 7, "segmentation": mask, "score": 0.9}])
        >>> round(summarize(found.submitted, None, found.params)["AP50"], 6)
        1.0
    """
    metrics = summarize_one(submitted, params, "")
    if disjoint is not None:
        metrics |= summarize_one(disjoint, params, "e")
    return metrics


def summarize_one(scored: Scored, params: EvalParams, mark: str) -> dict[str, float]:
    """Name and average one pass's arrays."""
    found = {}
    for name, own in averages(list(params.area_ranges)[1:], params.max_dets, mark).items():
        limit = params.ap_at if own.max_det is None else list(params.max_dets).index(own.max_det)
        values = scored.precision if own.kind == "AP" else scored.recall
        values = values[..., own.area, limit]
        if own.iou_thr is not None:
            values = values[np.isclose(params.iou_thrs, own.iou_thr)]
        found[name] = mean(values)
    return found
