"""Granularity-agnostic recall on images that a reader can check, and against its definition."""

import numpy as np
import pytest

from entity_api import EvalParams, GroundTruth, evaluate, rle
from entity_api.granularity import WAYS, granularity_recall

SIZE = (20, 40)


def box(x, y, w, h):
    mask = np.zeros(SIZE, bool)
    mask[y : y + h, x : x + w] = True
    return mask


def ways(truth, masks, thr=0.5, crowds=(), **params):
    """Return the way of each entity of one image at one threshold."""
    gt = {
        "images": [{"id": 1, "height": SIZE[0], "width": SIZE[1]}],
        "annotations": [
            {"image_id": 1, "segmentation": mask, "iscrowd": int(k in crowds)}
            for k, mask in enumerate(truth)
        ],
    }
    gt = GroundTruth.from_coco(gt)
    scores = np.linspace(1, 0.5, len(masks))
    result = evaluate(gt, {1: (masks, scores)}, EvalParams(iou_thrs=[thr], **params))
    found = granularity_recall(gt, result)
    return [WAYS[code] if code >= 0 else "crowd" for code in found.way[0]], found


LEFT, RIGHT = box(0, 0, 20, 20), box(20, 0, 20, 20)
WHOLE_IMAGE = box(0, 0, 40, 20)


def test_whole_pieces_merged_missed():
    assert ways([LEFT, RIGHT], [LEFT, RIGHT])[0] == ["whole", "whole"]
    quarters = [box(0, 0, 10, 10), box(10, 0, 10, 10), box(0, 10, 10, 10), box(10, 10, 10, 10)]
    found, recall = ways([LEFT, RIGHT], quarters)
    assert found == ["pieces", "missed"]
    assert recall.n_pieces.tolist() == [[4, 0]]
    assert recall.metrics()["pieces_per_entity"] == 4
    # Three quarters have IoU 0.75.
    assert ways([LEFT, RIGHT], quarters[:3], 0.75)[0] == ["pieces", "missed"]
    assert ways([LEFT, RIGHT], quarters[:3], 0.8)[0] == ["missed", "missed"]
    assert ways([LEFT, RIGHT], [WHOLE_IMAGE], 0.75)[0] == ["merged", "merged"]
    # At 0.5 one-to-one matching takes one of two equal halves.
    assert sorted(ways([LEFT, RIGHT], [WHOLE_IMAGE])[0]) == ["merged", "whole"]


def test_what_spills_out_is_no_piece():
    spill = box(10, 0, 20, 20)  # half in each
    assert ways([LEFT, RIGHT], [box(0, 0, 10, 20), spill], 0.6)[0] == ["missed", "missed"]
    piece = box(10, 0, 14, 20)  # 10 of 14 columns in LEFT: a piece at 0.7, none at 0.75
    first = box(0, 0, 10, 20)
    assert ways([LEFT, RIGHT], [first, piece], 0.7)[0][0] == "pieces"
    assert ways([LEFT, RIGHT], [first, piece], 0.75)[0][0] == "missed"


def test_a_mask_that_is_no_union_of_entities_merges_nothing():
    small = [box(0, 0, 4, 4), box(6, 0, 4, 4)]
    # 32 of 800 pixels are of entities.
    assert ways(small, [WHOLE_IMAGE])[0] == ["missed", "missed"]
    # One entity alone is not merged, however well it is covered.
    assert ways([small[0]], [box(0, 0, 10, 4)])[0] == ["missed"]


def test_crowds_do_not_count():
    found, recall = ways([LEFT, RIGHT], [WHOLE_IMAGE], 0.75, crowds=[1])
    assert found == ["missed", "crowd"]
    assert recall.metrics()["GR"] == 0
    _, recall = ways([LEFT], [LEFT], crowds=[0])
    assert np.isnan(recall.metrics()["GR"])


def test_only_what_ap_counts_is_read():
    halves = [box(0, 0, 10, 20), box(10, 0, 10, 20)]
    assert ways([LEFT], halves, 0.75, max_dets=(1,))[0] == ["missed"]
    assert ways([LEFT], halves, 0.75, max_dets=(1, 2))[0] == ["pieces"]
    assert ways([LEFT], halves, 0.75, max_dets=(1, 2), ap_max_det=1)[0] == ["missed"]
    # A mask that is hidden whole takes no rank.
    assert ways([LEFT], [halves[0], halves[0], halves[1]], 0.75, max_dets=(2,))[0] == ["pieces"]


def by_definition(truth, masks, scores, result, thr, limit):
    """Say the way of each entity, in dense arrays."""
    taken, visible = np.zeros(SIZE, bool), []
    for k in np.argsort(-scores, kind="stable"):
        left = masks[k] & ~taken
        taken |= masks[k]
        if left.any() or not masks[k].any():
            visible.append(left)
    visible = visible[:limit]

    def iou(a, b):
        return (a & b).sum() / max((a | b).sum(), 1)

    said = []
    for g, entity in enumerate(truth):
        pieces = [p for p in visible if (p & entity).sum() > p.sum() / 2
                  and (p & entity).sum() >= thr * p.sum()]  # fmt: skip
        merged = False
        for p in visible:
            inside = [(p & e).sum() > e.sum() / 2 and (p & e).sum() >= thr * e.sum() for e in truth]
            union = np.any([e for e, own in zip(truth, inside, strict=True) if own], axis=0)
            merged |= inside[g] and sum(inside) > 1 and iou(p, union) >= thr
        if result.disjoint.matches.gt_dt[0, 0, g] >= 0:
            said.append("whole")
        elif pieces and iou(np.any(pieces, axis=0), entity) >= thr:
            said.append("pieces")
        else:
            said.append("merged" if merged else "missed")
    return said


@pytest.mark.parametrize("thr", [0.5, 0.6, 0.75, 0.9])
@pytest.mark.parametrize("apart", [True, False])
def test_against_the_definition(thr, apart):
    rng = np.random.default_rng(7)
    seen = set()
    for _ in range(60):
        # Blocks of a grid; entities of a set of data that overlaps are two blocks wide.
        grid = [box(x, y, 8, 5) for x in range(0, 40, 8) for y in range(0, 20, 5)]
        wide = [] if apart else [box(x, 5, 16, 5) for x in (0, 16)]
        truth = [grid[k] for k in rng.choice(20, 7, replace=False)] + wide
        masks = []
        for _ in range(10):
            k, n = rng.integers(20), rng.integers(1, 4)
            mask = np.any([grid[j] for j in range(k, min(k + n, 20))], axis=0)
            if rng.random() < 0.5:
                mask &= box(*rng.integers([0, 0, 20, 10], [10, 10, 41, 21]))
            masks.append(np.roll(mask, rng.integers(-1, 2), axis=1))
        scores = np.round(rng.random(10), 1)
        gt = GroundTruth.from_masks([truth])
        result = evaluate(gt, [(masks, scores)], EvalParams(iou_thrs=[thr], max_dets=(9,)))
        found = [WAYS[code] for code in granularity_recall(gt, result).way[0]]
        assert found == by_definition(truth, masks, scores, result, thr, 9)
        seen |= set(found)
    assert seen >= {"whole", "missed", "merged"}


def test_whole_is_the_recall_of_ape():
    rng = np.random.default_rng(0)
    truth = [[box(*rng.integers([0, 0, 3, 3], [30, 10, 12, 12])) for _ in range(5)]
             for _ in range(4)]  # fmt: skip
    found = [([np.roll(m, 1, 1) for m in own], rng.random(5)) for own in truth]
    gt = GroundTruth.from_masks(truth)
    result = evaluate(gt, found)
    metrics = granularity_recall(gt, result).metrics()
    assert metrics["whole"] == pytest.approx(result.metrics["ARe100"], abs=1e-12)
    assert metrics["GR"] == pytest.approx(sum(metrics[way] for way in WAYS[1:]), abs=1e-12)
    assert metrics["GR50"] >= metrics["GR"]


def test_results_of_another_sort_are_refused():
    gt = GroundTruth.from_masks([[LEFT]])
    for params in ({"remove_overlaps": False}, {"class_aware": True}):
        result = evaluate(gt, [([rle.encode(LEFT)], [1])], EvalParams(**params))
        with pytest.raises(ValueError, match="class-agnostic AP"):
            granularity_recall(gt, result)
