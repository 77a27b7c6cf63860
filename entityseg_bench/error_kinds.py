"""What is wrong with a prediction that finds nothing, and with an entity that is not found.

The idea of sorting errors by what would mend them is TIDE's (Bolya, Foley, Hays, Hoffman, "TIDE: A
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
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from entity_api import Detections, EvalResult, GroundTruth, remove_overlaps, rle
from entity_api.boundary import inner_border, reach_of
from entityseg_bench.weighted import IGNORED, TRUE_POSITIVE, matches_of

__all__ = ["FOUND", "KINDS", "NONE", "SortedErrors", "sort_errors"]

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
class SortedErrors:
    """Hold the kind of every prediction and entity at each threshold.

    Columns are those of `entity_api.groups.Groups`: the predictions that count, by image and
    falling score.

    Attributes:
        kind: (T, N) position in ``KINDS``, ``FOUND`` for a true positive, ``NONE`` if ignored.
        target: (T, N) record of the entity that a split, boundary or localisation error is about;
            else -1.
        entity_kind: (T, G) likewise; ``NONE`` for crowds and images that are not scored.
        covered: (P, 2) pairs of a column and an entity of which it covers at least half, for the
            columns that are merged at some threshold.
        best: (N,) record of each column's best entity; -1 where none is at least b.
        iou: (N,) of each column with it.
        area: (N,) pixels of each column's mask.
        entity_iou: (G,) of each entity with its best prediction.
    """

    kind: NDArray[np.int8]
    target: Ints
    entity_kind: NDArray[np.int8]
    covered: Ints
    best: Ints
    iou: Floats
    area: Ints
    entity_iou: Floats


def sort_errors(
    gt: GroundTruth,
    dt: Detections,
    result: EvalResult,
    overlaps_removed: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> SortedErrors:
    """Give every prediction that counts, and every entity, its kind.

    Args:
        gt: What was scored.
        dt: Likewise.
        result: Of the two, class-agnostic, by masks, with its matches kept.
        overlaps_removed: Judge the masks of AP^e; otherwise those of AP.
        progress: Called with (images finished, images to judge).

    Raises:
        ValueError: A result of another sort.
    """
    refuse(gt, result)
    removed = overlaps_removed and result.disjoint is not None
    matches = matches_of(result, "e" if removed else "")
    groups, n_thrs = result.groups, len(result.params.iou_thrs)
    n, n_gt = len(groups.records), len(gt.image_idx)
    out = SortedErrors(
        kind=np.full((n_thrs, n), NONE, np.int8),
        target=np.full((n_thrs, n), -1, np.int64),
        entity_kind=np.full((n_thrs, n_gt), NONE, np.int8),
        covered=np.zeros((0, 2), np.int64),
        best=np.full(n, -1, np.int64),
        iou=np.zeros(n),
        area=np.zeros(n, np.int64),
        entity_iou=np.zeros(n_gt),
    )
    covered = []
    for done, image_idx in enumerate(groups.images.tolist(), start=1):
        at, gt_rows = groups.columns(image_idx, 0), groups.gt_of(image_idx)
        size = tuple(gt.sizes[image_idx].tolist())
        masks = [mask_of(dt.counts[idx], size) for idx in groups.records[at]]
        entities = [mask_of(gt.counts[idx], size) for idx in gt_rows]
        overlaps = result.overlap is None or bool(result.overlap.pixels[image_idx])
        image = Image(masks, entities, gt.iscrowd[gt_rows], not overlaps)
        if removed and overlaps:
            # The columns stand by falling score already; equal scores keep their order.
            apart = remove_overlaps(masks, [0.0] * len(masks))
            image = dataclasses.replace(image, dt=apart, disjoint=True)
        judged = Judged.of(image, masks, result.params.iou_thrs, matches.outcome[0, :, at])
        dt_gt = matches.dt_gt[0, :, at]
        found = np.stack([np.isin(gt_rows, row[row >= 0]) for row in dt_gt])
        for t in range(n_thrs):
            kind, target, entity_kind = judged.kinds(t, found[t])
            out.kind[t, at], out.entity_kind[t, gt_rows] = kind, entity_kind
            # Position -1, no target, stands for the record -1 that is appended.
            out.target[t, at] = np.append(gt_rows, -1)[target]
        merges = np.flatnonzero((out.kind[:, at] == MERGED).any(axis=0))
        for d in merges.tolist():
            own = gt_rows[judged.covers[d]]
            covered.append(np.stack([np.full(len(own), at.start + d), own], axis=1))
        near = judged.best_iou >= LEAST_IOU
        out.best[at] = np.append(gt_rows, -1)[np.where(near, judged.best, -1)]
        out.iou[at], out.area[at] = judged.best_iou, judged.dt_area
        out.entity_iou[gt_rows] = judged.iou.max(axis=0, initial=0)
        if progress:
            progress(done, len(groups.images))
    return dataclasses.replace(out, covered=np.concatenate([out.covered, *covered]))


def refuse(gt: GroundTruth, result: EvalResult) -> None:
    """Stop at results whose errors these kinds do not describe."""
    params = result.params
    if params.class_aware or params.iou_type != "segm":
        raise ValueError("errors are told for class-agnostic scoring by masks")
    if gt.void is not None:
        raise ValueError("errors are not told where ground truth has pixels without a label")
    if result.matches.dt_gt.shape[-1] != len(result.groups.records):
        raise ValueError("errors need the matches: evaluate with keep_matches=True")


def mask_of(counts: Any, size: tuple[int, ...]) -> dict[str, Any]:
    """Make an RLE of counts as the readers hold them: text, or the file's own JSON literal."""
    if not isinstance(counts, str):
        raw = bytes(counts)
        counts = msgspec.json.decode(raw, type=str) if raw[:1] == b'"' else raw.decode("ascii")
    return {"size": list(size), "counts": counts}


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
        shape = len(image.dt), len(image.gt)
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
        best = iou.argmax(axis=1) if shape[1] else np.zeros(shape[0], np.int64)
        best_iou = iou.max(axis=1, initial=0)
        wrong = (outcome == 0).any(axis=0)
        unions = np.zeros(shape[0])
        for d in np.flatnonzero(wrong & (covers.sum(axis=1) > 1)).tolist():
            whole = rle.merge([image.gt[g] for g in np.flatnonzero(covers[d])])
            unions[d] = rle.iou([image.dt[d]], [whole])[0, 0]
        near = np.flatnonzero(wrong & (best_iou >= LEAST_IOU))
        outline = np.zeros(shape[0], bool)
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
            union_ious=unions,
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
