"""COCO JSON into columns: each kind of mask, each optional field, equal to the dictionary's."""

import gzip
import json

import numpy as np
import pytest

from entity_api import Detections, GroundTruth, evaluate, rle
from entityseg_bench.formats.coco import read_coco, read_results
from entityseg_bench.formats.coco.faults import bad_records
from entityseg_bench.formats.coco.row_types import ResultRow
from entityseg_bench.formats.coco.rows import TRUTH_ROWS
from entityseg_bench.io import InputError

POLYGON = [[0.5, 0.5, 3.5, 0.5, 3.0, 3.25]]


@pytest.fixture
def contents():
    """Make both sides with every kind of segmentation, id and optional field."""
    rng = np.random.default_rng(3)
    # A code with the one character that JSON escapes.
    tall = {"size": [100, 44], "counts": [1100, 12 + 32 * 3, 4400 - 1100 - 108]}
    assert "\\" in rle.to_rle(tall, 100, 44)["counts"]
    images = [
        {"id": 3, "height": 9, "width": 7, "file_name": "a\u00e9.jpg", "license": 1},
        {"id": "x", "height": 100, "width": 44},
        {"id": 1, "height": 9, "width": 7},
    ]
    noise = [rle.encode(rng.random((9, 7)) < 0.4) for _ in range(3)]
    tall_text = rle.to_rle(tall, 100, 44)
    plain = {"size": [9, 7], "counts": [3, 20, 40]}
    gt = {
        "info": {"year": 2023},
        "images": images,
        "annotations": [
            {"id": 0, "image_id": 3, "category_id": 5, "segmentation": noise[0], "area": 9.5},
            {"id": 7, "image_id": "x", "category_id": 6, "segmentation": tall, "iscrowd": 1},
            {"id": 9, "image_id": "x", "category_id": 6, "segmentation": tall_text},
            {"image_id": 3, "segmentation": POLYGON, "area": None, "iscrowd": 0, "bbox": [0] * 4},
            {"id": "t", "image_id": 3, "category_id": 5, "segmentation": plain, "iscrowd": False},
        ],
        "categories": [{"id": 5, "name": "five"}, {"id": 6}],
    }
    dt = [
        {"image_id": "x", "score": 1, "segmentation": tall_text, "category_id": 6},
        {"image_id": 3, "score": 0.25, "segmentation": POLYGON, "bbox": None},
        {"image_id": 3, "score": -3.5e-2, "segmentation": plain, "extra": {"a": [1]}},
        {"image_id": 1, "score": 0.5, "segmentation": noise[2], "id": 4, "category_id": None},
        {"image_id": 3, "score": 0.25, "segmentation": noise[1]},
    ]
    return gt, dt


def read_ground_truth(path):
    return read_coco(path, whole=False)


def read_predictions(path, gt):
    return read_results(path, gt.images, gt.categories)


def write(folder, gt, dt, indent=None):
    paths = folder / "gt.json", folder / "pred.json"
    for path, content in zip(paths, (gt, dt), strict=True):
        path.write_text(json.dumps(content, indent=indent))
    return paths


def as_columns(gt_path, dt_path):
    gt = read_ground_truth(gt_path)
    return gt.ground_truth(), read_predictions(dt_path, gt).detections()


def assert_equal_to_dictionaries(gt_table, dt_table, gt, dt):
    """The same columns, but for codes as JSON literals and a missing category as -1."""
    expected_gt = GroundTruth.from_coco(gt)
    expected_dt = Detections.from_coco(dt, expected_gt)
    for ours, expected in ((gt_table, expected_gt), (dt_table, expected_dt)):
        np.testing.assert_array_equal(ours.image_idx, expected.image_idx)
        assert [text_of(code) for code in ours.counts] == [text_of(c) for c in expected.counts]
    for name in ("sizes", "iscrowd", "areas"):
        np.testing.assert_array_equal(getattr(gt_table, name), getattr(expected_gt, name))
    assert list(gt_table.image_ids) == list(expected_gt.image_ids)
    np.testing.assert_array_equal(dt_table.scores, expected_dt.scores)
    ours, expected = (evaluate(*sides) for sides in ((gt_table, dt_table), (gt, dt)))
    np.testing.assert_equal(ours.metrics, expected.metrics)


def text_of(code):
    text = code if isinstance(code, str) else bytes(code).decode()
    return json.loads(text) if text.startswith('"') else text


@pytest.mark.parametrize("indent", [None, 2])
def test_equal_to_dictionaries(contents, tmp_path, indent):
    gt, dt = contents
    assert_equal_to_dictionaries(*as_columns(*write(tmp_path, gt, dt, indent)), gt, dt)


def test_wrapped_and_packed(contents, tmp_path):
    gt, dt = contents
    for wrapped in ({"annotations": dt}, {"images": [], "annotations": dt, "info": None}):
        gt_path, dt_path = write(tmp_path, gt, wrapped)
        assert_equal_to_dictionaries(*as_columns(gt_path, dt_path), gt, dt)
    packed = []
    for path in (gt_path, dt_path):
        packed.append(path.with_name(path.name + ".gz"))
        packed[-1].write_bytes(gzip.compress(path.read_bytes()))
    assert_equal_to_dictionaries(*as_columns(*packed), gt, dt)


def test_categories_of_records(contents, tmp_path):
    gt_table, dt_table = as_columns(*write(tmp_path, *contents))
    assert gt_table.category_ids.tolist() == [5, 6, 6, -1, 5]
    assert dt_table.category_ids.tolist() == [6, -1, -1, -1, -1]


def test_nothing_on_either_side(tmp_path):
    gt_path, dt_path = write(tmp_path, {"images": [], "annotations": []}, [])
    gt_table, dt_table = as_columns(gt_path, dt_path)
    assert len(gt_table.image_ids) == len(gt_table.image_idx) == len(dt_table.image_idx) == 0
    assert gt_table.sizes.shape == (0, 2)


def test_where_names_a_record(contents, tmp_path):
    gt_path, dt_path = write(tmp_path, *contents)
    gt = read_ground_truth(gt_path)
    dt = read_predictions(dt_path, gt)
    assert gt.where(2) == "record 2, id 9 (image_id 'x')"
    assert gt.where(3) == "record 3 (image_id 3)"
    assert str(dt.error(3, "it is odd", "Mend it.")) == (
        f"{dt_path}: record 3, id 4 (image_id 1): it is odd. Mend it."
    )


def test_a_record_that_cannot_be_read_is_named(contents, tmp_path):
    gt, dt = contents
    dt[3]["score"] = "x"
    gt_path, dt_path = write(tmp_path, gt, dt)
    with pytest.raises(InputError) as caught:
        read_predictions(dt_path, read_ground_truth(gt_path))
    assert str(caught.value).startswith(f"{dt_path}: record 3 (image_id 1): its score is 'x'")


def test_bad_records_names_each(contents, tmp_path):
    gt, dt = contents
    dt[0]["score"] = None
    dt[1] = 17
    del dt[2]["image_id"]
    gt["images"][1]["height"] = -5
    gt["annotations"][4]["image_id"] = [7]
    gt["categories"][0]["id"] = "five"
    gt_path, dt_path = write(tmp_path, gt, dt)
    kinds = {"annotations": ResultRow}
    assert [where for where, *_ in bad_records(dt_path.read_bytes(), kinds)] == [
        "annotations record 0 (image_id 'x')",
        "annotations record 1",
        "annotations record 2",
    ]
    found = {where: what for where, what, _ in bad_records(gt_path.read_bytes(), TRUTH_ROWS)}
    assert found["images record 1 (id 'x')"] == "height is -5: Expected `int` >= 1"
    assert "got `array`" in found["annotations record 4 (id 't', image_id [7])"]
    assert "id is 'five'" in found["categories record 0 (id 'five')"]
    assert len(found) == 3


def test_numbers_that_columns_cannot_hold(contents, tmp_path):
    """JSON's whole numbers have no end; each is refused by name, none wraps around."""
    for key, value in (("category_id", 2**63), ("category_id", -(2**70)), ("area", 10**400)):
        gt, dt = contents
        record = {**gt["annotations"][0], key: value}
        paths = write(tmp_path, {**gt, "annotations": [record]}, dt)
        with pytest.raises(InputError, match="annotations record 0"):
            read_ground_truth(paths[0])
    # Ids are only compared.
    gt["images"][0]["id"] = 2**80
    gt["annotations"] = [{**gt["annotations"][0], "image_id": 2**80, "id": 10**30}]
    gt_path, _ = write(tmp_path, gt, [])
    assert read_ground_truth(gt_path).ground_truth().image_idx.tolist() == [0]
