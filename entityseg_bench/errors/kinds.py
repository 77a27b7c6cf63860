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
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from entity_api import _borders, _cover, _rle, _sweep, rle
from entity_api.borders import inner_borders, reach_of
from entity_api.groups import as_idx
from entity_api.overlap import codes_of
from entityseg_bench.resampling.weighted import IGNORED, TRUE_POSITIVE

__all__ = ["FOUND", "KINDS", "NONE", "Image", "Judged"]

KINDS = ("missed", "spurious", "duplicate", "localisation", "merged", "split", "boundary")
MISSED, SPURIOUS, DUPLICATE, LOCALISATION, MERGED, SPLIT, BOUNDARY = range(len(KINDS))
# Beside the kinds: right, and counted neither way.
FOUND, NONE = len(KINDS), -1

# TIDE's background threshold b.
LEAST_IOU = 0.1
# Half of a mask decides whether one lies in, or covers, another.
HALF = 0.5
# Our own choice, narrower than the 2 % of Boundary IoU (Cheng et al., CVPR 2021), which at 800 x
# 1140 pixels would call any error of an entity 56 pixels wide one of its outline.
OUTLINE_RATIO = 0.005
OUTLINE_SHARE = 0.9

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Image:
    """Hold the masks of one image.

    Attributes:
        size: (height, width) in pixels.
        submitted: Predictions as submitted, sorted by score, descending.
        judged: The same as they are judged; the same object where nothing was removed.
        rows: (N,) which of them count.
        gt: G entities.
        crowd: (G,).
        disjoint: No two judged predictions have a pixel in common.
    """

    size: tuple[int, int]
    submitted: _rle.Runs
    judged: _rle.Runs
    rows: Ints
    gt: _rle.Runs
    crowd: Bools
    disjoint: bool

    def union_iou(self, rows: Ints, g: int) -> float:
        """Return the IoU of a union of judged predictions with an entity, drawn."""
        masks, entity = codes_of(self.judged, self.size), codes_of(self.gt, self.size)[g]
        return float(rle.iou([rle.merge([masks[row] for row in rows])], [entity])[0, 0])

    def iou_with_union(self, row: int, entities: Ints) -> float:
        """Return the IoU of a judged prediction with a union of entities, drawn."""
        mask, entity = codes_of(self.judged, self.size)[row], codes_of(self.gt, self.size)
        return float(rle.iou([mask], [rle.merge([entity[g] for g in entities])])[0, 0])


@dataclasses.dataclass(frozen=True)
class Judged:
    """Hold what one image's masks have in common; positions are those within the image.

    Attributes:
        image: The masks.
        iou_thrs: (T,).
        outcome: (T, N) as in `Matches`.
        dt_area: (N,) pixels.
        gt_area: (G,) pixels.
        common: (N, G) pixels, 0 with crowds.
        iou: (N, G), 0 with crowds.
        submitted_iou: (N, G) before overlaps were removed.
        covers: (N, G) d covers half of the entity.
        inside: (N, G) half of d lies in the entity.
        best: (N,) best entity, 0 where there is none.
        best_iou: (N,).
        outline: (N,) the disagreement with the best entity lies near an outline.
        union_ious: (N,) of those that cover several entities, with their union; else 0.
    """

    image: Image
    iou_thrs: Sequence[float]
    outcome: NDArray[np.int8]
    dt_area: Ints
    gt_area: Ints
    common: Ints
    iou: Floats
    submitted_iou: Floats
    covers: Bools
    inside: Bools
    best: Ints
    best_iou: Floats
    outline: Bools
    union_ious: Floats

    @classmethod
    def of(cls, image: Image, iou_thrs: Sequence[float], outcome: NDArray[np.int8]) -> "Judged":
        """Measure an image.

        Args:
            image: Its masks.
            iou_thrs: (T,).
            outcome: (T, N).
        """
        spans = _sweep.Spans(image.gt, image.size[0])
        gt_area = image.gt.areas()
        dt_area, common, iou = _compare(image, spans, image.judged, gt_area)
        submitted_iou = iou
        if image.submitted is not image.judged:
            _, _, submitted_iou = _compare(image, spans, image.submitted, gt_area)
        covers = (common >= HALF * gt_area) & (common > 0)
        best = as_idx(iou.argmax(axis=1)) if len(gt_area) else np.zeros(len(dt_area), np.int64)
        best_iou = iou.max(axis=1, initial=0)
        wrong = (outcome == 0).any(axis=0)
        near = np.flatnonzero(wrong & (best_iou >= LEAST_IOU))
        outline = np.zeros(len(dt_area), bool)
        if near.size:
            apart = dt_area[near] + gt_area[best[near]] - 2 * common[near, best[near]]
            along = pixels_by_outline(image, image.rows[near], best[near])
            outline[near] = along >= OUTLINE_SHARE * apart
        return cls(
            image=image,
            iou_thrs=iou_thrs,
            outcome=outcome,
            dt_area=dt_area,
            gt_area=gt_area,
            common=common,
            iou=iou,
            submitted_iou=submitted_iou,
            covers=covers,
            inside=(common >= HALF * dt_area[:, None]) & (common > 0),
            best=best,
            best_iou=best_iou,
            outline=outline,
            union_ious=union_ious(image, covers, wrong, common, dt_area, gt_area),
        )

    def kinds(self, found: Bools) -> tuple[NDArray[np.int8], Ints, NDArray[np.int8]]:
        """Judge the image at every threshold.

        Args:
            found: (T, G) entities with a true positive.

        Returns:
            (T, N) kinds; (T, N) targets, -1 for none; (T, G) kinds of the entities.
        """
        thrs = np.array(self.iou_thrs)[:, None]
        near = self.best_iou >= LEAST_IOU
        of_best = np.where(near, np.where(self.outline, BOUNDARY, LOCALISATION), SPURIOUS)
        kind = np.broadcast_to(of_best.astype(np.int8), self.outcome.shape).copy()
        target = np.broadcast_to(np.where(near, self.best, -1), kind.shape).copy()
        merged = self.union_ious >= thrs
        duplicate = self.duplicates(found)
        free = (self.outcome == 0) & ~merged & ~duplicate
        for t, g in np.argwhere(self.splits(free, found)):
            pieces = free[t] & self.inside[:, g]
            kind[t, pieces], target[t, pieces] = SPLIT, g
        kind[merged], kind[duplicate] = MERGED, DUPLICATE
        kind[self.outcome == TRUE_POSITIVE], kind[self.outcome == IGNORED] = FOUND, NONE
        target[(kind != SPLIT) & (kind != BOUNDARY) & (kind != LOCALISATION)] = -1
        return kind, target, self.entity_kinds(kind, target, found)

    def duplicates(self, found: Bools) -> Bools:
        """Tell which predictions reach a threshold with an entity that is found at it, (T, N)."""
        thrs = np.array(self.iou_thrs)
        # Few pairs come near any threshold.
        d, g = np.nonzero(self.submitted_iou >= thrs.min())
        t, pair = np.nonzero((self.submitted_iou[d, g] >= thrs[:, None]) & found[:, g])
        duplicate = np.zeros(self.outcome.shape, bool)
        duplicate[t, d[pair]] = True
        return duplicate

    def entity_kinds(self, kind: NDArray[np.int8], target: Ints, found: Bools) -> NDArray[np.int8]:
        """Give each entity the kind of the errors about it, (T, G); later ones go first."""
        entity_kind = np.full(found.shape, MISSED, np.int8)
        for code in (LOCALISATION, BOUNDARY, MERGED, SPLIT):
            t, d = np.nonzero(kind == code)
            if code == MERGED:
                pair, g = np.nonzero(self.covers[d])
                entity_kind[t[pair], g] = MERGED
            else:
                entity_kind[t, target[t, d]] = code
        entity_kind[found] = FOUND
        entity_kind[:, self.image.crowd] = NONE
        return entity_kind

    def splits(self, free: Bools, found: Bools) -> Bools:
        """Tell which entities are split, (T, G), given which predictions are free, (T, N)."""
        # Whole numbers below 2**53 are exact as floating point, whose products are much faster.
        chosen, inside = free.astype(np.float64), self.inside.astype(np.float64)
        split = (chosen @ inside > 1) & ~found & ~self.image.crowd
        if not split.any():
            return split
        thrs = np.array(self.iou_thrs)
        if self.image.disjoint:
            shared = chosen @ (inside * self.common)
            whole = chosen @ (inside * self.dt_area[:, None]) + self.gt_area - shared
            return split & (shared / np.where(split, whole, 1) >= thrs[:, None])
        for t, g in np.argwhere(split):
            pieces = self.image.rows[free[t] & self.inside[:, g]]
            split[t, g] = self.image.union_iou(pieces, g) >= thrs[t]
        return split


def _compare(
    image: Image, spans: _sweep.Spans, masks: _rle.Runs, gt_area: Ints
) -> tuple[Ints, Ints, Floats]:
    """Measure the predictions that count: pixels (N,), those shared with entities (N, G), IoU."""
    area, common = masks.areas()[image.rows], spans.intersections(masks)[image.rows]
    common[:, image.crowd] = 0
    return area, common, rle.iou_of_counts(common, area, gt_area, np.zeros(len(gt_area), bool))


def union_ious(
    image: Image, covers: Bools, wrong: Bools, common: Ints, dt_area: Ints, gt_area: Ints
) -> Floats:
    """Return the IoU of each prediction with all that it covers together, (N,).

    It is 0 of predictions that are not wrong, or cover one entity at most: none of them is merged.
    """
    ious = np.zeros(len(covers))
    several = np.flatnonzero(wrong & (covers.sum(axis=1) > 1))
    if not several.size:
        return ious
    overlapping = _cover.visible(image.gt)[1] > 0
    for d in several:
        entities = np.flatnonzero(covers[d])
        if overlapping:
            ious[d] = image.iou_with_union(int(image.rows[d]), entities)
        else:
            shared = common[d, entities].sum()
            ious[d] = shared / (dt_area[d] + gt_area[entities].sum() - shared)
    return ious


def pixels_by_outline(image: Image, rows: Ints, entities: Ints) -> Ints:
    """Count the pixels on which pairs disagree, near an outline of one of the two, (P,).

    Args:
        image: The masks.
        rows: (P,) of the judged predictions.
        entities: (P,) with which each is compared.
    """
    reach = reach_of(*image.size, OUTLINE_RATIO)
    compared, which = np.unique(entities, return_inverse=True)
    dt_bands = inner_borders(image.judged, image.size, reach, rows)
    gt_bands = inner_borders(image.gt, image.size, reach, compared)
    at = np.arange(len(rows), dtype=np.int64)
    of_dt = dt_bands.areas() - _borders.common_pixels(dt_bands, at, image.gt, entities)
    of_gt = gt_bands.areas()[which]
    of_gt -= _borders.common_pixels(image.judged, rows, gt_bands, as_idx(which))
    return np.asarray(of_dt + of_gt)
