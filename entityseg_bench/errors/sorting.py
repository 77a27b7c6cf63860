"""The kind of every prediction and entity of a scored file; `errors.kinds` says what they mean."""

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from entity_api import Detections, EvalResult, GroundTruth, _cover
from entity_api.counts import Codes, pack
from entity_api.groups import Groups, as_idx
from entityseg_bench.errors.kinds import MERGED, Judged
from entityseg_bench.errors.measures import LEAST_IOU, Image, Measures, Pairs
from entityseg_bench.resampling.weighted import matches_of

__all__ = ["SortedErrors", "sort_errors"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class SortedErrors:
    """Hold the kind of every prediction and entity at each threshold.

    Columns are those of `entity_api.groups.Groups`: the predictions that count, by image and
    score descending.

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
    target: NDArray[np.int32]
    entity_kind: NDArray[np.int8]
    covered: Ints
    best: NDArray[np.int32]
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
        dt: As they were scored, `EvalResult.dt`: cut to the labelled pixels.
        result: Of the two, class-agnostic, by masks, with its matches kept.
        overlaps_removed: Judge the masks of AP^e; otherwise those of AP.
        progress: Called with (images finished, images to judge).

    Raises:
        ValueError: A result of another sort.
    """
    refuse(result)
    removed = overlaps_removed and result.disjoint is not None
    matches, thrs = matches_of(result, "e" if removed else ""), result.params.iou_thrs
    masks = _Masks(gt, dt, result, matches.groups, removed)
    measures = Measures(len(masks.groups.records), len(gt.image_idx), min(thrs))
    outcome, dt_gt = matches.outcome[0], matches.dt_gt[0]
    wrong = (outcome == 0).any(axis=0)
    asked, images = np.zeros(len(gt.image_idx), bool), masks.groups.images
    for done, image_idx in enumerate(images.tolist(), start=1):
        at, gt_rows = masks.groups.columns(image_idx, 0), masks.groups.gt_of(image_idx)
        measures.enter(masks.of(image_idx), at, gt_rows, wrong[at])
        asked[gt_rows] = ~gt.iscrowd[gt_rows]
        if progress:
            progress(done, len(images))
    found = np.zeros((len(thrs), len(asked)), bool)
    t, column = np.nonzero(dt_gt >= 0)
    found[t, dt_gt[t, column]] = True
    pairs = measures.pairs()
    judged = Judged(measures, pairs, thrs, outcome, found, asked, masks.union_iou)
    return _sorted(measures, pairs, *judged.kinds())


def _sorted(
    measures: Measures,
    pairs: Pairs,
    kind: NDArray[np.int8],
    target: NDArray[np.int32],
    entity_kind: NDArray[np.int8],
) -> SortedErrors:
    """Put the columns of sorted errors together."""
    merged = pairs.where(pairs.covers & (kind == MERGED).any(axis=0)[pairs.column])
    best = np.where(measures.iou >= LEAST_IOU, measures.best, -1)
    return SortedErrors(
        kind=kind,
        target=target,
        entity_kind=entity_kind,
        covered=np.stack([merged.column, merged.entity], axis=1),
        best=best.astype(np.int32),
        iou=measures.iou,
        area=measures.area,
        entity_iou=measures.entity_iou,
    )


class _Masks:
    """Decode the masks of scored images as they are judged.

    Args:
        gt: What was scored.
        dt: Likewise.
        result: Of the two.
        groups: Of the masks that are judged.
        removed: Whether the masks of AP^e are judged.
    """

    def __init__(
        self, gt: GroundTruth, dt: Detections, result: EvalResult, groups: Groups, removed: bool
    ) -> None:
        self.gt, self.dt, self.result, self.groups, self.removed = gt, dt, result, groups, removed
        self.gt_codes, self.dt_codes = (
            side.counts if isinstance(side.counts, Codes) else Codes(side.counts)
            for side in (gt, dt)
        )
        # The last image is asked for several times in a row.
        self.last: tuple[int, Image] | None = None

    def of(self, image_idx: int) -> Image:
        """Decode an image's masks."""
        records = self.groups.records[self.groups.columns(image_idx, 0)]
        height, width = self.gt.sizes[image_idx].tolist()
        gt_rows, size = self.groups.gt_of(image_idx), (height, width)
        overlap = self.result.overlap
        overlaps = overlap is None or bool(overlap.pixels[image_idx])
        # Also masks that are hidden, or below the ranks that count, hide others.
        all_rows = self.result.groups.dt_of(image_idx) if self.removed and overlaps else records
        submitted = pack(self.dt_codes, size, all_rows)
        judged = _cover.visible(submitted)[0] if self.removed and overlaps else submitted
        by_record = np.argsort(all_rows)
        return Image(
            size=size,
            submitted=submitted,
            judged=judged,
            rows=as_idx(by_record[np.searchsorted(all_rows, records, sorter=by_record)]),
            gt=pack(self.gt_codes, size, gt_rows),
            crowd=self.gt.iscrowd[gt_rows],
            disjoint=self.removed or not overlaps,
        )

    def union_iou(self, columns: Ints, entity: int) -> float:
        """Return the IoU of the union of some columns with an entity of their image."""
        image_idx = int(self.gt.image_idx[entity])
        if self.last is None or self.last[0] != image_idx:
            self.last = image_idx, self.of(image_idx)
        at, gt_rows = self.groups.columns(image_idx, 0), self.groups.gt_of(image_idx)
        return self.last[1].union_iou(columns - at.start, int(np.searchsorted(gt_rows, entity)))


def refuse(result: EvalResult) -> None:
    """Stop at results whose errors these kinds do not describe."""
    params = result.params
    if params.class_aware or params.iou_type != "segm":
        raise ValueError("errors are told for class-agnostic scoring by masks")
    if params.overlap_rule != "score":
        raise ValueError("errors are told for the benchmark's overlap rule, score")
    if params.ap_limit != params.max_dets[-1]:
        raise ValueError("errors are told for the predictions that AP counts, and no more")
    if result.matches.dt_gt.shape[-1] != len(result.matches.records):
        raise ValueError("errors need the matches: evaluate with keep_matches=True")
