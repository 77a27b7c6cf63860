"""Results as pandas frames, for notebooks: metrics, curves, images, entities, predictions.

Rows are in the order of the files. Metrics are fractions in [0, 1], nan where there is nothing to
measure. pandas is imported when a frame is made (``pip install 'entityseg-bench[notebooks]'``).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalResult
from entity_api.names import MAIN
from entityseg_bench.resampling import image_metrics
from entityseg_bench.resampling.weighted import IGNORED, TRUE_POSITIVE, matches_of
from entityseg_bench.table import Segments

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["curve_frame", "frame_of", "metrics_frame", "per_entity", "per_image", "per_prediction"]


class Scored(Protocol):
    """What a frame is made of: a result and the tables of both sides, as `score.Scoring` is."""

    @property
    def result(self) -> EvalResult:
        """With its matches kept."""

    @property
    def gt(self) -> Segments: ...

    @property
    def dt(self) -> Segments: ...


class Judged(Protocol):
    """The kind of error and the best IoU of each record, as `errors.ErrorReport` has them."""

    @property
    def prediction_kind(self) -> NDArray[np.str_]: ...

    @property
    def prediction_iou(self) -> NDArray[np.float64]: ...

    @property
    def entity_kind(self) -> NDArray[np.str_]: ...

    @property
    def entity_iou(self) -> NDArray[np.float64]: ...


def metrics_frame(result: EvalResult) -> "pd.DataFrame":
    """List the metrics of a result: `EvalResult.to_frame`."""
    return result.to_frame()


def curve_frame(result: EvalResult, overlaps_removed: bool = True) -> "pd.DataFrame":
    """List the precision-recall curves of a class-agnostic result, all areas.

    Returns:
        A row a threshold and recall: ``iou_thr``, ``recall``, ``precision`` (interpolated, as AP
        averages it), ``score`` (at which the recall is reached; nan where it is not).
    """
    import pandas as pd

    if result.params.class_aware:
        raise ValueError("a class-aware result has a curve for each category, not one")
    scored = result.submitted
    if overlaps_removed and result.disjoint is not None:
        scored = result.disjoint
    at = result.params.ap_at
    precision, score = (values[:, :, 0, 0, at] for values in (scored.precision, scored.scores))
    reached = np.array(result.params.rec_thrs) <= scored.recall[:, 0, 0, at, None]
    shape = precision.shape
    return pd.DataFrame(
        {
            "iou_thr": np.repeat(result.params.iou_thrs, shape[1]),
            "recall": np.tile(result.params.rec_thrs, shape[0]),
            "precision": np.where(precision < 0, np.nan, precision).reshape(-1),
            "score": np.where(reached & (score >= 0), score, np.nan).reshape(-1),
        }
    )


def frame_of(scoring: Scored, rows: str) -> "pd.DataFrame":
    """Return the frame of a scoring whose rows are metrics, images, entities or predictions."""
    makers: dict[str, Callable[[Scored], pd.DataFrame]] = {
        "metrics": lambda scoring: scoring.result.to_frame(),
        "images": per_image,
        "entities": per_entity,
        "predictions": per_prediction,
    }
    if rows not in makers:
        raise ValueError(f"rows {rows!r} must be one of {', '.join(makers)}")
    return makers[rows](scoring)


def per_image(scoring: Scored) -> "pd.DataFrame":
    """List the images of a scoring.

    Returns:
        A row an image, those that were not scored left out: ``image_id``, ``file_name``, ``height``
        and ``width`` in pixels, ``n_gt`` (entities that count), ``n_pred`` (predictions in the
        file), ``AP`` and ``APe`` of the image by itself (nan without entities; no ``APe`` where
        overlaps were left), ``tp``, ``fp`` and ``fn`` at the first IoU threshold (0.5) with
        overlaps removed where they were, ``overlap_px`` (pixels that two or more predictions
        cover).
    """
    import pandas as pd

    result, images = scoring.result, scoring.gt.images
    matches = matches_of(result, "e")
    counts = ~matches.gt_ignored[0] & (result.groups.gt_category >= 0)
    outcome = matches.outcome[0, 0]
    of_column = scoring.dt.image_idx[matches.records]
    n_gt = _per_image(scoring.gt.image_idx[counts], len(images))
    tp = _per_image(of_column[outcome == TRUE_POSITIVE], len(images))
    wrong = (outcome != TRUE_POSITIVE) & (outcome != IGNORED)
    columns: dict[str, Any] = {
        "image_id": [image.id for image in images],
        "file_name": [image.file_name for image in images],
        "height": [image.height for image in images],
        "width": [image.width for image in images],
        "n_gt": n_gt,
        "n_pred": scoring.dt.n_per_image,
        "AP": image_metrics(result, overlaps_removed=False),
    }
    if result.disjoint is not None:
        columns[MAIN] = image_metrics(result)
    columns |= {"tp": tp, "fp": _per_image(of_column[wrong], len(images)), "fn": n_gt - tp}
    if result.overlap is not None:
        columns["overlap_px"] = result.overlap.pixels
    return pd.DataFrame(columns).iloc[np.sort(result.groups.images)].reset_index(drop=True)


def _per_image(image_idx: NDArray[np.int64], n_images: int) -> NDArray[np.int64]:
    return np.bincount(image_idx, minlength=n_images)


def per_entity(scoring: Scored, errors: Judged | None = None) -> "pd.DataFrame":
    """List the annotations of a scoring.

    Args:
        scoring: With its matches kept.
        errors: Its error report, for two more columns.

    Returns:
        A row an annotation record: ``annotation_id``, ``image_id``, ``category_id``, ``category``
        (name), ``area`` (pixels as the file says, nan where it does not), ``size`` (label of the
        first area range that it lies in, "" for crowds), ``iscrowd``, ``counts`` (neither a crowd
        nor of an image that was not scored), ``found`` (at the first IoU threshold, 0.5, with
        overlaps removed where they were), ``found_share`` (of the IoU thresholds), ``prediction``
        (record that found it, -1 for none); from ``errors``: ``kind`` ("found" or a kind of error)
        and ``best_iou``.
    """
    import pandas as pd

    result, gt = scoring.result, scoring.gt.ground_truth()
    matches = matches_of(result, "e")
    names = {category.id: category.name for category in scoring.gt.categories}
    counts = ~matches.gt_ignored[0] & (result.groups.gt_category >= 0)
    found = (matches.gt_dt[0] >= 0) & counts
    columns: dict[str, Any] = {
        "annotation_id": gt.ids,
        "image_id": [gt.image_ids[idx] for idx in gt.image_idx],
        "category_id": gt.category_ids,
        "category": [names.get(category_id, "") for category_id in gt.category_ids.tolist()],
        "area": gt.areas,
        "size": _sizes(list(result.params.area_ranges), matches.gt_ignored),
        "iscrowd": gt.iscrowd,
        "counts": counts,
        "found": found[0],
        "found_share": np.where(counts, found.mean(axis=0), np.nan),
        "prediction": np.where(counts, matches.gt_dt[0, 0], -1),
    }
    if errors is not None:
        columns |= {"kind": errors.entity_kind, "best_iou": errors.entity_iou}
    return pd.DataFrame(columns)


def _sizes(labels: list[str], ignored: NDArray[np.bool_]) -> NDArray[np.str_]:
    """Name the first area range but "all" that each entity counts in."""
    sizes = np.full(ignored.shape[1], "", f"<U{max(map(len, labels))}")
    for label, out in list(zip(labels, ignored, strict=True))[:0:-1]:
        sizes[~out] = label
    return sizes


def per_prediction(scoring: Scored, errors: Judged | None = None) -> "pd.DataFrame":
    """List the predictions of a scoring.

    Args:
        scoring: With its matches kept.
        errors: Its error report, for two more columns.

    Returns:
        A row a prediction record: ``image_id``, ``category_id``, ``score``, ``rank`` (in its image
        sorted by score descending, 0 first; -1 beyond the most that count), ``outcome`` at the
        first IoU threshold (0.5) with overlaps removed where they were ("tp", "fp", "ignored", ""
        beyond the most that count), ``tp_share`` (of the IoU thresholds; nan beyond),
        ``annotation`` (record that it found, -1 for none); from ``errors``: ``kind`` and
        ``best_iou``.
    """
    import pandas as pd

    result, dt, images = scoring.result, scoring.result.dt, scoring.gt.images
    matches = matches_of(result, "e")
    records = matches.records
    n = len(dt.scores)
    rank, annotation = np.full((2, n), -1, np.int64)
    outcome, tp_share = np.full(n, "", "<U7"), np.full(n, np.nan)
    rank[records] = matches.ranks
    outcome[records] = np.array(["fp", "tp", "ignored"])[matches.outcome[0, 0]]
    tp_share[records] = (matches.outcome[0] == TRUE_POSITIVE).mean(axis=0)
    annotation[records] = matches.dt_gt[0, 0]
    columns: dict[str, Any] = {
        "image_id": [images[idx].id for idx in dt.image_idx],
        "category_id": dt.category_ids,
        "score": dt.scores,
        "rank": rank,
        "outcome": outcome,
        "tp_share": tp_share,
        "annotation": annotation,
    }
    if errors is not None:
        columns |= {"kind": errors.prediction_kind, "best_iou": errors.prediction_iou}
    return pd.DataFrame(columns)
