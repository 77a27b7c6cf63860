"""What the predictions and entities of an image have in common, as far as kinds hang on it."""

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import _borders, _cover, _rle, _sweep, rle
from entity_api.borders import inner_borders, reach_of
from entity_api.groups import as_idx
from entity_api.overlap import codes_of

__all__ = ["LEAST_IOU", "Image", "Measures", "Pairs"]

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


@dataclasses.dataclass(frozen=True, eq=False)
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

    def compare(self, spans: _sweep.Spans, masks: _rle.Runs) -> tuple[Ints, Ints, Floats]:
        """Measure predictions that count: pixels (N,), those shared with entities (N, G), IoU.

        Args:
            spans: Of the entities; with a crowd nothing is shared.
            masks: All predictions, as submitted or as judged.
        """
        area, common = masks.areas()[self.rows], spans.intersections(masks)[self.rows]
        common[:, self.crowd] = 0
        no_crowd = np.zeros(self.gt.n, bool)
        return area, common, rle.iou_of_counts(common, area, self.gt.areas(), no_crowd)

    def union_iou(self, rows: Ints, g: int) -> float:
        """Return the IoU of a union of predictions that count with an entity, drawn."""
        masks, entity = codes_of(self.judged, self.size), codes_of(self.gt, self.size)[g]
        union = rle.merge([masks[row] for row in self.rows[rows]])
        return float(rle.iou([union], [entity])[0, 0])

    def iou_with_union(self, row: int, entities: Ints) -> float:
        """Return the IoU of a prediction that counts with a union of entities, drawn."""
        mask, entity = codes_of(self.judged, self.size), codes_of(self.gt, self.size)
        union = rle.merge([entity[g] for g in entities])
        return float(rle.iou([mask[self.rows[row]]], [union])[0, 0])


class Pairs(NamedTuple):
    """Hold the P pairs of a prediction and an entity that have much in common.

    Attributes:
        column: (P,) of the prediction.
        entity: (P,) record.
        common: (P,) pixels of the judged prediction in the entity.
        submitted_iou: (P,) before overlaps were removed.
        covers: (P,) the prediction covers half of the entity.
        inside: (P,) half of the prediction lies in the entity.
    """

    column: Ints
    entity: Ints
    common: Ints
    submitted_iou: Floats
    covers: Bools
    inside: Bools

    def where(self, chosen: Bools) -> "Pairs":
        """Return some of the pairs."""
        return Pairs(
            self.column[chosen], self.entity[chosen], self.common[chosen],
            self.submitted_iou[chosen], self.covers[chosen], self.inside[chosen],
        )  # fmt: skip


class Measures:
    """Gather what kinds of errors hang on, image by image; crowds are no entities.

    Columns are those of `entity_api.groups.Groups`: the predictions that count, by image and
    score descending.

    Args:
        n: Number of columns.
        n_gt: Number of entities.
        least_thr: The lowest IoU threshold.

    Attributes:
        area: (N,) pixels of each judged prediction.
        best: (N,) record of the entity with the highest IoU, -1 where there is none.
        iou: (N,) with it.
        outline: (N,) the disagreement with it lies near an outline.
        union_iou: (N,) of wrong predictions that cover several entities, with their union; else 0.
        entity_area: (G,) pixels.
        entity_iou: (G,) of each entity with its best prediction.
        crowded: (G,) judged predictions of the entity's image overlap.
    """

    def __init__(self, n: int, n_gt: int, least_thr: float) -> None:
        self.least_thr = least_thr
        self.area, self.best = np.zeros(n, np.int64), np.full(n, -1, np.int64)
        self.iou, self.union_iou = np.zeros(n), np.zeros(n)
        self.outline = np.zeros(n, bool)
        self.entity_area, self.entity_iou = np.zeros(n_gt, np.int64), np.zeros(n_gt)
        self.crowded = np.zeros(n_gt, bool)
        none = np.zeros(0, np.int64)
        self._pairs = [Pairs(none, none, none, none / 1, none > 0, none > 0)]

    def enter(self, image: Image, at: slice, gt_rows: Ints, wrong: Bools) -> None:
        """Measure an image.

        Args:
            image: Its masks.
            at: Its columns.
            gt_rows: (g,) records of its entities, rising.
            wrong: (n,) predictions that are false positives at some threshold.
        """
        spans, gt_area = _sweep.Spans(image.gt, image.size[0]), image.gt.areas()
        area, common, iou = image.compare(spans, image.judged)
        submitted_iou = iou
        if image.submitted is not image.judged:
            submitted_iou = image.compare(spans, image.submitted)[2]
        best = iou.argmax(axis=1) if image.gt.n else np.zeros(len(area), np.int64)
        best_iou = iou.max(axis=1, initial=0)
        covers = (common >= HALF * gt_area) & (common > 0)
        inside = (common >= HALF * area[:, None]) & (common > 0)
        self.area[at], self.iou[at] = area, best_iou
        self.best[at] = gt_rows[best] if image.gt.n else -1
        self.union_iou[at] = union_ious(image, covers, wrong, common, area, gt_area)
        near = np.flatnonzero(wrong & (best_iou >= LEAST_IOU))
        if near.size:
            apart = area[near] + gt_area[best[near]] - 2 * common[near, best[near]]
            along = pixels_by_outline(image, image.rows[near], as_idx(best[near]))
            self.outline[at.start + near] = along >= OUTLINE_SHARE * apart
        self.entity_area[gt_rows] = gt_area
        self.entity_iou[gt_rows] = iou.max(axis=0, initial=0)
        self.crowded[gt_rows] = not image.disjoint
        d, g = np.nonzero(covers | inside | (submitted_iou >= self.least_thr))
        self._pairs.append(
            Pairs(
                at.start + d, gt_rows[g], common[d, g], submitted_iou[d, g], covers[d, g],
                inside[d, g],
            )
        )  # fmt: skip

    def pairs(self) -> Pairs:
        """Put the pairs of all images together, by column and entity."""
        return Pairs(*map(np.concatenate, zip(*self._pairs, strict=True)))


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
    for d in several.tolist():
        entities = np.flatnonzero(covers[d])
        if overlapping:
            ious[d] = image.iou_with_union(d, entities)
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
    is_compared = np.zeros(image.gt.n, bool)
    is_compared[entities] = True
    which = (np.cumsum(is_compared) - 1)[entities]
    dt_bands = inner_borders(image.judged, image.size, reach, rows)
    gt_bands = inner_borders(image.gt, image.size, reach, np.flatnonzero(is_compared))
    at = np.arange(len(rows), dtype=np.int64)
    of_dt = dt_bands.areas() - _borders.common_pixels(dt_bands, at, image.gt, entities)
    of_gt = gt_bands.areas()[which]
    of_gt -= _borders.common_pixels(image.judged, rows, gt_bands, as_idx(which))
    return np.asarray(of_dt + of_gt)
