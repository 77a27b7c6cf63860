"""Protocols by name: the numbers of pycocotools with its parameters set by hand, and the recipe."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from entity_api import evaluate as evaluate_plain
from entity_api import rle
from entity_api.granularity import granularity_recall
from entityseg_bench import EntityDataset, EntityMetric, InputError, evaluate, evaluate_files
from entityseg_bench.cli import main
from entityseg_bench.demo import write_demo
from entityseg_bench.score import result_record
from entityseg_bench.score.sensitivity import overlap_sensitivity

SIZE = (48, 64)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write four images, the last without predictions, one with more than 100 of them."""
    rng = np.random.default_rng(4)
    images = [{"id": k, "height": SIZE[0], "width": SIZE[1]} for k in (2, 3, 5, 8)]
    annotations, records = [], []
    for image, n_dt in zip(images, (8, 40, 230, 0), strict=True):
        for _ in range(12):
            mask = np.zeros(SIZE, bool)
            y, x, h, w = rng.integers([0, 0, 3, 3], [40, 56, 40, 50])
            mask[y : y + h, x : x + w] = True
            code = rle.encode(mask)
            annotations.append({
                "id": len(annotations) + 1, "image_id": image["id"], "segmentation": code,
                "category_id": int(rng.integers(1, 3)), "iscrowd": int(rng.random() < 0.1),
                "area": int(mask.sum()), "bbox": rle.bbox(code),
            })  # fmt: skip
        own = [a for a in annotations if a["image_id"] == image["id"]]
        for _ in range(n_dt):
            mask = rle.decode(own[rng.integers(len(own))]["segmentation"])
            mask = np.roll(mask, rng.integers(-2, 3), axis=1)
            records.append({
                "image_id": image["id"], "category_id": 1, "segmentation": rle.encode(mask),
                "score": round(float(rng.random()), 2),
            })  # fmt: skip
    folder = tmp_path_factory.mktemp("protocols")
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    gt = {"images": images, "annotations": annotations, "categories": categories}
    for name, content in (("gt", gt), ("pred", records)):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "gt.json", folder / "pred.json"


def by_pycocotools(gt, pred):
    """Score as UnSAM's evaluator does: by hand, in pycocotools' own words."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(gt))
        # Older pycocotools copy it along.
        coco.dataset.setdefault("info", {})
        scoring = COCOeval(coco, coco.loadRes(str(pred)), "segm")
        scoring.params.useCats = 0
        scoring.params.maxDets = [1, 10, 1000]
        found = sorted({record["image_id"] for record in json.loads(pred.read_bytes())})
        scoring.params.imgIds = found
        scoring.evaluate()
        scoring.accumulate()
    precision, recall = scoring.eval["precision"], scoring.eval["recall"]

    def mean(values):
        values = values[values > -1]
        return float(values.mean()) if values.size else float("nan")

    thrs = scoring.params.iouThrs
    names = {"AP": mean(precision[..., 0, 2]), "AP50": mean(precision[thrs == 0.5][..., 0, 2]),
             "AP75": mean(precision[thrs == 0.75][..., 0, 2])}  # fmt: skip
    for a, letter in enumerate("sml", 1):
        names |= {f"AP{letter}": mean(precision[..., a, 2]), f"AR{letter}": mean(recall[..., a, 2])}
    return names | {f"AR{n}": mean(recall[..., 0, m]) for m, n in enumerate((1, 10, 1000))}


def test_ar1000_is_what_unsam_prints(files):
    found = evaluate_files(*files, protocol="ar1000")
    expected = by_pycocotools(*files)
    assert found.metrics.keys() == expected.keys()
    for name, value in expected.items():
        assert found.metrics[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name
    assert 0.3 < found.metrics["AR1000"] < 1
    # Each difference from the benchmark's protocol shows.
    usual = evaluate_files(*files)
    assert found.metrics["AP"] != usual.metrics["AP"]
    assert found.result.disjoint is None
    parameters = result_record(found)["parameters"]
    assert parameters["protocol"] == "ar1000"
    assert parameters["images"] == 3
    assert parameters["ap_max_det"] == 1000


def test_it_is_the_same_in_memory_and_in_the_metric(files):
    expected = evaluate_files(*files, protocol="ar1000").metrics
    content, records = (json.loads(path.read_bytes()) for path in files)
    assert evaluate(content, records, protocol="ar1000").metrics == expected
    metric = EntityMetric(content, protocol="ar1000")
    for image in metric.images[:3]:
        own = [record for record in records if record["image_id"] == image.id]
        metric.update(image.id, own)
    assert metric.compute().metrics == expected
    with pytest.raises(ValueError, match="protocol 'unsam' must be one of entityseg, ar1000"):
        evaluate_files(*files, protocol="unsam")


def run(capsys, *args):
    code = main(["evaluate", *map(str, args)])
    return code, *capsys.readouterr()


def test_the_command(files, capsys, tmp_path):
    code, out, _ = run(capsys, *files, "--protocol", "ar1000", "--json", tmp_path / "r.json")
    assert code == 0
    assert "top 1000" in out
    assert "overlaps removed" not in out
    record = json.loads((tmp_path / "r.json").read_bytes())
    assert record["metrics"]["AR1000"] == pytest.approx(by_pycocotools(*files)["AR1000"], abs=1e-12)
    for option in (["--max-dets", "1,5"], ["--class-aware"], ["--overlap-sensitivity"]):
        code, _, err = run(capsys, *files, "--protocol", "ar1000", *option)
        assert code == 2
        assert f"--protocol ar1000 does not go with {option[0]}" in err


def test_one_run_for_ap_at_100_and_ar_at_1000(files, capsys, tmp_path):
    usual = evaluate_files(*files).metrics
    options = ("--max-dets", "1,10,100,1000", "--json", tmp_path / "r.json")
    assert run(capsys, *files, *options)[0] == 0
    found = json.loads((tmp_path / "r.json").read_bytes())
    assert found["metrics"]["APe"] == usual["APe"]
    assert found["metrics"]["AR1000"] > found["metrics"]["AR100"]
    assert found["parameters"]["ap_max_det"] == 100
    assert run(capsys, *files, *options, "--ap-max-dets", "1000")[0] == 0
    found = json.loads((tmp_path / "r.json").read_bytes())
    assert found["metrics"]["AP"] != usual["AP"]
    code, _, err = run(capsys, *files, "--ap-max-dets", "50")
    assert code == 2
    assert "ap_max_det 50 is not in max_dets" in err


def test_overlap_sensitivity(files, capsys, tmp_path):
    code, out, _ = run(capsys, *files, "--overlap-sensitivity", "--json", tmp_path / "r.json")
    assert code == 0
    record = json.loads((tmp_path / "r.json").read_bytes())
    assert list(record["overlap_sensitivity"]) == ["score", "small-first", "large-first", "order"]
    assert record["parameters"]["overlap_rule"] == "score"
    assert record["overlap_sensitivity"]["score"]["APe"] == record["metrics"]["APe"]
    lines = out[out.index("overlap rule") :].splitlines()
    for rule, line in zip(record["overlap_sensitivity"], lines[1:5], strict=True):
        options = ("--overlap-rule", rule, "--json", tmp_path / "one.json")
        code, printed, _ = run(capsys, *files, *options)
        one = json.loads((tmp_path / "one.json").read_bytes())
        assert one["parameters"]["overlap_rule"] == rule
        assert one["metrics"]["APe"] == record["overlap_sensitivity"][rule]["APe"]
        assert f"{100 * one['metrics']['APe']:.2f}" in line
        assert (f"Overlap rule {rule}" in printed) == (rule != "score")
    values = {one["APe"] for one in record["overlap_sensitivity"].values()}
    assert len(values) == 4
    left = evaluate_files(*files, protocol="ar1000")
    with pytest.raises(InputError, match="no AP"):
        overlap_sensitivity(left)
    code, _, err = run(capsys, *files, "--no-overlap-removal", "--overlap-sensitivity")
    assert code == 2
    assert "Traceback" not in err


def test_granularity(files, capsys, tmp_path):
    code, out, _ = run(capsys, *files, "--granularity", "--json", tmp_path / "r.json")
    assert code == 0
    record = json.loads((tmp_path / "r.json").read_bytes())
    scoring = evaluate_files(*files)
    expected = granularity_recall(scoring.gt.ground_truth(), scoring.result).metrics()
    assert record["granularity"] == expected
    assert expected["GR"] > expected["whole"] == pytest.approx(record["metrics"]["ARe100"])
    lines = out[out.index("granularity-agnostic recall") :].splitlines()
    shown = [f"{100 * expected[name]:.2f}" for name in ("GR", "whole", "pieces", "merged")]
    assert lines[1].split()[2:] == shown
    assert lines[2].split()[2] == f"{100 * expected['GR50']:.2f}"
    for option in ("--no-overlap-removal", "--class-aware"):
        code, _, err = run(capsys, *files, "--granularity", option)
        assert code == 2
        assert "granularity is told for class-agnostic AP^e" in err


@pytest.fixture(scope="module")
def panoptic(tmp_path_factory):
    """Return panoptic ground truth with a crowd and void, and predictions for its entities."""
    root = write_demo(tmp_path_factory.mktemp("coco_entity") / "set", 8, 0, (60, 90))
    path = root / "annotations/panoptic_segmentation/entityv2_01_panoptic_val.json"
    content = json.loads(path.read_bytes())
    content["annotations"][0]["segments_info"][0]["iscrowd"] = 1
    path.write_text(json.dumps(content), encoding="utf-8")
    records = []
    for image, annotations in EntityDataset.open(root, "panoptic", "val"):
        for k, one in enumerate(annotations):
            mask = np.roll(rle.decode(one.segmentation), 2, axis=1)
            records.append({"image_id": image.id, "segmentation": rle.encode(mask),
                            "score": 0.9 - k / 100})  # fmt: skip
    (root / "pred.json").write_text(json.dumps(records), encoding="utf-8")
    return root, path, root / "pred.json"


def test_coco_entity_follows_the_recipe(panoptic, capsys, tmp_path):
    root, gt, pred = panoptic
    found = evaluate_files(gt, pred, protocol="coco-entity")
    # The recipe by hand: no crowds, the area of the box, no void.
    dataset = EntityDataset.open(root, "panoptic", "val")
    rows = [one for _, own in dataset for one in own]
    by_hand = {
        "images": [{"id": i.id, "height": i.height, "width": i.width} for i in dataset.images],
        "annotations": [
            {"id": k, "image_id": one.image_id, "segmentation": one.segmentation,
             "area": one.bbox[2] * one.bbox[3]}
            for k, one in enumerate(one for one in rows if not one.iscrowd)
        ],
    }  # fmt: skip
    n_crowds = sum(one.iscrowd for one in rows)
    assert n_crowds > 0
    expected = evaluate_plain(by_hand, json.loads(pred.read_bytes())).metrics
    assert found.metrics == pytest.approx(expected, abs=0, nan_ok=True)
    assert 0.1 < found.metrics["APe"] < 1
    assert found.metrics["APe"] != evaluate_files(gt, pred).metrics["APe"]
    assert found.gt.task == "entity"
    assert found.own is None
    assert f"{n_crowds} crowd segments are dropped" in " ".join(map(str, found.warnings))
    assert result_record(found)["parameters"]["protocol"] == "coco-entity"
    # Converted once, it is scored alike, with the name of the protocol or without.
    made = tmp_path / "coco_entity.json"
    assert main(["convert", str(gt), str(made), "--to", "coco-entity"]) == 0
    assert f"lost: {n_crowds} crowd segments" in capsys.readouterr().out
    content = json.loads(made.read_bytes())
    assert [a["id"] for a in content["annotations"]] == list(range(len(rows) - n_crowds))
    assert content["categories"] == [{"id": 0, "name": "entity", "type": "thing"}]
    for protocol in ("entityseg", "coco-entity"):
        assert evaluate_files(made, pred, protocol=protocol).metrics == found.metrics


def test_coco_entity_refuses_other_types(files, panoptic):
    with pytest.raises(InputError, match="made of panoptic segments, and this is entity"):
        evaluate_files(*files, protocol="coco-entity")
