"""Removing and counting overlap, against dense masks: the pixel goes to the highest score."""

import copy
import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entity_api import EvalParams, GroundTruth, evaluate, overlapping_pairs, remove_overlaps, rle

SETTINGS = settings(max_examples=80, deadline=None, derandomize=True, database=None)
AREAS = {"all": (0.0, 1e10), "small": (0.0, 12.0), "medium": (12.0, 40.0), "large": (40.0, 1e10)}


def draw_masks(rng, n, height, width):
    """Draw n rectangles with holes, some empty, (n, H, W)."""
    y, x = np.sort(rng.integers(0, height + 1, (n, 2))), np.sort(rng.integers(0, width + 1, (n, 2)))
    rows, columns = np.arange(height)[:, None], np.arange(width)
    inside = (rows >= y[:, 0, None, None]) & (rows < y[:, 1, None, None])
    inside = inside & (columns >= x[:, 0, None, None]) & (columns < x[:, 1, None, None])
    return inside & (rng.random(inside.shape) < rng.choice([0.5, 0.9, 1.0], (n, 1, 1)))


def by_argmax(masks, scores):
    """Give each pixel to the mask of the highest score, the earlier one of equals."""
    if not len(masks):
        return masks
    # argmax takes the first of equals; what no mask covers is given to no mask.
    winner = np.where(masks, np.asarray(scores)[:, None, None], -np.inf).argmax(axis=0)
    return masks & (winner == np.arange(len(masks))[:, None, None])


def dataset(seed, n_images, n_dt, disjoint=False):
    """Draw images with their dense masks: (gt dictionary, predictions, dense predictions)."""
    rng = np.random.default_rng(seed)
    images, annotations, predictions, dense = [], [], [], []
    for image_id in range(1, n_images + 1):
        height, width = rng.integers(1, 16, 2).tolist()
        images.append({"id": image_id, "height": height, "width": width})
        for mask in draw_masks(rng, rng.integers(0, 6), height, width):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(rng.integers(1, 3)),
                    "iscrowd": int(rng.random() < 0.1),
                    "segmentation": rle.encode(mask),
                }
            )
        masks = draw_masks(rng, rng.integers(0, n_dt + 1), height, width)
        scores = rng.integers(0, 5, len(masks)) / 4
        if disjoint:
            masks = by_argmax(masks, scores)
        for mask, score in zip(masks, scores.tolist(), strict=True):
            dense.append(mask)
            predictions.append(
                {
                    "image_id": image_id,
                    "category_id": int(rng.integers(1, 3)),
                    "score": score,
                    "segmentation": rle.encode(mask),
                }
            )
    return {"images": images, "annotations": annotations}, predictions, dense


drawn = st.builds(
    dataset, st.integers(0, 2**32 - 1), n_images=st.integers(0, 5), n_dt=st.integers(0, 9)
)


def by_image(predictions):
    """Return the positions of each image's predictions."""
    image_ids = np.array([p["image_id"] for p in predictions], int)
    return {int(i): np.flatnonzero(image_ids == i) for i in np.unique(image_ids)}


def without_overlaps(predictions, dense):
    """Rewrite predictions by dense masks."""
    out = copy.deepcopy(predictions)
    for rows in by_image(predictions).values():
        scores = [predictions[row]["score"] for row in rows]
        for row, mask in zip(
            rows, by_argmax(np.stack([dense[r] for r in rows]), scores), strict=True
        ):
            out[row]["segmentation"] = rle.encode(mask)
    return out


def test_three_masks_a_reader_can_check():
    rows = ["11110", "01111", "00001"]
    codes = [rle.encode(np.array([list(map(int, row))])) for row in rows]
    left = [
        rle.decode(code).astype(int).tolist() for code in remove_overlaps(codes, [0.5, 0.9, 0.9])
    ]
    # The second has the highest score and comes before the third, which ties with it.
    assert left == [[[1, 0, 0, 0, 0]], [[0, 1, 1, 1, 1]], [[0, 0, 0, 0, 0]]]
    assert overlapping_pairs(codes) == [(0, 1, 3), (1, 2, 1)]


@SETTINGS
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.sampled_from([1, 3, 1000]))
@example(0, 80, 2)
def test_remove_overlaps(seed, n, n_scores):
    rng = np.random.default_rng(seed)
    masks = draw_masks(rng, n, *rng.integers(1, 20, 2))
    scores = rng.integers(-n_scores, n_scores, n) / n_scores
    codes = [rle.encode(mask) for mask in masks]
    ours = remove_overlaps(codes, scores.tolist())
    assert ours == [rle.encode(mask) for mask in by_argmax(masks, scores)]
    assert remove_overlaps(ours, scores) == ours


@SETTINGS
@given(st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_pairs(seed, n):
    rng = np.random.default_rng(seed)
    masks = draw_masks(rng, n, 6, 7)
    expected = {
        (a, b, int((masks[a] & masks[b]).sum()))
        for a in range(n) for b in range(a + 1, n) if (masks[a] & masks[b]).any()
    }  # fmt: skip
    ours = overlapping_pairs([rle.encode(mask) for mask in masks])
    assert set(ours) == expected
    assert len(ours) == len(expected)
    assert [pair[2] for pair in ours] == sorted((pair[2] for pair in ours), reverse=True)


@SETTINGS
@given(drawn, st.booleans(), st.sampled_from([(1, 10, 100), (1, 2, 3)]))
def test_ap_e_is_ap_after_removal(content, class_aware, max_dets):
    """By dense masks and by remove_overlaps; in every array, match and number."""
    gt, dt, dense = content
    params = EvalParams(class_aware=class_aware, max_dets=max_dets, area_ranges=AREAS)
    result = evaluate(gt, dt, params)
    removed = without_overlaps(dt, dense)
    ours = copy.deepcopy(dt)
    for rows in by_image(dt).values():
        codes = [dt[row]["segmentation"] for row in rows]
        for row, code in zip(
            rows, remove_overlaps(codes, [dt[r]["score"] for r in rows]), strict=True
        ):
            ours[row]["segmentation"] = code
    assert ours == removed
    # A mask that others hide whole takes no rank; one that was empty before stays.
    kept = [
        row for row, own in enumerate(removed)
        if rle.area(own["segmentation"]) or not rle.area(dt[row]["segmentation"])
    ]  # fmt: skip
    assert result.overlap.hidden.sum() == len(dt) - len(kept)
    visible = [removed[row] for row in kept]
    expected = evaluate(gt, visible, dataclasses.replace(params, remove_overlaps=False))
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(
            getattr(result.disjoint, name), getattr(expected.submitted, name)
        )
    for name in ("ranks", "outcome", "dt_gt", "gt_ignored"):
        np.testing.assert_array_equal(
            getattr(result.disjoint.matches, name), getattr(expected.matches, name)
        )
    # Records are numbered in the whole list; position -1 stands for no record.
    number = np.array([*kept, -1])
    for name in ("records", "gt_dt"):
        np.testing.assert_array_equal(
            getattr(result.disjoint.matches, name), number[getattr(expected.matches, name)]
        )
    for name, value in expected.metrics.items():
        np.testing.assert_equal(result.metrics[f"{name[:2]}e{name[2:]}"], value)


@SETTINGS
@given(drawn)
def test_counts_of_overlap(content):
    gt, dt, dense = content
    overlap = evaluate(gt, dt).overlap
    rows_of = by_image(dt)
    for idx, image in enumerate(gt["images"]):
        masks = [dense[row] for row in rows_of.get(image["id"], [])]
        cover = np.sum(masks, axis=0) if masks else np.zeros(1)
        pairs = sum((a & b).any() for k, a in enumerate(masks) for b in masks[:k])
        assert overlap.pixels[idx] == (cover > 1).sum()
        assert overlap.covered[idx] == (cover > 0).sum()
        assert overlap.pairs[idx] == pairs
    assert overlap.n_images == np.count_nonzero(overlap.pixels)
    assert overlap.share == pytest.approx(overlap.pixels.sum() / max(overlap.covered.sum(), 1))


@SETTINGS
@given(st.integers(0, 2**32 - 1))
def test_nothing_overlaps(seed):
    """One pass: the very same arrays stand for both."""
    gt, dt, _ = dataset(seed, 4, 8, disjoint=True)
    result = evaluate(gt, dt)
    assert result.disjoint is result.submitted
    assert result.overlap.n_images == result.overlap.pairs.sum() == 0
    assert result.overlap.share == 0.0
    np.testing.assert_equal(result.metrics["APe"], result.metrics["AP"])


def test_pairs_not_asked_for():
    gt, dt, _ = dataset(3, 4, 8)
    asked, not_asked = (evaluate(gt, dt, EvalParams(count_pairs=ask)) for ask in (True, False))
    crowded = asked.overlap.pixels > 0
    assert crowded.any()
    assert not_asked.overlap.pairs.tolist() == np.where(crowded, -1, 0).tolist()
    assert "pairs" in str(asked)
    assert "pairs" not in str(not_asked)


def test_overlap_not_asked_for():
    gt, dt, _ = dataset(3, 4, 8)
    result = evaluate(gt, dt, EvalParams(remove_overlaps=False))
    assert result.disjoint is None
    assert result.overlap is None
    assert not [name for name in result.metrics if "e" in name]


def test_removal_changes_the_number_as_said():
    """A poor mask of high score takes the pixels of a right one: AP 1/2 falls to 0."""
    entity = np.zeros((4, 10), bool)
    entity[:, :5] = True
    gt = {
        "images": [{"id": 7, "height": 4, "width": 10}],
        "annotations": [{"id": 1, "image_id": 7, "segmentation": rle.encode(entity)}],
    }
    poor = np.zeros((4, 10), bool)
    poor[:, 2:] = True
    dt = [
        {"image_id": 7, "score": 0.9, "segmentation": rle.encode(poor)},
        {"image_id": 7, "score": 0.8, "segmentation": rle.encode(entity)},
    ]
    result = evaluate(gt, dt)
    assert result.metrics["AP"] == pytest.approx(0.5)
    # 2 of its 5 columns are left: IoU 0.4.
    assert result.metrics["APe"] == 0.0
    overlap = result.overlap
    assert (overlap.pixels.tolist(), overlap.covered.tolist()) == ([12], [40])
    assert (overlap.pairs.tolist(), overlap.share) == ([1], 0.3)


@SETTINGS
@given(drawn, st.integers(0, 2**32 - 1), st.booleans())
def test_void_is_clipped_from_predictions(content, seed, class_aware):
    """Pixels of no segment count neither way: the same as predictions without them.

    A prediction on void alone is ignored, as if it were not there but for its rank: so no limit.
    """
    gt, dt, dense = content
    rng = np.random.default_rng(seed)
    params = EvalParams(class_aware=class_aware, area_ranges=AREAS, max_dets=(1000,))
    void, clipped, labelled, on_void = [], copy.deepcopy(dt), copy.deepcopy(gt), set()
    rows_of = by_image(dt)
    for image in gt["images"]:
        shape = (image["height"], image["width"])
        pixels = rng.random(shape) < rng.choice([0.1, 0.5, 1.0])
        if rng.random() < 0.3:
            void.append(None)
            continue
        void.append(rle.encode(pixels)["counts"])
        for row in rows_of.get(image["id"], []):
            clipped[row]["segmentation"] = rle.encode(dense[row] & ~pixels)
            if dense[row].any() and not (dense[row] & ~pixels).any():
                on_void.add(row)
        # Segments have no void pixels.
        for annotation in labelled["annotations"]:
            if annotation["image_id"] == image["id"]:
                mask = rle.decode(annotation["segmentation"]) & ~pixels
                annotation["segmentation"] = rle.encode(mask)
    table = dataclasses.replace(GroundTruth.from_coco(labelled), void=void)
    kept = [record for row, record in enumerate(clipped) if row not in on_void]
    ours, expected = evaluate(table, dt, params), evaluate(labelled, kept, params)
    np.testing.assert_equal(ours.metrics, expected.metrics)


def test_removal_names_the_callers_mask_and_wants_a_score_for_each():
    sound, broken = {"size": [2, 3], "counts": "231"}, {"size": [2, 3], "counts": "23"}
    with pytest.raises(rle.RLEError) as error:
        remove_overlaps([sound, sound, broken], [0.1, 0.2, 0.9])
    assert error.value.idx == 2
    with pytest.raises(ValueError, match="2 masks and scores of shape"):
        remove_overlaps([sound, sound], [0.5])
    with pytest.raises(ValueError, match="0 masks and scores of shape"):
        remove_overlaps([], [0.5])
