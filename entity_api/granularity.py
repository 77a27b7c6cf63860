"""Granularity-agnostic recall: entities that predictions recover whole, in pieces, or merged.

AP^e asks for entities one by one: two halves of an entity are two errors, and so is one mask of two
entities, although the borders may be right. This recall sits beside it and says how much of what
AP^e misses was seen at another granularity. It looks at the masks of AP^e: overlaps removed, the
detections that AP counts. At an IoU threshold t an entity g is recovered

- *whole*, if one-to-one matching found it, as AP^e and AR^e count;
- else in *pieces*, if the union U of its pieces has IoU(U, g) >= t. A detection p is a piece of g
  if more than half of p, and at least the share t of it, lies in g;
- else *merged*, if it lies in a detection p that is a union of entities: more than half of g, and
  at least the share t of it, lies in p, and the union V of all such entities of p, two or more,
  has IoU(p, V) >= t.

A mask of the whole image merges everything, and a detection for each pixel is all pieces: the share
of each way, and how many detections a recovered entity took, are part of the number.
"""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from entity_api import _cover, _rle, _sweep
from entity_api.counts import Codes, pack
from entity_api.overlap import codes_of, visible_by
from entity_api.result import EvalResult
from entity_api.rle import intersections, merge
from entity_api.shown import Shown
from entity_api.tables import Detections, GroundTruth

__all__ = ["WAYS", "GranularityRecall", "granularity_recall"]

# How an entity is recovered, by the codes of `GranularityRecall.way`; -1 does not count.
WAYS = ("missed", "whole", "pieces", "merged")
MISSED, WHOLE, PIECES, MERGED = range(4)
NOT_COUNTED = -1
# As cocoapi compares an IoU with the threshold 1.
GREATEST_THR = 1 - 1e-10

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, repr=False)
class GranularityRecall(Shown):
    """Hold how each entity is recovered, at each IoU threshold.

    Attributes:
        iou_thrs: (T,).
        way: (T, G) int8, position in ``WAYS`` of each annotation record; -1 for crowds and images
            that were not scored.
        n_pieces: (T, G) detections in the union that recovers an entity in pieces, else 0.
    """

    iou_thrs: NDArray[np.float64]
    way: NDArray[np.int8]
    n_pieces: Ints

    def share(self, *ways: str) -> NDArray[np.float64]:
        """Return the share of entities that are recovered in any of some ways, (T,)."""
        codes = [WAYS.index(way) for way in ways]
        n = np.count_nonzero(self.way != NOT_COUNTED, axis=1)
        found = np.count_nonzero(np.isin(self.way, codes), axis=1)
        return np.divide(found, n, out=np.full(len(n), np.nan), where=n > 0)

    def metrics(self) -> dict[str, float]:
        """Average over the thresholds.

        Returns:
            ``GR``, recovered in any way, and its parts ``whole`` (which is AR^e), ``pieces`` and
            ``merged``; ``GR50`` at IoU 0.5, nan where that is no threshold; ``pieces_per_entity``,
            mean over the entities that are recovered in pieces, nan where there are none.
        """
        parts = {way: self.share(way) for way in WAYS[1:]}
        half = np.flatnonzero(np.isclose(self.iou_thrs, 0.5))
        total = self.share(*WAYS[1:])
        in_pieces = self.n_pieces[self.way == PIECES]
        return {
            "GR": float(total.mean()),
            "GR50": float(total[half[0]]) if half.size else math.nan,
            **{way: float(values.mean()) for way, values in parts.items()},
            "pieces_per_entity": float(in_pieces.mean()) if in_pieces.size else math.nan,
        }


def granularity_recall(gt: GroundTruth, result: EvalResult) -> GranularityRecall:
    """Tell how each entity is recovered.

    Args:
        gt: What was scored.
        result: Of it, class-agnostic, by masks, with overlaps removed.

    Raises:
        ValueError: A result of another sort.

    >>> from entity_api import evaluate
    >>> entity = np.ones((4, 8), bool)
    >>> left, right = np.zeros((2, 4, 8), bool)
    >>> left[:, :4] = right[:, 4:] = True
    >>> gt = GroundTruth.from_masks([[entity]])
    >>> found = granularity_recall(gt, evaluate(gt, [([left, right], [0.9, 0.8])])).metrics()
    >>> found["whole"], found["pieces"], found["pieces_per_entity"]
    (0.1, 0.9, 2.0)
    """
    params = result.params
    if params.class_aware or params.iou_type != "segm" or result.disjoint is None:
        raise ValueError("granularity is told for class-agnostic AP^e by masks")
    if not params.keep_matches:
        raise ValueError("granularity needs the matches: evaluate with keep_matches=True")
    matches = result.disjoint.matches
    thrs = np.minimum(np.array(params.iou_thrs, np.float64), GREATEST_THR)
    rank = np.full(len(result.dt.scores) + 1, np.iinfo(np.int64).max)
    rank[matches.records] = matches.ranks
    # Position -1, no match, reads the last entry.
    whole = rank[matches.gt_dt[0]] < params.ap_limit
    counts = ~gt.iscrowd & (result.groups.gt_category >= 0)
    way = np.where(counts, np.where(whole, WHOLE, MISSED), NOT_COUNTED).astype(np.int8)
    out = GranularityRecall(np.array(params.iou_thrs), way, np.zeros(way.shape, np.int64))
    gt_codes, dt_codes = (
        side.counts if isinstance(side.counts, Codes) else Codes(side.counts)
        for side in (gt, result.dt)
    )
    for image_idx in result.groups.images.tolist():
        rows = result.groups.gt_of(image_idx)
        rows = rows[counts[rows]]
        if not len(rows) or (way[:, rows] == WHOLE).all():
            continue
        height, width = gt.sizes[image_idx].tolist()
        entities = pack(gt_codes, (height, width), rows)
        masks = _counted(result, dt_codes, result.dt, image_idx, (height, width))
        _enter(out, rows, _Image.of(masks, entities, (height, width)), thrs)
    return out


def _counted(
    result: EvalResult, codes: Codes, dt: Detections, image_idx: int, size: tuple[int, int]
) -> _rle.Runs:
    """Return the masks of AP^e of an image: what is visible of those that AP counts."""
    rows = result.groups.dt_of(image_idx)
    masks = pack(codes, size, rows)
    visible, _ = visible_by(result.params.overlap_rule, masks, rows, size)
    seen = np.flatnonzero((visible.areas() > 0) | (masks.areas() == 0))[: result.params.ap_limit]
    texts = [code["counts"] for code in codes_of(visible, size)]
    return pack([texts[idx] for idx in seen], size)


@dataclasses.dataclass(frozen=True)
class _Image:
    """Hold the n masks and g entities of an image.

    Attributes:
        common: (n, g) pixels that they share.
        dt_area: (n,) pixels.
        gt_area: (g,) pixels.
        entities: The codes of the entities, where they overlap; else None.
        masks: The codes of the masks likewise.
    """

    common: Ints
    dt_area: Ints
    gt_area: Ints
    entities: list[dict[str, object]] | None
    masks: list[dict[str, object]] | None

    @classmethod
    def of(cls, masks: _rle.Runs, entities: _rle.Runs, size: tuple[int, int]) -> "_Image":
        """Intersect the two sides."""
        overlap = bool(_cover.visible(entities)[1])
        return cls(
            _sweep.Spans(entities, size[0]).intersections(masks),
            masks.areas(),
            entities.areas(),
            codes_of(entities, size) if overlap else None,
            codes_of(masks, size) if overlap else None,
        )

    def pieces(self, thr: float) -> tuple[Bools, Ints]:
        """Tell which entities are recovered in pieces, (g,), and how many pieces they have."""
        own = (2 * self.common > self.dt_area[:, None]) & (
            self.common >= thr * self.dt_area[:, None]
        )
        # Visible masks share no pixel: sums are those of the union.
        common = np.where(own, self.common, 0).sum(axis=0)
        union = np.where(own, self.dt_area[:, None], 0).sum(axis=0) + self.gt_area - common
        return common >= thr * np.maximum(union, 1), own.sum(axis=0)

    def merged(self, thr: float) -> Bools:
        """Tell which entities lie in a mask that is a union of entities, (g,)."""
        inside = (2 * self.common > self.gt_area) & (self.common >= thr * self.gt_area)
        found = np.zeros(len(self.gt_area), bool)
        for mask in np.flatnonzero(inside.sum(axis=1) > 1).tolist():
            own = inside[mask]
            common, area = int(self.common[mask, own].sum()), int(self.gt_area[own].sum())
            if self.entities is not None and self.masks is not None:
                union = merge([self.entities[k] for k in np.flatnonzero(own)])
                common = int(intersections([self.masks[mask]], [union])[0, 0])
                area = int(intersections([union], [union])[0, 0])
            if common >= thr * (int(self.dt_area[mask]) + area - common):
                found |= own
        return found


def _enter(out: GranularityRecall, rows: Ints, image: _Image, thrs: NDArray[np.float64]) -> None:
    """Enter the ways in which the entities of an image are recovered, of those not found whole."""
    for t, thr in enumerate(thrs.tolist()):
        in_pieces, n = image.pieces(thr)
        merged = image.merged(thr)
        missed = out.way[t, rows] == MISSED
        out.way[t, rows[missed & merged]] = MERGED
        out.way[t, rows[missed & in_pieces]] = PIECES
        out.n_pieces[t, rows[missed & in_pieces]] = n[missed & in_pieces]
