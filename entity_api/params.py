"""What an evaluation measures: thresholds, ranges, grouping."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

__all__ = ["EvalParams", "OverlapRule"]

# COCO's areas in pixels of the file in use; 1e10 stands for no limit.
AREA_RANGES = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}

IouType = Literal["segm", "bbox", "boundary"]
OverlapRule = Literal["score", "small-first", "large-first", "order"]
# AP counts this many predictions of an image wherever that is among the limits, as in COCO.
USUAL_MAX_DET = 100
# More than any image can have; the kernels count in 64 bits.
MOST_DETS = 2**31 - 1
# What ids to score may be.
IDS = {"image_ids": int | str | np.integer, "category_ids": int | np.integer}


@dataclasses.dataclass(frozen=True)
class EvalParams:
    """Set up an evaluation; the defaults are COCO's, class-agnostic.

    Attributes:
        iou_thrs: (T,) IoU thresholds, ascending, in (0, 1].
        rec_thrs: (R,) recall thresholds, ascending, in [0, 1].
        area_ranges: A labels -> smallest and largest area in pixels, both included. AP, AP50 and
            the recalls without a size are those of the first range.
        max_dets: (M,) limits of detections per image, ascending. AR is measured at each.
        ap_max_det: The one of ``max_dets`` that AP and the recalls by size use. The default is 100
            where it is among them, and else the last.
        class_aware: True to match within (image, category), False to match within the image.
        category_ids: The categories of class-aware scoring; those of the ground truth by default.
        image_ids: The images to score; all by default. Records of other images are left out.
        keep_matches: Keep which ground truth each detection matched, and which detection each
            ground truth. It takes 4 bytes for each of them, area range and threshold; precision and
            recall do not need it.
        remove_overlaps: Score a second time with overlaps removed (AP^e).
        overlap_rule: Which of the detections that cover a pixel keeps it: that of the highest score
            (the benchmark's rule), the smallest, the largest, or the first of the file. Ties go to
            the higher score, then to the earlier one.
        count_pairs: Count the pairs of detections that overlap, and not only the pixels. Where many
            do, this takes a fifth of the time.
        iou_type: "segm" for masks, "bbox" for boxes, or "boundary" for masks and their boundaries
            (Boundary AP uses the smaller of mask IoU and boundary IoU; Cheng et al., "Boundary
            IoU", CVPR 2021).
        boundary_ratio: Width of a boundary as a share of the image diagonal.
        threads: Number of images that are matched at the same time.

    Examples:
        >>> from entity_api import EvalParams
        >>> EvalParams(max_dets=(1, 10, 300), threads=2).max_dets
        (1, 10, 300)
        >>> EvalParams(iou_thrs=[1.5])
        Traceback (most recent call last):
        ValueError: iou_thrs must lie in (0, 1]: [1.5]
    """

    iou_thrs: Sequence[float] = tuple(np.linspace(0.5, 0.95, 10).tolist())
    rec_thrs: Sequence[float] = tuple(np.linspace(0.0, 1.0, 101).tolist())
    area_ranges: Mapping[str, tuple[float, float]] = dataclasses.field(
        default_factory=lambda: dict(AREA_RANGES)
    )
    max_dets: Sequence[int] = (1, 10, 100)
    ap_max_det: int | None = None
    class_aware: bool = False
    category_ids: Sequence[int] | None = None
    image_ids: Sequence[int | str] | None = None
    keep_matches: bool = True
    remove_overlaps: bool = True
    overlap_rule: OverlapRule = "score"
    count_pairs: bool = True
    iou_type: IouType = "segm"
    boundary_ratio: float = 0.02
    threads: int = 1

    def __post_init__(self) -> None:
        try:
            self._check()
        except (TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"a parameter is of another type than it has to be: {error}") from None

    def _check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            ValueError: One that is out of range, not in order, or no choice.
        """
        for name in ("iou_thrs", "rec_thrs", "max_dets"):
            given = getattr(self, name)
            # By position, which sets and generators do not have.
            values = [given[at] for at in range(len(given))]
            if not values or values != sorted(values):
                raise ValueError(
                    f"{name} must hold at least one value, in ascending order: {values}"
                )
        if not all(isinstance(n, int | np.integer) for n in self.max_dets):
            raise ValueError(f"max_dets must be whole numbers: {list(self.max_dets)}")
        if self.max_dets[0] < 1:
            raise ValueError(f"max_dets must be at least 1: {list(self.max_dets)}")
        if self.max_dets[-1] > MOST_DETS:
            raise ValueError(f"max_dets must be at most {MOST_DETS}: {list(self.max_dets)}")
        if self.ap_max_det is not None and self.ap_max_det not in self.max_dets:
            raise ValueError(f"ap_max_det {self.ap_max_det} is not in max_dets {self.max_dets}")
        if self.overlap_rule not in get_args(OverlapRule):
            rules = ", ".join(get_args(OverlapRule))
            raise ValueError(f"overlap_rule {self.overlap_rule!r} must be one of {rules}")
        if not all(0 < thr <= 1 for thr in self.iou_thrs):
            raise ValueError(f"iou_thrs must lie in (0, 1]: {list(self.iou_thrs)}")
        if not all(0 <= thr <= 1 for thr in self.rec_thrs):
            raise ValueError(f"rec_thrs must lie in [0, 1]: {list(self.rec_thrs)}")
        # Comparisons with nan are false, so nan is refused as well.
        if not self.area_ranges or not all(lo <= hi for lo, hi in self.area_ranges.values()):
            raise ValueError("area_ranges must hold (smallest, largest) pairs in pixels")
        if self.iou_type not in get_args(IouType):
            raise ValueError(f"iou_type must be one of {get_args(IouType)}: {self.iou_type!r}")
        for name, kinds in IDS.items():
            given = getattr(self, name)
            single = isinstance(given, str) or not hasattr(given, "__iter__")
            if given is not None and (
                single or not all(isinstance(i, kinds) and not isinstance(i, bool) for i in given)
            ):
                raise ValueError(f"{name} must be a list of ids: {given!r:.80}")
        if self.threads < 1:
            raise ValueError(f"threads must be at least 1: {self.threads}")

    @property
    def ap_limit(self) -> int:
        """Number of detections of an image that AP counts.

        >>> EvalParams(max_dets=(1, 10, 100, 1000)).ap_limit
        100
        >>> EvalParams(max_dets=(1, 10, 1000)).ap_limit
        1000
        """
        if self.ap_max_det is not None:
            return self.ap_max_det
        return USUAL_MAX_DET if USUAL_MAX_DET in self.max_dets else self.max_dets[-1]

    @property
    def ap_at(self) -> int:
        """Position of `ap_limit` in ``max_dets``."""
        return list(self.max_dets).index(self.ap_limit)
