"""Files in, result and provenance out, on golden set A."""

import dataclasses
import gzip
import hashlib
import json
import math

import numpy as np
import pytest

import entityseg_bench
from entity_api import EvalParams, evaluate, overlapping_pairs
from entityseg_bench.io import InputError
from entityseg_bench.score import evaluate_files, result_record

AP = 0.4862908961370443


@pytest.fixture(scope="module")
def paths(data):
    return data / "eval/setA_gt.json.gz", data / "eval/setA_pred.json.gz"


@pytest.fixture(scope="module")
def contents(paths):
    return [json.loads(gzip.decompress(path.read_bytes())) for path in paths]


@pytest.fixture(scope="module")
def scoring(paths):
    return evaluate_files(*paths)


def test_equals_the_dictionaries(scoring, contents):
    """From JSON literals that are decoded where they lie, and from decoded JSON."""
    expected = evaluate(*contents)
    assert scoring.result.metrics == expected.metrics
    assert scoring.result.metrics["AP"] == pytest.approx(AP, abs=1e-12, rel=0)
    for name in ("precision", "recall", "scores"):
        for scored in ("submitted", "disjoint"):
            np.testing.assert_array_equal(
                getattr(getattr(scoring.result, scored), name),
                getattr(getattr(expected, scored), name),
            )


def test_the_record(scoring, paths, contents):
    record = result_record(scoring)
    # It must survive JSON as it is.
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["schema"] == 2
    assert record["toolkit"] == {
        "name": "entityseg-bench",
        "version": entityseg_bench.__version__,
    }
    assert record["metrics"] == scoring.result.metrics
    assert record["parameters"]["max_dets"] == [1, 10, 100]
    assert record["parameters"]["area_ranges"]["medium"] == [32.0**2, 96.0**2]
    assert len(record["parameters"]["iou_thrs"]) == 10
    assert record["parameters"]["class_aware"] is False
    assert record["parameters"]["images"] == "all"
    gt, dt = contents
    assert record["counts"] == {
        "images": len(gt["images"]),
        "ground_truth": len(gt["annotations"]),
        "predictions": len(dt),
    }


def test_the_record_names_the_files_by_their_hash(scoring, paths):
    record = result_record(scoring)
    for side, path in zip(("ground_truth", "predictions"), paths, strict=True):
        assert record["files"][side]["name"] == path.name
        assert record["files"][side]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_record_says_what_overlaps(scoring, contents):
    gt, dt = contents
    overlap = result_record(scoring)["overlap"]
    pairs = {
        image["id"]: overlapping_pairs(
            [p["segmentation"] for p in dt if p["image_id"] == image["id"]]
        )
        for image in gt["images"]
    }
    assert overlap["images"] == sum(bool(of_image) for of_image in pairs.values()) == 29
    assert overlap["pairs"] == sum(map(len, pairs.values()))
    assert 0 < overlap["share_of_covered"] < 1
    most = overlap["most"]
    assert len(most) == 10
    assert [entry["pixels"] for entry in most] == sorted((e["pixels"] for e in most), reverse=True)
    assert all(entry["pairs"] == len(pairs[entry["image_id"]]) for entry in most)


def test_what_cannot_be_measured_is_null(tmp_path):
    gt, dt = tmp_path / "gt.json", tmp_path / "pred.json"
    gt.write_text('{"images": [{"id": 1, "height": 2, "width": 2}], "annotations": []}')
    dt.write_text("[]")
    scoring = evaluate_files(gt, dt)
    assert all(math.isnan(value) for value in scoring.result.metrics.values())
    record = result_record(scoring)
    assert set(record["metrics"].values()) == {None}
    assert record["overlap"]["most"] == []
    assert any("no predictions" in warning for warning in record["warnings"])


@pytest.mark.parametrize("class_aware", [False, True])
def test_threads_change_nothing(paths, scoring, class_aware):
    params = EvalParams(class_aware=class_aware)
    one, two = (
        evaluate_files(*paths, dataclasses.replace(params, threads=threads)) for threads in (1, 2)
    )
    assert result_record(one) == result_record(two)


def test_progress(paths):
    calls = []
    evaluate_files(*paths, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (30, 30)
    assert calls == sorted(calls)


def test_only_the_images_that_have_predictions(paths, contents, tmp_path):
    gt, dt = contents
    image_ids = sorted({p["image_id"] for p in dt})[:4]
    some = tmp_path / "some.json"
    some.write_text(json.dumps([p for p in dt if p["image_id"] in image_ids]))
    only = evaluate_files(paths[0], some, predicted_images_only=True)
    expected = evaluate(gt, dt, EvalParams(image_ids=image_ids))
    assert only.result.metrics == pytest.approx(expected.metrics, nan_ok=True)
    assert result_record(only)["parameters"]["images"] == 4
    every = evaluate_files(paths[0], some)
    assert every.result.metrics["AP"] < only.result.metrics["AP"]
    assert any("have no predictions" in str(problem) for problem in every.warnings)


def test_a_single_broken_mask_among_many_is_named(paths, contents, tmp_path):
    _, dt = contents
    broken = [dict(p) for p in dt]
    counts = broken[500]["segmentation"]["counts"]
    broken[500]["segmentation"] = {**broken[500]["segmentation"], "counts": counts[:-1]}
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(broken))
    for threads in (1, 2):
        with pytest.raises(InputError) as caught:
            evaluate_files(paths[0], path, EvalParams(threads=threads))
        assert caught.value.file == str(path)
        assert caught.value.where == f"record 500 (image_id {broken[500]['image_id']})"


def test_the_message_says_how_many_more(paths, contents, tmp_path):
    path = tmp_path / "unknown.json"
    path.write_text(json.dumps([{**p, "image_id": -1} for p in contents[1][:7]]))
    with pytest.raises(InputError, match=r"\(7 of 7 records, 1 ids\.\)"):
        evaluate_files(paths[0], path)


def test_warnings_of_set_a(scoring):
    """What is odd about it, and nothing else."""
    said = [problem.what.partition(",")[0] for problem in scoring.warnings]
    assert said == [
        "1 of 30 images have no annotations",
        "1 of 30 images have no predictions",
        "1 images have more than 100 predictions",
    ]
    assert result_record(scoring)["warnings"] == [str(problem) for problem in scoring.warnings]


def test_coco_itself(shared):
    """Real annotations: polygons, crowds as plain run lengths; 100 images with predictions."""
    folder = shared / "realdata/coco100"
    scoring = evaluate_files(
        folder / "instances_val2014_100.json",
        folder / "instances_val2014_fakesegm100_results.json",
        predicted_images_only=True,
    )
    assert scoring.result.metrics["AP"] == pytest.approx(0.3248755051351902, abs=1e-12, rel=0)
