"""Random cases against pycocotools: every array equal to 1e-12.

pycocotools is right wherever annotation ids start at 1 and detections carry no stray bbox; what it
gets wrong is pinned in test_evaluator. ``ENTITYSEG_DEEP=1`` runs twenty times as many cases.
"""

import contextlib
import dataclasses
import io
import json
import os

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from entity_api import EvalParams, evaluate

DEEP = bool(os.environ.get("ENTITYSEG_DEEP"))
SCALE = 20 if DEEP else 1
# The same cases in every run of CI; the deep profile looks for new ones.
PROFILE = {"deadline": None, "derandomize": not DEEP, "database": None}

NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
SMALL_AREAS = {"all": (0.0, 1e10), "s": (0.0, 8.0), "m": (8.0, 24.0), "l": (24.0, 1e10)}
AREAS = (
    SMALL_AREAS,
    {"all": (0.0, 1e10)},
    {"most": (5.0, 40.0), "none": (1e6, 1e7), "point": (12.0, 12.0), "all": (0.0, 1e10)},
)
IOU_THRS = (tuple(np.linspace(0.5, 0.95, 10).tolist()), (0.1, 0.5, 1.0), (0.75,))
REC_THRS = (tuple(np.linspace(0.0, 1.0, 101).tolist()), (0.0, 0.3, 1.0), (0.5,))
MAX_DETS = ((1, 10, 100), (1, 2, 3), (4,), (1, 150))


@dataclasses.dataclass(frozen=True)
class Case:
    """Say what a random case is made of; hypothesis draws and shrinks these."""

    seed: int = 0
    n_images: int = 1
    n_gt: int = 3
    n_dt: int = 5
    n_categories: int = 1
    n_scores: int = 3
    crowds: float = 0.0
    empty: float = 0.0
    copies: float = 0.5
    stated_areas: bool = False
    class_aware: bool = False
    kind: str = "segm"
    areas: int = 0
    iou_thrs: int = 0
    rec_thrs: int = 0
    max_dets: int = 0

    @property
    def params(self):
        return EvalParams(
            iou_thrs=IOU_THRS[self.iou_thrs],
            rec_thrs=REC_THRS[self.rec_thrs],
            area_ranges=AREAS[self.areas],
            max_dets=MAX_DETS[self.max_dets],
            class_aware=self.class_aware,
            # One category more than can occur: a row without ground truth.
            category_ids=range(1, self.n_categories + 2) if self.class_aware else None,
            iou_type=self.kind,
            remove_overlaps=False,
        )


cases = st.builds(
    Case,
    seed=st.integers(0, 2**32 - 1),
    # Weighted so that a third of the cases have an AP between 0 and 1; the rest are edges.
    n_images=st.sampled_from([4, 3, 5, 2, 4, 3, 5, 2, 1, 0]),
    n_gt=st.sampled_from([6, 10, 4, 12, 5, 8, 3, 1, 0]),
    n_dt=st.sampled_from([12, 20, 8, 16, 10, 25, 4, 1, 0]),
    n_categories=st.integers(1, 3),
    n_scores=st.sampled_from([5, 1000, 2, 1]),
    crowds=st.sampled_from([0.0, 0.2, 0.0, 0.1, 0.0, 0.3, 0.0, 1.0]),
    empty=st.sampled_from([0.0, 0.2]),
    copies=st.sampled_from([0.9, 0.6, 0.9, 0.0]),
    stated_areas=st.booleans(),
    class_aware=st.booleans(),
    kind=st.sampled_from(["segm", "segm", "bbox"]),
    areas=st.integers(0, len(AREAS) - 1),
    iou_thrs=st.integers(0, len(IOU_THRS) - 1),
    rec_thrs=st.integers(0, len(REC_THRS) - 1),
    max_dets=st.integers(0, len(MAX_DETS) - 1),
)


def make(case):
    """Draw a case: rectangles with bites taken out, detections often copies of ground truth."""
    rng = np.random.default_rng(case.seed)
    sizes = rng.integers(1, 16, (case.n_images, 2))
    # Ids in no order: images are scored by rising id.
    image_ids = rng.permutation(3 * case.n_images)[: case.n_images] + 1
    images = [
        {"id": int(image_id), "height": int(h), "width": int(w)}
        for image_id, (h, w) in zip(image_ids, sizes, strict=True)
    ]
    annotations, predictions = [], []
    for image in images:
        gt_masks = draw_masks(rng, image, int(rng.integers(0, case.n_gt + 1)), case, None)
        dt_masks = draw_masks(rng, image, int(rng.integers(0, case.n_dt + 1)), case, gt_masks)
        annotations += [record(rng, image, mask, case) for mask in gt_masks]
        predictions += [record(rng, image, mask, case) for mask in dt_masks]
    # Records of several images stand in any order in a file.
    annotations = [annotations[i] for i in rng.permutation(len(annotations))]
    predictions = [predictions[i] for i in rng.permutation(len(predictions))]
    for idx, annotation in enumerate(annotations):
        annotation["id"] = idx + 1
        annotation["iscrowd"] = int(rng.random() < case.crowds)
        if case.stated_areas:
            annotation["area"] = float(rng.integers(0, 50))
    for prediction in predictions:
        prediction["score"] = float(rng.integers(0, case.n_scores)) / case.n_scores
    categories = [{"id": k + 1, "name": f"c{k + 1}"} for k in range(case.n_categories + 1)]
    return {"images": images, "annotations": annotations, "categories": categories}, predictions


def draw_masks(rng, image, n, case, models):
    """Draw n masks of an image's size, (n, H, W); some copy a model, some are empty."""
    height, width = image["height"], image["width"]
    y, x = np.sort(rng.integers(0, height + 1, (n, 2))), np.sort(rng.integers(0, width + 1, (n, 2)))
    rows, columns = np.arange(height)[:, None], np.arange(width)
    masks = (
        (rows >= y[:, 0, None, None]) & (rows < y[:, 1, None, None])
        & (columns >= x[:, 0, None, None]) & (columns < x[:, 1, None, None])
    )  # fmt: skip
    if models is not None and len(models):
        copied = rng.random(n) < case.copies
        masks[copied] = models[rng.integers(0, len(models), copied.sum())]
    masks &= rng.random(masks.shape) < rng.choice([0.7, 0.9, 1.0], (n, 1, 1))
    masks[rng.random(n) < case.empty] = False
    return masks


def record(rng, image, mask, case):
    """Write one record with its mask, area and box; areas are the mask's, or the box's."""
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    bbox = coco_mask.toBbox(rle).tolist()
    return {
        "image_id": image["id"],
        "category_id": int(rng.integers(1, case.n_categories + 1)),
        "segmentation": {"size": list(rle["size"]), "counts": rle["counts"].decode()},
        "bbox": bbox,
        "area": float(mask.sum()) if case.kind == "segm" else bbox[2] * bbox[3],
    }


def by_pycocotools(gt, dt, params):
    """Run COCOeval; class-agnostic means that every record is of category 1."""
    sides = []
    for content in (gt, {**gt, "annotations": dt}):
        records = [dict(r) for r in content["annotations"]]
        for idx, entry in enumerate(records):
            entry["id"] = idx + 1
            entry.setdefault("iscrowd", 0)
            if not params.class_aware:
                entry["category_id"] = 1
        side = COCO()
        side.dataset = {**content, "annotations": records}
        if not params.class_aware:
            side.dataset["categories"] = [{"id": 1, "name": "entity"}]
        with contextlib.redirect_stdout(io.StringIO()):
            side.createIndex()
        sides.append(side)
    scoring = COCOeval(*sides, params.iou_type)
    scoring.params.iouThrs = np.array(params.iou_thrs)
    scoring.params.recThrs = np.array(params.rec_thrs)
    scoring.params.areaRng = [list(ends) for ends in params.area_ranges.values()]
    scoring.params.areaRngLbl = list(params.area_ranges)
    scoring.params.maxDets = list(params.max_dets)
    scoring.params.catIds = list(params.category_ids) if params.class_aware else [1]
    if params.image_ids is not None:
        scoring.params.imgIds = list(params.image_ids)
    with contextlib.redirect_stdout(io.StringIO()):
        scoring.evaluate()
        scoring.accumulate()
    return scoring


def assert_same_arrays(result, scoring):
    for name in ("precision", "recall", "scores"):
        ours, theirs = getattr(result.submitted, name), scoring.eval[name]
        assert ours.shape == theirs.shape, name
        np.testing.assert_allclose(ours, theirs, atol=1e-12, rtol=0, err_msg=name)


def assert_same_matches(result, scoring):
    """Compare who was matched with whom, group by group; pycocotools counts ids from 1."""
    matches = result.matches
    n_areas = len(scoring.params.areaRng)
    n_images = len(scoring.params.imgIds)
    column = {record: at for at, record in enumerate(matches.records.tolist())}
    for k in range(len(scoring.params.catIds)):
        for a in range(n_areas):
            for i in range(n_images):
                group = scoring.evalImgs[(k * n_areas + a) * n_images + i]
                if group is None:
                    continue
                columns = [column[int(dt_id) - 1] for dt_id in group["dtIds"]]
                rows = [int(gt_id) - 1 for gt_id in group["gtIds"]]
                outcome = np.where(group["dtIgnore"], 2, group["dtMatches"] > 0)
                assert (matches.dt_gt[a][:, columns] + 1 == group["dtMatches"]).all()
                assert (matches.gt_dt[a][:, rows] + 1 == group["gtMatches"]).all()
                assert (matches.outcome[a][:, columns] == outcome).all()
                assert (matches.gt_ignored[a, rows] == group["gtIgnore"]).all()


def compare(gt, dt, params):
    result, scoring = evaluate(gt, dt, params), by_pycocotools(gt, dt, params)
    assert_same_arrays(result, scoring)
    assert_same_matches(result, scoring)
    return result, scoring


@settings(max_examples=1200 * SCALE, **PROFILE)
@given(cases)
@example(Case(n_images=0))
@example(Case(n_images=3, n_gt=0, n_dt=0))
@example(Case(n_images=4, n_gt=0, n_dt=9))
@example(Case(n_images=4, n_gt=7, n_dt=0, class_aware=True))
@example(Case(n_images=3, n_gt=6, n_dt=9, crowds=1.0, class_aware=True, n_categories=3))
@example(Case(n_images=3, n_gt=6, n_dt=9, empty=1.0))
@example(Case(n_images=4, n_gt=7, n_dt=12, n_scores=1, crowds=0.3, copies=0.9))
@example(Case(n_images=4, n_gt=7, n_dt=12, kind="bbox", crowds=0.3, stated_areas=True))
def test_random_cases(case):
    compare(*make(case), case.params)


@settings(max_examples=25 * SCALE, **PROFILE)
@given(cases, st.sampled_from([101, 130, 180]))
@example(Case(seed=1, n_images=2, n_scores=2, copies=0.9), 180)
def test_more_detections_than_count(case, n_dt):
    case = dataclasses.replace(case, n_images=2, n_dt=3 * n_dt, n_gt=20)
    compare(*make(case), case.params)


@settings(max_examples=100 * SCALE, **PROFILE)
@given(cases)
def test_a_part_of_the_images(case):
    gt, dt = make(case)
    image_ids = [image["id"] for image in gt["images"][1:]]
    compare(gt, dt, dataclasses.replace(case.params, image_ids=image_ids))


@settings(max_examples=100 * SCALE, **PROFILE)
@given(cases)
def test_the_twelve_numbers(case):
    """COCO's summary, which takes its own parameters for granted."""
    case = dataclasses.replace(case, areas=0, iou_thrs=0, rec_thrs=0, max_dets=0)
    gt, dt = make(case)
    labels = dict(zip(("all", "small", "medium", "large"), SMALL_AREAS.values(), strict=True))
    result, scoring = compare(gt, dt, dataclasses.replace(case.params, area_ranges=labels))
    scoring.params.areaRngLbl = list(labels)
    with contextlib.redirect_stdout(io.StringIO()):
        scoring.summarize()
    # COCO says -1 where there is nothing to measure.
    ours = [-1 if np.isnan(result.metrics[name]) else result.metrics[name] for name in NAMES]
    np.testing.assert_allclose(ours, scoring.stats, atol=1e-12, rtol=0)


@pytest.mark.parametrize("class_aware", [False, True])
@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_real_annotations(shared, class_aware, kind):
    """COCO's own: polygons, crowds as plain run lengths, areas that are not the mask's."""
    folder = shared / "realdata/coco100"
    gt = json.loads((folder / "instances_val2014_100.json").read_text())
    dt = json.loads((folder / f"instances_val2014_fake{kind}100_results.json").read_text())
    params = EvalParams(
        iou_type=kind,
        class_aware=class_aware,
        category_ids=[c["id"] for c in gt["categories"]],
        image_ids=sorted({prediction["image_id"] for prediction in dt}),
        remove_overlaps=False,
    )
    for prediction in dt:
        # As loadRes fills them in where a prediction has the one but not the other.
        prediction["area"] = (
            float(coco_mask.area(prediction["segmentation"]))
            if kind == "segm"
            else prediction["bbox"][2] * prediction["bbox"][3]
        )
    compare(gt, dt, params)
