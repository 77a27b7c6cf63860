"""EntityMetric merges by states: without masks, and with the result of one process in every bit."""

import pickle

import numpy as np
import pytest

from entity_api import EvalParams, rle
from entityseg_bench import EntityMetric, InputError
from entityseg_bench.resampling import confidence_intervals
from entityseg_bench.score import result_record

HEIGHT, WIDTH, N = 24, 31, 9
TYPES = {1: "thing", 2: "thing", 3: "stuff"}


def boxes(rng, n):
    """Draw masks, some of which overlap."""
    masks = np.zeros((n, HEIGHT, WIDTH), bool)
    for mask in masks:
        y, x = rng.integers(0, HEIGHT - 4), rng.integers(0, WIDTH - 4)
        mask[y : y + rng.integers(3, 12), x : x + rng.integers(3, 14)] = True
    return masks


def disjoint(masks):
    """Leave each pixel to the first mask that covers it."""
    return masks & (np.cumsum(masks, axis=0) == 1)


@pytest.fixture(scope="module")
def drawn():
    """Return ground truth whose ids do not rise, and predictions on all images but the last."""
    rng = np.random.default_rng(5)
    ids = [70, 3, "b", 12, 5, "a", 8, 1, 99]
    truth = {"images": [], "annotations": [], "categories": []}
    truth["categories"] = [{"id": k, "name": f"c{k}", "type": v} for k, v in TYPES.items()]
    found = {}
    for image_id in ids:
        truth["images"].append({"id": image_id, "height": HEIGHT, "width": WIDTH, "file_name": ""})
        masks = boxes(rng, int(rng.integers(1, 6)))
        kept = disjoint(masks)
        own = [mask for mask in kept if mask.any()]
        for mask in own:
            record = {"image_id": image_id, "segmentation": rle.encode(mask)}
            record |= {"category_id": int(rng.integers(1, 4)), "id": len(truth["annotations"])}
            truth["annotations"].append(record | {"iscrowd": 0})
        moved = np.array([np.roll(mask, rng.integers(0, 3), axis=1) for mask in own] * 2)
        scores = rng.integers(0, 6, len(moved)) / 8  # ties
        found[image_id] = moved, scores, rng.integers(1, 4, len(moved))
    del found[ids[-1]]
    return truth, found


def filled(metric, found, ids):
    for image_id in ids:
        metric.update(image_id, *found[image_id])
    return metric


def same(left, right):
    """Assert that all that both results say is one to the last bit."""
    records = [result_record(one) for one in (left, right)]
    assert records[0] == records[1]
    assert 0 < left.metrics["AP"] < 1
    passes = ("submitted", "disjoint") if left.result.disjoint else ("submitted",)
    for one in passes:
        for name in ("precision", "recall", "scores"):
            arrays = [getattr(getattr(side.result, one), name) for side in (left, right)]
            assert np.array_equal(*arrays)
    if left.result.overlap:
        for name in ("pixels", "covered", "pairs", "hidden"):
            arrays = [getattr(side.result.overlap, name) for side in (left, right)]
            assert np.array_equal(*arrays)


SETTINGS = {
    "entity": {},
    "instance": {"task": "instance"},
    "panoptic": {"task": "panoptic"},
    "by class": {"params": EvalParams(class_aware=True)},
    "no overlaps": {"params": EvalParams(remove_overlaps=False, max_dets=(1, 3))},
    "coco-entity": {"protocol": "coco-entity", "task": "panoptic"},
    "ar1000": {"protocol": "ar1000"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_parts_give_the_result_of_one(drawn, settings):
    truth, found = drawn
    ids = list(found)
    whole = filled(EntityMetric(truth, **settings), found, ids).compute()
    in_turn = EntityMetric(truth, **settings)
    for image_id in ids[:-1]:
        filled(in_turn, found, [image_id]).condense()
    same(filled(in_turn, found, ids[-1:]).compute(), whole)
    same(in_turn.compute(), whole)
    parts = [filled(EntityMetric(truth, **settings), found, ids[k::3]) for k in range(3)]
    sent = pickle.loads(pickle.dumps(parts[1].condense()))
    same(parts[2].merge(sent).merge(parts[0]).compute(), whole)
    same(parts[0].merge(EntityMetric(truth, **settings)).merge(sent).merge(
        filled(EntityMetric(truth, **settings), found, ids[2::3])).compute(), whole)  # fmt: skip


def test_what_is_left_does_not_hang_on_the_masks():
    """Twice as many runs and sixteen times the pixels: not a byte more."""
    sizes = []
    for side in (40, 160):
        gt = {"images": [{"id": 0, "height": side, "width": side}], "annotations": []}
        metric = EntityMetric(gt)
        masks = np.zeros((50, side, side), bool)
        masks[:, :: side // 20] = True
        before = len(pickle.dumps(metric.condense()))
        metric.update(0, masks, np.arange(50) / 64)
        assert len(pickle.dumps(metric)) > before + 50 * side
        sizes.append(len(pickle.dumps(metric.condense())) - before)
    assert abs(sizes[0] - sizes[1]) < 8
    assert len(metric) == 1
    assert repr(metric) == "EntityMetric(entity, 1 of 1 images updated, 50 predictions)"


def test_what_is_forgotten_is_refused(drawn):
    truth, found = drawn
    metric = filled(EntityMetric(truth), found, list(found)[:4]).condense()
    with pytest.raises(InputError, match="it was updated before"):
        filled(metric, found, list(found)[:1])
    with pytest.raises(InputError, match="scored by other params when they were merged"):
        metric.compute(EvalParams(max_dets=(1, 10)))
    metric.compute(EvalParams(threads=1))
    with pytest.raises(InputError, match="states differ in max_dets"):
        other = filled(EntityMetric(truth, params=EvalParams(max_dets=(1, 2))), found, [8])
        metric.merge(other.condense())
    scoring = metric.compute()
    for reads in (
        lambda: scoring.dt.detections(),
        lambda: scoring.dt.rle(0),
        lambda: scoring.dt.rles(0),
    ):
        with pytest.raises(InputError, match="the masks were forgotten"):
            reads()
    for rows in ("images", "entities", "predictions"):
        with pytest.raises(ValueError, match="the result is of a state"):
            scoring.to_frame(rows)
    with pytest.raises(ValueError, match="the result is of a state"):
        confidence_intervals(scoring.result, scoring.dt.scores, 10)
    assert scoring.to_frame()["submitted"][0] == scoring.metrics["AP"]
    metric.reset()
    assert len(metric) == 0
    assert metric.compute(EvalParams(max_dets=(1, 10))).metrics["AP"] == 0
