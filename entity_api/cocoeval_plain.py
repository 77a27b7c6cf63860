"""COCOeval's protocol step by step, for settings and subclasses that the fast way cannot serve.

`match` and `accumulate` do what cocoapi's ``evaluateImg`` and ``accumulate`` do, in the same order,
so that every number equals pycocotools' to the last bit, odd settings included. They are as slow as
those; `entity_api.evaluator` is the same protocol for ordinary settings, made fast.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["accumulate", "match"]

Floats = NDArray[np.float64]
Record = dict[str, Any]


def match(
    gt: Sequence[Record],
    dt: Sequence[Record],
    ious: Any,
    iou_thrs: Sequence[float],
    area_range: Sequence[float],
    max_det: int,
    match_id_zero: bool,
) -> Record:
    """Match the detections of one image and category, best score first, each to its best free gt.

    Args:
        gt: G annotations with ``id``, ``area`` in pixels, ``iscrowd`` and ``ignore``.
        dt: Detections with ``id``, ``area`` and ``score``.
        ious: (D, G) of the detections sorted by score, descending; or [] where a side is empty.
        iou_thrs: (T,).
        area_range: Least and greatest area in pixels, both included.
        max_det: Most detections that count.
        match_id_zero: A match to annotation id 0 is one. In cocoapi it is none, since 0 stands for
            "no match" there.

    Returns:
        An entry of ``COCOeval.evalImgs``, but for what names its group. Where an id of 0 was
        matched, ``dtMatchesZero`` (T, D) says so, for ``dtMatches`` holds 0 there either way.
    """
    low, high = area_range
    out_of_range = [g["ignore"] or g["area"] < low or g["area"] > high for g in gt]
    gt_order = np.argsort([int(bool(out)) for out in out_of_range], kind="stable")
    dt_order = np.argsort([-d["score"] for d in dt], kind="stable")[:max_det]
    ignored = np.array([int(bool(out_of_range[idx])) for idx in gt_order])
    gt, dt = [gt[idx] for idx in gt_order], [dt[idx] for idx in dt_order]
    crowd = [bool(g["iscrowd"]) for g in gt]
    shape = len(iou_thrs), len(dt)
    gt_matches, dt_matches = np.zeros((shape[0], len(gt))), np.zeros(shape)
    zero, dt_ignored = np.zeros(shape, bool), np.zeros(shape, bool)
    if len(ious):
        ious = ious[:, gt_order]
    for t, thr in enumerate(iou_thrs if len(ious) else ()):
        free = np.ones(len(gt), bool)
        for d, detection in enumerate(dt):
            g = _best_free(ious[d], thr, free, ignored)
            if g < 0:
                continue
            dt_matches[t, d], gt_matches[t, g] = gt[g]["id"], detection["id"]
            dt_ignored[t, d] = ignored[g]
            zero[t, d] = match_id_zero and dt_matches[t, d] == 0
            taken = gt_matches[t, g] > 0 or (match_id_zero and gt_matches[t, g] == 0)
            free[g] = crowd[g] or not taken
    outside = np.array([d["area"] < low or d["area"] > high for d in dt], bool)
    unmatched = (dt_matches == 0) & ~zero
    entry = {
        "dtIds": [d["id"] for d in dt],
        "gtIds": [g["id"] for g in gt],
        "dtMatches": dt_matches,
        "gtMatches": gt_matches,
        "dtScores": [d["score"] for d in dt],
        "gtIgnore": ignored,
        "dtIgnore": dt_ignored | (unmatched & outside),
    }
    return entry | ({"dtMatchesZero": zero} if zero.any() else {})


def _best_free(
    ious: Floats, thr: float, free: NDArray[np.bool_], ignored: NDArray[np.int64]
) -> int:
    """Return the gt that a detection matches, -1 for none; the last one where IoUs tie."""
    best, best_iou = -1, min(thr, 1 - 1e-10)
    for g, iou in enumerate(ious.tolist()):
        if not free[g]:
            continue
        # Ignored gt stand last: they are for those that match no other.
        if best >= 0 and not ignored[best] and ignored[g]:
            break
        if iou >= best_iou:
            best, best_iou = g, iou
    return best


def accumulate(
    entries: Sequence[Record | None], p: Any, evaluated: Any
) -> tuple[Floats, Floats, Floats]:
    """Turn matches into precision and recall, for what both parameter sets ask for.

    Args:
        entries: Those of ``evalImgs``: by category, then area range, then image.
        p: What to measure; category ids of [-1] without categories.
        evaluated: What the entries were made with.

    Returns:
        Precision (T, R, K, A, M), recall (T, K, A, M) and scores (T, R, K, A, M); -1 where there
        is nothing to measure.
    """
    n_thrs, n_recs = len(p.iouThrs), len(p.recThrs)
    n_cats, n_areas, n_dets = len(p.catIds) if p.useCats else 1, len(p.areaRng), len(p.maxDets)
    precision = -np.ones((n_thrs, n_recs, n_cats, n_areas, n_dets))
    recall, scores = -np.ones((n_thrs, n_cats, n_areas, n_dets)), precision.copy()
    categories = set(evaluated.catIds if evaluated.useCats else [-1])
    ranges, images = set(map(tuple, evaluated.areaRng)), set(evaluated.imgIds)
    # cocoapi takes the positions among the new parameters for positions among the entries.
    k_list = [k for k, category_id in enumerate(p.catIds) if category_id in categories]
    a_list = [a for a, area_range in enumerate(p.areaRng) if tuple(area_range) in ranges]
    m_list = [max_det for max_det in p.maxDets if max_det in set(evaluated.maxDets)]
    i_list = [i for i, image_id in enumerate(p.imgIds) if image_id in images]
    for k, entry_k in enumerate(k_list):
        for a, entry_a in enumerate(a_list):
            first = (entry_k * len(evaluated.areaRng) + entry_a) * len(evaluated.imgIds)
            of_images = [entries[first + i] for i in i_list]
            group = [entry for entry in of_images if entry is not None]
            n_gt = int(sum(np.count_nonzero(entry["gtIgnore"] == 0) for entry in group))
            for m, max_det in enumerate(m_list if n_gt else ()):
                at = np.s_[:, :, k, a, m]
                precision[at], recall[:, k, a, m], scores[at] = _of_group(
                    group, max_det, n_gt, n_thrs, np.asarray(p.recThrs)
                )
    return precision, recall, scores


def _of_group(
    group: Sequence[Record], max_det: int, n_gt: int, n_thrs: int, rec_thrs: Floats
) -> tuple[Floats, Floats, Floats]:
    """Measure one category and area range: precision (T, R), recall (T,) and scores (T, R)."""
    score = np.concatenate([entry["dtScores"][:max_det] for entry in group])
    order = np.argsort(-score, kind="stable")
    score = score[order]
    found = np.concatenate([_found(entry)[:, :max_det] for entry in group], axis=1)[:, order]
    ignored = np.concatenate([entry["dtIgnore"][:, :max_det] for entry in group], axis=1)[:, order]
    ignored = ignored.astype(bool)
    hits = np.cumsum(found & ~ignored, axis=1).astype(float)
    misses = np.cumsum(~found & ~ignored, axis=1).astype(float)
    # Thresholds that `evaluate` did not have stay at -1.
    precision, scores = (-np.ones((n_thrs, len(rec_thrs))) for _ in range(2))
    recall = -np.ones(n_thrs)
    for t, (hit, miss) in enumerate(zip(hits, misses, strict=True)):
        recalls = hit / n_gt
        recall[t] = recalls[-1] if len(recalls) else 0
        precision[t], scores[t] = 0, 0
        # The highest precision at that recall or a higher one.
        highest = np.maximum.accumulate((hit / (miss + hit + np.spacing(1)))[::-1])[::-1]
        at = np.searchsorted(recalls, rec_thrs, side="left")
        # cocoapi stops at the first recall that is not reached, whatever stands behind it.
        unreached = np.flatnonzero(at == len(recalls))
        reached = at[: unreached[0]] if len(unreached) else at
        precision[t, : len(reached)], scores[t, : len(reached)] = highest[reached], score[reached]
    return precision, recall, scores


def _found(entry: Record) -> NDArray[np.bool_]:
    """Return which detections were matched, (T, D)."""
    found: NDArray[np.bool_] = np.asarray(entry["dtMatches"]).astype(bool)
    return found | entry["dtMatchesZero"] if "dtMatchesZero" in entry else found
