"""EntityMetric with PyTorch: tensors of all kinds, and two ranks that give one result."""

import json

import numpy as np
import pytest
import torch
from metric_ranks import in_ranks

from entity_api import evaluate, rle
from entityseg_bench import EntityDataset, EntityMetric, InputError, evaluate_files
from entityseg_bench.demo import write_demo


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return ground truth and predictions, three for each entity."""
    folder = tmp_path_factory.mktemp("ranks")
    root = write_demo(folder / "set", 8, 0, (60, 90))
    rng = np.random.default_rng(3)
    records = []
    for image, annotations in EntityDataset.open(root, "entity", "val"):
        for annotation in annotations:
            mask = rle.decode(annotation.segmentation)
            for shift in (0, 1, 2):
                score = round(float(rng.random()), 1)
                moved = rle.encode(np.roll(mask, shift, axis=1))
                records.append({"image_id": image.id, "segmentation": moved, "score": score})
    (folder / "pred.json").write_text(json.dumps(records), encoding="utf-8")
    gt = root / "annotations/entity_segmentation/entityv2_010203_entity_val.json"
    return gt, folder / "pred.json"


def update(metric, records, image):
    own = [record for record in records if record["image_id"] == image.id]
    masks = torch.from_numpy(np.array([rle.decode(one["segmentation"]) for one in own]))
    metric.update(image.id, masks, torch.tensor([one["score"] for one in own], dtype=torch.float64))


def scored(metric):
    """Return what a result says, bit by bit."""
    result = metric.compute()
    return [
        [value.hex() for value in result.metrics.values()],
        result.result.disjoint.precision.ravel().tolist(),
        [str(warning) for warning in result.warnings],
    ]


def one_rank(rank, world, gt, pred, repeat):
    metric = EntityMetric(gt)
    records = json.loads(pred.read_bytes())
    own = list(range(rank, len(metric.images), world))
    if repeat:
        # As a sampler fills up the last rank.
        own += [0] if rank else []
    if repeat == "other":
        records = [{**record, "score": record["score"] + rank} for record in records]
    for idx in own:
        update(metric, records, metric.images[idx])
    return scored(metric.synchronize().synchronize())


@pytest.mark.parametrize("repeat", ["", "alike"])
def test_two_ranks_give_the_result_of_one(files, tmp_path, repeat):
    gt, pred = files
    found = in_ranks(one_rank, 2, tmp_path, gt, pred, repeat)
    assert found[0] == found[1]
    expected = evaluate_files(gt, pred)
    assert found[0][0] == [value.hex() for value in expected.result.metrics.values()]
    assert found[0][1] == expected.result.disjoint.precision.ravel().tolist()
    assert found[0][2] == []
    assert 0 < expected.result.metrics["APe"] < 1


def test_ranks_that_differ_say_so(files, tmp_path):
    found = in_ranks(one_rank, 2, tmp_path, *files, "other")
    assert found[0] == found[1]
    (warning,) = found[0][2]
    assert "1 images were predicted by several ranks, and not alike" in warning


def other_truth(rank, world, gt):
    content = json.loads(gt.read_bytes())
    content["annotations"] = content["annotations"][rank:]
    with pytest.raises(InputError, match="has other ground truth than this"):
        EntityMetric(content).synchronize()
    return True


def test_ranks_with_other_ground_truth(files, tmp_path):
    assert in_ranks(other_truth, 2, tmp_path, files[0]) == [True, True]


def sent_twice(rank, world, gt, pred):
    """Share out half of the images, condense some, synchronize, and go on with the others."""
    metric, records = EntityMetric(gt), json.loads(pred.read_bytes())
    for images in (metric.images[:2], metric.images[2:5], metric.images[5:]):
        for image in images[rank::world]:
            update(metric, records, image)
        if len(metric) < 2:
            metric.condense()
        metric.synchronize()
    return scored(metric)


def test_ranks_go_on_after_they_were_synchronized(files, tmp_path):
    gt, pred = files
    found = in_ranks(sent_twice, 2, tmp_path, gt, pred)
    assert found[0] == found[1]
    expected = evaluate_files(gt, pred)
    assert found[0][0] == [value.hex() for value in expected.result.metrics.values()]
    assert found[0][1] == expected.result.disjoint.precision.ravel().tolist()


def one_fails(rank, world, gt, pred):
    metric, records = EntityMetric(gt), json.loads(pred.read_bytes())
    update(metric, records, metric.images[rank])
    if rank:
        metric._part = broken
    with pytest.raises(InputError, match="cannot be scored"):
        metric.synchronize()
    unlike = EntityMetric(gt)
    for image in unlike.images[: 1 + rank]:
        update(unlike, records, image)
    with pytest.raises(InputError, match="condensed on several ranks, and not all of them alike"):
        unlike.condense().synchronize()
    return True


def broken(found):
    raise InputError("gt", "", "it cannot be scored.")


def test_what_fails_on_one_rank_stops_all(files, tmp_path):
    assert in_ranks(one_fails, 2, tmp_path, *files) == [True, True]


KINDS = {
    "bool": lambda t: t, "uint8": lambda t: t.to(torch.uint8), "float": lambda t: t.float(),
    "half": lambda t: t.half(), "bfloat16": lambda t: t.bfloat16(), "axis": lambda t: t[:, None],
    "list": list, "grad": lambda t: t.float().requires_grad_(),
    "strided": lambda t: torch.stack([t, t], -1)[..., 0],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_tensors_are_masks(kind):
    rng = np.random.default_rng(0)
    masks = rng.random((3, 8, 9)) > 0.5
    scores = torch.tensor([0.5, 0.25, 0.75])
    expected = evaluate([masks], [(masks, scores.tolist())]).metrics
    tensor = kind(torch.from_numpy(masks))
    for given in (scores, scores.half(), scores.bfloat16(), scores.clone().requires_grad_()):
        found = evaluate([tensor], [(tensor, given)]).metrics
        assert np.array_equal([*found.values()], [*expected.values()], equal_nan=True)
    gt = {"images": [{"id": 5, "height": 8, "width": 9}], "annotations": [
        {"image_id": torch.tensor(5), "segmentation": mask} for mask in torch.from_numpy(masks)
    ]}  # fmt: skip
    metric = EntityMetric(gt)
    metric.update(torch.tensor([5]), tensor, scores)
    found = metric.compute().metrics
    assert np.array_equal([*found.values()], [*expected.values()], equal_nan=True)


def test_probabilities_are_refused():
    metric = EntityMetric([torch.ones((1, 8, 9), dtype=torch.bool)])
    with pytest.raises(InputError, match="threshold"):
        metric.update(0, torch.rand((1, 8, 9)), torch.tensor([0.5]))
