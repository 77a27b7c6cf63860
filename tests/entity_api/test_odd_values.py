"""Python values that are no COCO: an error that names them, never one from inside."""

import pickle

import numpy as np
import pytest

from entity_api import (
    Detections,
    EvalParams,
    GroundTruth,
    RecordError,
    evaluate,
    overlapping_pairs,
    remove_overlaps,
)

IMAGE = {"id": 1, "height": 4, "width": 4}


@pytest.mark.parametrize(
    "gt",
    [
        None,
        [],
        {},
        {"images": [IMAGE]},
        {"images": {1: IMAGE}, "annotations": []},
        {"images": [[1, 4, 4]], "annotations": []},
        {"images": [{"height": 4, "width": 4}], "annotations": []},
        {"images": [{**IMAGE, "height": 2**70}], "annotations": []},
        {"images": [{**IMAGE, "width": "4"}], "annotations": []},
        {"images": [{**IMAGE, "id": []}], "annotations": []},
    ],
)
def test_ground_truth_of_another_shape(gt):
    with pytest.raises(ValueError, match="ground truth"):
        evaluate(gt, [])


@pytest.mark.parametrize("row", [None, 3, [], "x"])
def test_records_that_are_none(row):
    images = [IMAGE]
    with pytest.raises(RecordError, match="gt record 0: it is"):
        evaluate({"images": images, "annotations": [row]}, [])
    with pytest.raises(RecordError, match="dt record 0: it is"):
        evaluate({"images": images, "annotations": []}, [row])


def test_an_error_passes_from_process_to_process():
    error = pickle.loads(pickle.dumps(RecordError("dt", 7, "its score is nan")))
    assert (error.side, error.idx, error.what) == ("dt", 7, "its score is nan")
    assert str(error) == "dt record 7: its score is nan"


MASK = {"size": [4, 4], "counts": [0, 16]}
ROWS = np.zeros((20, 30), int)
ROWS[3:9, 4:20] = 1


def found(mask, size=(20, 30), **fields):
    """Score a mask against the block of `ROWS`."""
    gt = {"images": [{"id": 1, "height": size[0], "width": size[1]}], "annotations": [
        {"image_id": 1, "segmentation": ROWS, **fields}]}  # fmt: skip
    return evaluate(gt, [{"image_id": 1, "score": 0.5, "segmentation": mask}]).metrics["AP"]


def test_true_is_no_image_id():
    gt = {"images": [IMAGE], "annotations": []}
    with pytest.raises(RecordError, match="image_id True is not among"):
        evaluate(gt, [{"image_id": True, "score": 0.5, "segmentation": MASK}])


@pytest.mark.parametrize("flag", ["0", "no", [0], {}, float("inf")])
def test_flags_that_are_none(flag):
    with pytest.raises(RecordError, match=r"iscrowd .* is not 0 or 1"):
        found(ROWS, iscrowd=flag)


@pytest.mark.parametrize("flag", [None, float("nan"), 0.0, False, np.int64(0)])
def test_flags_of_single_entities(flag):
    assert found(ROWS, iscrowd=flag) == pytest.approx(1)


def test_rows_of_the_images_shape_are_pixels():
    assert found((255 * ROWS).tolist()) == pytest.approx(1)
    for other in (0.9 * ROWS, 2 * ROWS - 1):
        with pytest.raises(RecordError, match="its pixels"):
            found(other.tolist())


def test_text_is_no_polygon():
    with pytest.raises(RecordError, match="a polygon is"):
        found([["1", "1", "9", "1", "9", "9"]])


def test_a_file_of_text_is_no_path(tmp_path):
    path = tmp_path / "text.json"
    path.write_text('"other.json"', encoding="utf-8")
    with pytest.raises(ValueError, match="holds a text and nothing else"):
        evaluate({"images": [IMAGE], "annotations": []}, path)


def columns(**changes):
    """Two images with an entity each, and a prediction on each, as plain lists."""
    sides = {
        "gt": {"image_ids": [7, 9], "sizes": [[4, 4], [4, 4]], "image_idx": [0, 1],
               "counts": ["02>", "02>"], "category_ids": [1, 1], "iscrowd": [0, 0],
               "areas": [2, 2], "ids": [1, 2]},
        "dt": {"image_idx": [0, 1], "counts": ["02>", "02>"], "category_ids": [1, 1],
               "scores": [0.5, 0.25]},
    }  # fmt: skip
    for name, value in changes.items():
        side, _, column = name.partition("_")
        sides[side][column] = value
    return evaluate(GroundTruth(**sides["gt"]), Detections(**sides["dt"]))


def test_columns_may_be_lists():
    assert columns().metrics["APe"] == 1
    assert columns(dt_image_idx=np.array([0.0, 1.0]), dt_scores=[1, 2]).metrics["APe"] == 1


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("gt_image_ids", 2, "image_ids are a list, not int"),
        ("dt_counts", ["02>", [0, 2, 14]], "mask 1: counts are text or bytes, not list"),
        ("gt_sizes", [4, 4], r"sizes has the shape \(2,\), and not \(N, 2\)"),
        ("gt_sizes", [[4, 4]], "2 image ids and 1 sizes"),
        ("gt_sizes", [[4, -4], [4, 4]], "sizes holds -4, which is below 0"),
        ("gt_image_idx", [0, 2], "gt record 1: image_idx 2 is no position of the 2 images"),
        ("gt_image_idx", ["a", "b"], "image_idx holds <U1, and not whole numbers"),
        ("gt_areas", {"a": 1}, "areas holds object, and not numbers"),
        ("gt_iscrowd", [None, None], "iscrowd holds object, and not yes or no"),
        ("gt_counts", "02>", "counts are a list, not str"),
        ("dt_image_idx", [0, -1], "image_idx holds -1, which is below 0"),
        ("dt_image_idx", [0, 5], "dt record 1: image_idx 5 is no position of the 2 images"),
        ("dt_image_idx", [0, 0.5], "image_idx holds numbers that are not whole"),
        ("dt_category_ids", [1, 1e300], "category_ids holds numbers that are not whole, or beyond"),
        ("dt_category_ids", [1, 2**63], "category_ids holds numbers that are not whole, or beyond"),
        ("dt_category_ids", [1, float("nan")], "category_ids holds numbers that are not whole"),
        ("dt_category_ids", [1], r"category_ids has the shape \(1,\), and not \(2,\)"),
        ("dt_scores", [[1], [1, 2]], "scores is no column of numbers"),
        ("dt_scores", [0.5, float("nan")], "dt record 1: score nan is not finite"),
        ("dt_counts", ["02>"], "there are 2 records and 1 counts"),
    ],
)
def test_columns_of_another_shape_are_named(column, value, why):
    with pytest.raises(ValueError, match=why):
        columns(**{column: value})


@pytest.mark.parametrize("rows", [np.array(3), np.array("x")])
def test_one_value_is_no_list_of_records(rows):
    with pytest.raises(ValueError, match="a list"):
        evaluate({"images": rows, "annotations": []}, [])
    with pytest.raises(ValueError, match="a list"):
        evaluate({"images": [IMAGE], "annotations": []}, rows)


@pytest.mark.parametrize("bbox", [3, True, "abcd", {"a": 1}, [0, 0, 1, None], [0, 0, 1], [[0], 0]])
def test_boxes_that_are_no_numbers_are_named(bbox):
    gt = {"images": [IMAGE], "annotations": [{"image_id": 1, "bbox": [0, 0, 2, 2]}]}
    with pytest.raises(RecordError, match="dt record 0: it has no bbox"):
        evaluate(gt, [{"image_id": 1, "score": 1, "bbox": bbox}], EvalParams(iou_type="bbox"))


@pytest.mark.parametrize("value", [3, 1.5, object(), [[1]], [{}], "7", [float("nan")], [True]])
@pytest.mark.parametrize("name", ["image_ids", "category_ids"])
def test_ids_to_score_that_are_none(name, value):
    with pytest.raises(ValueError, match=name):
        EvalParams(**{name: value})


@pytest.mark.parametrize("masks", [3, None, [3], [None], [{}], "ab", [{"size": [4, 4]}], {1: 2}])
def test_what_is_no_masks_has_no_overlaps(masks):
    for call in (
        lambda: remove_overlaps(masks, [0.5]), lambda: overlapping_pairs(masks)
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"mask|RLE"):
            call()


@pytest.mark.parametrize("scores", [3, None, [{}], ["a"], [[1]], [float("nan")], [None]])
def test_overlaps_are_removed_by_numbers(scores):
    with pytest.raises(ValueError, match="score"):
        remove_overlaps([MASK], scores)


def test_masked_pixels_are_neither_in_nor_out():
    with pytest.raises(RecordError, match="masked array"):
        found(np.ma.masked_array(ROWS, ROWS == 1))
