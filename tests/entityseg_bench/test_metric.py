"""EntityMetric gives what evaluate gives for the same masks, and refuses what cannot be scored."""

import json
import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from entity_api import rle
from entityseg_bench import EntityDataset, EntityMetric, InputError, evaluate, evaluate_files
from entityseg_bench.demo import write_demo
from entityseg_bench.score import result_record


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return the data set's folder, its entity file, and seeded predictions for it."""
    root = write_demo(tmp_path_factory.mktemp("demo") / "set", 8, 0, (60, 90))
    dataset = EntityDataset.open(root, "entity", "val")
    rng = np.random.default_rng(3)
    records = []
    for image, annotations in dataset:
        for annotation in annotations:
            mask = rle.decode(annotation.segmentation)
            for shift in (0, 1, 2):
                moved = np.roll(mask, shift, axis=1)
                score = round(float(rng.random()), 1)  # ties
                records.append(
                    {"image_id": image.id, "segmentation": rle.encode(moved), "score": score}
                )
    path = tmp_path_factory.mktemp("metric") / "pred.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return root, root / "annotations/entity_segmentation/entityv2_010203_entity_val.json", path


def of_image(records, image_id):
    own = [record for record in records if record["image_id"] == image_id]
    return [record["segmentation"] for record in own], [record["score"] for record in own]


def filled(metric, records, change=lambda masks: masks, images=None):
    for image in metric.images if images is None else images:
        masks, scores = of_image(records, image.id)
        metric.update(image.id, change(masks), scores)
    return metric


def same(left, right):
    """Assert that two results are one to the last bit."""
    assert list(left.metrics) == list(right.metrics)
    values = [list(side.metrics.values()) for side in (left, right)]
    assert np.array_equal(*values, equal_nan=True)
    assert 0 < left.metrics["APe"] < 1
    for name in ("precision", "recall", "scores"):
        for one in ("submitted", "disjoint"):
            assert np.array_equal(getattr(getattr(left, one), name),
                                  getattr(getattr(right, one), name))  # fmt: skip
    assert np.array_equal(left.overlap.pixels, right.overlap.pixels)


def dense(masks):
    return np.array([rle.decode(mask) for mask in masks])


CHANGES = {"codes": list, "arrays": dense, "list": lambda m: list(dense(m)),
           "bytes": lambda m: [{**r, "counts": r["counts"].encode()} for r in m]}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("source", ["root", "file", "dict", "dataset"])
def test_it_equals_evaluate(files, source, change):
    root, gt, pred = files
    sources = {
        "root": root, "file": gt, "dict": json.loads(gt.read_bytes()),
        "dataset": EntityDataset.open(root, "entity", "val"),
    }  # fmt: skip
    expected = evaluate_files(gt, pred)
    records = json.loads(pred.read_bytes())
    metric = EntityMetric(sources[source], task="entity")
    assert [image.id for image in metric.images] == [image.id for image in expected.gt.images]
    got = filled(metric, records, change).compute()
    same(got.result, expected.result)
    assert [str(w).partition(": ")[2] for w in got.warnings if "scores" in str(w)] == []
    record = result_record(got)
    assert record["metrics"] == result_record(expected)["metrics"]


def test_evaluate_takes_what_is_in_memory(files):
    root, gt, pred = files
    expected = evaluate_files(gt, pred)
    records = json.loads(pred.read_bytes())
    dataset = EntityDataset.open(root, "entity", "val")
    content = json.loads(gt.read_bytes())
    by_image = {im.id: of_image(records, im.id) for im in dataset.images}
    for truth in (str(gt), dataset, content):
        for found in (pred, records, by_image):
            same(evaluate(truth, found).result, expected.result)
    with pytest.raises(InputError, match="predictions: record 0: image_id 99 is not among"):
        evaluate(content, [{"image_id": 99, "segmentation": None, "score": 1}])
    with pytest.raises(InputError, match="ground truth: record 0: image_id 1 is not among"):
        evaluate({"images": [], "annotations": [{"image_id": 1}]}, [])
    twice = {**content, "images": content["images"] + content["images"][:1]}
    with pytest.raises(InputError, match="stands twice"):
        evaluate(twice, records)


def test_order_merging_and_pickles(files):
    _, gt, pred = files
    records = json.loads(pred.read_bytes())
    expected = evaluate_files(gt, pred).result
    metric = EntityMetric(gt)
    backwards = filled(EntityMetric(gt), records, dense, metric.images[::-1])
    same(backwards.compute().result, expected)
    first = filled(EntityMetric(gt), records, dense, metric.images[1::2])
    second = filled(EntityMetric(gt), records, list, metric.images[::2])
    second = pickle.loads(pickle.dumps(second))
    assert len(first) + len(second) == len(metric.images)
    assert first.merge(second) is first
    same(first.compute().result, expected)
    same(first.synchronize().compute().result, expected)
    with pytest.raises(InputError, match="both metrics were updated with it"):
        first.merge(second)
    first.reset()
    assert len(first) == 0
    assert first.compute().metrics["APe"] == 0
    content = json.loads(gt.read_bytes())
    content["annotations"].pop()
    with pytest.raises(InputError, match="different ground truth"):
        first.merge(EntityMetric(content))


def test_compute_between_updates(files):
    _, gt, pred = files
    records = json.loads(pred.read_bytes())
    metric = EntityMetric(gt)
    filled(metric, records, images=metric.images[:1])
    early = metric.compute()
    assert any("have no predictions" in str(warning) for warning in early.warnings)
    filled(metric, records, images=metric.images[1:])
    same(metric.compute().result, evaluate_files(gt, pred).result)


GT = {
    "images": [{"id": 7, "height": 4, "width": 6, "file_name": "a.jpg"}],
    "annotations": [{"image_id": 7, "segmentation": {"size": [4, 6], "counts": [0, 24]}}],
}
MASK = np.ones((4, 6), bool)

REFUSED = {
    "unknown": ((8, [MASK], [1]), "there is no image 8 among the 1 images"),
    "unhashable": (([7], [MASK], [1]), r"there is no image \[7\] among"),
    "size": ((7, [MASK, MASK.T], [1, 1]), r"image 7 .a.jpg., mask 1: its shape \[6, 4\] is not"),
    "size of a code": ((7, [rle.encode(MASK.T)], [1]), "image 7 .a.jpg., mask 0: .*size"),
    "nan": ((7, [MASK], [np.nan]), "image 7 .a.jpg., mask 0: its score nan is not finite"),
    "infinite": ((7, [MASK], [np.inf]), "its score inf is not finite"),
    "none": ((7, [MASK]), "its 1 masks have no scores"),
    "few": ((7, [MASK, MASK], [1]), r"there are 2 masks and scores of shape \(1,\)"),
    "soft": ((7, [MASK * 0.3], [1]), "mask 0: .*threshold"),
    "records": ((7, [{"segmentation": MASK}]), "no score and no predicted_iou"),
    "one mask": ((7, MASK, [1]), r"not \(4, 6\)"),
    "text": ((7, "mask", [1]), "not str"),
    "classes": ((7, [MASK], [1], [0.5]), "no whole numbers"),
}


@pytest.mark.parametrize(("args", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_leaves_nothing(args, said):
    metric = EntityMetric(GT)
    with pytest.raises(InputError, match=said) as caught:
        metric.update(*args)
    assert "\n" not in str(caught.value)
    assert len(metric) == 0
    metric.update(7, [MASK], [0.5])
    with pytest.raises(InputError, match=r"image 7 .a.jpg.: it was updated before"):
        metric.update(7, [MASK], [0.5])
    assert metric.compute().metrics["APe"] == pytest.approx(1)


def test_masks_of_a_generator():
    """SAM returns dictionaries; predicted_iou stands for the score, and the result says so."""
    metric = EntityMetric(GT)
    half = MASK.copy()
    half[:2] = False
    found = [
        {"segmentation": half, "predicted_iou": 0.4, "area": 12, "stability_score": 0.99},
        {"segmentation": rle.encode(MASK), "predicted_iou": 0.9},
    ]
    metric.update(7, found)
    result = metric.compute()
    assert result.metrics["AP50"] == pytest.approx(1)
    assert result.dt.scores.tolist() == [0.4, 0.9]
    assert any("score = predicted_iou" in str(warning) for warning in result.warnings)
    metric.reset()
    metric.update(7, found, [0.9, 0.4])
    assert metric.compute().result.dt.scores.tolist() == [0.9, 0.4]
    metric.reset()
    metric.update(7, [{**found[1], "score": 0.2}])
    assert metric.compute().warnings == []


def test_ground_truth_without_images():
    metric = EntityMetric({"images": [], "annotations": []})
    with pytest.raises(InputError, match="no image 7 among the 0 images"):
        metric.update(7, [MASK], [1])
    assert np.isnan(metric.compute().metrics["APe"])


def test_images_without_predictions():
    metric = EntityMetric(GT)
    metric.update(7, np.zeros((0, 4, 6), bool))
    assert metric.compute().metrics["APe"] == 0
    assert repr(metric) == "EntityMetric(entity, 1 of 1 images updated, 0 predictions)"


def test_paths_of_images(files):
    root, gt, _ = files
    image = EntityMetric(root, task="entity").images[0]
    assert image.path.is_file()
    assert image.read().shape == (image.height, image.width, 3)
    assert EntityMetric(gt, images=root).images[0].path == image.path
    with pytest.raises(InputError, match=r"nothing says where images are.*images=FOLDER"):
        _ = EntityMetric(GT).images[0].path


def test_memory_does_not_grow_with_pixels():
    side = 1000
    gt = {"images": [{"id": k, "height": side, "width": side} for k in range(20)],
          "annotations": []}  # fmt: skip
    metric = EntityMetric(gt)
    tracemalloc.start()
    for image in metric.images:
        masks = np.zeros((10, side, side), bool)
        masks[:, 100:300, 100:300] = True
        metric.update(image.id, masks, np.arange(10))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The pixels of the last image that are alive here, and the codes: 20 images have 200 MB.
    assert held < 2 * 10 * side * side


def test_it_does_not_import_torch():
    code = (
        "import numpy as np, sys, entityseg_bench as e\n"
        "m = e.EntityMetric({'images': [{'id': 1, 'height': 2, 'width': 2}], 'annotations': []})\n"
        "m.update(1, np.ones((1, 2, 2), bool), [1])\n"
        "m.synchronize().compute()\n"
        "assert not {'torch', 'pandas', 'matplotlib', 'PIL'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
