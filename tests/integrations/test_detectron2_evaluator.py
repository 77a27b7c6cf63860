"""The metric as a detectron2 evaluator."""

import json

import numpy as np
import pytest

pytest.importorskip("detectron2", reason="detectron2 is not installed: see docs/detectron2.md")

import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import COCOEvaluator, SemSegEvaluator
from detectron2.structures import Boxes, Instances

from entity_api import EvalParams, evaluate, rle
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.integrations.detectron2 import EntityEvaluator, open_registered

# detectron2's own evaluators do not know NumPy 2, nor what became of logging's warn().
DATED = pytest.mark.filterwarnings("ignore::DeprecationWarning")
NAMES = {
    "entity": "entityv2_entity_val_all",
    "instance": "entityv2_instance_val",
    "semantic": "entityv2_sem150_test",
    "panoptic": "entityv2_panoptic_val",
}


def outputs_of(dataset, image_idx, change=lambda mask: mask, seed=None):
    """Turn the annotations of an image into what a model would give, its masks changed."""
    image, rows = dataset.images[image_idx], dataset.annotations(image_idx)
    rng = np.random.default_rng(seed)
    scores = rng.random(len(rows)) if seed is not None else np.ones(len(rows))
    at = {category.id: idx for idx, category in enumerate(dataset.categories)}
    classes = [at[row.category_id] for row in rows]
    masks = [change(rle.decode(row.segmentation)) for row in rows]
    if dataset.task == "semantic":
        best = torch.zeros(len(dataset.categories) + 1, image.height, image.width)
        for class_idx, mask in zip(classes, masks, strict=True):
            best[class_idx][torch.from_numpy(mask)] = 1.0
        return {"sem_seg": best[:-1]}
    if dataset.task == "panoptic":
        ids = np.zeros((image.height, image.width), np.int32)
        for n, mask in enumerate(masks, start=1):
            ids[mask] = n
        infos = [{"id": n, "category_id": k} for n, k in enumerate(classes, start=1)]
        return {"panoptic_seg": (torch.from_numpy(ids), infos)}
    found = Instances((image.height, image.width))
    found.pred_masks = torch.from_numpy(np.stack(masks)).float()
    found.pred_boxes = Boxes(torch.zeros(len(rows), 4))
    found.scores = torch.from_numpy(scores)
    found.pred_classes = torch.tensor(classes)
    return {"instances": found}


def run(evaluator, dataset, **about):
    evaluator.reset()
    for idx, image in enumerate(dataset.images):
        output = outputs_of(dataset, idx, **about)
        evaluator.process([{"image_id": image.id}], [output])
    return evaluator.evaluate()


def without_crowds(dataset):
    """Give the same data without the annotations that no prediction is to match."""
    images = dataset.images
    rows = [row for _, own in dataset for row in own if not row.iscrowd]
    return EntityDataset(images, rows, dataset.categories, dataset.task)


@pytest.mark.parametrize("task", NAMES)
def test_the_ground_truth_is_perfect(registered, task, tmp_path):
    dataset = without_crowds(open_registered(NAMES[task]))
    results = run(EntityEvaluator(NAMES[task], tmp_path), dataset)
    own = {
        "entity": ("segm", ("AP", "APe", "AP50", "APm")),
        "instance": ("segm", ("AP",)),
        "semantic": ("sem_seg", ("mIoU", "pACC")),
        "panoptic": ("panoptic_seg", ("PQ", "SQ_th", "RQ_st")),
    }
    group, names = own[task]
    assert list(results) == ([group] if task == "entity" else [group, "entity"])
    for name in names:
        assert results[group][name] == pytest.approx(100), name
    if task in ("instance", "panoptic"):
        assert results["entity"]["APe"] == pytest.approx(100)


def shifted(mask):
    return np.roll(mask, 3, axis=1)


@pytest.mark.parametrize("task", ["entity", "instance"])
def test_numbers_are_the_evaluators(registered, tmp_path, task):
    dataset = open_registered(NAMES[task])
    found = run(EntityEvaluator(NAMES[task], tmp_path), dataset, change=shifted, seed=1)
    records = []
    for idx, image in enumerate(dataset.images):
        instances = outputs_of(dataset, idx, shifted, 1)["instances"]
        records += [
            {
                "image_id": image.id,
                "category_id": dataset.categories[k].id,
                "score": score,
                "segmentation": rle.encode(mask.numpy() > 0),
            }
            for mask, score, k in zip(
                instances.pred_masks,
                instances.scores.tolist(),
                instances.pred_classes.tolist(),
                strict=True,
            )
        ]
    metrics = evaluate(dataset.ground_truth(), records).metrics
    same = {name: 100 * value for name, value in metrics.items()}
    got = found["segm" if task == "entity" else "entity"]
    assert got == pytest.approx(same, rel=0, abs=0, nan_ok=True)
    assert 0 < got["APe"] < 100
    if task == "instance":
        aware = evaluate(dataset.ground_truth(), records, EvalParams(class_aware=True)).metrics
        assert found["segm"]["AP"] == 100 * aware["AP"]


@DATED
def test_detectron2s_own_instance_numbers(registered):
    """pycocotools behind detectron2's evaluator scores the same predictions the same."""
    name = NAMES["instance"]
    dataset = open_registered(name)
    theirs = COCOEvaluator(name, tasks=("segm",), distributed=False, use_fast_impl=False)
    theirs.reset()
    for idx, image in enumerate(dataset.images):
        theirs.process([{"image_id": image.id}], [outputs_of(dataset, idx, shifted, 1)])
    expected = theirs.evaluate()["segm"]
    found = run(EntityEvaluator(name), dataset, change=shifted, seed=1)["segm"]
    assert 0 < found["AP"] < 100
    for metric in ("AP", "AP50", "AP75", "APs", "APm", "APl"):
        assert found[metric] == pytest.approx(expected[metric], abs=1e-9, nan_ok=True), metric


@DATED
def test_detectron2s_own_semantic_numbers(registered):
    name = NAMES["semantic"]
    dataset = open_registered(name)
    theirs = SemSegEvaluator(name, distributed=False)
    theirs.reset()
    for idx, row in enumerate(DatasetCatalog.get(name)):
        theirs.process([row], [outputs_of(dataset, idx, shifted)])
    expected = theirs.evaluate()["sem_seg"]
    found = run(EntityEvaluator(name), dataset, change=shifted)["sem_seg"]
    assert 0 < found["mIoU"] < 100
    for metric in ("mIoU", "fwIoU", "mACC", "pACC"):
        assert found[metric] == pytest.approx(expected[metric], abs=1e-9), metric


def test_the_results_file_is_the_originals(registered, tmp_path):
    dataset = open_registered(NAMES["entity"])
    run(EntityEvaluator(NAMES["entity"], tmp_path), dataset)
    rows = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert len(rows) == sum(len(own) for _, own in dataset)
    assert set(rows[0]) == {"image_id", "category_id", "bbox", "score", "segmentation"}
    assert {row["category_id"] for row in rows} == {1}
    assert rows[0]["bbox"] == [0, 0, 0, 0]
    result = json.loads((tmp_path / "entityseg_result.json").read_text())
    assert result["task"] == "entity"
    assert result["counts"]["predictions"] == len(rows)


def test_boxes_as_the_model_gives_them(registered, tmp_path):
    dataset = open_registered(NAMES["entity"])
    evaluator = EntityEvaluator(NAMES["entity"], tmp_path)
    for idx, image in enumerate(dataset.images):
        output = outputs_of(dataset, idx)
        n = len(output["instances"])
        output["instances"].pred_boxes = Boxes(torch.tensor([[1.0, 2.0, 5.0, 9.0]] * n))
        evaluator.process([{"image_id": image.id}], [output])
    evaluator.evaluate()
    rows = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert rows[0]["bbox"] == [1, 2, 4, 7]


def test_files_of_maps(registered, tmp_path):
    for task in ("semantic", "panoptic"):
        dataset = open_registered(NAMES[task])
        run(EntityEvaluator(NAMES[task], tmp_path / task), dataset)
        assert len(list((tmp_path / task / task).rglob("*.png"))) == len(dataset)
    rows = json.loads((tmp_path / "semantic/sem_seg_predictions.json").read_text())
    assert set(rows[0]) == {"file_name", "category_id", "segmentation"}
    rows = json.loads((tmp_path / "panoptic/predictions.json").read_text())["annotations"]
    assert set(rows[0]) == {"image_id", "file_name", "segments_info"}


def test_nothing_need_be_kept(registered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = open_registered(NAMES["entity"])
    assert run(EntityEvaluator(NAMES["entity"]), dataset)["segm"]["AP50"] > 0
    assert not list(tmp_path.iterdir())


def test_images_without_predictions_are_no_gap_in_the_count(registered):
    """A model may find nothing in an image, which then counts as missed."""
    dataset = open_registered(NAMES["entity"])
    evaluator = EntityEvaluator(NAMES["entity"])
    for image in dataset.images:
        nothing = Instances((image.height, image.width))
        nothing.pred_masks = torch.zeros(0, image.height, image.width)
        nothing.scores = torch.zeros(0)
        evaluator.process([{"image_id": image.id}], [{"instances": nothing}])
    assert evaluator.evaluate()["segm"]["APe"] == 0


def test_gaps_and_doubles_are_refused(registered):
    dataset = open_registered(NAMES["entity"])
    evaluator = EntityEvaluator(NAMES["entity"])
    inputs = [{"image_id": dataset.images[0].id}]
    evaluator.process(inputs, [outputs_of(dataset, 0)])
    with pytest.raises(ValueError, match=r"has 4 images, .* came for 1 .*; 3 have none"):
        evaluator.evaluate()
    evaluator.reset()
    for _ in range(2):
        for idx, image in enumerate(dataset.images):
            evaluator.process([{"image_id": image.id}], [outputs_of(dataset, idx)])
    with pytest.raises(ValueError, match="each once"):
        evaluator.evaluate()


def test_outputs_of_another_type(registered):
    evaluator = EntityEvaluator(NAMES["panoptic"])
    with pytest.raises(ValueError, match=r"is scored by 'panoptic_seg' .* which has instances"):
        evaluator.process([{"image_id": 1}], [{"instances": Instances((1, 1))}])


def test_other_data_sets_are_refused():
    with pytest.raises(ValueError, match="registered no 'coco_2017_val'"):
        EntityEvaluator("coco_2017_val")
