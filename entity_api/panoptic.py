"""Panoptic quality (PQ), as COCO defines it and panopticapi counts it.

Source: Kirillov, He, Girshick, Rother, Dollár, "Panoptic Segmentation", CVPR 2019; the treatment of
void pixels and crowds is that of the COCO panoptic challenge (cocodataset/panopticapi).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api.maps import MapOverlaps, map_overlaps

__all__ = ["PanopticError", "PanopticResult", "Quality", "Tally", "summarize", "tally"]

VOID = 0
ANY_CATEGORY = -1

Segment = Mapping[str, Any]


class PanopticError(ValueError):
    """Raised for an id map and a list of segments that do not fit each other.

    Examples:
        >>> panoptic.tally(np.array([[1]]), [], np.array([[0]]), [])
        Traceback (most recent call last):
        entity_api.panoptic.PanopticError: the ground-truth map has the id 1, which no segment has
    """


class Tally(NamedTuple):
    """Hold the counts of one category.

    Attributes:
        tp: Matched pairs of segments.
        fp: Predicted segments without a match.
        fn: Ground-truth segments without a match.
        iou: Sum of the IoU of the matched pairs.

    Examples:
        >>> panoptic.Tally(tp=1, iou=0.8).plus(panoptic.Tally(fp=2))
        Tally(tp=1, fp=2, fn=0, iou=0.8)
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    iou: float = 0.0

    def plus(self, other: "Tally") -> "Tally":
        """Add the counts of another image."""
        return Tally(
            self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.iou + other.iou
        )


class Quality(NamedTuple):
    """Hold panoptic quality as fractions in [0, 1], nan where no category had a segment.

    For one category PQ = SQ x RQ. For several categories each of the three is a mean over the
    categories, so the product no longer holds.

    Attributes:
        PQ: Panoptic quality.
        SQ: Segmentation quality: the mean IoU of matched pairs.
        RQ: Recognition quality: TP / (TP + FP / 2 + FN / 2).
        n: Number of categories that occur, over which the mean is taken.

    Examples:
        >>> result = panoptic.summarize([{3: panoptic.Tally(tp=1, fp=1, fn=1, iou=0.8)}])
        >>> result.all
        Quality(PQ=0.4, SQ=0.8, RQ=0.5, n=1)
    """

    PQ: float
    SQ: float
    RQ: float
    n: int


class PanopticResult(NamedTuple):
    """Hold the quality of a set of images.

    Attributes:
        all: Mean over all categories.
        things: Mean over the thing categories.
        stuff: Mean over the stuff categories.
        per_category: Category id -> its quality, for the categories that occur.

    Examples:
        >>> counts = {3: panoptic.Tally(tp=1, iou=0.8), 4: panoptic.Tally(fn=1)}
        >>> result = panoptic.summarize([counts], is_thing={3: True, 4: False})
        >>> result.things.PQ, result.stuff.PQ, result.per_category[4].PQ
        (0.8, 0.0, 0.0)
    """

    all: Quality
    things: Quality
    stuff: Quality
    per_category: dict[int, Quality]


class Side(NamedTuple):
    """Hold the N segments of one map sorted by id, as arrays (N,).

    ``position`` is the position of each segment in the list that the caller passed.
    """

    ids: NDArray[np.int64]
    position: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    crowd: NDArray[np.bool_]


def tally(
    gt_map: NDArray[Any],
    gt_segments: Sequence[Segment],
    dt_map: NDArray[Any],
    dt_segments: Sequence[Segment],
    class_agnostic: bool = False,
    every_crowd: bool = False,
) -> dict[int, Tally]:
    """Match the segments of one image and count them by category.

    Two segments of one category match if their IoU is above 0.5. Pixels of the prediction that lie
    on void are not part of the union. A prediction without a match is not counted as an error if
    more than half of it lies on void or on a crowd of its category. Areas are counted on the maps.

    Args:
        gt_map: (H, W) of segment ids, 0 for void.
        gt_segments: Dicts with ``id``, ``category_id`` and optionally ``iscrowd``.
        dt_map: (H, W) of segment ids, 0 where nothing is predicted.
        dt_segments: Dicts with ``id`` and ``category_id``.
        class_agnostic: True to count all categories as one, under the key -1.
        every_crowd: True to excuse predictions on any crowd of their category. False to look at the
            last crowd of each category only, as panopticapi does; COCO never has two in an image.

    Returns:
        Category id -> counts. Add the counts of images with `Tally.plus`, or pass them to
        `summarize`.

    Raises:
        PanopticError: The maps differ in size, or the ids of a map are not those of its segments.

    Examples:
        >>> gt, dt = np.array([[1, 1, 2, 2]]), np.array([[5, 5, 6, 0]])
        >>> gt_segments = [{"id": 1, "category_id": 3}, {"id": 2, "category_id": 4}]
        >>> dt_segments = [{"id": 5, "category_id": 3}, {"id": 6, "category_id": 4}]
        >>> panoptic.tally(gt, gt_segments, dt, dt_segments)
        {3: Tally(tp=1, fp=0, fn=0, iou=1.0), 4: Tally(tp=0, fp=1, fn=1, iou=0.0)}
    """
    try:
        found = map_overlaps(gt_map, dt_map)
    except ValueError as error:
        raise PanopticError(str(error)) from None
    gt = _side("ground-truth", found.rows, gt_segments, class_agnostic)
    dt = _side("predicted", found.columns, dt_segments, class_agnostic)
    pairs = _pairs(found, len(gt.ids), len(dt.ids))
    union = pairs.gt_area[pairs.gt] + pairs.dt_area[pairs.dt] - pairs.common
    union -= pairs.on_void[pairs.dt]
    iou = pairs.common / np.maximum(union, 1)
    same = (gt.category_ids[pairs.gt] == dt.category_ids[pairs.dt]) & ~gt.crowd[pairs.gt]
    matched = np.flatnonzero(same & (iou > 0.5))
    matched_gt, matched_dt = pairs.gt[matched], pairs.dt[matched]

    missed = ~gt.crowd
    missed[matched_gt] = False
    excused = pairs.on_void + _on_crowd(gt, dt, pairs, every_crowd)
    wrong = excused / np.maximum(pairs.dt_area, 1) <= 0.5
    wrong[matched_dt] = False
    return _by_category(gt, dt, matched_gt, iou[matched], missed, wrong)


class Pairs(NamedTuple):
    """Hold the P pairs of segments that share pixels, and the areas of all G and D.

    ``gt`` and ``dt`` (P,) are positions among the segments, ``common`` (P,) pixels; ``gt_area``
    (G,), ``dt_area`` (D,), and ``on_void`` (D,), the pixels of each prediction on void.
    """

    gt: NDArray[np.intp]
    dt: NDArray[np.intp]
    common: NDArray[np.int64]
    gt_area: NDArray[np.int64]
    dt_area: NDArray[np.int64]
    on_void: NDArray[np.int64]


def _pairs(found: MapOverlaps, n_gt: int, n_dt: int) -> Pairs:
    """Take void out of the pairs of labels: no segment has it."""
    # Labels ascend, but void need not be the first: nothing keeps ids above 0 but the lists.
    gt = found.row_idx - (found.rows[found.row_idx] > VOID) * (VOID in found.rows)
    dt = found.column_idx - (found.columns[found.column_idx] > VOID) * (VOID in found.columns)
    of_gt = found.rows[found.row_idx] != VOID
    of_dt = found.columns[found.column_idx] != VOID
    both = of_gt & of_dt

    def summed(at: NDArray[np.intp], which: NDArray[np.bool_], n: int) -> NDArray[np.int64]:
        return np.bincount(at[which], found.pixels[which], n).astype(np.int64)

    return Pairs(
        gt[both],
        dt[both],
        found.pixels[both],
        summed(gt, of_gt, n_gt),
        summed(dt, of_dt, n_dt),
        summed(dt, of_dt & ~of_gt, n_dt),
    )


def _side(
    name: str, labels: NDArray[np.int64], segments: Sequence[Segment], class_agnostic: bool
) -> Side:
    """Check a map's labels against its segments and put the segments in the labels' order."""
    by_id = {int(segment["id"]): k for k, segment in enumerate(segments)}
    if len(by_id) < len(segments):
        raise PanopticError(f"two {name} segments have the same id")
    ids = labels[labels != VOID]
    unlisted = set(ids.tolist()) - by_id.keys()
    if unlisted:
        raise PanopticError(f"the {name} map has the id {min(unlisted)}, which no segment has")
    unpainted = by_id.keys() - set(ids.tolist())
    if unpainted:
        raise PanopticError(f"the {name} segment {min(unpainted)} has no pixel in the map")
    position = [by_id[k] for k in ids.tolist()]
    listed = [segments[k] for k in position]
    category_ids = [ANY_CATEGORY if class_agnostic else int(s["category_id"]) for s in listed]
    crowd = [bool(segment.get("iscrowd", 0)) for segment in listed]
    return Side(
        ids,
        np.array(position, np.int64),
        np.array(category_ids, np.int64),
        np.array(crowd, bool),
    )


def _on_crowd(gt: Side, dt: Side, pairs: Pairs, every_crowd: bool) -> NDArray[np.int64]:
    """Count each prediction's pixels on crowds of its category, (D,)."""
    counted = gt.crowd.copy()
    if not every_crowd:
        crowds = np.flatnonzero(gt.crowd)
        crowds = crowds[np.argsort(gt.position[crowds])]
        last = dict(zip(gt.category_ids[crowds].tolist(), crowds.tolist(), strict=True))
        counted[:] = False
        counted[list(last.values())] = True
    alike = counted[pairs.gt] & (gt.category_ids[pairs.gt] == dt.category_ids[pairs.dt])
    pixels = np.bincount(pairs.dt[alike], pairs.common[alike], len(dt.ids))
    return pixels.astype(np.int64)


def _by_category(
    gt: Side,
    dt: Side,
    matched_gt: NDArray[np.intp],
    ious: NDArray[np.float64],
    missed: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
) -> dict[int, Tally]:
    found: dict[int, Tally] = {}

    def add(category_id: int, more: Tally) -> None:
        found[category_id] = found.get(category_id, Tally()).plus(more)

    for category_id, iou in zip(gt.category_ids[matched_gt].tolist(), ious.tolist(), strict=True):
        add(category_id, Tally(tp=1, iou=iou))
    for category_id in gt.category_ids[missed].tolist():
        add(category_id, Tally(fn=1))
    for category_id in dt.category_ids[wrong].tolist():
        add(category_id, Tally(fp=1))
    return found


def summarize(
    tallies: Iterable[Mapping[int, Tally]], is_thing: Mapping[int, bool] | None = None
) -> PanopticResult:
    """Sum the counts of images and compute PQ, SQ and RQ.

    Args:
        tallies: The result of `tally` for each image.
        is_thing: Category id -> True for things, False for stuff. None for class-agnostic counts,
            which are neither.

    Raises:
        PanopticError: A category is not in ``is_thing``.

    Examples:
        >>> images = [{3: panoptic.Tally(tp=1, iou=0.9)}, {3: panoptic.Tally(fn=1)}]
        >>> round(panoptic.summarize(images).all.PQ, 3)
        0.6
    """
    total: dict[int, Tally] = {}
    for image in tallies:
        for category_id, more in image.items():
            total[category_id] = total.get(category_id, Tally()).plus(more)
    if is_thing is not None and total.keys() - is_thing.keys():
        strange = min(total.keys() - is_thing.keys())
        raise PanopticError(f"a segment has category {strange}, which the categories do not have")
    each = {k: quality(total[k]) for k in sorted(total)}
    things = [k for k in each if is_thing is not None and is_thing[k]]
    stuff = [k for k in each if is_thing is not None and not is_thing[k]]
    return PanopticResult(
        mean_quality(list(each.values())),
        mean_quality([each[k] for k in things]),
        mean_quality([each[k] for k in stuff]),
        each,
    )


def quality(counts: Tally) -> Quality:
    """Compute the quality of one category from its counts, of which at least one is not 0."""
    weight = counts.tp + (counts.fp + counts.fn) / 2
    return Quality(counts.iou / weight, counts.iou / max(counts.tp, 1), counts.tp / weight, 1)


def mean_quality(each: Sequence[Quality]) -> Quality:
    """Average over categories; each has the same weight."""
    if not each:
        return Quality(np.nan, np.nan, np.nan, 0)
    PQ, SQ, RQ = (float(np.mean(values)) for values in list(zip(*each, strict=True))[:3])
    return Quality(PQ, SQ, RQ, len(each))
