"""Who meets whom: detections and ground truth grouped by image, or by (image, category)."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from entity_api.params import EvalParams
from entity_api.shown import Shown
from entity_api.tables import Detections, GroundTruth

__all__ = ["Groups", "by_falling_score", "group"]

Idx = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, repr=False)
class Groups(Shown):
    """Hold the order in which records are matched.

    Kept detections, N in all, stand in *columns*: by category, then image, then falling score, the
    earlier record first where scores tie; images go by rising id, as in COCO.

    Attributes:
        images: Positions of the images to score.
        category_ids: (K,) one row a category; [-1] when class-agnostic.
        place: (I,) of each image among all by rising id.
        dt_order: (D,) records by place, then falling score; without those that are dropped.
        dt_start: (I + 1,) where each place's records start in ``dt_order``.
        gt_order: (G,) records by image, in file order.
        gt_start: (I + 1,).
        dt_category: (D,) position in ``category_ids``, -1 where it is not among them, its image
            is not scored, or it is dropped.
        gt_category: (G,) the same.
        records: (N,) record of each column.
        ranks: (N,) place of each column in its group, 0 = highest score.
        category_start: (K + 1,) where each category's columns start.
        group_keys: (P,) category x I + place of the image, rising, of the groups with detections.
        group_start: (P + 1,) first column of each, and N.
        max_det: Most detections of a group that count.
    """

    images: Idx
    category_ids: list[int]
    place: Idx
    dt_order: Idx
    dt_start: Idx
    gt_order: Idx
    gt_start: Idx
    dt_category: Idx
    gt_category: Idx
    records: Idx
    ranks: Idx
    category_start: Idx
    group_keys: Idx
    group_start: Idx
    max_det: int

    def dt_of(self, image_idx: int) -> Idx:
        """Return the detections of an image by falling score, as record positions."""
        place = self.place[image_idx]
        return self.dt_order[self.dt_start[place] : self.dt_start[place + 1]]

    def gt_of(self, image_idx: int) -> Idx:
        """Return the ground truth of an image in file order, as record positions."""
        return self.gt_order[self.gt_start[image_idx] : self.gt_start[image_idx + 1]]

    def columns(self, image_idx: int, category: int) -> slice:
        """Return the columns of one group."""
        key = category * len(self.place) + self.place[image_idx]
        at = int(np.searchsorted(self.group_keys, key))
        if at == len(self.group_keys) or self.group_keys[at] != key:
            return slice(0, 0)
        return slice(int(self.group_start[at]), int(self.group_start[at + 1]))

    @functools.cached_property
    def _positions(self) -> Idx:
        """Count from 0 to the most records that an image has."""
        return np.arange(
            max(int(np.diff(at).max(initial=0)) for at in (self.dt_start, self.gt_start))
        )

    @functools.cached_property
    def _first_columns(self) -> list[int]:
        """(I,) the first column of each image, class-agnostic."""
        at = np.searchsorted(self.group_keys, self.place)
        return self.group_start[at].tolist()

    def parts_of(self, image_idx: int) -> Iterator[tuple[Idx, Idx, int]]:
        """Yield the groups of an image.

        Each is: positions in `dt_of` (kept ones), positions in `gt_of`, first column.
        """
        dt_rows, gt_rows = self.dt_of(image_idx), self.gt_of(image_idx)
        if self.category_ids == [-1]:
            kept = self._positions[: min(len(dt_rows), self.max_det)]
            yield kept, self._positions[: len(gt_rows)], self._first_columns[image_idx]
            return
        dt_category, gt_category = self.dt_category[dt_rows], self.gt_category[gt_rows]
        for category in np.union1d(dt_category, gt_category).tolist():
            if category < 0:
                continue
            rows = np.flatnonzero(dt_category == category)[: self.max_det]
            columns = np.flatnonzero(gt_category == category)
            yield rows, columns, self.columns(image_idx, category).start


def group(
    gt: GroundTruth,
    dt: Detections,
    params: EvalParams,
    dropped: NDArray[np.bool_] | None = None,
) -> Groups:
    """Sort the records of both sides into groups, ``params.class_aware`` or by image alone.

    Args:
        gt: Ground truth.
        dt: Detections.
        params: What is scored.
        dropped: (D,) detections that are left out and take no rank.
    """
    n_images = len(gt.image_ids)
    place = np.empty(n_images, np.int64)
    place[sorted(range(n_images), key=lambda idx: _by_id(gt.image_ids[idx]))] = np.arange(n_images)
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
    max_det = max(params.max_dets)
    dt_place = place[dt.image_idx]
    # Stable sorts, the last key first: records that tie keep the order of the file.
    dt_order = by_falling_score(dt.scores)
    if dropped is not None and dropped.any():
        dt_order = dt_order[~dropped[dt_order]]
        dt_category = np.where(dropped, -1, dt_category)
    dt_order = dt_order[_stable(dt_place[dt_order], n_images)]
    in_columns = dt_order[_stable(dt_category[dt_order] + 1, len(category_ids) + 1)]
    in_columns = in_columns[dt_category[in_columns] >= 0]
    keys = dt_category[in_columns] * n_images + dt_place[in_columns]
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    ranks = np.arange(len(keys)) - np.repeat(first, np.diff(first, append=len(keys)))
    kept = ranks < max_det
    records, ranks, keys = in_columns[kept], ranks[kept], keys[kept]
    group_start = np.append(np.flatnonzero(np.diff(keys, prepend=-1)), len(keys))
    return Groups(
        images=np.flatnonzero(scored),
        category_ids=category_ids,
        place=place,
        dt_order=dt_order,
        dt_start=_starts(dt_place[dt_order], n_images),
        gt_order=np.argsort(gt.image_idx, kind="stable"),
        gt_start=_starts(gt.image_idx, n_images),
        dt_category=dt_category,
        gt_category=gt_category,
        records=records,
        ranks=ranks,
        category_start=_starts(dt_category[records], len(category_ids)),
        group_keys=keys[group_start[:-1]],
        group_start=group_start,
        max_det=max_det,
    )


def by_falling_score(scores: NDArray[np.float64]) -> Idx:
    """Return positions by falling score, the earlier one first where scores tie."""
    order = np.argsort(-scores)
    ordered = scores[order]
    falls = ordered[1:] < ordered[:-1]
    if falls.all():
        return order
    # Ties were left in any order. To mend them takes half as long as a stable sort of the scores.
    place = np.zeros(len(scores), np.int64)
    np.cumsum(falls, out=place[1:])
    return np.sort(place << 32 | order) & (2**32 - 1)


def _stable(values: Idx, n: int) -> Idx:
    """Sort numbers below n stably; small ones by radix, which numpy does for 16 bits only."""
    return np.argsort(values.astype(np.uint16) if n <= 2**16 else values, kind="stable")


def _starts(positions: Idx, n: int) -> Idx:
    return np.concatenate([[0], np.cumsum(np.bincount(positions, minlength=n))]).astype(np.int64)


def _by_id(image_id: object) -> tuple[bool, object]:
    """Sort numbers before strings."""
    return isinstance(image_id, str), image_id
