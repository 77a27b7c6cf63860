"""The face of ``pycocotools.cocoeval``: COCOeval on our evaluator."""

import datetime
from typing import Any

import numpy as np

from entity_api.coco import COCO
from entity_api.evaluator import evaluate
from entity_api.params import AREA_RANGES, EvalParams
from entity_api.result import EvalResult
from entity_api.tables import Detections, GroundTruth

__all__ = ["COCOeval", "Params"]


class Params:
    """Hold what an evaluation measures under pycocotools' names."""

    def __init__(self, iouType: str = "segm") -> None:
        if iouType not in ("segm", "bbox"):
            raise ValueError(f"iouType {iouType!r} is not supported: segm and bbox are")
        default = EvalParams()
        self.iouType = iouType
        self.imgIds: list[Any] = []
        self.catIds: list[Any] = []
        self.iouThrs = np.array(default.iou_thrs)
        self.recThrs = np.array(default.rec_thrs)
        self.maxDets = list(default.max_dets)
        self.areaRng = [list(ends) for ends in AREA_RANGES.values()]
        self.areaRngLbl = list(AREA_RANGES)
        self.useCats = 1
        self.useSegm: int | None = None


class COCOeval:
    """Evaluate as pycocotools does: ``evaluate()``, ``accumulate()``, ``summarize()``.

    The annotations of both sides stay as they are. Where pycocotools is wrong this is right: a
    match to annotation id 0 counts.

    Attributes:
        params: Set before `evaluate`.
        evalImgs: One dict (or None) a category, area range and image.
        eval: ``precision`` (T, R, K, A, M), ``recall`` (T, K, A, M) and ``scores``, after
            `accumulate`.
        stats: (12,) after `summarize`; -1 where there is nothing to measure.
        result: The `EvalResult` behind it, after `evaluate`.
    """

    def __init__(
        self,
        cocoGt: COCO | None = None,
        cocoDt: COCO | None = None,
        iouType: str = "segm",
    ) -> None:
        self.cocoGt = cocoGt
        self.cocoDt = cocoDt
        self.params = Params(iouType)
        self.eval: dict[str, Any] = {}
        self.stats: Any = []
        self.result: EvalResult | None = None
        self._gt_records: list[dict[str, Any]] = []
        self._dt_records: list[dict[str, Any]] = []
        if cocoGt is not None:
            self.params.imgIds = sorted(cocoGt.getImgIds())
            self.params.catIds = sorted(cocoGt.getCatIds())

    def evaluate(self) -> None:
        """Match every image; with ``useCats = 0``, across categories."""
        p = self.params
        if self.cocoGt is None or self.cocoDt is None:
            raise ValueError("COCOeval needs ground truth and results: COCOeval(cocoGt, cocoDt)")
        if p.useSegm is not None:
            p.iouType = "segm" if p.useSegm == 1 else "bbox"
        p.imgIds = list(np.unique(p.imgIds)) if len(p.imgIds) else []
        p.catIds = list(np.unique(p.catIds)) if len(p.catIds) else []
        p.maxDets = sorted(p.maxDets)
        boxes = p.iouType == "bbox"
        self._gt_records = self._of_categories(self.cocoGt)
        self._dt_records = self._of_categories(self.cocoDt)
        gt = GroundTruth.from_coco(
            {"images": self.cocoGt.dataset["images"], "annotations": self._gt_records}, boxes
        )
        dt = Detections.from_coco(self._dt_records, gt, boxes)
        self.result = evaluate(
            gt,
            dt,
            EvalParams(
                iou_thrs=np.asarray(p.iouThrs).tolist(),
                rec_thrs=np.asarray(p.recThrs).tolist(),
                area_ranges={
                    label: (float(least), float(greatest))
                    for label, (least, greatest) in zip(p.areaRngLbl, p.areaRng, strict=True)
                },
                max_dets=p.maxDets,
                class_aware=bool(p.useCats),
                category_ids=p.catIds if p.useCats else None,
                image_ids=p.imgIds,
                remove_overlaps=False,
                iou_type="bbox" if boxes else "segm",
            ),
        )
        self.eval = {}

    def _of_categories(self, coco: COCO) -> list[dict[str, Any]]:
        """Return the records that count; without categories in pycocotools' order, by category.

        A category that the ground truth lacks drops a record only where categories matter.
        """
        records = coco.dataset.get("annotations", [])
        place = {category_id: idx for idx, category_id in enumerate(self.params.catIds)}
        if self.params.useCats:
            return [ann for ann in records if ann.get("category_id") in place]
        return sorted(records, key=lambda ann: place.get(ann.get("category_id"), len(place)))

    @property
    def evalImgs(self) -> list[dict[str, Any] | None]:
        """Per category, area range and image: ids, matches, scores, as pycocotools lists them."""
        if self.result is None:
            return []
        groups = self.result.groups
        place = {image["id"]: idx for idx, image in enumerate(self.cocoGt.dataset["images"])}  # type: ignore[union-attr]
        out = []
        for k, category_id in enumerate(groups.category_ids):
            for a, area_range in enumerate(self.params.areaRng):
                for image_id in self.params.imgIds:
                    entry = self._entry(place[image_id], k, a)
                    if entry is not None:
                        entry |= {
                            "image_id": image_id,
                            "category_id": category_id,
                            "aRng": area_range,
                            "maxDet": self.params.maxDets[-1],
                        }
                    out.append(entry)
        return out

    def _entry(self, image_idx: int, k: int, a: int) -> dict[str, Any] | None:
        """List what was matched in one group at one area range; None for a group of nothing."""
        assert self.result is not None
        groups, matches = self.result.groups, self.result.matches
        dt_rows, gt_rows = groups.dt_of(image_idx), groups.gt_of(image_idx)
        dt_rows = dt_rows[groups.dt_category[dt_rows] == k][: groups.max_det]
        gt_rows = gt_rows[groups.gt_category[gt_rows] == k]
        if not len(dt_rows) and not len(gt_rows):
            return None
        gt_rows = gt_rows[np.argsort(matches.gt_ignored[a, gt_rows], kind="stable")]
        columns = groups.columns(image_idx, k)
        # Position -1, no match, reads the zero that is put behind the ids.
        gt_ids = np.array([*(ann["id"] for ann in self._gt_records), 0])
        dt_ids = np.array([*(ann["id"] for ann in self._dt_records), 0])
        return {
            "dtIds": dt_ids[dt_rows].tolist(),
            "gtIds": gt_ids[gt_rows].tolist(),
            "dtMatches": gt_ids[matches.dt_gt[a][:, columns]].astype(float),
            "gtMatches": dt_ids[matches.gt_dt[a][:, gt_rows]].astype(float),
            "dtScores": [self._dt_records[idx]["score"] for idx in dt_rows],
            "gtIgnore": matches.gt_ignored[a, gt_rows].astype(int),
            "dtIgnore": matches.outcome[a][:, columns] == 2,
        }

    def accumulate(self, p: Any = None) -> None:
        """Put the arrays into ``eval``; parameters other than those of `evaluate` are refused."""
        if self.result is None:
            raise ValueError("run evaluate() first")
        if p is not None and p is not self.params:
            raise ValueError("set params before evaluate() instead of passing others here")
        scored = self.result.submitted
        n_thrs, n_recs, n_cats, n_areas, n_dets = scored.precision.shape
        self.eval = {
            "params": self.params,
            "counts": [n_thrs, n_recs, n_cats, n_areas, n_dets],
            "date": datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
            "precision": scored.precision,
            "recall": scored.recall,
            "scores": scored.scores,
        }

    def summarize(self) -> None:
        """Print pycocotools' twelve lines and keep the numbers in ``stats``."""
        if not self.eval:
            raise ValueError("run accumulate() first")
        dets = self.params.maxDets
        rows: list[tuple[str, float | None, str, int]] = [
            ("AP", None, "all", 100 if 100 in dets else dets[-1])
        ]
        rows += [("AP", thr, "all", dets[-1]) for thr in (0.5, 0.75)]
        rows += [("AP", None, label, dets[-1]) for label in ("small", "medium", "large")]
        rows += [("AR", None, "all", n) for n in (dets * 3)[:3]]
        rows += [("AR", None, label, dets[-1]) for label in ("small", "medium", "large")]
        self.stats = np.array([self._line(*row) for row in rows])

    def _line(self, kind: str, thr: float | None, label: str, max_det: int) -> float:
        p = self.params
        values = self.eval["precision" if kind == "AP" else "recall"]
        if thr is not None:
            values = values[np.isclose(p.iouThrs, thr)]
        area = [idx for idx, name in enumerate(p.areaRngLbl) if name == label]
        values = values[..., area, :][..., [p.maxDets.index(max_det)]]
        values = values[values > -1]
        mean = float(np.mean(values)) if values.size else -1.0
        title = "Average Precision" if kind == "AP" else "Average Recall"
        ious = f"{p.iouThrs[0]:0.2f}:{p.iouThrs[-1]:0.2f}" if thr is None else f"{thr:0.2f}"
        print(
            f" {title:<18} ({kind}) @[ IoU={ious:<9} | area={label:>6s} | "
            f"maxDets={max_det:>3d} ] = {mean:0.3f}"
        )
        return mean
