"""Python values that are no COCO: an error that names them, never one from inside."""

import pickle

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
