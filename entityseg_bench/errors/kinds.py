"""What is wrong with a prediction that finds nothing, and with an entity that is not found.

The idea of sorting errors by what would correct them is TIDE's (Bolya, Foley, Hays, Hoffman,
"TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020). TIDE's kinds are
those of boxes with classes; these are those of masks that share out an image.

At an IoU threshold t, with b = 0.1, let d be a false positive of `entity_api.evaluate`, and e its
*best entity*, the one with the highest IoU, crowds left out. The first that holds is its kind:

- **duplicate**: as submitted, d reaches t with an entity that another prediction has found. (After
  overlaps are removed, only a part of d may be left. It is still a duplicate.)
- **merged**: d covers at least half of each of two or more entities, and as a mask of their union
  it reaches t.
- **split**: at least half of d lies in an entity that is not found, as does half of another false
  positive, and the union of all such pieces, no duplicates or merged ones, reaches t with it.
- **boundary**: IoU with e is at least b, and at least 9 of 10 pixels on which d and e disagree lie
  near an outline: within 0.5 % of the image's diagonal, inside d's or e's.
- **localisation**: IoU with e is at least b: the right place, the wrong shape.
- **spurious**: IoU with every entity is below b.

An entity that is not found is, in this order, *split*, *merged*, *boundary* or *localisation* where
a false positive of that kind has it for a target, and otherwise **missed**. Crowds, and predictions
that count neither way, have no kind.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from entityseg_bench.errors.measures import LEAST_IOU, Measures, Pairs
from entityseg_bench.resampling.weighted import IGNORED, TRUE_POSITIVE

__all__ = ["FOUND", "KINDS", "NONE", "Judged"]

KINDS = ("missed", "spurious", "duplicate", "localisation", "merged", "split", "boundary")
MISSED, SPURIOUS, DUPLICATE, LOCALISATION, MERGED, SPLIT, BOUNDARY = range(len(KINDS))
# Beside the kinds: right, and counted neither way.
FOUND, NONE = len(KINDS), -1

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Kinds = NDArray[np.int8]


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """Judge all predictions and entities at every threshold.

    Attributes:
        measures: Of all images.
        pairs: Of all images, `Measures.pairs`.
        iou_thrs: (T,).
        outcome: (T, N) as in `Matches`.
        found: (T, G) entities with a true positive.
        asked: (G,) entities of the images that are scored, without crowds.
        union_iou: Returns the IoU of the union of some columns with an entity of their image,
            where these overlap.
    """

    measures: Measures
    pairs: Pairs
    iou_thrs: Sequence[float]
    outcome: NDArray[np.int8]
    found: Bools
    asked: Bools
    union_iou: Callable[[Ints, int], float]

    def kinds(self) -> tuple[Kinds, NDArray[np.int32], Kinds]:
        """Give everything its kind.

        Returns:
            (T, N) kinds; (T, N) targets, -1 for none; (T, G) kinds of the entities.
        """
        own = self.measures
        kind = np.empty(self.outcome.shape, np.int8)
        target = np.empty(self.outcome.shape, np.int32)
        entity_kind = np.empty(self.found.shape, np.int8)
        near = own.iou >= LEAST_IOU
        of_best = np.where(near, np.where(own.outline, BOUNDARY, LOCALISATION), SPURIOUS)
        merged = own.union_iou >= np.array(self.iou_thrs)[:, None]
        duplicate = self.duplicates()
        free = (self.outcome == 0) & ~merged & ~duplicate
        inside = self.pairs.where(self.pairs.inside)
        split = self.splits(free, inside)
        for t in range(len(kind)):
            kind[t], target[t] = of_best, np.where(near, own.best, -1)
            pieces = split[t, inside.entity] & free[t, inside.column]
            kind[t, inside.column[pieces]] = SPLIT
            target[t, inside.column[pieces]] = inside.entity[pieces]
            kind[t, merged[t]], kind[t, duplicate[t]] = MERGED, DUPLICATE
            kind[t, self.outcome[t] == TRUE_POSITIVE] = FOUND
            kind[t, self.outcome[t] == IGNORED] = NONE
            has_target = (kind[t] == SPLIT) | (kind[t] == BOUNDARY) | (kind[t] == LOCALISATION)
            target[t, ~has_target] = -1
            entity_kind[t] = self.entity_kinds(t, kind[t], target[t])
        return kind, target, entity_kind

    def duplicates(self) -> Bools:
        """Tell which predictions reach a threshold with an entity that is found at it, (T, N)."""
        duplicate = np.zeros(self.outcome.shape, bool)
        pairs = self.pairs.where(self.pairs.submitted_iou >= min(self.iou_thrs))
        for t, thr in enumerate(self.iou_thrs):
            reached = (pairs.submitted_iou >= thr) & self.found[t, pairs.entity]
            duplicate[t, pairs.column[reached]] = True
        return duplicate

    def splits(self, free: Bools, inside: Pairs) -> Bools:
        """Tell which entities are split, (T, G).

        Args:
            free: (T, N) predictions that may be pieces.
            inside: The pairs of which half of the prediction lies in the entity.
        """
        own, n_gt = self.measures, len(self.asked)
        split = np.zeros(self.found.shape, bool)
        for t, thr in enumerate(self.iou_thrs):
            chosen = free[t, inside.column]
            entity, column = inside.entity[chosen], inside.column[chosen]
            several = np.bincount(entity, minlength=n_gt) > 1
            # Whole numbers below 2**53 are exact as floating point.
            shared = np.bincount(entity, inside.common[chosen], n_gt)
            whole = np.bincount(entity, own.area[column], n_gt) + own.entity_area - shared
            reached = own.crowded | (shared / np.where(several, whole, 1) >= thr)
            split[t] = several & reached & ~self.found[t] & self.asked
        candidates = np.flatnonzero((split & own.crowded).any(axis=0))
        if not candidates.size:
            return split
        by_entity = np.argsort(inside.entity, kind="stable")
        starts = np.searchsorted(inside.entity[by_entity], [candidates, candidates + 1])
        for entity_idx, start, end in zip(candidates.tolist(), *starts.tolist(), strict=True):
            columns = inside.column[by_entity[start:end]]
            for t in np.flatnonzero(split[:, entity_idx]).tolist():
                iou = self.union_iou(columns[free[t, columns]], entity_idx)
                split[t, entity_idx] = iou >= self.iou_thrs[t]
        return split

    def entity_kinds(self, t: int, kind: Kinds, target: NDArray[np.int32]) -> Kinds:
        """Give each entity the kind of the errors about it at a threshold, (G,); later go first.

        Args:
            t: Position of the threshold.
            kind: (N,).
            target: (N,).
        """
        entity_kind = np.full(len(self.asked), MISSED, np.int8)
        pairs = self.pairs
        for code in (LOCALISATION, BOUNDARY, MERGED, SPLIT):
            of_code = kind == code
            if code == MERGED:
                entity_kind[pairs.entity[pairs.covers & of_code[pairs.column]]] = MERGED
            else:
                entity_kind[target[of_code]] = code
        entity_kind[self.found[t]] = FOUND
        entity_kind[~self.asked] = NONE
        return entity_kind
