"""Match images in plain steps: by boxes, by boundaries, and as the kernel of masks is held to."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import _match, _near, _pairs, _rle, _sweep
from entity_api.borders import boundary_iou_of_runs
from entity_api.boxes import iou_of_boxes
from entity_api.columns import RecordError, Side
from entity_api.counts import Codes, RLEError, pack
from entity_api.groups import Groups, Idx
from entity_api.overlap import visible_by
from entity_api.params import EvalParams, OverlapRule
from entity_api.rle import iou_of_counts
from entity_api.tables import Detections, GroundTruth

__all__ = ["PlainImages", "Visible", "least_iou", "packed", "size_of"]


@dataclasses.dataclass(frozen=True)
class Visible:
    """Hold what the masks that overlap removal leaves are matched into.

    Attributes:
        columns: (D,) column of each detection, whatever its rank; -1 for those that do not count.
        outcome: (A, T, M) as in `Matches`; written in images where masks overlap.
        dt_gt: (A, T, M) likewise, or (A, T, 0).
        gt_dt: (A, T, G) likewise.
        gt_ignored: (A, G).
        hidden: (D,) detections of which nothing is visible.
        overlap: (4, I) pixels, covered, pairs and hidden of `Overlap`.
        rule: Which mask takes a pixel that several cover.
    """

    columns: Idx
    outcome: NDArray[np.int8]
    dt_gt: NDArray[np.int32]
    gt_dt: NDArray[np.int32]
    gt_ignored: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    overlap: NDArray[np.int64]
    rule: OverlapRule


class PlainImages:
    """Match images one by one, as `_images.Images` does for masks.

    Args:
        gt: Ground truth.
        dt: Detections.
        codes: Of the masks of both sides.
        params: What is measured.
        groups: Of both.
        columns: (D,) where each detection is written, -1 for those that do not count.
        targets: Of the masks as submitted and, with ``visible``, of what overlap removal leaves.
        visible: Of the second target; None to leave overlaps as they are.
    """

    def __init__(
        self,
        gt: GroundTruth,
        dt: Detections,
        codes: Mapping[Side, Codes],
        params: EvalParams,
        groups: Groups,
        columns: Idx,
        targets: Sequence[_match.Target],
        visible: Visible | None,
    ) -> None:
        if params.iou_type == "bbox" and (dt.boxes is None or gt.boxes is None):
            raise ValueError("box AP needs boxes on both sides")
        self.gt, self.dt, self.codes, self.params = gt, dt, codes, params
        self.groups, self.columns, self.visible = groups, columns, visible
        self.targets = targets

    def match(self, images: NDArray[np.int64]) -> int:
        """Match some images; return how many, which is all."""
        for image_idx in images.tolist():
            if self.params.iou_type == "bbox":
                self.match_boxes(image_idx)
            else:
                self.match_masks(image_idx)
        return len(images)

    def match_boxes(self, image_idx: int) -> None:
        """Match an image by its boxes."""
        gt_rows, dt_rows = self.groups.gt_of(image_idx), self.groups.dt_of(image_idx)
        assert self.dt.boxes is not None
        assert self.gt.boxes is not None
        dt_boxes, gt_boxes = self.dt.boxes[dt_rows], self.gt.boxes[gt_rows]
        iou = iou_of_boxes(dt_boxes, gt_boxes, self.gt.iscrowd[gt_rows])
        dt_area, gt_area = dt_boxes[:, 2] * dt_boxes[:, 3], gt_boxes[:, 2] * gt_boxes[:, 3]
        self.match_by(image_idx, iou, dt_area, gt_area, self.columns[dt_rows], self.targets[0])

    def match_masks(self, image_idx: int) -> None:
        """Match an image by its masks, as submitted and with overlaps removed."""
        gt_rows, dt_rows = self.groups.gt_of(image_idx), self.groups.dt_of(image_idx)
        size = size_of(self.gt, image_idx)
        gt_runs = packed("gt", self.codes["gt"], size, gt_rows)
        dt_runs = packed("dt", self.codes["dt"], size, dt_rows)
        gt_area, dt_area = gt_runs.areas(), dt_runs.areas()
        iou = self.iou(image_idx, dt_runs, gt_runs)
        self.match_by(image_idx, iou, dt_area, gt_area, self.columns[dt_rows], self.targets[0])
        if self.visible is None:
            return
        visible, crowded_px = visible_by(self.visible.rule, dt_runs, dt_rows, size)
        left_px = visible.areas()
        overlap = self.visible.overlap[:, image_idx]
        overlap[1] = left_px.sum()
        if not crowded_px:
            return
        hidden = (left_px == 0) & (dt_area > 0)
        pairs = _pairs.count_pairs(dt_runs) if self.params.count_pairs else -1
        overlap[:] = crowded_px, left_px.sum(), pairs, np.count_nonzero(hidden)
        self.visible.hidden[dt_rows[hidden]] = True
        columns = np.where(hidden, -1, self.visible.columns[dt_rows])
        # Hidden masks take no rank.
        for category in np.unique(self.groups.dt_category[dt_rows]).tolist():
            alike = (columns >= 0) & (self.groups.dt_category[dt_rows] == category)
            columns[np.flatnonzero(alike)[self.groups.max_det :]] = -1
        iou = self.iou(image_idx, visible, gt_runs)
        self.match_by(image_idx, iou, left_px, gt_area, columns, self.targets[1])

    def iou(self, image_idx: int, masks: _rle.Runs, gt_runs: _rle.Runs) -> NDArray[np.float64]:
        """Return the IoU of masks with the ground truth of an image, (D, G)."""
        crowd = self.gt.iscrowd[self.groups.gt_of(image_idx)]
        common = _sweep.Spans(gt_runs).intersections(masks)
        iou = iou_of_counts(common, masks.areas(), gt_runs.areas(), crowd)
        if self.params.iou_type == "boundary":
            size, ratio = size_of(self.gt, image_idx), self.params.boundary_ratio
            along = boundary_iou_of_runs(masks, gt_runs, size, crowd, ratio)
            # Against a crowd the mask's own IoU stands, as in the paper's code.
            iou = np.where(crowd, iou, np.minimum(iou, along))
        return iou

    def match_by(
        self,
        image_idx: int,
        iou: NDArray[np.float64],
        dt_area: NDArray[Any],
        gt_area: NDArray[Any],
        columns: Idx,
        target: _match.Target,
    ) -> None:
        """Match an image by its IoUs; an area that the file states goes before the mask's."""
        gt_rows, dt_rows = self.groups.gt_of(image_idx), self.groups.dt_of(image_idx)
        stated = self.gt.areas[gt_rows]
        if self.dt.areas is not None:
            dt_area = self.dt.areas[dt_rows]
        gt_group = self.groups.gt_category[gt_rows]
        dt_group = np.where(columns >= 0, self.groups.dt_category[dt_rows], -1)
        _match.match_image(
            _near.of_dense(iou, least_iou(self.params), dt_group, gt_group),
            target,
            columns,
            dt_rows,
            gt_rows,
            dt_area.astype(np.float64),
            np.where(np.isnan(stated), gt_area, stated),
            self.gt.iscrowd[gt_rows].view(np.uint8),
            gt_group,
        )


def least_iou(params: EvalParams) -> float:
    """Return the lowest IoU that matches at any threshold; cocoapi's highest is just below 1."""
    return min(*params.iou_thrs, 1 - 1e-10)


def size_of(gt: GroundTruth, image_idx: int) -> tuple[int, int]:
    """Return height and width of an image."""
    height, width = gt.sizes[image_idx].tolist()
    return height, width


def packed(side: Side, codes: Codes, size: tuple[int, int], rows: Idx) -> _rle.Runs:
    """Decode one image's masks; an error names the record of the file."""
    try:
        return pack(codes, size, rows)
    except RLEError as error:
        if not len(rows):  # the image itself is too large
            raise
        raise RecordError(side, int(rows[error.idx]), str(error)) from None
