"""The face of ``pycocotools.cocoeval``: the same calls, attributes and numbers.

Ordinary settings run on this package's evaluator. What that cannot imitate (a subclass's own
matching, keypoints, parameters in no order, masks of several sizes in one image, ...) runs on
`entity_api.cocoeval_plain`, which is as slow as pycocotools and gives the same bits.
"""

import copy
import datetime
import functools
import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from entity_api import cocoeval_fast, cocoeval_plain
from entity_api import mask as maskUtils
from entity_api.coco import COCO
from entity_api.coco_params import Params
from entity_api.coco_records import area_of, best, check_numbers, coded, mark_ignored
from entity_api.keypoints import oks
from entity_api.result import EvalResult

__all__ = ["COCOeval", "Params"]

# What `accumulate` reads: as long as it stays, the arrays of the fast way stay right.
ACCUMULATED = ("imgIds", "catIds", "iouThrs", "recThrs", "maxDets", "areaRng", "useCats")


class COCOeval:
    """Evaluate as pycocotools does: ``evaluate()``, ``accumulate()``, ``summarize()``.

    The annotations of both sides stay as they are.

    Args:
        cocoGt: Ground truth.
        cocoDt: Results, as `COCO.loadRes` returns them.
        iouType: "segm", "bbox" or "keypoints".
        match_id_zero: A match to annotation id 0 counts. pycocotools takes it for no match; False
            gives its numbers.

    Attributes:
        params: What is measured.
        evalImgs: One dict (or None) a category, area range and image, after `evaluate`.
        ious: (image id, category id) -> (D, G), after `evaluate`.
        eval: ``precision`` (T, R, K, A, M), ``recall`` (T, K, A, M) and ``scores``, after
            `accumulate`.
        stats: (12,) after `summarize`, (10,) for keypoints; -1 where there is nothing to measure.
        result: The `EvalResult` behind it, after `evaluate`; None where the plain way was taken.

    Examples:
        >>> gt = COCO({"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": [
        ...     {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81}]})
        >>> dt = gt.loadRes([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 8], "score": 0.5}])
        >>> scoring = COCOeval(gt, dt, "bbox")
        >>> scoring.evaluate()
        >>> scoring.accumulate()
        >>> precision = scoring.eval["precision"]
        >>> float(precision[:, :, 0, 0, -1].mean().round(3))
        0.8
    """

    def __init__(
        self,
        cocoGt: COCO | None = None,
        cocoDt: COCO | None = None,
        iouType: str = "segm",
        match_id_zero: bool = True,
    ) -> None:
        self.cocoGt = cocoGt
        self.cocoDt = cocoDt
        self.match_id_zero = match_id_zero
        self.params = Params(iouType)
        self.eval: dict[str, Any] = {}
        self.stats: Any = []
        self._gts: dict[tuple[Any, Any], list[dict[str, Any]]] = defaultdict(list)
        self._dts: dict[tuple[Any, Any], list[dict[str, Any]]] = defaultdict(list)
        self._paramsEval: Any = {}
        self._fast: cocoeval_fast.FastResult | None = None
        if cocoGt is not None:
            self.params.imgIds = sorted(cocoGt.getImgIds())
            self.params.catIds = sorted(cocoGt.getCatIds())

    @property
    def result(self) -> EvalResult | None:
        """What the package's evaluator found, if it was asked."""
        return self._fast.result if self._fast else None

    # The two are worked out when they are first read, and may be set, as in pycocotools.
    @functools.cached_property
    def evalImgs(self) -> Any:
        """Ids, matches and scores of each category, area range and image."""
        return list(self._fast.entries()) if self._fast else defaultdict(list)

    @functools.cached_property
    def ious(self) -> dict[tuple[Any, Any], Any]:
        """IoU of all detections with all ground truth of each image and category."""
        if self._fast is None:
            return {}
        current, self.params = self.params, self._paramsEval
        try:
            return self._all_ious()
        finally:
            self.params = current

    def _all_ious(self) -> dict[tuple[Any, Any], Any]:
        p = self.params
        compute = self.computeOks if p.iouType == "keypoints" else self.computeIoU
        category_ids = p.catIds if p.useCats else [-1]
        return {(i, k): compute(i, k) for i in p.imgIds for k in category_ids}

    def _prepare(self) -> None:
        """Gather the records to score, as copies, masks as RLE, by image and category."""
        p = self.params
        if self.cocoGt is None or self.cocoDt is None:
            raise ValueError("COCOeval needs ground truth and results: COCOeval(cocoGt, cocoDt)")
        chosen = {"imgIds": p.imgIds, **({"catIds": p.catIds} if p.useCats else {})}
        self._gts, self._dts = defaultdict(list), defaultdict(list)
        for coco, side in ((self.cocoGt, self._gts), (self.cocoDt, self._dts)):
            for ann in coco.loadAnns(coco.getAnnIds(**chosen)):
                ann = dict(ann)
                if p.iouType == "segm":
                    ann["segmentation"] = coded(coco, ann)
                if ann.get("area") is None:
                    ann["area"] = area_of(ann, p.iouType)
                side[ann["image_id"], ann["category_id"]].append(ann)
        for anns in self._gts.values():
            for gt in anns:
                gt["ignore"] = gt.get("iscrowd") or 0
                gt["iscrowd"] = int(gt["ignore"])
                if p.iouType == "keypoints":
                    gt["ignore"] = gt["num_keypoints"] == 0 or gt["ignore"]
        check_numbers(self._gts, self._dts, p.iouType)
        self._forget()

    def _forget(self) -> None:
        """Drop what an earlier evaluation found."""
        self.eval, self._fast = {}, None
        for name in ("evalImgs", "ious"):
            self.__dict__.pop(name, None)

    def evaluate(self) -> None:
        """Match every image; with ``useCats = 0``, across the categories of ``params.catIds``."""
        p = self.params
        if p.useSegm is not None:
            p.iouType = "segm" if p.useSegm == 1 else "bbox"
        p.imgIds = list(np.unique(p.imgIds))
        if p.useCats:
            p.catIds = list(np.unique(p.catIds))
        p.maxDets = sorted(p.maxDets)
        self._prepare()
        ordinary = cocoeval_fast.is_ordinary(p, self._gts, self._dts, self.match_id_zero)
        if ordinary and self._matches_as_here():
            self._fast = cocoeval_fast.run(p, self._gts, self._dts)
            groups = (self._gts.get(key, ()) for key in itertools.product(p.imgIds, p.catIds))
            mark_ignored(itertools.chain.from_iterable(groups), p.areaRng[-1])
        else:
            self.ious = self._all_ious()
            self.evalImgs = [
                self.evaluateImg(image_id, category_id, area_range, p.maxDets[-1])
                for category_id in (p.catIds if p.useCats else [-1])
                for area_range in p.areaRng
                for image_id in p.imgIds
            ]
        self._paramsEval = copy.deepcopy(p)

    def _matches_as_here(self) -> bool:
        """Tell whether no subclass, and no assignment, has put other steps in place."""
        return all(
            getattr(type(self), name) is step and name not in self.__dict__
            for name, step in STEPS.items()
        )

    def _group(self, imgId: Any, catId: Any) -> tuple[list[dict[str, Any]], ...]:
        """Return ground truth and detections of an image and category, or of all categories."""
        p = self.params
        category_ids = [catId] if p.useCats else p.catIds
        gt, dt = (
            [ann for category_id in category_ids for ann in side.get((imgId, category_id), ())]
            for side in (self._gts, self._dts)
        )
        return gt, dt

    def computeIoU(self, imgId: Any, catId: Any) -> Any:
        """Compute IoU (D, G) of one image and category, detections by score, descending."""
        p = self.params
        gt, dt = self._group(imgId, catId)
        if not gt and not dt:
            return []
        if p.iouType not in ("segm", "bbox"):
            raise ValueError(f"there is no IoU for iouType {p.iouType!r}")
        field = "segmentation" if p.iouType == "segm" else "bbox"
        shapes = [ann[field] for ann in best(dt, p.maxDets[-1])]
        return maskUtils.iou(shapes, [ann[field] for ann in gt], [ann["iscrowd"] for ann in gt])

    def computeOks(self, imgId: Any, catId: Any) -> Any:
        """Compute keypoint similarity (D, G) of one image and category; [] if a side is empty."""
        gt, dt = self._gts.get((imgId, catId), []), self._dts.get((imgId, catId), [])
        if not gt or not dt:
            return []
        return oks(best(dt, self.params.maxDets[-1]), gt, self.params.kpt_oks_sigmas)

    def evaluateImg(
        self, imgId: Any, catId: Any, aRng: Sequence[float], maxDet: int
    ) -> dict[str, Any] | None:
        """Match one image and category at one area range; None where there is nothing."""
        gt, dt = self._group(imgId, catId)
        if not gt and not dt:
            return None
        mark_ignored(gt, aRng)
        ious = self.ious[imgId, catId]
        name = {"image_id": imgId, "category_id": catId, "aRng": aRng, "maxDet": maxDet}
        thrs = self.params.iouThrs
        return name | cocoeval_plain.match(gt, dt, ious, thrs, aRng, maxDet, self.match_id_zero)

    def accumulate(self, p: Any = None) -> None:
        """Put the arrays into ``eval``, with other parameters than `evaluate` had if need be."""
        if not self._paramsEval:
            raise ValueError("run evaluate() first")
        p = self.params if p is None else p
        if p.useCats != 1:
            p.catIds = [-1]
        if self._fast is not None and "evalImgs" not in self.__dict__ and self._unchanged(p):
            scored = self._fast.result.submitted
            arrays = scored.precision.copy(), scored.recall.copy(), scored.scores.copy()
        else:
            arrays = cocoeval_plain.accumulate(self.evalImgs, p, self._paramsEval)
        self.eval = {
            "params": p,
            "counts": list(arrays[0].shape),
            "date": datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
            **dict(zip(("precision", "recall", "scores"), arrays, strict=True)),
        }

    def _unchanged(self, p: Any) -> bool:
        """Tell whether parameters are those of the evaluation."""
        names = [name for name in ACCUMULATED if p.useCats or name != "catIds"]
        return all(
            len(np.shape(getattr(p, name))) == len(np.shape(getattr(self._paramsEval, name)))
            and np.array_equal(getattr(p, name), getattr(self._paramsEval, name))
            for name in names
        )

    def summarize(self) -> None:
        """Print pycocotools' lines, twelve or ten for keypoints, and keep them in ``stats``.

        As there, the first line is that of 100 detections: -1 if ``params.maxDets`` has no 100.

        Raises:
            IndexError: Fewer than three limits in ``params.maxDets``.
        """
        if not self.eval:
            raise ValueError("run accumulate() first")
        rows: list[tuple[str, float | None, str, int]]
        if self.params.iouType == "keypoints":
            rows = [(kind, thr, "all", 20) for kind in ("AP", "AR") for thr in (None, 0.5, 0.75)]
            rows[3:3] = [("AP", None, label, 20) for label in ("medium", "large")]
            rows += [("AR", None, label, 20) for label in ("medium", "large")]
        else:
            limits = self.params.maxDets
            if len(limits) < 3:
                raise IndexError(f"summarize() needs three limits in params.maxDets: {limits}")
            few, some, most = limits[:3]
            rows = [("AP", None, "all", 100)]
            rows += [("AP", thr, "all", most) for thr in (0.5, 0.75)]
            rows += [("AP", None, label, most) for label in ("small", "medium", "large")]
            rows += [("AR", None, "all", limit) for limit in (few, some, most)]
            rows += [("AR", None, label, most) for label in ("small", "medium", "large")]
        self.stats = np.array([self._line(*row) for row in rows])

    def _line(self, kind: str, thr: float | None, label: str, max_det: int) -> float:
        """Average and print one number."""
        p = self.params
        values = self.eval["precision" if kind == "AP" else "recall"]
        if thr is not None:
            values = values[np.asarray(p.iouThrs) == thr]
        areas = [idx for idx, name in enumerate(p.areaRngLbl) if name == label]
        limits = [idx for idx, limit in enumerate(p.maxDets) if limit == max_det]
        values = values[..., areas, limits]
        values = values[values > -1]
        mean = float(np.mean(values)) if values.size else -1.0
        title = "Average Precision" if kind == "AP" else "Average Recall"
        ious = f"{p.iouThrs[0]:0.2f}:{p.iouThrs[-1]:0.2f}" if thr is None else f"{thr:0.2f}"
        print(
            f" {title:<18} ({kind}) @[ IoU={ious:<9} | area={label:>6s} | "
            f"maxDets={max_det:>3d} ] = {mean:0.3f}"
        )
        return mean

    def __str__(self) -> str:
        """Print the summary, as pycocotools does for ``print(scoring)``."""
        self.summarize()
        return ""


# What a subclass, or an assignment to the class, may replace.
STEPS = {
    name: getattr(COCOeval, name)
    for name in ("_prepare", "computeIoU", "computeOks", "evaluateImg")
}
