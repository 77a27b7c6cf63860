"""The evaluator against golden data: the original's evaluator on set A, pycocotools on COCO.

Set A (30 images, crowds, overlapping predictions, ids from 1) ships with the tests; the developers'
full golden data proves that the copy is true.
"""

import dataclasses
import gzip
import json
import math

import numpy as np
import pytest

from entity_api import EvalParams, evaluate

NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
VARIANTS = [(mode, kind) for mode in ("agnostic", "classaware") for kind in ("segm", "bbox")]

# ../shared/realdata/README.md: pycocotools 2.0.11 over the 100 images that have results.
COCO100 = {
    "AP": 0.3248755051351902,
    "AP50": 0.6887705307168829,
    "AP75": 0.25257376956857636,
    "APs": 0.35216060520202813,
    "APm": 0.30320644226236415,
    "APl": 0.3351908546297101,
    "AR100": 0.48238841978287095,
}
COCO100_CLASS_AWARE_AP = 0.32170935


def unpack(path):
    return json.loads(gzip.decompress(path.read_bytes()))


@pytest.fixture(scope="module")
def set_a(data):
    return unpack(data / "eval/setA_gt.json.gz"), unpack(data / "eval/setA_pred.json.gz")


@pytest.fixture(scope="module", params=VARIANTS, ids="_".join)
def scored(request, data, set_a):
    """Give one way to score set A: its name, our result, the golden arrays."""
    mode, kind = request.param
    name = f"{mode}_{kind}"
    expected = np.load(data / f"eval/setA_{name}.npz")
    params = EvalParams(class_aware=mode == "classaware", iou_type=kind)
    if params.class_aware:
        params = dataclasses.replace(params, category_ids=expected["category_ids"].tolist())
    return name, evaluate(*set_a, params), expected


def test_set_a_statistics(scored, data):
    name, result, _ = scored
    stats = json.loads((data / "eval/setA_stats.json").read_text())[name]
    assert [result.metrics[name] for name in NAMES] == pytest.approx(stats, abs=1e-12, rel=0)


def test_set_a_headline(set_a):
    """The number of the original's own evaluator, written out."""
    assert evaluate(*set_a).metrics["AP"] == pytest.approx(0.4862908961370443, abs=1e-12, rel=0)


def test_set_a_arrays(scored):
    _, result, expected = scored
    for name in ("precision", "recall", "scores"):
        ours = getattr(result.submitted, name)
        assert ours.shape == expected[name].shape
        np.testing.assert_allclose(ours, expected[name], atol=1e-12, rtol=0)


def test_set_a_arrays_without_the_category_axis(scored):
    _, result, expected = scored
    axis = slice(None) if result.params.class_aware else 0
    np.testing.assert_allclose(
        result.precision, expected["precision"][:, :, axis], atol=1e-12, rtol=0
    )
    np.testing.assert_allclose(result.recall, expected["recall"][:, axis], atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_set_a_matches(data, set_a, kind):
    gt, dt = set_a
    result = evaluate(gt, dt, EvalParams(iou_type=kind))
    matches = result.matches
    gt_ids = np.array([record["id"] for record in gt["annotations"]])
    thr_idx = {"iou50": 0, "iou75": 5}
    for image in unpack(data / f"eval/setA_matches_{kind}.json.gz"):
        # The golden ids of detections are their places in the file, from 1, as loadRes gives them.
        of_image = [idx for idx, d in enumerate(dt) if d["image_id"] == image["image_id"]]
        columns = np.flatnonzero(np.isin(matches.records, of_image))
        assert (matches.records[columns] + 1).tolist() == image["dtIds"]
        gt_rows = np.flatnonzero(np.isin(gt_ids, image["gtIds"]))
        by_id = dict(zip(gt_ids[gt_rows], matches.gt_ignored[0, gt_rows], strict=True))
        assert [int(by_id[gt_id]) for gt_id in image["gtIds"]] == image["gtIgnore"]
        for name, t in thr_idx.items():
            matched = matches.dt_gt[0, t, columns]
            ours = np.where(matched >= 0, gt_ids[matched], 0).tolist()
            assert ours == image[f"dtMatches_{name}"]
        ignored = (matches.outcome[0, 0, columns] == 2).astype(int).tolist()
        assert ignored == image["dtIgnore_iou50"]


def test_set_a_in_two_threads_is_the_same(set_a):
    one, two = (evaluate(*set_a, EvalParams(threads=n)) for n in (1, 2))
    assert one.metrics == two.metrics
    for scored in ("submitted", "disjoint"):
        for name in ("outcome", "dt_gt", "gt_dt", "gt_ignored"):
            a, b = (getattr(getattr(r, scored).matches, name) for r in (one, two))
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("class_aware", [False, True])
def test_set_a_without_its_matches_is_the_same(set_a, class_aware):
    kept, dropped = (
        evaluate(*set_a, EvalParams(class_aware=class_aware, keep_matches=keep))
        for keep in (True, False)
    )
    assert dropped.metrics == kept.metrics
    for scored in ("submitted", "disjoint"):
        a, b = (getattr(result, scored) for result in (kept, dropped))
        for name in ("precision", "recall", "scores"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        for name in ("outcome", "gt_ignored"):
            np.testing.assert_array_equal(getattr(a.matches, name), getattr(b.matches, name))
        for name in ("dt_gt", "gt_dt"):
            kept_shape = getattr(a.matches, name).shape
            assert getattr(b.matches, name).shape == (*kept_shape[:2], 0) != kept_shape


def test_the_copy_of_set_a_is_true(shared, data):
    golden = shared / "golden/eval"
    for name in ("gt", "pred", "matches_segm", "matches_bbox"):
        ours = unpack(data / f"eval/setA_{name}.json.gz")
        assert ours == json.loads((golden / f"setA_{name}.json").read_text())
    stats = json.loads((data / "eval/setA_stats.json").read_text())
    metrics = json.loads((golden / "metrics_orig.json").read_text())
    for mode, kind in VARIANTS:
        name = f"{mode}_{kind}"
        # "py" is pycocotools, "opt" the original's C++: equal up to rounding in the last place.
        for which in ("py", "opt"):
            golden_stats = metrics[f"setA/{mode}/{kind}/{which}"]["stats"]
            assert stats[name] == pytest.approx(golden_stats, abs=1e-12, rel=0)
        ours, theirs = np.load(data / f"eval/setA_{name}.npz"), np.load(golden / f"setA_{name}.npz")
        assert ours["category_ids"].tolist() == theirs["catIds"].tolist()
        for array in ("precision", "recall", "scores"):
            np.testing.assert_array_equal(ours[array], theirs[f"py_{array}"])
            np.testing.assert_allclose(ours[array], theirs[array], atol=1e-12, rtol=0)


@pytest.fixture(scope="module")
def coco100(shared):
    folder = shared / "realdata/coco100"
    gt = json.loads((folder / "instances_val2014_100.json").read_text())
    dt = json.loads((folder / "instances_val2014_fakesegm100_results.json").read_text())
    return gt, dt, EvalParams(image_ids=sorted({record["image_id"] for record in dt}))


def test_coco_class_agnostic(coco100):
    gt, dt, params = coco100
    metrics = evaluate(gt, dt, params).metrics
    assert {name: metrics[name] for name in COCO100} == pytest.approx(COCO100, abs=1e-12, rel=0)
    assert not math.isnan(metrics["APe"])


def test_coco_class_aware(coco100):
    gt, dt, params = coco100
    metrics = evaluate(gt, dt, dataclasses.replace(params, class_aware=True)).metrics
    # The figure has eight digits; test_pycocotools_parity compares the rest.
    assert metrics["AP"] == pytest.approx(COCO100_CLASS_AWARE_AP, abs=5e-9, rel=0)
