"""The kind of every prediction and entity of a scored file; `errors.kinds` says what they mean."""

import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from entity_api import Detections, EvalResult, GroundTruth, remove_overlaps
from entityseg_bench.errors.kinds import LEAST_IOU, MERGED, NONE, Image, Judged
from entityseg_bench.resampling.weighted import matches_of

__all__ = ["SortedErrors", "sort_errors"]

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

    @classmethod
    def unsorted(cls, n_thrs: int, n: int, n_gt: int) -> "SortedErrors":
        """Return columns in which no image has been entered."""
        return cls(
            kind=np.full((n_thrs, n), NONE, np.int8),
            target=np.full((n_thrs, n), -1, np.int64),
            entity_kind=np.full((n_thrs, n_gt), NONE, np.int8),
            covered=np.zeros((0, 2), np.int64),
            best=np.full(n, -1, np.int64),
            iou=np.zeros(n),
            area=np.zeros(n, np.int64),
            entity_iou=np.zeros(n_gt),
        )

    def enter(self, judged: Judged, at: slice, gt_rows: Ints, dt_gt: NDArray[np.int32]) -> None:
        """Enter all but ``covered`` of an image.

        Args:
            judged: The image's n predictions and g entities.
            at: Its columns.
            gt_rows: (g,) records of its entities.
            dt_gt: (T, n) records that its predictions were matched with, negative for none.
        """
        # Position -1, no entity, stands for the record -1 that is appended.
        records = np.append(gt_rows, -1)
        for t, row in enumerate(dt_gt):
            found = np.isin(gt_rows, row[row >= 0])
            kind, target, entity_kind = judged.kinds(t, found)
            self.kind[t, at], self.entity_kind[t, gt_rows] = kind, entity_kind
            self.target[t, at] = records[target]
        near = judged.best_iou >= LEAST_IOU
        self.best[at] = records[np.where(near, judged.best, -1)]
        self.iou[at], self.area[at] = judged.best_iou, judged.dt_area
        self.entity_iou[gt_rows] = judged.iou.max(axis=0, initial=0)


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
    for done, image_idx in enumerate(groups.images.tolist(), start=1):
        at, gt_rows = groups.columns(image_idx, 0), groups.gt_of(image_idx)
        image, submitted = _image(gt, dt, result, image_idx, removed)
        judged = Judged.of(image, submitted, result.params.iou_thrs, matches.outcome[0, :, at])
        out.enter(judged, at, gt_rows, matches.dt_gt[0, :, at])
        for d in np.flatnonzero((out.kind[:, at] == MERGED).any(axis=0)).tolist():
            own = gt_rows[judged.covers[d]]
            covered.append(np.stack([np.full(len(own), at.start + d), own], axis=1))
        if progress:
            progress(done, len(groups.images))
    return dataclasses.replace(out, covered=np.concatenate(covered))


def _image(
    gt: GroundTruth, dt: Detections, result: EvalResult, image_idx: int, removed: bool
) -> tuple[Image, list[dict[str, Any]]]:
    """Give an image's masks as they are judged, and its predictions as submitted."""
    groups = matches_of(result, "e" if removed else "").groups
    gt_rows = groups.gt_of(image_idx)
    size = tuple(gt.sizes[image_idx].tolist())
    columns = groups.records[groups.columns(image_idx, 0)].tolist()
    submitted = [mask_of(dt.counts[idx], size) for idx in columns]
    entities = [mask_of(gt.counts[idx], size) for idx in gt_rows]
    overlaps = result.overlap is None or bool(result.overlap.pixels[image_idx])
    judged = submitted
    if removed and overlaps:
        # Also masks that are hidden, or below the ranks that count, hide others. They stand sorted
        # by score; equal scores keep their order.
        all_rows = result.groups.dt_of(image_idx).tolist()
        masks = [mask_of(dt.counts[idx], size) for idx in all_rows]
        visible = remove_overlaps(masks, [0.0] * len(masks))
        of_record = dict(zip(all_rows, visible, strict=True))
        judged = [of_record[idx] for idx in columns]
    return Image(judged, entities, gt.iscrowd[gt_rows], removed or not overlaps), submitted


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


def mask_of(counts: Any, size: tuple[int, ...]) -> dict[str, Any]:
    """Make an RLE of counts as the readers hold them: text, or the file's own JSON literal."""
    if not isinstance(counts, str):
        raw = bytes(counts)
        counts = msgspec.json.decode(raw, type=str) if raw[:1] == b'"' else raw.decode("ascii")
    return {"size": list(size), "counts": counts}
