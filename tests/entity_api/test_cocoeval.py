"""COCOeval's face against pycocotools: the same bits under every setting, subclass and record."""

import copy
import json

import numpy as np
import pytest
from coco_faces import FACES, OURS, THEIRS, alike, index, load, only, outcome, quietly, scene

from entity_api import RecordError, RLEError

ARRAYS = "precision", "recall", "scores"


def set_params(**values):
    def step(scoring):
        for name, value in values.items():
            setattr(scoring.params, name, copy.deepcopy(value))

    return step


def run(scoring, before=None, between=None):
    """Evaluate, accumulate and summarize; return all that can be read afterwards."""
    if before:
        before(scoring)
    quietly(scoring.evaluate)
    if between:
        between(scoring)
    quietly(scoring.accumulate)
    arrays = {name: scoring.eval[name] for name in ARRAYS}
    try:
        printed = quietly(scoring.summarize)[1]
        stats = scoring.stats
    except IndexError:
        printed, stats = None, None
    return {
        **arrays,
        "counts": scoring.eval["counts"],
        "printed": printed,
        "stats": stats,
        "evalImgs": list(scoring.evalImgs),
        "ious": scoring.ious,
        "catIds": list(scoring.params.catIds),
    }


def assert_alike(dataset, results, kind="segm", before=None, between=None, **options):
    """Run both; every array, entry, IoU and printed line must be equal."""
    theirs = run(load(THEIRS, dataset, results, kind), before, between)
    ours = run(load(OURS, dataset, results, kind, **options), before, between)
    for name, value in theirs.items():
        assert alike(ours[name], value), name
    return ours


SETTINGS = {
    "as they come": {},
    "a list of thresholds": {"iouThrs": np.array([0.3, 0.5, 0.75])},
    "a threshold of 0": {"iouThrs": np.array([0.0, 0.5])},
    "a threshold above 1": {"iouThrs": np.array([0.5, 1.5])},
    "thresholds in no order": {"iouThrs": np.array([0.9, 0.5, 0.75])},
    "recalls in no order": {"recThrs": np.array([0.5, 0.1, 2.0, 0.3])},
    "no 100": {"maxDets": [1, 3, 10]},
    "in no order": {"maxDets": [100, 1, 10]},
    "a limit twice": {"maxDets": [1, 1, 100]},
    "many": {"maxDets": [100, 300, 1000]},
    "one limit": {"maxDets": [2]},
    "areas": {"areaRng": [[0, 1e10], [0, 20], [20, 60], [60, 1e10]]},
    "areas that end before they begin": {"areaRng": [[0, 1e10], [20, 10], [0, 9], [9, 99]]},
    "areas without their labels": {"areaRng": [[0, 1e10]]},
    "an area range twice": {"areaRng": [[0, 1e10], [0, 1e10], [0, 9], [9, 99]]},
    "without categories": {"useCats": 0},
    "without categories, of some": {"useCats": 0, "catIds": [3, 1]},
    "without categories, one twice": {"useCats": 0, "catIds": [1, 2, 2]},
    "useCats of 2": {"useCats": 2},
    "some categories": {"catIds": [2]},
    "a category of nobody": {"catIds": [2, 9]},
    "a category twice": {"catIds": [3, 2, 2]},
    "a scalar category": {"catIds": 2},
    "no category": {"catIds": []},
    "a scalar image": {"imgIds": 7},
    "an image of nobody": {"imgIds": [777]},
    "no image": {"imgIds": []},
    "the old switch": {"useSegm": 0},
}


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name, kind):
    for seed in range(3):
        dataset, results = scene(seed)
        settings = dict(SETTINGS[name])
        if settings.get("imgIds") == 7:
            settings["imgIds"] = dataset["images"][0]["id"]
        assert_alike(dataset, only(results, "segmentation"), kind, set_params(**settings))


BETWEEN = {
    "categories": {"catIds": [2]},
    "categories at another place": {"catIds": [2, 3]},
    "areas": {"areaRng": [[0, 1e10], [32**2, 96**2]], "areaRngLbl": ["all", "medium"]},
    "an area range of nobody": {"areaRng": [[0, 5]]},
    "limits": {"maxDets": [1, 100]},
    "a limit of nobody": {"maxDets": [1, 50]},
    "recalls": {"recThrs": np.array([0.2, 0.4])},
    "more thresholds": {"iouThrs": np.linspace(0.5, 0.95, 12)},
    "no categories": {"useCats": 0},
}


@pytest.mark.parametrize("name", BETWEEN)
def test_settings_between_evaluate_and_accumulate(name):
    dataset, results = scene(3)
    assert_alike(dataset, results, between=set_params(**BETWEEN[name]))
    fewer = set_params(imgIds=sorted(image["id"] for image in dataset["images"])[:2])
    assert_alike(dataset, results, between=fewer)


def test_fewer_thresholds_than_evaluated_are_an_error_on_both_sides():
    for face in FACES:
        with pytest.raises(IndexError):
            run(load(face, *scene()), between=set_params(iouThrs=np.array([0.5])))


def test_parameters_passed_to_accumulate():
    dataset, results = scene(1)
    found = []
    for face in FACES:
        scoring = load(face, dataset, results)
        quietly(scoring.evaluate)
        own = copy.deepcopy(scoring.params)
        own.maxDets, own.catIds = [1, 10], [1, 3]
        quietly(scoring.accumulate, own)
        assert scoring.eval["params"] is own
        found.append([scoring.eval[name] for name in ARRAYS])
        quietly(scoring.accumulate)
        found[-1] += [scoring.eval[name] for name in ARRAYS]
    assert alike(*found)


def test_evaluated_twice_without_categories():
    """The first `accumulate` leaves the category -1 in the parameters: nothing is found after."""
    found = []
    for face in FACES:
        scoring = load(face, *scene())
        scoring.params.useCats = 0
        run(scoring)
        found.append(run(scoring))
        assert (found[-1]["precision"] == -1).all()
    assert alike(*found)


def records(change):
    """Change copies of both sides by a function of (dataset, results)."""
    dataset, results = scene(5, n_images=6)
    return change(dataset, results) or (dataset, results)


def restart_ids(dataset, results):
    for idx, annotation in enumerate(dataset["annotations"]):
        annotation["id"] = idx % 7 + 1


def two_sizes(dataset, results):
    for record in results[::3]:
        pixels = np.zeros((9, 9), np.uint8, order="F")
        pixels[2:7, 1:8] = 1
        code = THEIRS.mask.encode(pixels)
        record["segmentation"] = {"size": code["size"], "counts": code["counts"].decode()}


def a_dataset_as_results(dataset, results):
    with_ids = [r | {"id": i + 5, "iscrowd": 0, "area": 7.0 * i} for i, r in enumerate(results)]
    return dataset, {**dataset, "annotations": with_ids}


def ids_below_zero(dataset, results):
    dataset, other = a_dataset_as_results(dataset, results)
    for record in other["annotations"][::2]:
        record["id"] *= -1
    return dataset, other


def areas_of_nan(dataset, results):
    for annotation in dataset["annotations"][::2]:
        annotation["area"] = float("nan")


def polygons(dataset, results):
    for annotation in dataset["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]


def plain_run_lengths(dataset, results):
    for annotation in dataset["annotations"]:
        pixels = OURS.mask.decode(annotation["segmentation"]).T.ravel()
        cuts = np.flatnonzero(np.diff(pixels)) + 1
        runs = np.diff([0, *cuts, pixels.size]).tolist()
        counts = runs if not pixels[0] else [0, *runs]
        annotation["segmentation"] = {"size": [24, 32], "counts": counts}


def text_ids(dataset, results):
    for record in (*dataset["images"], *dataset["annotations"], *results):
        key = "image_id" if "image_id" in record else "id"
        record[key] = f"image {record[key]:02}"


def unknown_categories(dataset, results):
    for record in results[::4]:
        record["category_id"] = 99


def sizes_as_floats(dataset, results):
    for record in (*dataset["annotations"], *results):
        record["segmentation"]["size"] = [float(side) for side in record["segmentation"]["size"]]


def listed_twice(dataset, results):
    results[2:2] = [results[-1], results[0]]


RECORDS = {
    "boxes beside masks": lambda dataset, results: None,
    "masks alone": lambda dataset, results: (dataset, only(results, "segmentation")),
    "boxes alone": lambda dataset, results: (dataset, only(results, "bbox")),
    "annotation ids that restart": restart_ids,
    "masks of two sizes": two_sizes,
    "a data set as results": a_dataset_as_results,
    "ids below zero": ids_below_zero,
    "areas of nan": areas_of_nan,
    "polygons": polygons,
    "plain run lengths": plain_run_lengths,
    "image ids as text": text_ids,
    "sizes as floats": sizes_as_floats,
    "records that are listed twice": listed_twice,
    "categories that are not there": unknown_categories,
}


def test_empty_boxes_are_none():
    dataset, results = records(lambda dataset, results: None)
    assert_alike(dataset, [r | {"bbox": []} for r in only(results, "segmentation")])


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("name", RECORDS)
def test_records(name, kind):
    dataset, results = records(RECORDS[name])
    assert_alike(dataset, results, kind)
    assert_alike(dataset, results, kind, set_params(useCats=0))


def test_the_area_of_a_result_is_its_box_where_it_has_one():
    """Even for masks: APs, APm and APl of old numbers rest on it."""
    dataset, results = scene(2)
    ranges = set_params(areaRng=[[0, 1e10], [0, 30], [30, 60], [60, 99]])
    boxes, masks = (
        assert_alike(dataset, own, before=ranges)
        for own in (results, only(results, "segmentation"))
    )
    assert not alike(boxes["precision"], masks["precision"])


def test_annotation_id_zero():
    """Lost in pycocotools; found here, unless the old number is asked for."""
    dataset, results = scene(4, crowds=0)
    # The first one has pixels, and is found.
    dataset["annotations"].sort(key=lambda ann: not OURS.mask.area(ann["segmentation"]))
    for idx, annotation in enumerate(dataset["annotations"]):
        annotation["id"] = idx
    results.append(dataset["annotations"][0] | {"score": 1.0})
    old = assert_alike(dataset, results, match_id_zero=False)
    new = run(load(OURS, dataset, results))
    shifted = [ann | {"id": ann["id"] + 1} for ann in dataset["annotations"]]
    from_one = run(load(OURS, {**dataset, "annotations": shifted}, results))
    for name in (*ARRAYS, "stats"):
        assert alike(new[name], from_one[name]), name
    assert new["stats"][0] > old["stats"][0]
    # And step by step, as for a subclass; and from entries that were read, as across ranks.
    step_by_step = load(OURS, dataset, results)
    step_by_step.evaluateImg = step_by_step.evaluateImg
    assert alike(run(step_by_step), new)
    again = load(OURS, dataset, results)
    quietly(again.evaluate)
    again.evalImgs = list(again.evalImgs)
    quietly(again.accumulate)
    assert alike([again.eval[name] for name in ARRAYS], [new[name] for name in ARRAYS])


def subclass(face, **methods):
    return type("Own", (face.COCOeval,), methods)


def scored_by(cls, face, dataset, results, kind="segm"):
    made = load(face, dataset, results, kind)
    return run(cls(made.cocoGt, made.cocoDt, kind))


@pytest.mark.parametrize("name", ["computeIoU", "evaluateImg", "_prepare"])
def test_a_subclass_with_a_step_of_its_own(name):
    dataset, results = scene(6)

    def own_class(face):
        before = getattr(face.COCOeval, name)

        def computeIoU(self, imgId, catId):
            found = before(self, imgId, catId)
            return found if not len(found) else found * 0.7

        def evaluateImg(self, imgId, catId, aRng, maxDet):
            entry = before(self, imgId, catId, aRng, maxDet)
            if entry is not None:
                entry["dtIgnore"] = entry["dtIgnore"] | (np.array(entry["dtScores"]) < 0.3)
            return entry

        def _prepare(self):
            before(self)
            for gts in self._gts.values():
                for gt in gts[::2]:
                    gt["ignore"] = 1

        return subclass(face, **{name: locals()[name]})

    theirs, ours = (scored_by(own_class(face), face, dataset, results) for face in FACES)
    assert alike(ours, theirs)
    assert not alike(ours["precision"], run(load(OURS, dataset, results))["precision"])


def test_a_step_put_in_place_of_the_class_own(monkeypatch):
    dataset, results = scene(6)
    plain = run(load(OURS, dataset, results))["precision"]

    def weaker(before):
        return lambda self, imgId, catId: np.asarray(before(self, imgId, catId)) * 0.7

    for face in FACES:
        monkeypatch.setattr(face.COCOeval, "computeIoU", weaker(face.COCOeval.computeIoU))
    theirs, ours = (run(load(face, dataset, results))["precision"] for face in FACES)
    assert alike(ours, theirs) and not alike(ours, plain)


def test_both_ways_give_the_same():
    """The step-by-step way, which settings choose, and the fast one, on all they have in common."""
    for seed in range(8):
        dataset, results = scene(seed, crowds=seed % 3 / 5)
        for kind in ("segm", "bbox"):
            fast, slow = load(OURS, dataset, results, kind), load(OURS, dataset, results, kind)
            slow.evaluateImg = slow.evaluateImg
            assert alike(run(fast), run(slow))
            assert fast.result is not None and slow.result is None


def test_keypoints():
    for seed in range(6):
        dataset, results = scene(seed, crowds=0.1)
        found = assert_alike(dataset, only(results, "keypoints"), "keypoints")
        assert found["stats"].shape == (10,)
        sigmas = set_params(kpt_oks_sigmas=np.full(17, 0.2), iouThrs=np.array([0.1, 0.5, 0.75]))
        found = assert_alike(dataset, results, "keypoints", sigmas)
        assert 0 < found["stats"][0] < 1


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("use_cats", [0, 1])
def test_real_annotations(shared, kind, use_cats):
    folder = shared / "realdata/coco100"
    gt = json.loads((folder / "instances_val2014_100.json").read_text())
    dt = json.loads((folder / f"instances_val2014_fake{kind}100_results.json").read_text())
    image_ids = [record["image_id"] for record in dt]
    assert_alike(gt, dt, kind, set_params(imgIds=image_ids, useCats=use_cats))


def test_the_callers_records_stay_theirs():
    """pycocotools completes them in place, and then fails at a second `loadRes` of the list."""
    dataset, results = scene(2)
    results = only(results, "segmentation")
    before = copy.deepcopy((dataset, results))
    gt = OURS.COCO(dataset)
    first, second = gt.loadRes(results), gt.loadRes(results)
    run(OURS.COCOeval(gt, first))
    assert (dataset, results) == before
    assert [ann["area"] for ann in first.anns.values()] == [
        ann["area"] for ann in second.anns.values()
    ]
    theirs = index(THEIRS, dataset)
    quietly(theirs.loadRes, results)
    assert results != before[1]
    assert outcome(lambda _: theirs.loadRes(results), THEIRS) is ValueError


def test_scores_that_are_no_numbers_are_refused():
    for wrong in ({"score": float("nan")}, {}):
        dataset, results = scene(0)
        results[3] = only(results, "segmentation", "bbox")[3]
        del results[3]["score"]
        results[3] |= wrong
        scoring = load(OURS, dataset, results)
        with pytest.raises(RecordError, match="annotation 4: its score"):
            scoring.evaluate()


def test_a_broken_mask_is_named():
    dataset, results = scene(0)
    results[3]["segmentation"] = {"size": [24, 32], "counts": "9"}
    scoring = load(OURS, dataset, results)
    with pytest.raises(RecordError, match=r"annotation id 4, image \d+\) run-length code covers"):
        scoring.evaluate()
    with pytest.raises(RLEError, match="result 3: run-length code covers"):
        load(OURS, dataset, only(results, "segmentation"))
    run(load(OURS, dataset, results, "bbox"))


def test_a_polygon_that_cannot_be_drawn_is_named():
    dataset, results = scene(0)
    dataset["annotations"][1]["segmentation"] = [[0, 0, 1e9, 0, 1, 1e9]]
    scoring = load(OURS, dataset, results)
    with pytest.raises(ValueError, match=r"annotation id 2, image \d+: a polygon or box"):
        scoring.evaluate()


def test_areas_and_crowd_flags_that_are_not_stated():
    """KeyError in pycocotools; here the mask's own area, and no crowd."""
    dataset, results = scene(0, crowds=0)
    expected = run(load(OURS, dataset, results))
    for annotation in dataset["annotations"]:
        del annotation["iscrowd"]
    assert outcome(lambda face: run(load(face, dataset, results)), THEIRS) is KeyError
    assert alike(run(load(OURS, dataset, results)), expected)
    for annotation in dataset["annotations"]:
        annotation["area"] = float(THEIRS.mask.area(annotation["segmentation"]))
    expected = run(load(OURS, dataset, results))
    for annotation in dataset["annotations"]:
        del annotation["area"]
    assert alike(run(load(OURS, dataset, results)), expected)


def test_steps_out_of_turn():
    scoring = load(OURS, *scene())
    assert scoring.evalImgs == {} and scoring.ious == {} and scoring._paramsEval == {}
    with pytest.raises(ValueError, match=r"run evaluate\(\) first"):
        scoring.accumulate()
    with pytest.raises(ValueError, match=r"run accumulate\(\) first"):
        scoring.summarize()
    with pytest.raises(ValueError, match="needs ground truth"):
        OURS.COCOeval().evaluate()
    with pytest.raises(ValueError, match="iouType"):
        OURS.COCOeval(iouType="caption")


def test_print():
    scoring = load(OURS, *scene())
    run(scoring)
    assert quietly(print, scoring)[1].startswith(" Average Precision  (AP) @[ IoU=0.50:0.95 |")


def test_reading_ious_and_entries_late_is_reading_them_at_once():
    """They are worked out when they are read, by the parameters that `evaluate` had."""
    dataset, results = scene(1)
    scoring = load(OURS, dataset, results)
    expected = run(load(THEIRS, dataset, results))
    quietly(scoring.evaluate)
    scoring.params.imgIds, scoring.params.maxDets = [], [1]
    assert alike(scoring.ious, expected["ious"])
    assert alike(scoring.evalImgs, expected["evalImgs"])
    assert scoring.params.maxDets == [1]
