"""Python values that are no COCO: an error that names them, never one from inside."""

import pickle

import numpy as np
import pytest

from entity_api import RecordError, evaluate

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
