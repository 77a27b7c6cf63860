"""The kind of every prediction and entity of a scored file; `errors.kinds` says what they mean."""

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from entity_api import Detections, EvalResult, GroundTruth, _cover
from entity_api.counts import Codes, pack
from entity_api.groups import as_idx
from entityseg_bench.errors.kinds import LEAST_IOU, MERGED, NONE, Image, Judged
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

    @classmethod
    def unsorted(cls, n_thrs: int, n: int, n_gt: int) -> "SortedErrors":
        """Return columns in which no image has been entered."""
        return cls(
            kind=np.full((n_thrs, n), NONE, np.int8),
            target=np.full((n_thrs, n), -1, np.int32),
            entity_kind=np.full((n_thrs, n_gt), NONE, np.int8),
            covered=np.zeros((0, 2), np.int64),
            best=np.full(n, -1, np.int32),
            iou=np.zeros(n),
            area=np.zeros(n, np.int64),
            entity_iou=np.zeros(n_gt),
        )

    def enter(self, judged: Judged, at: slice, gt_rows: Ints, dt_gt: NDArray[np.int32]) -> Ints:
        """Enter all but ``covered`` of an image.

        Args:
            judged: The image's n predictions and g entities.
            at: Its columns.
            gt_rows: (g,) records of its entities, rising.
            dt_gt: (T, n) records that its predictions were matched with, negative for none.

        Returns:
            The image's part of ``covered``.
        """
        found = np.zeros((len(dt_gt), len(gt_rows)), bool)
        t, d = np.nonzero(dt_gt >= 0)
        found[t, np.searchsorted(gt_rows, dt_gt[t, d])] = True
        # Position -1, no entity, stands for the record -1 that is appended.
        records = np.append(gt_rows, -1)
        kind, target, entity_kind = judged.kinds(found)
        self.kind[:, at], self.entity_kind[:, gt_rows] = kind, entity_kind
        self.target[:, at] = records[target]
        near = judged.best_iou >= LEAST_IOU
        self.best[at] = records[np.where(near, judged.best, -1)]
        self.iou[at], self.area[at] = judged.best_iou, judged.dt_area
        self.entity_iou[gt_rows] = judged.iou.max(axis=0, initial=0)
        merged = (kind == MERGED).any(axis=0)
        d, g = np.nonzero(judged.covers & merged[:, None])
        return np.stack([at.start + d, gt_rows[g]], axis=1)


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
    matches = matches_of(result, "e" if removed else "")
    groups = matches.groups
    out = SortedErrors.unsorted(len(result.params.iou_thrs), len(groups.records), len(gt.image_idx))
    covered = [out.covered]
    masks = _Masks(gt, dt, result, removed)
    for done, image_idx in enumerate(groups.images.tolist(), start=1):
        at, gt_rows = groups.columns(image_idx, 0), groups.gt_of(image_idx)
        image = masks.of(image_idx, groups.records[at])
        judged = Judged.of(image, result.params.iou_thrs, matches.outcome[0, :, at])
        covered.append(out.enter(judged, at, gt_rows, matches.dt_gt[0, :, at]))
        if progress:
            progress(done, len(groups.images))
    return dataclasses.replace(out, covered=np.concatenate(covered))


class _Masks:
    """Decode the masks of scored images as they are judged.

    Args:
        gt: What was scored.
        dt: Likewise.
        result: Of the two.
        removed: Whether the masks of AP^e are judged.
    """

    def __init__(self, gt: GroundTruth, dt: Detections, result: EvalResult, removed: bool) -> None:
        self.gt, self.dt, self.result, self.removed = gt, dt, result, removed
        self.gt_codes, self.dt_codes = (
            side.counts if isinstance(side.counts, Codes) else Codes(side.counts)
            for side in (gt, dt)
        )

    def of(self, image_idx: int, records: Ints) -> Image:
        """Decode an image's masks; ``records`` are its (N,) predictions that count."""
        height, width = self.gt.sizes[image_idx].tolist()
        gt_rows, size = self.result.groups.gt_of(image_idx), (height, width)
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
