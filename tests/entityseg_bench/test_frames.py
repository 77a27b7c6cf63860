"""Frames of a small scoring, every column by hand."""

import dataclasses
import json

import numpy as np
import pytest

from entity_api import EvalParams, rle
from entityseg_bench.errors import find_errors
from entityseg_bench.frames import (
    curve_frame,
    metrics_frame,
    per_entity,
    per_image,
    per_prediction,
)
from entityseg_bench.score import evaluate_files

pd = pytest.importorskip("pandas")


def square(x, y, side=10):
    mask = np.zeros((40, 50), bool)
    mask[y : y + side, x : x + side] = True
    return rle.encode(mask)


@pytest.fixture
def paths(tmp_path):
    """Write two images: one with a found, a missed and a crowd entity, one without any."""
    annotations = [
        {"id": 11, "segmentation": square(0, 0), "category_id": 4, "area": 100},
        {"id": 12, "segmentation": square(0, 0, 36), "category_id": 5, "iscrowd": 1},
        {"id": 13, "segmentation": square(38, 20), "category_id": 5},
    ]
    gt = {
        "images": [
            {"id": 7, "file_name": "a.jpg", "height": 40, "width": 50},
            {"id": 3, "file_name": "b.jpg", "height": 40, "width": 50},
        ],
        "annotations": [{"image_id": 7, **record} for record in annotations],
        "categories": [{"id": 4, "name": "cup"}, {"id": 5, "name": "wall"}],
    }
    predictions = [
        {"image_id": 3, "segmentation": square(0, 0), "score": 0.4},
        {"image_id": 7, "segmentation": square(5, 5), "score": 0.6},
        {"image_id": 7, "segmentation": square(0, 0), "score": 0.9, "category_id": 4},
    ]
    files = tmp_path / "gt.json", tmp_path / "pred.json"
    for path, content in zip(files, (gt, predictions), strict=True):
        path.write_text(json.dumps(content))
    return files


def test_images(paths):
    frame = per_image(evaluate_files(*paths))
    assert list(frame.columns) == [
        "image_id", "file_name", "height", "width", "n_gt", "n_pred", "AP", "APe", "tp", "fp",
        "fn", "overlap_px",
    ]  # fmt: skip
    assert frame.image_id.tolist() == [7, 3]
    assert frame.n_gt.tolist() == [2, 0]
    assert frame.n_pred.tolist() == [2, 1]
    assert frame.APe[0] == pytest.approx(51 / 101)
    assert np.isnan(frame.APe[1])
    # The second prediction lies in the crowd: it counts neither way.
    assert frame[["tp", "fp", "fn"]].to_numpy().tolist() == [[1, 0, 1], [0, 1, 0]]
    assert frame.overlap_px.tolist() == [25, 0]
    one = per_image(evaluate_files(*paths, EvalParams(image_ids=[3], remove_overlaps=False)))
    assert one.image_id.tolist() == [3]
    assert "APe" not in one
    assert "overlap_px" not in one


def test_entities(paths):
    scoring = evaluate_files(*paths)
    frame = per_entity(scoring, find_errors(scoring))
    assert list(frame.columns) == [
        "annotation_id", "image_id", "category_id", "category", "area", "size", "iscrowd",
        "counts", "found", "found_share", "prediction", "kind", "best_iou",
    ]  # fmt: skip
    assert frame.annotation_id.tolist() == [11, 12, 13]
    assert frame.category.tolist() == ["cup", "wall", "wall"]
    assert frame["size"].tolist() == ["small", "", "small"]
    assert frame.counts.tolist() == [True, False, True]
    assert frame.found.tolist() == [True, False, False]
    assert frame.prediction.tolist() == [2, -1, -1]
    assert frame.found_share.tolist() == pytest.approx([1, np.nan, 0], nan_ok=True)
    assert frame.kind.tolist() == ["found", "", "missed"]
    assert frame.best_iou.tolist() == [1, 0, 0]
    assert "kind" not in per_entity(scoring)


def test_predictions(paths):
    scoring = evaluate_files(*paths, EvalParams(max_dets=(1,)))
    frame = per_prediction(scoring, find_errors(scoring))
    assert list(frame.columns) == [
        "image_id", "category_id", "score", "rank", "outcome", "tp_share", "annotation", "kind",
        "best_iou",
    ]  # fmt: skip
    assert frame.image_id.tolist() == [3, 7, 7]
    assert frame["rank"].tolist() == [0, -1, 0]
    assert frame.outcome.tolist() == ["fp", "", "tp"]
    assert frame.tp_share.tolist() == pytest.approx([0, np.nan, 1], nan_ok=True)
    assert frame.annotation.tolist() == [-1, -1, 0]
    assert frame.kind.tolist() == ["spurious", "", "found"]
    assert frame.best_iou.tolist() == pytest.approx([0, np.nan, 1], nan_ok=True)
    assert per_prediction(evaluate_files(*paths)).outcome.tolist() == ["fp", "ignored", "tp"]


def test_metrics_and_curves(paths):
    result = evaluate_files(*paths).result
    frame = metrics_frame(result).set_index("metric")
    assert frame.loc["AP", "disjoint"] == result.metrics["APe"]
    assert frame.loc["AR100", "submitted"] == result.metrics["AR100"]
    assert len(frame) == 12
    curve = curve_frame(result)
    assert len(curve) == 10 * 101
    assert curve.groupby("iou_thr").precision.mean().mean() == pytest.approx(result.metrics["APe"])
    # One entity of two is found, at a score of 0.9: recall is reached up to 0.5.
    assert curve.score.dropna().unique().tolist() == [0.9]
    assert curve[curve.score.notna()].recall.max() == 0.5
    with pytest.raises(ValueError, match="class-aware"):
        curve_frame(dataclasses.replace(result, params=EvalParams(class_aware=True)))
