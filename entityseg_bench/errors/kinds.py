"""What is wrong with a prediction that finds nothing, and with an entity that is not found.

The idea of sorting errors by what would hint them is TIDE's (Bolya, Foley, Hays, Hoffman, "TIDE: A
General Toolbox for Identifying Object Detection Errors", ECCV 2020). TIDE's kinds are those of
boxes with classes; these are those of masks that share out an image.

At an IoU threshold t, with b = 0.1, let d be a false positive of `entity_api.evaluate`, and e its
*best entity*, the one with the highest IoU, crowds left out. The first that holds is its kind:

- **duplicate**: as submitted, d reaches t with an entity that another prediction has found. (Where
  overlaps are removed, what is left of a duplicate is but a rest: it is still one.)
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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import rle
from entity_api.boundary import inner_border, reach_of
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

Masks = list[dict[str, Any]]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Image:
    """Hold the masks of one image.

    Attributes:
        dt: N predictions by falling score.
        gt: G entities.
        crowd: (G,).
        disjoint: No two predictions have a pixel in common.
    """

    dt: Masks
    gt: Masks
    crowd: Bools
    disjoint: bool


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
    def of(
        cls, image: Image, submitted: Masks, iou_thrs: Sequence[float], outcome: NDArray[np.int8]
    ) -> "Judged":
        """Measure an image.

        Args:
            image: Masks as they are judged.
            submitted: (N,) the predictions as submitted.
            iou_thrs: (T,).
            outcome: (T, N).
        """
        dt_area, gt_area = areas(image.dt), areas(image.gt)
        common = rle.intersections(image.dt, image.gt)
        common[:, image.crowd] = 0
        real = np.zeros(len(image.gt), bool)
        iou = rle.iou_of_counts(common, dt_area, gt_area, real)
        submitted_iou = iou
        if submitted is not image.dt:
            before = rle.intersections(submitted, image.gt)
            before[:, image.crowd] = 0
            submitted_iou = rle.iou_of_counts(before, areas(submitted), gt_area, real)
        covers = (common >= HALF * gt_area) & (common > 0)
        best = iou.argmax(axis=1) if image.gt else np.zeros(len(image.dt), np.int64)
        best_iou = iou.max(axis=1, initial=0)
        wrong = (outcome == 0).any(axis=0)
        near = np.flatnonzero(wrong & (best_iou >= LEAST_IOU))
        outline = np.zeros(len(image.dt), bool)
        outline[near] = differ_by_outline(
            [image.dt[d] for d in near], image.gt, best[near], common[near]
        )
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
            union_ious=union_ious(image, covers, wrong),
        )

    def kinds(self, t: int, found: Bools) -> tuple[NDArray[np.int8], Ints, NDArray[np.int8]]:
        """Judge the image at one threshold.

        Args:
            t: Position of the threshold.
            found: (G,) entities with a true positive.

        Returns:
            (N,) kinds; (N,) targets, -1 for none; (G,) kinds of the entities.
        """
        thr, outcome = self.iou_thrs[t], self.outcome[t]
        kind = np.full(len(outcome), SPURIOUS, np.int8)
        near = self.best_iou >= LEAST_IOU
        kind[near] = np.where(self.outline, BOUNDARY, LOCALISATION)[near]
        target = np.where(near, self.best, -1)
        merged = self.union_ious >= thr
        duplicate = (self.submitted_iou[:, found] >= thr).any(axis=1)
        wrong = outcome == 0
        for g, pieces in self.splits(thr, wrong & ~merged & ~duplicate, found):
            kind[pieces], target[pieces] = SPLIT, g
        kind[merged], kind[duplicate] = MERGED, DUPLICATE
        kind[outcome == TRUE_POSITIVE], kind[outcome == IGNORED] = FOUND, NONE
        target[np.isin(kind, (SPLIT, BOUNDARY, LOCALISATION), invert=True)] = -1
        entity_kind = np.full(len(found), MISSED, np.int8)
        for code in (LOCALISATION, BOUNDARY):
            entity_kind[target[kind == code]] = code
        entity_kind[self.covers[kind == MERGED].any(axis=0)] = MERGED
        entity_kind[target[kind == SPLIT]] = SPLIT
        entity_kind[found] = FOUND
        entity_kind[self.image.crowd] = NONE
        return kind, target, entity_kind

    def splits(self, thr: float, free: Bools, found: Bools) -> list[tuple[int, Ints]]:
        """List the entities that are split, with their pieces among the free predictions."""
        out = []
        for g in np.flatnonzero(~found & ~self.image.crowd).tolist():
            pieces = np.flatnonzero(free & self.inside[:, g])
            if len(pieces) > 1 and self.union_iou(pieces, g) >= thr:
                out.append((g, pieces))
        return out

    def union_iou(self, pieces: Ints, g: int) -> float:
        """Return the IoU of a union of predictions with an entity."""
        if not self.image.disjoint:
            whole = rle.merge([self.image.dt[d] for d in pieces])
            return float(rle.iou([whole], [self.image.gt[g]])[0, 0])
        shared = int(self.common[pieces, g].sum())
        return shared / (int(self.dt_area[pieces].sum()) + int(self.gt_area[g]) - shared)


def areas(masks: Masks) -> Ints:
    """Count the pixels of each mask."""
    return rle.runs_of(masks).areas() if masks else np.zeros(0, np.int64)


def union_ious(image: Image, covers: Bools, wrong: Bools) -> Floats:
    """Return the IoU of each prediction with all that it covers together, (N,).

    It is 0 of predictions that are not wrong, or cover one entity at most: none of them is merged.
    """
    ious = np.zeros(len(image.dt))
    for d in np.flatnonzero(wrong & (covers.sum(axis=1) > 1)).tolist():
        whole = rle.merge([image.gt[g] for g in np.flatnonzero(covers[d])])
        ious[d] = rle.iou([image.dt[d]], [whole])[0, 0]
    return ious


def differ_by_outline(dt: Masks, gt: Masks, best: Ints, common: Ints) -> Bools:
    """Tell where a prediction and its best entity disagree near an outline only.

    Args:
        dt: N predictions.
        gt: G entities.
        best: (N,) which entity each is compared with.
        common: (N, G) pixels that they share.
    """
    if not dt:
        return np.zeros(0, bool)
    reach = reach_of(*rle.size_of(gt[0]), OUTLINE_RATIO)
    rows = np.arange(len(dt))
    compared, which = np.unique(best, return_inverse=True)
    dt_bands = [inner_border(mask, reach) for mask in dt]
    gt_bands = [inner_border(gt[g], reach) for g in compared]
    shared = common[rows, best]
    apart = areas(dt) + areas(gt)[best] - 2 * shared
    near = areas(dt_bands) - rle.intersections(dt_bands, gt)[rows, best]
    near += areas(gt_bands)[which] - rle.intersections(dt, gt_bands)[rows, which]
    return np.asarray(near >= OUTLINE_SHARE * apart)
