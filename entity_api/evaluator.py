"""AP and AP^e: group, intersect, match, accumulate, summarize.

AP is COCO's average precision (Lin et al., "Microsoft COCO", 2014; protocol of cocoapi's
``COCOeval``) with every category collapsed to one. AP^e is the same after overlaps between the
predictions of an image are removed: each pixel goes to the highest score that covers it (Qi et al.,
"High-Quality Entity Segmentation", ICCV 2023).
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import _cover, _events, _match, _reach, _rle, _sweep
from entity_api.boundary import boundary_iou
from entity_api.boxes import iou_of_boxes
from entity_api.counts import Codes, RLEError, pack
from entity_api.groups import Groups, Idx, by_falling_score, group
from entity_api.overlap import Overlap, codes_of
from entity_api.params import EvalParams
from entity_api.result import EvalResult, Matches, Scored, summarize
from entity_api.tables import Detections, GroundTruth, RecordError, Side

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
    groups = group(gt, dt, params)
    run = _Run(gt, dt, params, groups)
    run.all_images(progress)
    submitted = accumulate(run.submitted, groups, dt.scores, params)
    disjoint = None
    if run.removes_overlaps:
        disjoint = submitted
        if run.overlap.n_images:
            run.fill_disjoint()
            disjoint = accumulate(run.disjoint, groups, dt.scores, params)
    return EvalResult(
        params=params,
        metrics=summarize(submitted, disjoint, params),
        submitted=submitted,
        disjoint=disjoint,
        overlap=run.overlap if run.removes_overlaps else None,
        groups=groups,
    )


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
        self.submitted, self.disjoint = (
            Matches.empty(
                len(self.ranges), len(self.iou_thrs), groups, len(gt.ids), params.keep_matches
            )
            for _ in range(2)
        )
        self.overlap = Overlap(*(np.zeros(n_images, np.int64) for _ in range(3)))

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
        self.match_masks(image_idx, self.submitted, dt_runs, gt_runs)
        if not self.removes_overlaps:
            return
        visible, crowded_px = _cover.visible(dt_runs)
        self.overlap.covered[image_idx] = visible.areas().sum()
        if crowded_px:
            self.overlap.pixels[image_idx] = crowded_px
            self.overlap.pairs[image_idx] = (
                _events.count_pairs(dt_runs) if self.params.count_pairs else -1
            )
            self.match_masks(image_idx, self.disjoint, visible, gt_runs)

    def size(self, image_idx: int) -> tuple[int, int]:
        """Return height and width of an image."""
        height, width = self.gt.sizes[image_idx].tolist()
        return height, width

    def gt_runs(self, image_idx: int, gt_rows: Idx) -> _rle.Runs:
        """Decode the ground truth of an image; the void that it has, if any, is the last mask."""
        void = self.gt.void[image_idx] if self.gt.void is not None else None
        if void is None:
            return packed("gt", self.gt_codes, self.size(image_idx), gt_rows)
        with_void = [*(self.gt_codes[idx] for idx in gt_rows), void]
        return packed("gt", with_void, self.size(image_idx), np.arange(len(with_void)))

    def match_masks(
        self, image_idx: int, matches: Matches, masks: _rle.Runs, gt_runs: _rle.Runs
    ) -> None:
        """Intersect masks with the ground truth of an image and match them."""
        gt_rows = self.groups.gt_of(image_idx)
        crowd, dt_area = self.crowd[gt_rows], masks.areas()
        gt_area = gt_runs.areas()[: len(gt_rows)]
        if gt_runs.n == len(gt_rows):
            needed_px, wanted = _reach.within_reach(masks, gt_runs, crowd, self.least_iou)
            common = _sweep.Regions(gt_runs, wanted).intersections(masks, needed_px)
        else:
            common = _sweep.Regions(gt_runs).intersections(masks)
            # One that lies on void alone can be neither right nor wrong: area -1 is outside every
            # range, so it is ignored.
            clipped = dt_area - common[:, -1]
            dt_area = np.where((clipped == 0) & (dt_area > 0), -1, clipped)
        iou = _match.ious(common, dt_area, gt_area, crowd)
        if self.params.iou_type == "boundary":
            size = self.size(image_idx)
            dt_codes, gt_codes = codes_of(masks, size), codes_of(gt_runs, size)[: len(gt_rows)]
            ratio = self.params.boundary_ratio
            along = boundary_iou(dt_codes, gt_codes, crowd.astype(bool).tolist(), ratio)
            # Against a crowd the mask's own IoU stands, as in the paper's code.
            iou = np.where(crowd, iou, np.minimum(iou, along))
        self.match(image_idx, matches, iou, dt_area, gt_area)

    def fill_disjoint(self) -> None:
        """Complete the matches without overlaps by the images in which nothing overlapped."""
        for image_idx in self.groups.images[self.overlap.pixels[self.groups.images] == 0]:
            gt_rows = self.groups.gt_of(image_idx)
            self.disjoint.gt_ignored[:, gt_rows] = self.submitted.gt_ignored[:, gt_rows]
            self.disjoint.gt_dt[:, :, gt_rows] = self.submitted.gt_dt[:, :, gt_rows]
            for rows, _, start in self.groups.parts_of(image_idx):
                part = np.s_[:, :, start : start + len(rows)]
                self.disjoint.outcome[part] = self.submitted.outcome[part]
                if self.params.keep_matches:
                    self.disjoint.dt_gt[part] = self.submitted.dt_gt[part]

    def one_image_of_boxes(self, image_idx: int, gt_rows: Idx, dt_rows: Idx) -> None:
        """Match one image by its boxes."""
        if self.dt.boxes is None or self.gt.boxes is None:
            raise ValueError("box AP needs boxes on both sides")
        dt_boxes, gt_boxes = self.dt.boxes[dt_rows], self.gt.boxes[gt_rows]
        iou = iou_of_boxes(dt_boxes, gt_boxes, self.gt.iscrowd[gt_rows])
        dt_area = dt_boxes[:, 2] * dt_boxes[:, 3]
        self.match(image_idx, self.submitted, iou, dt_area, gt_boxes[:, 2] * gt_boxes[:, 3])

    def match(
        self,
        image_idx: int,
        matches: Matches,
        iou: NDArray[np.float64],
        dt_area: NDArray[Any],
        gt_area: NDArray[Any],
    ) -> None:
        """Match each group of the image; an area that the file states goes before the mask's."""
        gt_rows, dt_rows = self.groups.gt_of(image_idx), self.groups.dt_of(image_idx)
        stated = self.gt.areas[gt_rows]
        if self.some_areas_missing:
            stated = np.where(np.isnan(stated), gt_area, stated)
        if self.dt.areas is not None:
            dt_area = self.dt.areas[dt_rows]
        dt_area, crowd = dt_area.astype(np.float64), self.crowd[gt_rows]
        for rows, columns, start in self.groups.parts_of(image_idx):
            _match.match_group(
                iou,
                self.iou_thrs,
                self.ranges,
                rows,
                columns,
                dt_rows,
                gt_rows,
                dt_area,
                stated,
                crowd,
                start,
                matches.outcome,
                matches.dt_gt,
                matches.gt_dt,
                matches.gt_ignored.view(np.uint8),
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


def accumulate(
    matches: Matches, groups: Groups, scores: NDArray[np.float64], params: EvalParams
) -> Scored:
    """Turn matches into precision and recall for each threshold, category, area and limit.

    Args:
        matches: As found by `evaluate`.
        groups: Their order.
        scores: (D,) of the detection records.
        params: Thresholds and limits.
    """
    n_areas, n_thrs, _ = matches.outcome.shape
    n_cats, n_recs = len(groups.category_ids), len(params.rec_thrs)
    shape = (n_thrs, n_recs, n_cats, n_areas, len(params.max_dets))
    precision, score_at = np.full(shape, -1.0), np.full(shape, -1.0)
    recall = np.full((n_thrs, n_cats, n_areas, len(params.max_dets)), -1.0)
    rec_thrs = np.array(params.rec_thrs, np.float64)
    for k in range(n_cats):
        n_gt = [np.count_nonzero(groups.gt_category[~out] == k) for out in matches.gt_ignored]
        columns = np.arange(groups.category_start[k], groups.category_start[k + 1])
        score = scores[groups.records[columns]]
        by_score = by_falling_score(score)
        columns, score = columns[by_score], score[by_score]
        rank = groups.ranks[columns]
        for m, max_det in enumerate(params.max_dets):
            counts = rank < max_det
            kept, kept_score = columns[counts], score[counts]
            for a, t in itertools.product(np.flatnonzero(n_gt).tolist(), range(n_thrs)):
                recall[t, k, a, m] = _match.precision_at_recall(
                    matches.outcome[a, t],
                    kept,
                    kept_score,
                    int(n_gt[a]),
                    rec_thrs,
                    precision[t, :, k, a, m],
                    score_at[t, :, k, a, m],
                )
    return Scored(precision, recall, score_at, matches)
