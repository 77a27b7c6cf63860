"""mIoU against literals, a loop over classes and the original's numbers."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_api import semantic


def naive(gt_maps, dt_maps, n_classes):
    """Compute IoU and recall of each class by one mask a class."""
    iou, recall = [], []
    for k in range(n_classes):
        common = union = total = 0
        for gt, dt in zip(gt_maps, dt_maps, strict=True):
            scored = gt != 255
            common += ((gt == k) & (dt == k) & scored).sum()
            union += (((gt == k) | (dt == k)) & scored).sum()
            total += (gt == k).sum()
        iou.append(common / union if total else math.nan)
        recall.append(common / total if total else math.nan)
    return np.array(iou), np.array(recall)


def score(gt_maps, dt_maps, n_classes):
    pairs = zip(gt_maps, dt_maps, strict=True)
    return semantic.summarize(sum(semantic.count(gt, dt, n_classes) for gt, dt in pairs))


def test_numbers_a_reader_can_check():
    gt = np.array([[0, 0, 1, 1], [0, 0, 255, 255]], np.uint8)
    dt = np.array([[0, 0, 0, 1], [0, 2, 1, 1]], np.uint8)
    result = score([gt], [dt], 4)
    # Class 0: 3 right of 4 and 1 too many; class 1: 1 right of 2; 2 only predicted, 3 nowhere.
    assert result.iou.tolist()[:2] == [3 / 5, 1 / 2]
    assert np.isnan(result.iou[2:]).all()
    assert result.mIoU == pytest.approx((3 / 5 + 1 / 2) / 2)
    assert result.fwIoU == pytest.approx(4 / 6 * 3 / 5 + 2 / 6 / 2)
    assert result.accuracy.tolist()[:2] == [3 / 4, 1 / 2]
    assert result.mACC == pytest.approx(5 / 8)
    assert result.pACC == pytest.approx(4 / 6)


def test_no_class_on_a_labelled_pixel_is_a_miss():
    gt = np.zeros((1, 4), np.uint8)
    dt = np.array([[0, 255, 255, 255]], np.uint8)
    counts = semantic.count(gt, dt, 2)
    assert counts.tolist() == [[1, 0], [0, 0], [3, 0]]
    assert semantic.summarize(counts).mIoU == 0.25


def test_nothing_labelled_gives_nan():
    ignored = np.full((3, 3), 255, np.uint8)
    result = score([ignored], [np.zeros((3, 3), np.uint8)], 2)
    assert all(math.isnan(value) for value in result[:4])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n_classes=st.sampled_from([1, 3, 300]))
def test_equals_the_loop_over_classes(seed, n_classes):
    rng = np.random.default_rng(seed)
    labels = np.append(np.arange(n_classes), 255) if n_classes < 255 else np.arange(255)
    shapes = rng.integers(0, 9, (3, 2))
    gt_maps = [rng.choice(labels, shape).astype(np.uint64) for shape in shapes]
    dt_maps = [rng.choice(labels, shape).astype(np.int64) for shape in shapes]
    iou, recall = naive(gt_maps, dt_maps, n_classes)
    result = score(gt_maps, dt_maps, n_classes)
    np.testing.assert_allclose(result.iou, iou, rtol=1e-12)
    np.testing.assert_allclose(result.accuracy, recall, rtol=1e-12)


def test_equals_the_originals_evaluator(shared):
    arrays = np.load(shared / "golden/semseg/s1.npz")
    expected = msgspec.json.decode((shared / "golden/semseg/s1_results.json").read_bytes())
    counts = sum(semantic.count(arrays[f"gt{i}"], arrays[f"pred{i}"], 7) for i in range(6))
    assert np.array_equal(counts[:7], arrays["conf_matrix"][:7, :7])
    result = semantic.summarize(counts)
    for name in ("mIoU", "fwIoU", "mACC", "pACC"):
        assert 100 * getattr(result, name) == pytest.approx(expected[name], abs=1e-10)
    for k in range(7):
        assert 100 * result.iou[k] == pytest.approx(expected[f"IoU-c{k}"], abs=1e-10)
        assert 100 * result.accuracy[k] == pytest.approx(expected[f"ACC-c{k}"], abs=1e-10)


@pytest.mark.parametrize(
    ("gt", "dt", "message"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), r"sizes \[2, 3\] and \[3, 2\]"),
        (
            np.zeros((1, 2), int),
            np.array([[0, 7]]),
            "predicted map has the label 7; labels are 0..4",
        ),
        (np.array([[-1]]), np.zeros((1, 1), int), "ground-truth map has the label -1"),
        (np.zeros((1, 1)), np.zeros((1, 1), int), "float64, not whole numbers"),
        (np.zeros((1, 1, 3), int), np.zeros((1, 1, 3), int), "sizes"),
    ],
)
def test_rejects_what_would_give_a_wrong_number(gt, dt, message):
    with pytest.raises(semantic.SemanticError, match=message):
        semantic.count(gt, dt, 5)
