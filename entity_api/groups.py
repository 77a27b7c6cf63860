"""Group detections and ground truth by image, or by (image, category): the groups that match."""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api.params import EvalParams
from entity_api.shown import Shown
from entity_api.tables import Detections, GroundTruth

__all__ = ["Groups", "as_idx", "by_score_descending", "group", "repeated", "rising"]

Idx = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, repr=False)
class Groups(Shown):
    """Hold the order in which records are matched.

    The N detections that count are the *columns*, sorted by category, then by image, then by score
    descending; of equal scores the earlier record comes first. Images are sorted by id, as in COCO,
    because the order of equal scores from different images decides between them.

    Attributes:
        images: Positions of the images to score.
        category_ids: (K,) ids of the categories; [-1] when class-agnostic.
        place: (I,) image rank: the position of each image among all images sorted by id.
        dt_place: (D,) image rank of each detection.
        dt_order: (D,) positions of the detection records, sorted by image rank, then by score
            descending. Dropped records are left out.
        dt_start: (I + 1,) where the records of each image rank start in ``dt_order``.
        gt_order: (G,) positions of the ground-truth records, sorted by image, in file order.
        gt_start: (I + 1,) where the records of each image start in ``gt_order``.
        dt_category: (D,) position of each record's category in ``category_ids``. -1 for other
            categories, for images that are not scored, and for dropped records.
        gt_category: (G,) the same for ground truth.
        ordered: (M,) positions of the records in the order of the columns, whatever their rank.
        records: (N,) position of the record of each column.
        ranks: (N,) rank of each column in its group; 0 is the highest score.
        category_start: (K + 1,) first column of each category, and N.
        group_keys: (P,) category x I + image rank, ascending, of the groups that have detections.
        group_start: (P + 1,) first column of each of these groups, and N.
        max_det: Largest number of detections of a group that count.
    """

    images: Idx
    category_ids: list[int]
    place: Idx
    dt_place: Idx
    dt_order: Idx
    dt_start: Idx
    gt_order: Idx
    gt_start: Idx
    dt_category: Idx
    gt_category: Idx
    ordered: Idx
    records: Idx
    ranks: Idx
    category_start: Idx
    group_keys: Idx
    group_start: Idx
    max_det: int

    def dt_of(self, image_idx: int) -> Idx:
        """Return the record positions of an image's detections, sorted by score descending."""
        place = self.place[image_idx]
        return self.dt_order[self.dt_start[place] : self.dt_start[place + 1]]

    def gt_of(self, image_idx: int) -> Idx:
        """Return the record positions of an image's ground truth, in file order."""
        return self.gt_order[self.gt_start[image_idx] : self.gt_start[image_idx + 1]]

    def columns(self, image_idx: int, category: int) -> slice:
        """Return the columns of one group; empty if it has no detections."""
        key = category * len(self.place) + self.place[image_idx]
        at = int(np.searchsorted(self.group_keys, key))
        if at == len(self.group_keys) or self.group_keys[at] != key:
            return slice(0, 0)
        return slice(int(self.group_start[at]), int(self.group_start[at + 1]))

    def without(self, dropped: NDArray[np.bool_]) -> "Groups":
        """Return the groups without some more detections, (D,), which take no rank."""
        dt_order = self.dt_order[~dropped[self.dt_order]]
        dt_category = np.where(dropped, -1, self.dt_category)
        ordered = self.ordered[~dropped[self.ordered]]
        return dataclasses.replace(
            self,
            dt_order=dt_order,
            dt_start=_starts(self.dt_place[dt_order], len(self.place)),
            dt_category=dt_category,
            ordered=ordered,
            **_columns(ordered, dt_category, self)._asdict(),
        )


class _Fixed(NamedTuple):
    """Hold what the columns of `Groups` are made of beside the records."""

    place: Idx
    dt_place: Idx
    category_ids: list[int]
    max_det: int


class _Columns(NamedTuple):
    """Hold the arrays of `Groups` that are named alike."""

    records: Idx
    ranks: Idx
    category_start: Idx
    group_keys: Idx
    group_start: Idx


def _columns(ordered: Idx, dt_category: Idx, of: _Fixed | Groups) -> _Columns:
    """Cut ordered records to the ranks that count, and find where their groups begin."""
    keys = dt_category[ordered] * len(of.place) + of.dt_place[ordered]
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    ranks = np.arange(len(keys), dtype=np.int64)
    ranks -= np.repeat(first, np.diff(first, append=len(keys)))
    kept = ranks < of.max_det
    records = ordered
    if not kept.all():
        records, ranks, keys = ordered[kept], ranks[kept], keys[kept]
        first = np.flatnonzero(np.diff(keys, prepend=-1))
    return _Columns(
        records,
        ranks,
        _starts(dt_category[records], len(of.category_ids)),
        keys[first],
        as_idx(np.append(first, len(keys))),
    )


def group(
    gt: GroundTruth,
    dt: Detections,
    params: EvalParams,
    dropped: NDArray[np.bool_] | None = None,
) -> Groups:
    """Sort the records of both sides into groups.

    Groups are (image, category) pairs if ``params.class_aware`` is set, and images otherwise.

    Args:
        gt: Ground truth.
        dt: Detections.
        params: What is scored.
        dropped: (D,) bool, True for detections that are left out and take no rank.
    """
    n_images = len(gt.image_ids)
    place = np.empty(n_images, np.int64)
    place[rising(gt.image_ids)] = np.arange(n_images)
    if params.class_aware:
        wanted = params.category_ids or np.unique(gt.category_ids).tolist()
        category_ids = [int(category_id) for category_id in wanted]
        where = {category_id: idx for idx, category_id in enumerate(category_ids)}
        dt_category = np.array([where.get(c, -1) for c in dt.category_ids.tolist()], np.int64)
        gt_category = np.array([where.get(c, -1) for c in gt.category_ids.tolist()], np.int64)
    else:
        category_ids = [-1]
        dt_category = np.zeros(len(dt.image_idx), np.int64)
        gt_category = np.zeros(len(gt.image_idx), np.int64)
    scored = np.ones(n_images, bool)
    if params.image_ids is not None:
        wanted_ids = set(params.image_ids)
        scored[:] = [image_id in wanted_ids for image_id in gt.image_ids]
        dt_category = np.where(scored[dt.image_idx], dt_category, -1)
        gt_category = np.where(scored[gt.image_idx], gt_category, -1)
    # Stable sorts, the last key first, so that records with equal scores keep the order of the
    # file.
    dt_order = by_score_descending(dt.scores)
    if dropped is not None and dropped.any():
        dt_order = dt_order[~dropped[dt_order]]
        dt_category = np.where(dropped, -1, dt_category)
    dt_place = place[dt.image_idx]
    dt_order = dt_order[_stable(dt_place[dt_order], n_images)]
    ordered = dt_order
    if params.class_aware:
        ordered = dt_order[_stable(dt_category[dt_order] + 1, len(category_ids) + 1)]
    of = _Fixed(place, dt_place, category_ids, max(params.max_dets))
    counts = dt_category[ordered] >= 0
    if not counts.all():
        ordered = ordered[counts]
    return Groups(
        images=as_idx(np.flatnonzero(scored)),
        dt_order=dt_order,
        dt_start=_starts(dt_place[dt_order], n_images),
        gt_order=as_idx(np.argsort(gt.image_idx, kind="stable")),
        gt_start=_starts(gt.image_idx, n_images),
        dt_category=dt_category,
        gt_category=gt_category,
        ordered=ordered,
        **of._asdict(),
        **_columns(ordered, dt_category, of)._asdict(),
    )


def by_score_descending(scores: NDArray[np.float64]) -> Idx:
    """Return positions sorted by score descending; of equal scores the earlier one comes first."""
    order = as_idx(np.argsort(-scores))
    ordered = scores[order]
    falls = ordered[1:] < ordered[:-1]
    del ordered
    if falls.all():
        return order
    # The fast sort leaves equal scores in any order. Sorting (rank of the score, position) as one
    # integer restores it, in half the time of a stable sort of the scores.
    place = np.zeros(len(scores), np.int64)
    np.cumsum(falls, out=place[1:])
    # In place and without what is done with: there may be many.
    place <<= 32
    place |= order
    place.sort()
    place &= 2**32 - 1
    return place


def as_idx(positions: NDArray[np.intp]) -> Idx:
    """Return positions as the kernels read them; numpy finds them in the machine's width."""
    return positions.astype(np.int64, copy=False)


def repeated(values: NDArray[Any], n: Idx) -> NDArray[Any]:
    """Repeat each value n times; numpy takes numbers of the machine's width only."""
    return np.repeat(values, n.astype(np.intp, copy=False))


def _stable(values: Idx, n: int) -> Idx:
    """Sort numbers below n stably; numpy has a radix sort for numbers of 16 bits only."""
    return np.argsort(values.astype(np.uint16) if n <= 2**16 else values, kind="stable")


def _starts(positions: Idx, n: int) -> Idx:
    return np.concatenate([[0], np.cumsum(np.bincount(positions, minlength=n))]).astype(np.int64)


def rising(image_ids: Sequence[Any]) -> Sequence[int] | Idx:
    """Return the positions of images sorted by id, numbers before strings."""
    if set(map(type, image_ids)) <= {int}:
        with contextlib.suppress(OverflowError):
            return np.argsort(np.array(image_ids, np.int64), kind="stable")
    ids = list(image_ids)
    return sorted(range(len(ids)), key=lambda idx: (isinstance(ids[idx], str), ids[idx]))
