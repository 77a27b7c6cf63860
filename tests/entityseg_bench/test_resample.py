"""Resampling against scoring the resampled set anew, and intervals that cover at their rate."""

import dataclasses

import numpy as np
import pytest

from entity_api import Detections, EvalParams, GroundTruth, evaluate
from entityseg_bench.resampling.bootstrap import (
    bounds,
    confidence_intervals,
    image_metrics,
    image_weights,
    permutation_test,
    resampled_metrics,
)
from entityseg_bench.resampling.measures import measures
from entityseg_bench.resampling.weighted import (
    IGNORED,
    Columns,
    Evidence,
    hits_needed,
    image_precision,
    matches_of,
    precision_at_recall,
)

SIZE = 64


def squares(rng, n_images, n_gt, n_dt, shake, scores=None):
    """Draw boxes as entities, and shaken copies of them as detections, in COCO's columns.

    Some images have no entities, some no detections; one entity of ten is a crowd.
    """
    gt_image = np.repeat(np.arange(n_images), rng.integers(0, n_gt + 1, n_images, np.intp))
    gt_boxes = np.hstack(
        [rng.uniform(0, 300, (len(gt_image), 2)), rng.lognormal(4, 0.8, (len(gt_image), 2))]
    )
    n_each = rng.integers(0, n_dt + 1, n_images, np.intp)
    dt_image = np.repeat(np.arange(n_images), n_each)
    boxes = np.hstack(
        [rng.uniform(0, 300, (len(dt_image), 2)), rng.lognormal(4, 0.8, (len(dt_image), 2))]
    )
    for k, image_idx in enumerate(dt_image):
        own = gt_boxes[gt_image == image_idx]
        if len(own) and rng.random() < 0.8:
            near = own[rng.integers(len(own))]
            boxes[k] = near + rng.normal(size=4) * shake * np.tile(near[2:], 2)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
    # Ties between images, none within one.
    drawn = [rng.permutation(3 * n_dt)[:n] / (3 * n_dt) for n in n_each]
    gt = GroundTruth(
        image_ids=list(range(n_images)),
        sizes=np.full((n_images, 2), 1000),
        image_idx=gt_image,
        counts=[],
        category_ids=rng.integers(0, 3, len(gt_image)),
        iscrowd=rng.random(len(gt_image)) < 0.1,
        areas=np.full(len(gt_image), np.nan),
        ids=list(range(len(gt_image))),
        boxes=gt_boxes,
    )
    dt = Detections(
        image_idx=dt_image,
        counts=[],
        category_ids=rng.integers(0, 3, len(dt_image)),
        scores=np.concatenate([*drawn, []]),
        boxes=boxes,
    )
    return gt, dt


def written_out(gt, dt, weights):
    """Write image i ``weights[i]`` times, under new ids in the order of the old ones."""
    copies = np.repeat(np.arange(len(weights)), weights.astype(np.intp))
    sides = []
    for side in (gt, dt):
        rows = [np.flatnonzero(side.image_idx == idx) for idx in copies]
        image_idx = np.repeat(np.arange(len(copies)), [len(own) for own in rows])
        at = np.concatenate([*rows, np.zeros(0, np.int64)]).astype(np.int64)
        changes = {"image_idx": image_idx, "boxes": side.boxes[at]}
        changes["category_ids"] = side.category_ids[at]
        if side is gt:
            changes |= {"iscrowd": gt.iscrowd[at], "areas": gt.areas[at], "ids": list(at)}
            changes |= {"image_ids": list(range(len(copies))), "sizes": gt.sizes[copies]}
        else:
            changes["scores"] = dt.scores[at]
        sides.append(dataclasses.replace(side, **changes))
    return sides


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("class_aware", [False, True])
def test_resample_equals_scoring_the_resampled_set(seed, class_aware):
    rng = np.random.default_rng(seed)
    gt, dt = squares(rng, n_images=12, n_gt=6, n_dt=12, shake=0.12)
    params = EvalParams(iou_type="bbox", class_aware=class_aware, category_ids=[0, 1, 2])
    params = dataclasses.replace(params, max_dets=(1, 5, 10))
    result = evaluate(gt, dt, params)
    weights = np.vstack([image_weights(result.groups, 5, seed), np.ones((1, 12), np.int64)])
    found = resampled_metrics(result, dt.scores, weights)
    assert set(found) == set(result.metrics)
    for b, row in enumerate(weights):
        metrics = evaluate(*written_out(gt, dt, row), params).metrics
        for name, value in metrics.items():
            # One category: equal to the last bit; means over categories are taken in another order.
            tolerance = 1e-12 if class_aware else 0
            assert found[name][b] == pytest.approx(value, abs=tolerance, rel=0, nan_ok=True), name


@pytest.mark.parametrize("class_aware", [False, True])
@pytest.mark.parametrize("digits", [0, 1])
def test_equal_scores_within_an_image_are_resampled_exactly(digits, class_aware):
    rng = np.random.default_rng(digits)
    gt, dt = squares(rng, n_images=30, n_gt=6, n_dt=12, shake=0.12)
    dt = dataclasses.replace(dt, scores=dt.scores.round(digits))
    params = EvalParams(iou_type="bbox", class_aware=class_aware, category_ids=[0, 1, 2])
    result = evaluate(gt, dt, params)
    weights = image_weights(result.groups, 20, 0)
    found = resampled_metrics(result, dt.scores, weights)
    for b, row in enumerate(weights):
        metrics = evaluate(*written_out(gt, dt, row), params).metrics
        tolerance = 1e-12 if class_aware else 0
        for name, value in metrics.items():
            assert found[name][b] == pytest.approx(value, abs=tolerance, rel=0, nan_ok=True), name


def test_masks_with_and_without_overlaps_are_resampled_each_from_their_own_matches():
    rng = np.random.default_rng(1)
    records = {"images": [], "annotations": []}
    predictions = []
    for image_id in range(8):
        records["images"].append({"id": image_id, "height": SIZE, "width": SIZE})
        for _ in range(4):
            x, y = (float(n) for n in rng.integers(0, 40, 2))
            near = [x + float(rng.integers(0, 8)), y, 20.0, 20.0]
            for into, (left, top, w, h) in (
                (records["annotations"], (x, y, 20.0, 20.0)), (predictions, near),
            ):  # fmt: skip
                polygon = [left, top, left + w, top, left + w, top + h, left, top + h]
                record = {"image_id": image_id, "segmentation": [polygon], "category_id": 1}
                record |= {"id": len(into) + 1, "score": float(rng.random())}
                into.append(record)
    result = evaluate(records, predictions)
    assert result.metrics["AP"] != result.metrics["APe"]
    scores = np.array([record["score"] for record in predictions])
    found = resampled_metrics(result, scores, np.ones((1, 8), np.int64))
    assert {name: values[0] for name, values in found.items()} == pytest.approx(
        result.metrics, abs=0, rel=0, nan_ok=True
    )
    each = image_metrics(result)
    for image_id in range(8):
        alone = evaluate(records, predictions, EvalParams(image_ids=[image_id]))
        assert each[image_id] == alone.metrics["APe"]


@pytest.mark.parametrize("digits", [None, 1, 0])
def test_kernel_equals_its_definition(digits):
    rng = np.random.default_rng(3)
    gt, dt = squares(rng, n_images=20, n_gt=5, n_dt=10, shake=0.1)
    if digits is not None:
        dt = dataclasses.replace(dt, scores=dt.scores.round(digits))
    result = evaluate(gt, dt, EvalParams(iou_type="bbox"))
    weights = rng.integers(0, 4, (70, 20))
    weights[3] = 0
    for area in range(4):
        columns = Columns.of(result, matches_of(result, ""), 0, area)
        evidence = Evidence.of_columns([columns], [dt.scores], result.params, as_ranks=False)
        assert area == 0 or (evidence.outcome == IGNORED).any()
        assert area or (len(evidence.events.ties) > 0) == (digits is not None)
        kernel = np.concatenate([part for _, part in evidence.precision(weights)])
        assert (kernel == evidence.precision_by_definition(weights)).all()


def test_copies_of_an_image_have_their_ties_in_turn():
    # One entity, found by the first of two detections with the same score.
    evidence = Evidence(
        source=np.array([0, 0]),
        ranks=np.array([0, 1]),
        outcome=np.array([[1], [0]], np.uint8),
        tied=np.array([False, True]),
        n_gt=np.array([1]),
        params=EvalParams(iou_thrs=(0.5,)),
    )
    # Hit, miss, hit, miss: 1 up to recall 1/2, then 2/3; not hit, hit, miss, miss.
    ((_, precision),) = evidence.precision(np.array([[2]], np.int64))
    assert precision[0, 0] == pytest.approx([1.0] * 51 + [2 / 3] * 50, abs=1e-12)


def naive_permutation(gt, files, results, n_permutations, seed, name):
    """Exchange, image by image, score both files anew, and count."""
    n_images = len(gt.image_ids)
    swaps = np.random.default_rng(seed).integers(0, 2, (n_permutations, n_images))
    ranked = []
    for dt, result in zip(files, results, strict=True):
        kept = dt.scores[result.groups.records]
        higher = [np.count_nonzero(kept > score) for score in dt.scores]
        ranked.append(dataclasses.replace(dt, scores=-np.array(higher, np.float64)))
    actual = results[1].metrics[name] - results[0].metrics[name]
    n = 1
    for swap in swaps.astype(bool):
        values = []
        for one, other in (ranked, ranked[::-1]):
            own, theirs = ~swap[one.image_idx], swap[other.image_idx]
            mixed = Detections(
                image_idx=np.concatenate([one.image_idx[own], other.image_idx[theirs]]),
                counts=[],
                category_ids=np.concatenate([one.category_ids[own], other.category_ids[theirs]]),
                scores=np.concatenate([one.scores[own], other.scores[theirs]]),
                boxes=np.concatenate([one.boxes[own], other.boxes[theirs]]),
            )
            values.append(evaluate(gt, mixed, results[0].params).metrics[name])
        n += abs(values[1] - values[0]) >= abs(actual) - 1e-12
    return n / (1 + n_permutations)


@pytest.mark.parametrize("name", ["AP", "APs", "AR1"])
def test_permutation_test_equals_exchanging_and_scoring_anew(name):
    rng = np.random.default_rng(5)
    gt, first = squares(rng, n_images=10, n_gt=5, n_dt=8, shake=0.1)
    shaken = first.boxes + rng.normal(size=first.boxes.shape) * 0.02 * np.tile(
        first.boxes[:, 2:], 2
    )
    # Scores on another scale: the ranking within the file is what counts.
    second = dataclasses.replace(first, boxes=shaken, scores=first.scores**3 / 5)
    params = EvalParams(iou_type="bbox")
    results = [evaluate(gt, dt, params) for dt in (first, second)]
    scores = first.scores, second.scores
    p = permutation_test(*results, scores, n_permutations=40, seed=2, names=[name])[name]
    assert p == naive_permutation(gt, (first, second), results, 40, 2, name)
    assert 0.02 < p < 1


def test_permutation_test_of_clear_and_of_no_difference():
    rng = np.random.default_rng(6)
    gt, good = squares(rng, n_images=40, n_gt=5, n_dt=10, shake=0.03)
    bad = dataclasses.replace(good, boxes=good.boxes + 0.3 * np.tile(good.boxes[:, 2:], 2))
    params = EvalParams(iou_type="bbox")
    results = [evaluate(gt, dt, params) for dt in (good, bad)]
    p = permutation_test(*results, (good.scores, bad.scores), n_permutations=199)
    assert p == {"AP": 1 / 200}
    same = permutation_test(results[0], results[0], (good.scores, good.scores), 50)
    assert same == {"AP": 1.0}


def test_hits_needed_is_the_first_count_whose_quotient_reaches_the_threshold():
    rec_thrs = np.linspace(0, 1, 101)
    n_gt = np.array([1, 3, 7, 49, 100, 1000, 24571])
    needed = hits_needed(rec_thrs, n_gt)
    for row, n in zip(needed, n_gt.tolist(), strict=True):
        quotients = np.arange(n + 1) / n
        assert row.tolist() == np.searchsorted(quotients, rec_thrs).tolist()


def test_metrics_are_named_as_the_result_names_them():
    params = EvalParams(area_ranges={"all": (0, 1e10), "tiny": (0, 64)}, max_dets=(2, 7))
    gt = {"images": [], "annotations": []}
    assert set(measures(params)) == set(evaluate(gt, [], params).metrics)
    with pytest.raises(ValueError, match="no metric 'APx'"):
        resampled_metrics(evaluate(gt, []), np.zeros(0), np.zeros((1, 0), np.int64), ["APx"])


def test_nothing_to_measure_is_nan_and_warns_of_nothing():
    gt = {"images": [{"id": 1, "height": 4, "width": 4}], "annotations": []}
    found = confidence_intervals(evaluate(gt, []), np.zeros(0), n_resamples=3)
    assert all(np.isnan([got.value, got.low, got.high]).all() for got in found.values())


def test_weights_draw_scored_images_only_as_many_as_there_are():
    gt, dt = squares(np.random.default_rng(0), n_images=9, n_gt=3, n_dt=3, shake=0.1)
    params = EvalParams(iou_type="bbox", image_ids=[2, 3, 5])
    weights = image_weights(evaluate(gt, dt, params).groups, 50, seed=1)
    assert (weights.sum(axis=1) == 3).all()
    assert np.flatnonzero(weights.any(axis=0)).tolist() == [2, 3, 5]
    assert weights.max() > 1


def test_bounds_by_hand():
    values = np.append(np.arange(101.0), np.nan)
    # The estimate is the median, so nothing is moved.
    assert bounds(values, 50, 0.9) == pytest.approx((5, 95))
    # 84.1 % of the values lie above: twice one standard deviation down from -1.645 and 1.645.
    shifted = np.append(np.arange(1000.0), np.nan)
    low, high = bounds(shifted, 158.655, 0.9)
    assert low == pytest.approx(1000 * 0.000134, abs=1)
    assert high == pytest.approx(1000 * 0.3612, abs=2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        bounds(values, 50, 95)


def coverage(n_population, n_images, n_sets, n_resamples, level, seed):
    """Share of intervals that hold the population's AP, each from a sample of its images."""
    rng = np.random.default_rng(seed)
    gt, dt = squares(rng, n_population, n_gt=6, n_dt=10, shake=0.1)
    result = evaluate(gt, dt, EvalParams(iou_type="bbox"))
    samples = rng.multinomial(n_images, np.full(n_population, 1 / n_population), size=n_sets)
    columns = Columns.of(result, matches_of(result, ""), 0, 0)
    evidence = Evidence.of_columns([columns], [dt.scores], result.params, as_ranks=False)
    (estimates,) = evidence.average_precision(samples, [range(10)])
    held = 0
    for sample, estimate in zip(samples, estimates, strict=True):
        again = rng.multinomial(n_images, sample / n_images, size=n_resamples)
        (values,) = evidence.average_precision(again, [range(10)])
        low, high = bounds(values, estimate, level)
        held += low <= result.metrics["AP"] <= high
    return held / n_sets


def test_intervals_cover_at_the_stated_rate():
    # Of 200 intervals 0.8 hold the true value, give or take 0.028; had they half their width, 0.48
    # would.
    held = coverage(300, 100, n_sets=200, n_resamples=100, level=0.8, seed=0)
    assert held == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_the_precision_of_images_by_themselves_is_that_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    params, n_images = EvalParams(), 12
    start = np.concatenate([[0], np.cumsum(rng.integers(0, 15, n_images))])
    hits = rng.integers(0, 2 + seed, start[-1]) * rng.integers(0, 2, start[-1])
    wrong = rng.random(start[-1]) < 0.5
    images = rng.permutation(n_images)[: n_images - seed]
    n_gt = rng.integers(1, 20, len(images))
    curves = image_precision(images, start, hits, wrong, n_gt, params)
    assert curves.any() and curves.shape == (len(images), 101)
    for curve, image, n in zip(curves, images, n_gt, strict=True):
        own = slice(start[image], start[image + 1])
        at = np.flatnonzero(hits[own])
        found, counted = np.cumsum(hits[own])[at], np.cumsum(hits[own] + wrong[own])[at]
        expected = precision_at_recall(found[None], counted[None], np.array([n]), params)
        assert np.array_equal(curve, expected[0])


def test_the_precision_of_an_image_that_is_not_there_is_refused():
    with pytest.raises(IndexError, match="no such image"):
        none, one = np.zeros(0, np.int64), np.ones(1, np.int64)
        image_precision(one, np.zeros(2, np.int64), none, none.astype(bool), one, EvalParams())
