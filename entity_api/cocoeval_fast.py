"""COCOeval's ordinary settings on this package's evaluator, which gives the same bits.

`is_ordinary` says whether it does; for all else there is `entity_api.cocoeval_plain`.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from entity_api.columns import RecordError, Side
from entity_api.evaluator import evaluate
from entity_api.params import EvalParams
from entity_api.result import EvalResult
from entity_api.tables import Detections, GroundTruth

__all__ = ["FastResult", "is_ordinary", "run"]

Record = dict[str, Any]
# (image id, category id) -> records, as `COCOeval._gts` has them.
ById = Mapping[tuple[Any, Any], list[Record]]


@dataclasses.dataclass(frozen=True)
class FastResult:
    """Hold what the evaluator found, and the records in its order.

    Attributes:
        result: The evaluator's, class-aware over the positions of the categories.
        gt: (G,) ground truth records by image and category.
        dt: (D,) detection records likewise.
        gt_rows: (position of the image, of the category) -> positions in ``gt``.
        image_ids: (I,).
        category_ids: (K,); [-1] without categories.
        area_ranges: (A,) as the parameters have them.
        max_det: Most detections of a group that count.
    """

    result: EvalResult
    gt: list[Record]
    dt: list[Record]
    gt_rows: dict[tuple[int, int], list[int]]
    image_ids: list[Any]
    category_ids: list[Any]
    area_ranges: list[Any]
    max_det: int

    def entries(self) -> Iterator[Record | None]:
        """Yield ``evalImgs``: by category, then area range, then image."""
        gt_ids, dt_ids = (
            # Position -1, no match, reads the zero that is put behind the ids.
            np.array([*(record["id"] for record in side), 0]).astype(float)
            for side in (self.gt, self.dt)
        )
        for k, category_id in enumerate(self.category_ids):
            for a, area_range in enumerate(self.area_ranges):
                for i, image_id in enumerate(self.image_ids):
                    columns = self.result.groups.columns(i, k)
                    gt_rows = np.array(self.gt_rows.get((i, k), ()), int)
                    if columns.start == columns.stop and not len(gt_rows):
                        yield None
                        continue
                    name = {"image_id": image_id, "category_id": category_id, "aRng": area_range}
                    yield {
                        **name,
                        "maxDet": self.max_det,
                        **self._entry(columns, gt_rows, a, gt_ids, dt_ids),
                    }

    def _entry(
        self, columns: slice, gt_rows: Any, a: int, gt_ids: np.ndarray, dt_ids: np.ndarray
    ) -> Record:
        """List what was matched in one group at one area range."""
        matches = self.result.matches
        dt_rows = self.result.groups.records[columns]
        gt_rows = gt_rows[np.argsort(matches.gt_ignored[a, gt_rows], kind="stable")]
        dt_gt = matches.dt_gt[a][:, columns]
        entry = {
            "dtIds": [self.dt[idx]["id"] for idx in dt_rows],
            "gtIds": [self.gt[idx]["id"] for idx in gt_rows],
            "dtMatches": gt_ids[dt_gt],
            "gtMatches": dt_ids[matches.gt_dt[a][:, gt_rows]],
            "dtScores": [self.dt[idx]["score"] for idx in dt_rows],
            "gtIgnore": matches.gt_ignored[a, gt_rows].astype(int),
            "dtIgnore": matches.outcome[a][:, columns] == 2,
        }
        zero = (dt_gt >= 0) & (gt_ids[dt_gt] == 0)
        return entry | ({"dtMatchesZero": zero} if zero.any() else {})


def is_ordinary(p: Any, gts: ById, dts: ById, match_id_zero: bool) -> bool:
    """Tell whether the evaluator gives what COCOeval gives, to the last bit."""
    rising = all(
        len(values) and np.isfinite(values).all() and (np.diff(values) >= 0).all()
        for values in (p.iouThrs, p.recThrs, p.maxDets)
    )
    return (
        p.iouType in ("segm", "bbox")
        and p.useCats in (0, 1)
        and len(p.imgIds) > 0
        and len(p.catIds) == len(set(p.catIds)) > 0
        and rising
        and 0 < p.iouThrs[0] <= p.iouThrs[-1] <= 1
        and 0 <= p.recThrs[0] <= p.recThrs[-1] <= 1
        and all(isinstance(limit, int | np.integer) and limit >= 1 for limit in p.maxDets)
        and len(p.areaRng) > 0
        and all(len(ends) == 2 and ends[0] <= ends[1] for ends in p.areaRng)
        and _ids_tell_matches(gts, dts, match_id_zero)
        and _areas_and_crowds_are_plain(gts, dts)
        and (p.iouType == "bbox" or _one_size_an_image(gts, dts))
    )


def _ids_tell_matches(gts: ById, dts: ById, match_id_zero: bool) -> bool:
    """Tell whether every match shows in ids: in cocoapi 0 says none, as below 0 does for dt."""
    gt_ids, dt_ids = ([r["id"] for own in side.values() for r in own] for side in (gts, dts))
    if not all(isinstance(own, int | float | np.number) for own in (*gt_ids, *dt_ids)):
        return False
    return min(dt_ids, default=1) >= (0 if match_id_zero else 1) and (match_id_zero or all(gt_ids))


def _areas_and_crowds_are_plain(gts: ById, dts: ById) -> bool:
    """Tell whether each area is a number (nan is in every range), and each crowd flag 0 or 1."""
    areas = [record["area"] for side in (gts, dts) for own in side.values() for record in own]
    crowds = ((gt["iscrowd"], gt["ignore"]) for own in gts.values() for gt in own)
    return not np.isnan(np.array(areas, float)).any() and all(
        bool(crowd) == bool(ignored) for crowd, ignored in crowds
    )


def _one_size_an_image(gts: ById, dts: ById) -> bool:
    """Tell whether the masks of each image have one size: others are compared pair by pair."""
    sizes: dict[Any, tuple[int, int]] = {}
    return all(
        sizes.setdefault(image_id, tuple(record["segmentation"]["size"]))
        == tuple(record["segmentation"]["size"])
        for side in (gts, dts)
        for (image_id, _), records in side.items()
        for record in records
    )


def run(p: Any, gts: ById, dts: ById) -> FastResult:
    """Evaluate records that `is_ordinary` has passed.

    Raises:
        RecordError: A record with a broken mask, with its annotation id.
    """
    gt_flat, dt_flat = _flat(p, gts), _flat(p, dts)
    gt, dt = [record for *_, record in gt_flat], [record for *_, record in dt_flat]
    gt_rows = defaultdict(list)
    for row, (i, k, _) in enumerate(gt_flat):
        gt_rows[i, k].append(row)
    boxes = p.iouType == "bbox"
    sizes = np.zeros((len(p.imgIds), 2), np.int64)
    for i, _, record in () if boxes else (*gt_flat, *dt_flat):
        sizes[i] = record["segmentation"]["size"]
    category_ids = list(p.catIds) if p.useCats else [-1]
    params = EvalParams(
        iou_thrs=np.asarray(p.iouThrs, np.float64).tolist(),
        rec_thrs=np.asarray(p.recThrs, np.float64).tolist(),
        area_ranges={str(a): (low, high) for a, (low, high) in enumerate(p.areaRng)},
        max_dets=list(p.maxDets),
        class_aware=True,
        category_ids=range(len(category_ids)),
        remove_overlaps=False,
        iou_type=p.iouType,
    )
    try:
        result = evaluate(
            GroundTruth(
                image_ids=range(len(p.imgIds)),
                sizes=sizes,
                iscrowd=np.array([bool(record["ignore"]) for record in gt], bool),
                ids=range(len(gt)),
                **_columns(gt_flat, boxes),
            ),
            Detections(
                scores=np.array([record["score"] for record in dt], np.float64),
                **_columns(dt_flat, boxes),
            ),
            params,
        )
    except RecordError as error:
        raise _with_id(error.side, gt if error.side == "gt" else dt, error) from None
    areas = list(p.areaRng)
    return FastResult(result, gt, dt, gt_rows, list(p.imgIds), category_ids, areas, max(p.maxDets))


def _flat(p: Any, side: ById) -> list[tuple[int, int, Record]]:
    """List (position of the image, position of the category, record) of what is to be scored.

    Without categories all have position 0, in the order of ``p.catIds``.
    """
    images = {image_id: i for i, image_id in enumerate(p.imgIds)}
    categories = {category_id: k for k, category_id in enumerate(p.catIds)}
    keys = [key for key in side if key[0] in images and key[1] in categories]
    if not p.useCats:
        keys.sort(key=lambda key: categories[key[1]])
    return [
        (images[key[0]], categories[key[1]] if p.useCats else 0, record)
        for key in keys
        for record in side[key]
    ]


def _columns(flat: list[tuple[int, int, Record]], boxes: bool) -> dict[str, Any]:
    """Gather the columns that both sides have."""
    records = [record for *_, record in flat]
    counts = [] if boxes else [_compressed(record["segmentation"]["counts"]) for record in records]
    return {
        "image_idx": np.array([i for i, *_ in flat], np.int64),
        "category_ids": np.array([k for _, k, _ in flat], np.int64),
        "areas": np.array([record["area"] for record in records], np.float64),
        "counts": counts,
        "boxes": np.array([r["bbox"] for r in records], np.float64).reshape(-1, 4)
        if boxes
        else None,
    }


def _compressed(counts: Any) -> Any:
    """Return the text of counts as bytes."""
    return counts.encode("utf-8", "surrogatepass") if isinstance(counts, str) else counts


def _with_id(side: Side, records: list[Record], error: RecordError) -> RecordError:
    """Name the record by what the caller knows: its annotation id and image."""
    record = records[error.idx]
    where = f"(annotation id {record['id']!r}, image {record['image_id']!r})"
    return RecordError(side, error.idx, f"{where} {error.what}")
