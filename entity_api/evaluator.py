"""AP and AP^e: group, intersect, match, accumulate, summarize.

AP is COCO's average precision (Lin et al., "Microsoft COCO", 2014; protocol of cocoapi's
``COCOeval``) with every category collapsed to one. AP^e is the same after overlaps between the
predictions of an image are removed: each pixel goes to the highest score that covers it (Qi et al.,
"High-Quality Entity Segmentation", ICCV 2023).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import _cover, _events, _match, _reach, _rle, _sweep
from entity_api.boundary import boundary_iou_of_runs
from entity_api.boxes import iou_of_boxes
from entity_api.counts import Codes, RLEError, pack
from entity_api.curves import precision_and_recall
from entity_api.groups import Groups, Idx, group
from entity_api.overlap import Overlap
from entity_api.params import EvalParams
from entity_api.result import EvalResult, Matches, Scored, summarize
from entity_api.tables import Detections, GroundTruth, RecordError, Side
from entity_api.void import cut_to_labelled

__all__ = ["accumulate", "evaluate"]


def evaluate(
    gt: GroundTruth | Mapping[str, Any],
    dt: Detections | Sequence[Mapping[str, Any]],
    params: EvalParams | None = None,
    progress: Callable[[int], None] | None = None,
) -> EvalResult:
    """Score detections against ground truth.

    Args:
        gt: Columns, or a COCO dictionary.
        dt: Columns, or a list of COCO results.
        params: Thresholds, ranges, grouping, threads.
        progress: Called with the number of images finished since the last call.

    Returns:
        Metrics of the masks as submitted (AP ...) and with overlaps removed (APe ...), the arrays
        behind them, the matches, and what overlapped.

    Raises:
        RecordError: A record that cannot be scored, with its side and position.
    """
    params = params or EvalParams()
    boxes = params.iou_type == "bbox"
    if not isinstance(gt, GroundTruth):
        gt = GroundTruth.from_coco(gt, boxes)
    if not isinstance(dt, Detections):
        dt = Detections.from_coco(dt, gt, boxes)
    dt, on_void = cut_to_labelled(gt, dt) if not boxes else (dt, np.zeros(len(dt.scores), bool))
    groups = group(gt, dt, params, on_void)
    run = _Run(gt, dt, params, groups)
    run.all_images(progress)
    submitted = accumulate(run.submitted, dt.scores, params)
    disjoint = None
    if run.removes_overlaps:
        disjoint = submitted
        if run.overlap.n_images:
            matches = run.disjoint(on_void)
            disjoint = accumulate(matches, dt.scores, params)
    return EvalResult(
        params=params,
        metrics=summarize(submitted, disjoint, params),
        submitted=submitted,
        disjoint=disjoint,
        overlap=run.overlap if run.removes_overlaps else None,
        groups=groups,
        dt=dt,
        on_void=on_void,
    )


class _Visible(NamedTuple):
    """Hold the matches of one group of an image with overlaps removed, until all are known.

    Attributes:
        category: Position in `Groups.category_ids`.
        outcome: (A, T, n) as in `Matches`.
        dt_gt: (A, T, n) likewise, or (A, T, 0).
    """

    category: int
    outcome: NDArray[np.int8]
    dt_gt: NDArray[np.int32]


class _Run:
    """Carry the arrays that the images of one evaluation are matched into, each its own slice."""

    def __init__(self, gt: GroundTruth, dt: Detections, params: EvalParams, groups: Groups) -> None:
        n_images = len(gt.image_ids)
        self.gt, self.dt, self.params, self.groups = gt, dt, params, groups
        self.gt_codes, self.dt_codes = (
            side.counts if isinstance(side.counts, Codes) else Codes(side.counts)
            for side in (gt, dt)
        )
        self.iou_thrs = np.array(params.iou_thrs, np.float64)
        self.ranges = np.array(list(params.area_ranges.values()), np.float64)
        self.least_iou = min(params.iou_thrs)
        self.crowd = gt.iscrowd.view(np.uint8)
        self.some_areas_missing = bool(np.isnan(gt.areas).any())
        self.removes_overlaps = params.remove_overlaps and params.iou_type != "bbox"
        self.submitted = self.no_matches(groups)
        self.overlap = Overlap(*(np.zeros(n_images, np.int64) for _ in range(4)))
        self.hidden = np.zeros(len(dt.scores), bool)
        self.visible: dict[int, list[_Visible]] = {}
        shape = (len(self.ranges), len(self.iou_thrs), len(gt.ids))
        # Of ground truth with overlaps removed, in the images where there are any.
        self.gt_dt = np.full(shape if self.removes_overlaps else (0, 0, 0), -1, np.int32)

    def no_matches(self, groups: Groups) -> Matches:
        """Make the arrays that the images of one pass are matched into."""
        n_areas, n_thrs = len(self.ranges), len(self.iou_thrs)
        return Matches.empty(n_areas, n_thrs, groups, len(self.gt.ids), self.params.keep_matches)

    def all_images(self, progress: Callable[[int], None] | None) -> None:
        """Match every image, in threads: the kernels release the interpreter lock."""
        images = self.groups.images.tolist()
        chunks = [images[at : at + 16] for at in range(0, len(images), 16)]

        def work(chunk: list[int]) -> int:
            for image_idx in chunk:
                self.one_image(image_idx)
            return len(chunk)

        for done in in_threads(work, chunks, self.params.threads):
            if progress:
                progress(done)

    def one_image(self, image_idx: int) -> None:
        """Intersect and match one image, as submitted and with overlaps removed."""
        gt_rows, dt_rows = self.groups.gt_of(image_idx), self.groups.dt_of(image_idx)
        if self.params.iou_type == "bbox":
            self.one_image_of_boxes(image_idx, gt_rows, dt_rows)
            return
        gt_runs = self.gt_runs(image_idx, gt_rows)
        dt_runs = packed("dt", self.dt_codes, self.size(image_idx), dt_rows)
        iou, dt_area, gt_area = self.compared(image_idx, dt_runs, gt_runs)
        self.match(image_idx, iou, dt_area, gt_area)
        if not self.removes_overlaps:
            return
        visible, crowded_px = _cover.visible(dt_runs)
        left_px = visible.areas()
        self.overlap.covered[image_idx] = left_px.sum()
        if crowded_px:
            self.overlap.pixels[image_idx] = crowded_px
            self.overlap.pairs[image_idx] = (
                _events.count_pairs(dt_runs) if self.params.count_pairs else -1
            )
            hidden = (left_px == 0) & (dt_runs.areas() > 0)
            self.overlap.hidden[image_idx] = np.count_nonzero(hidden)
            self.hidden[dt_rows[hidden]] = True
            compared = self.compared(image_idx, visible, gt_runs)
            self.visible[image_idx] = self.match_visible(image_idx, *compared, hidden)

    def size(self, image_idx: int) -> tuple[int, int]:
        """Return height and width of an image."""
        height, width = self.gt.sizes[image_idx].tolist()
        return height, width

    def gt_runs(self, image_idx: int, gt_rows: Idx) -> _rle.Runs:
        """Decode the ground truth of an image."""
        return packed("gt", self.gt_codes, self.size(image_idx), gt_rows)

    def compared(
        self, image_idx: int, masks: _rle.Runs, gt_runs: _rle.Runs
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the IoU of masks with the ground truth of an image, and the areas of both."""
        crowd = self.crowd[self.groups.gt_of(image_idx)]
        dt_area, gt_area = masks.areas(), gt_runs.areas()
        needed_px, wanted = _reach.within_reach(masks, gt_runs, crowd, self.least_iou)
        common = _sweep.Regions(gt_runs, wanted).intersections(masks, needed_px)
        iou = _match.ious(common, dt_area, gt_area, crowd)
        if self.params.iou_type == "boundary":
            size, ratio = self.size(image_idx), self.params.boundary_ratio
            along = boundary_iou_of_runs(masks, gt_runs, size, crowd.astype(bool), ratio)
            # Against a crowd the mask's own IoU stands, as in the paper's code.
            iou = np.where(crowd, iou, np.minimum(iou, along))
        return iou, dt_area, gt_area

    def match_visible(
        self,
        image_idx: int,
        iou: NDArray[np.float64],
        dt_area: NDArray[np.int64],
        gt_area: NDArray[np.int64],
        hidden: NDArray[np.bool_],
    ) -> list[_Visible]:
        """Match what overlap removal left of an image; hidden masks take no rank."""
        found = []
        n_areas, n_thrs, _ = self.gt_dt.shape
        gt_category = self.groups.gt_category[self.groups.gt_of(image_idx)]
        dt_category = self.groups.dt_category[self.groups.dt_of(image_idx)]
        for category in np.union1d(dt_category, gt_category).tolist():
            if category < 0:
                continue
            rows = np.flatnonzero((dt_category == category) & ~hidden)[: self.groups.max_det]
            columns = np.flatnonzero(gt_category == category)
            outcome = np.empty((n_areas, n_thrs, len(rows)), np.int8)
            n_kept = len(rows) if self.params.keep_matches else 0
            dt_gt = np.empty((n_areas, n_thrs, n_kept), np.int32)
            part = (rows, columns, 0)
            self.match_part(image_idx, iou, dt_area, gt_area, part, outcome, dt_gt, self.gt_dt)
            found.append(_Visible(category, outcome, dt_gt))
        return found

    def disjoint(self, on_void: NDArray[np.bool_]) -> Matches:
        """Put the matches without overlaps together; images without any keep theirs."""
        groups = self.groups
        if self.hidden.any():
            groups = group(self.gt, self.dt, self.params, on_void | self.hidden)
        matches = self.no_matches(groups)
        matches.gt_ignored[:] = self.submitted.gt_ignored
        matches.gt_dt[:] = self.submitted.gt_dt
        column_of = np.full(len(self.dt.scores), -1, np.int64)
        column_of[self.groups.records] = np.arange(len(self.groups.records))
        same = column_of[groups.records]
        # Those below the ranks that count as submitted are in images with overlaps: see below.
        known = np.flatnonzero(same >= 0)
        matches.outcome[:, :, known] = self.submitted.outcome[:, :, same[known]]
        if self.params.keep_matches:
            matches.dt_gt[:, :, known] = self.submitted.dt_gt[:, :, same[known]]
        for image_idx, parts in self.visible.items():
            gt_rows = groups.gt_of(image_idx)
            matches.gt_dt[:, :, gt_rows] = self.gt_dt[:, :, gt_rows]
            for part in parts:
                self.put(matches, image_idx, part)
        return matches

    def put(self, matches: Matches, image_idx: int, part: _Visible) -> None:
        """Write the matches of one group where its columns are."""
        if not part.outcome.shape[2]:
            return
        columns = matches.groups.columns(image_idx, part.category)
        matches.outcome[:, :, columns] = part.outcome
        if self.params.keep_matches:
            matches.dt_gt[:, :, columns] = part.dt_gt

    def one_image_of_boxes(self, image_idx: int, gt_rows: Idx, dt_rows: Idx) -> None:
        """Match one image by its boxes."""
        if self.dt.boxes is None or self.gt.boxes is None:
            raise ValueError("box AP needs boxes on both sides")
        dt_boxes, gt_boxes = self.dt.boxes[dt_rows], self.gt.boxes[gt_rows]
        iou = iou_of_boxes(dt_boxes, gt_boxes, self.gt.iscrowd[gt_rows])
        dt_area = dt_boxes[:, 2] * dt_boxes[:, 3]
        self.match(image_idx, iou, dt_area, gt_boxes[:, 2] * gt_boxes[:, 3])

    def match(
        self,
        image_idx: int,
        iou: NDArray[np.float64],
        dt_area: NDArray[Any],
        gt_area: NDArray[Any],
    ) -> None:
        """Match each group of the image as submitted."""
        found = self.submitted
        for part in self.groups.parts_of(image_idx):
            self.match_part(
                image_idx, iou, dt_area, gt_area, part, found.outcome, found.dt_gt, found.gt_dt
            )

    def match_part(
        self,
        image_idx: int,
        iou: NDArray[np.float64],
        dt_area: NDArray[Any],
        gt_area: NDArray[Any],
        part: tuple[Idx, Idx, int],
        outcome: NDArray[np.int8],
        dt_gt: NDArray[np.int32],
        gt_dt: NDArray[np.int32],
    ) -> None:
        """Match one group of an image; an area that the file states goes before the mask's."""
        rows, columns, start = part
        gt_rows = self.groups.gt_of(image_idx)
        stated = self.gt.areas[gt_rows]
        if self.some_areas_missing:
            stated = np.where(np.isnan(stated), gt_area, stated)
        if self.dt.areas is not None:
            dt_area = self.dt.areas[self.groups.dt_of(image_idx)]
        _match.match_group(
            iou,
            self.iou_thrs,
            self.ranges,
            rows,
            columns,
            self.groups.dt_of(image_idx),
            gt_rows,
            dt_area.astype(np.float64),
            stated,
            self.crowd[gt_rows],
            start,
            outcome,
            dt_gt,
            gt_dt,
            self.submitted.gt_ignored.view(np.uint8),
        )


def in_threads(
    work: Callable[[list[int]], int], chunks: list[list[int]], threads: int
) -> Iterator[int]:
    """Work on the chunks in order, several at once; the first error stops the rest."""
    if threads == 1:
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


def packed(side: Side, counts: list[Any] | Codes, size: tuple[int, int], rows: Idx) -> Any:
    """Decode one image's masks; an error names the record of the file."""
    try:
        return pack(counts, size, rows)
    except RLEError as error:
        if not len(rows):  # the image itself is too large
            raise
        raise RecordError(side, int(rows[error.idx]), str(error)) from None


def accumulate(matches: Matches, scores: NDArray[np.float64], params: EvalParams) -> Scored:
    """Turn matches into precision and recall for each threshold, category, area and limit.

    Args:
        matches: As found by `evaluate`.
        scores: (D,) of the detection records.
        params: Thresholds and limits.
    """
    groups = matches.groups
    n_gt = [
        [np.count_nonzero(groups.gt_category[~out] == k) for out in matches.gt_ignored]
        for k in range(len(groups.category_ids))
    ]
    arrays = precision_and_recall(
        lambda a, t: matches.outcome[a, t],
        scores[groups.records],
        groups.ranks,
        groups.category_start,
        np.array(n_gt, np.int64).reshape(-1, len(params.area_ranges)),
        params,
    )
    return Scored(*arrays, matches)
