"""Match the images of an evaluation, as submitted and with overlaps removed, in threads."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from entity_api import _images, _match
from entity_api.columns import Side
from entity_api.counts import Codes, bare
from entity_api.groups import Groups, Idx
from entity_api.overlap import Overlap
from entity_api.params import EvalParams, OverlapRule
from entity_api.plain_images import (
    PlainImages,
    Visible,
    least_iou,
    packed,
    size_of,
)
from entity_api.result import Matches
from entity_api.tables import Detections, GroundTruth

__all__ = ["Run"]

# What the kernel calls them.
RULES: dict[OverlapRule, int] = {"score": 0, "small-first": 1, "large-first": 2, "order": 3}

# So many records make work for a thread of its own.
RECORDS_AT_ONCE = 2048


class Matcher(Protocol):
    """Match some images, in order; return how many, fewer where the next one cannot be read."""

    def match(self, images: NDArray[np.int64], /) -> int: ...


class Run:
    """Carry the arrays that the images of one evaluation are matched into, each its own slice.

    Args:
        gt: Ground truth.
        dt: Detections.
        params: What is measured.
        groups: Of both.

    Raises:
        ValueError: Columns of several lengths.
    """

    def __init__(
        self,
        gt: GroundTruth,
        dt: Detections,
        params: EvalParams,
        groups: Groups,
    ) -> None:
        self.gt, self.dt, self.params, self.groups = gt, dt, params, groups
        self.removes_overlaps = params.remove_overlaps and params.iou_type != "bbox"
        self.submitted = Matches.empty(
            len(params.area_ranges), len(params.iou_thrs), groups, len(gt.ids), params.keep_matches
        )
        self.codes: dict[Side, Codes] = {"gt": codes_of(gt), "dt": codes_of(dt)}
        self._columns = positions(groups.records, len(dt.scores))
        self.visible = self._visible() if self.removes_overlaps else None
        self._targets = [self._target(self.submitted)]
        if self.visible is not None:
            self._targets.append(self._target(self.visible))
        self._matcher: Matcher
        if params.iou_type == "segm":
            self._matcher = self._kernel()
        else:
            self.match_plainly()

    def match_plainly(self) -> None:
        """Match images in Python, as is done for all but masks."""
        self._matcher = PlainImages(
            self.gt, self.dt, self.codes, self.params, self.groups, self._columns, self._targets,
            self.visible,
        )  # fmt: skip

    @property
    def overlap(self) -> Overlap:
        """How much overlapped."""
        assert self.visible is not None
        return Overlap(*self.visible.overlap)

    def _visible(self) -> Visible:
        """Make room for what is left of the masks, at any rank that is free by then."""
        groups, n_areas_thrs = self.groups, self.submitted.outcome.shape[:2]
        n, keep = len(groups.ordered), self.params.keep_matches
        return Visible(
            columns=positions(groups.ordered, len(self.dt.scores)),
            outcome=np.zeros((*n_areas_thrs, n), np.int8),
            dt_gt=np.full((*n_areas_thrs, n if keep else 0), -1, np.int32),
            gt_dt=np.full_like(self.submitted.gt_dt, -1),
            gt_ignored=self.submitted.gt_ignored,
            hidden=np.zeros(len(self.dt.scores), bool),
            overlap=np.zeros((4, len(self.gt.image_ids)), np.int64),
            rule=self.params.overlap_rule,
        )

    def _target(self, found: Matches | Visible) -> _match.Target:
        """Give the arrays of a pass."""
        return _match.Target(
            np.array(self.params.iou_thrs, np.float64),
            np.array(list(self.params.area_ranges.values()), np.float64),
            found.outcome,
            found.dt_gt,
            found.gt_dt,
            found.gt_ignored.view(np.uint8),
            np.zeros((len(found.outcome), found.outcome.shape[2]), np.int8),
        )

    def _kernel(self) -> _images.Images:
        """Hand the columns of both sides to the kernel."""
        gt, dt, groups, visible = self.gt, self.dt, self.groups, self.visible
        crowd = np.ascontiguousarray(gt.iscrowd, bool).view(np.uint8)
        gt_areas = np.ascontiguousarray(gt.areas, np.float64)
        dt_areas = None if dt.areas is None else np.ascontiguousarray(dt.areas, np.float64)
        n_gt, n_dt = len(groups.gt_category), len(groups.dt_category)
        if {len(self.codes["gt"]), len(crowd), len(gt_areas), len(gt.ids)} != {n_gt}:
            raise ValueError("the columns of the ground truth are not of one length")
        n_areas = n_dt if dt_areas is None else len(dt_areas)
        if {len(self.codes["dt"]), len(dt.scores), n_areas} != {n_dt}:
            raise ValueError("the columns of the detections are not of one length")
        removal = None
        if visible is not None:
            removal = _images.Removal(
                self._targets[1],
                visible.columns,
                groups.max_det,
                RULES[visible.rule],
                visible.hidden.view(np.uint8),
                visible.overlap,
                self.params.count_pairs,
            )
        return _images.Images(
            np.ascontiguousarray(gt.sizes, np.int64),
            groups.place,
            _images.Side(
                self.codes["gt"], groups.gt_order, groups.gt_start, groups.gt_category,
                gt_areas, crowd,
            ),
            _images.Side(
                self.codes["dt"], groups.dt_order, groups.dt_start, groups.dt_category, dt_areas
            ),
            self._columns,
            self._targets[0],
            removal,
            least_iou(self.params),
        )  # fmt: skip

    def all_images(self, progress: Callable[[int], None] | None) -> None:
        """Match every image, in threads: the kernels release the interpreter lock."""
        for done in in_threads(self._match, self._chunks(), self.params.threads):
            if progress:
                progress(done)
        for target in self._targets:
            target.settle()

    def _chunks(self) -> list[Idx]:
        """Divide the images to score into parts of some records each."""
        groups, images = self.groups, self.groups.images
        n_records = np.diff(groups.gt_start)[images]
        n_records = n_records + np.diff(groups.dt_start)[groups.place[images]] + 1
        part = np.cumsum(n_records) // RECORDS_AT_ONCE
        return np.split(images, np.flatnonzero(np.diff(part)) + 1)

    def _match(self, images: Idx) -> int:
        """Match some images; one that cannot be read is an error, or is read by Python first."""
        done = self._matcher.match(images)
        while done < len(images):
            self._read(int(images[done]))
            again = self._matcher.match(images[done:])
            if not again:
                raise AssertionError(f"image {images[done]} was read, and cannot be matched")
            done += again
        return len(images)

    def _read(self, image_idx: int) -> None:
        """Bring the codes of an image to the form that the kernel reads.

        Raises:
            RecordError: The first that is broken.
        """
        size = size_of(self.gt, image_idx)
        rows: dict[Side, Idx] = {
            "gt": self.groups.gt_of(image_idx),
            "dt": self.groups.dt_of(image_idx),
        }
        for side, own in rows.items():
            packed(side, self.codes[side], size, own)
            for row in own.tolist():
                self.codes[side].put(row, bare(self.codes[side][row]))

    def disjoint(self) -> Matches:
        """Put the matches without overlaps together; images without any keep theirs."""
        visible, submitted = self.visible, self.submitted
        assert visible is not None
        groups = self.groups
        n = visible.outcome.shape[2]
        apart = visible.overlap[0][self.gt.image_idx] == 0
        if visible.gt_dt.shape[2]:
            visible.gt_dt[:, :, apart] = submitted.gt_dt[:, :, apart]
        apart = visible.overlap[0][self.dt.image_idx[groups.records]] == 0
        to = visible.columns[groups.records[apart]]
        arrays: dict[str, NDArray[Any]] = {"outcome": visible.outcome, "dt_gt": visible.dt_gt}
        for name, found in arrays.items():
            if found.shape[2]:
                copy_columns(getattr(submitted, name), np.flatnonzero(apart), found, to)
        if visible.hidden.any():
            groups = groups.without(visible.hidden)
        if len(groups.records) < n:
            taken = visible.columns[groups.records]
            for name, found in arrays.items():
                if found.shape[2]:
                    # Each row is read whole before it is written.
                    copy_columns(found, taken, found, np.arange(len(taken)))
                    arrays[name] = found[:, :, : len(taken)]
        return Matches(
            records=groups.records,
            ranks=groups.ranks,
            groups=groups,
            gt_dt=visible.gt_dt,
            gt_ignored=submitted.gt_ignored,
            **arrays,
        )


def positions(records: Idx, n: int) -> Idx:
    """Return where each of n records stands, (n,), -1 for those that do not."""
    out = np.full(n, -1, np.int64)
    out[records] = np.arange(len(records))
    return out


def copy_columns(source: NDArray[Any], columns: Idx, target: NDArray[Any], to: Idx) -> None:
    """Copy some columns of (A, T, N) into others of (A, T, M), row by row: they are long."""
    for a in range(source.shape[0]):
        for t in range(source.shape[1]):
            target[a, t, to] = source[a, t, columns]


def codes_of(side: GroundTruth | Detections) -> Codes:
    """Return the places of the counts of a side."""
    return side.counts if isinstance(side.counts, Codes) else Codes(side.counts)


def in_threads(work: Callable[[Idx], int], chunks: list[Idx], threads: int) -> Iterator[int]:
    """Work on the chunks in order, several at once; the first error stops the rest."""
    if threads == 1 or len(chunks) == 1:
        yield from map(work, chunks)
        return
    # Imported where it is used: it brings logging along, which takes a while.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        try:
            yield from pool.map(work, chunks)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
