"""Void: unlabelled pixels of the ground truth, which are ignored in every metric."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from entity_api import _sweep
from entity_api.columns import RecordError
from entity_api.counts import Codes, RLEError, from_bounds, pack
from entity_api.groups import as_idx
from entity_api.tables import Detections, GroundTruth

__all__ = ["cut_to_labelled"]

Bounds = NDArray[np.int64]


def cut_to_labelled(gt: GroundTruth, dt: Detections) -> tuple[Detections, NDArray[np.bool_]]:
    """Cut detections to the pixels that the ground truth labels.

    Panoptic quality treats void the same way (Kirillov et al., "Panoptic Segmentation", CVPR 2019).
    This is the first step of an evaluation, so that nothing that is predicted on void changes a
    score.

    Args:
        gt: Ground truth with its void.
        dt: Detections on the same images.

    Returns:
        The detections without their pixels on void; and (D,) bool, True for detections that lie
        entirely on void. A mask that is empty as submitted is kept.

    Raises:
        RecordError: A mask is broken.

    Examples:
        >>> from entity_api import Detections, GroundTruth
        >>> gt = GroundTruth(image_ids=[7], sizes=np.array([[2, 2]]), image_idx=np.array([0]),
        ...                  counts=["022"], category_ids=np.array([1]), iscrowd=np.array([False]),
        ...                  areas=np.array([2.0]), ids=[1], void=["22"])
        >>> dt = Detections(image_idx=np.array([0, 0]), counts=["04", "22"],
        ...                 category_ids=np.array([1, 1]), scores=np.array([0.9, 0.8]))
        >>> cut, on_void = void.cut_to_labelled(gt, dt)
        >>> cut.counts[0], on_void.tolist()
        ('022', [False, True])
    """
    on_void = np.zeros(len(dt.image_idx), bool)
    if gt.void is None or all(void is None for void in gt.void):
        return dt, on_void
    counts = [dt.counts[idx] for idx in range(len(dt.image_idx))]
    codes = Codes(counts)
    order = as_idx(np.argsort(dt.image_idx, kind="stable"))
    starts = np.searchsorted(dt.image_idx[order], np.arange(len(gt.image_ids) + 1))
    for image_idx, void in enumerate(gt.void):
        rows = order[starts[image_idx] : starts[image_idx + 1]]
        if void is None or not len(rows):
            continue
        height, width = gt.sizes[image_idx].tolist()
        try:
            masks = pack(codes, (height, width), rows)
        except RLEError as error:
            raise RecordError("dt", int(rows[error.idx]), str(error)) from None
        outside = pack([void], (height, width))
        areas = masks.areas()
        lost = _sweep.Spans(outside).intersections(masks)[:, 0]
        on_void[rows] = (lost == areas) & (areas > 0)
        kept = complement(outside.bounds_of(0).astype(np.int64).reshape(-1, 2), height * width)
        for k in np.flatnonzero((lost > 0) & (lost < areas)).tolist():
            cut = common(masks.bounds_of(k).astype(np.int64).reshape(-1, 2), kept)
            code = from_bounds(cut.astype(np.uint32).reshape(-1), (height, width))
            counts[int(rows[k])] = code["counts"]
    return dataclasses.replace(dt, counts=counts), on_void


def complement(bounds: Bounds, pixels: int) -> Bounds:
    """Return the gaps between runs.

    Args:
        bounds: (R, 2) start and end of the runs, ascending.
        pixels: Number of pixels of the image.

    Returns:
        (S, 2) start and end of the gaps, ascending.
    """
    gaps = np.stack([np.append(0, bounds[:, 1]), np.append(bounds[:, 0], pixels)], axis=1)
    return gaps[gaps[:, 0] < gaps[:, 1]]


def common(first: Bounds, second: Bounds) -> Bounds:
    """Intersect two lists of runs.

    Args:
        first: (R, 2) start and end of runs, ascending and disjoint.
        second: (S, 2) likewise.

    Returns:
        (N, 2) start and end of the common runs, ascending.
    """
    begin = np.searchsorted(second[:, 1], first[:, 0], side="right")
    end = np.searchsorted(second[:, 0], first[:, 1], side="left")
    n = np.maximum(end - begin, 0)
    of_first = np.repeat(np.arange(len(first)), n)
    of_second = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n) + np.repeat(begin, n)
    start = np.maximum(first[of_first, 0], second[of_second, 0])
    stop = np.minimum(first[of_first, 1], second[of_second, 1])
    return np.stack([start, stop], axis=1)
