"""The parameters of COCOeval, under pycocotools' names."""

from typing import Any

import numpy as np

from entity_api.keypoints import COCO_SIGMAS
from entity_api.params import AREA_RANGES, EvalParams

__all__ = ["Params"]


class Params:
    """Hold what an evaluation measures.

    Attributes:
        imgIds: Images to score.
        catIds: Categories to score; K.
        iouThrs: (T,).
        recThrs: (R,).
        maxDets: (M,) detections of an image and category that count.
        areaRng: (A) least and greatest area in pixels.
        areaRngLbl: (A) their names; `COCOeval.summarize` knows all, small, medium, large.
        useCats: 1, or 0 to match across categories.
        useSegm: The old name of what is scored: 1 for masks, 0 for boxes.
        kpt_oks_sigmas: Spread of each keypoint, for keypoints only.

    Examples:
        >>> Params("keypoints").maxDets
        [20]
    """

    imgIds: Any
    catIds: Any
    iouThrs: Any
    recThrs: Any
    maxDets: Any
    areaRng: Any
    areaRngLbl: list[str]
    useCats: int
    kpt_oks_sigmas: Any

    def __init__(self, iouType: str = "segm") -> None:
        if iouType in ("segm", "bbox"):
            self.setDetParams()
        elif iouType == "keypoints":
            self.setKpParams()
        else:
            raise ValueError(f"iouType {iouType!r} is not one of segm, bbox and keypoints")
        self.iouType = iouType
        self.useSegm: int | None = None

    def setDetParams(self) -> None:
        """Set the parameters of masks and boxes."""
        default = EvalParams()
        self.imgIds, self.catIds = [], []
        self.iouThrs, self.recThrs = np.array(default.iou_thrs), np.array(default.rec_thrs)
        self.maxDets = list(default.max_dets)
        self.areaRng = [list(ends) for ends in AREA_RANGES.values()]
        self.areaRngLbl = list(AREA_RANGES)
        self.useCats = 1

    def setKpParams(self) -> None:
        """Set the parameters of keypoints: 20 detections an image, no small objects."""
        self.setDetParams()
        self.maxDets = [20]
        del self.areaRng[1], self.areaRngLbl[1]
        self.kpt_oks_sigmas = COCO_SIGMAS.copy()
