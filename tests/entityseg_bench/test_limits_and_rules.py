"""AP at 100 beside AR at 1000 in one run, and AP^e by each overlap rule."""

import numpy as np
import pytest

from entity_api import EvalParams, evaluate, remove_overlaps, rle
from entityseg_bench.resampling import confidence_intervals, image_metrics

SIZE = (48, 64)


def boxes(rng, n, most):
    """Draw rectangles of up to ``most`` pixels a side."""
    masks = np.zeros((n, *SIZE), bool)
    for mask in masks:
        y, x = rng.integers(0, SIZE[0] - 2), rng.integers(0, SIZE[1] - 2)
        h, w = rng.integers(2, most, 2)
        mask[y : y + h, x : x + w] = True
    return masks


@pytest.fixture(scope="module")
def sides():
    """Return three images: few, more than 10 and more than 100 predictions, many of them right."""
    rng = np.random.default_rng(8)
    truth, found = [], []
    for n_gt, n_dt in ((4, 6), (9, 40), (30, 260)):
        gt = boxes(rng, n_gt, 20)
        near = np.roll(gt[rng.integers(0, n_gt, n_dt // 2)], 1, axis=2)
        dt = np.concatenate([near, boxes(rng, n_dt - len(near), 20)])
        truth.append(gt)
        found.append((dt, np.round(rng.random(n_dt), 2)))
    return truth, found


def test_more_detections_leave_ap_where_it_is(sides):
    usual = evaluate(*sides)
    more = evaluate(*sides, EvalParams(max_dets=(1, 10, 100, 1000)))
    assert {name: more.metrics[name] for name in usual.metrics} == pytest.approx(
        usual.metrics, abs=0, nan_ok=True
    )
    assert set(more.metrics) - set(usual.metrics) == {"AR1000", "ARe1000"}
    assert more.metrics["AR1000"] > more.metrics["AR100"] + 0.01
    at_1000 = evaluate(*sides, EvalParams(max_dets=(1, 10, 1000)))
    assert at_1000.metrics["AR1000"] == more.metrics["AR1000"]
    assert at_1000.metrics["AP"] != usual.metrics["AP"]
    said = evaluate(*sides, EvalParams(max_dets=(1, 10, 100, 1000), ap_max_det=1000))
    assert said.metrics["AP"] == at_1000.metrics["AP"]
    assert said.metrics["ARs"] == at_1000.metrics["ARs"]
    assert said.per_category()[-1] == said.metrics["AP"]
    with pytest.raises(ValueError, match="ap_max_det 50 is not in max_dets"):
        EvalParams(ap_max_det=50)


def test_resampling_counts_as_ap_does(sides):
    """Intervals and the AP of images are of the detections that AP counts, too."""
    found = {}
    for max_dets in ((1, 10, 100), (1, 10, 100, 1000)):
        result = evaluate(*sides, EvalParams(max_dets=max_dets))
        scores = np.concatenate([own for _, own in sides[1]])
        intervals = confidence_intervals(result, scores, 50)
        found[len(max_dets)] = {k: (v.value, v.low, v.high) for k, v in intervals.items()}
        for name, value in result.metrics.items():
            assert intervals[name].value == pytest.approx(value, nan_ok=True)
        found[len(max_dets), "images"] = image_metrics(result)
    for name, values in found[3].items():
        assert values == pytest.approx(found[4][name], abs=1e-15, nan_ok=True), name
    assert np.array_equal(found[3, "images"], found[4, "images"])


RULES = {
    "score": lambda k, area, scores: (-scores[k], k),
    "small-first": lambda k, area, scores: (area[k], -scores[k], k),
    "large-first": lambda k, area, scores: (-area[k], -scores[k], k),
    "order": lambda k, area, scores: k,
}


def by_hand(masks, scores, rule):
    """Keep each pixel for the first mask by a rule that covers it, in dense arrays."""
    area = masks.sum(axis=(1, 2))
    taken, left = np.zeros(SIZE, bool), np.zeros_like(masks)
    for k in sorted(range(len(masks)), key=lambda k: RULES[rule](k, area, scores)):
        left[k] = masks[k] & ~taken
        taken |= masks[k]
    return left


@pytest.mark.parametrize("rule", RULES)
def test_overlap_rules(sides, rule):
    truth, found = sides
    result = evaluate(truth, found, EvalParams(overlap_rule=rule))
    flat = []
    for masks, scores in found:
        left = by_hand(masks, scores, rule)
        coded = remove_overlaps([rle.encode(mask) for mask in masks], scores, rule)
        assert np.array_equal([rle.decode(one) for one in coded], left)
        seen = left.any(axis=(1, 2))
        flat.append((left[seen], scores[seen]))
    expected = evaluate(truth, flat, EvalParams(remove_overlaps=False)).metrics
    for name, value in expected.items():
        assert result.metrics[f"{name[:2]}e{name[2:]}"] == pytest.approx(value, nan_ok=True)
    plain = evaluate(truth, found)
    assert result.metrics["AP"] == plain.metrics["AP"]
    assert (result.metrics["APe"] == plain.metrics["APe"]) == (rule == "score")
    assert ("Overlap rule" in repr(result)) == (rule != "score")
    assert np.array_equal(result.overlap.pixels, plain.overlap.pixels)


def test_masks_apart_are_left_as_they_are():
    masks = np.zeros((2, *SIZE), bool)
    masks[0, :4, :4] = masks[1, 8:, 8:] = True
    for rule in RULES:
        coded = remove_overlaps([rle.encode(mask) for mask in masks], [0.5, 0.9], rule)
        assert np.array_equal([rle.decode(one) for one in coded], masks)
    with pytest.raises(ValueError, match="overlap_rule 'small' must be one of score, small-first"):
        EvalParams(overlap_rule="small")
