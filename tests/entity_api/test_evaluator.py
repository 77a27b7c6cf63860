"""What the evaluator promises beyond pycocotools: right where that is wrong, clear errors."""

import copy
import dataclasses
import math

import numpy as np
import pytest

from entity_api import Detections, EvalParams, GroundTruth, RecordError, evaluate, rle

SIZE = (10, 20)


def box(x, y, w, h, size=SIZE):
    """Draw a rectangle as RLE."""
    mask = np.zeros(size, bool)
    mask[y : y + h, x : x + w] = True
    return rle.encode(mask)


def annotation(annotation_id, segmentation, image_id=1, category_id=1, **fields):
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": segmentation,
        **fields,
    }


def prediction(segmentation, score, image_id=1, **fields):
    return {"image_id": image_id, "segmentation": segmentation, "score": score, **fields}


def ground_truth(*annotations, image_ids=(1,), size=SIZE):
    images = [{"id": image_id, "height": size[0], "width": size[1]} for image_id in image_ids]
    return {"images": images, "annotations": list(annotations)}


LEFT, RIGHT = box(0, 0, 8, 10), box(12, 0, 8, 10)


@pytest.fixture
def two_entities():
    """Two entities, both found, a false positive between them in rank."""
    gt = ground_truth(annotation(1, LEFT), annotation(2, RIGHT))
    dt = [prediction(LEFT, 0.9), prediction(box(9, 0, 2, 10), 0.5), prediction(RIGHT, 0.4)]
    return gt, dt


def test_a_number_a_reader_can_check(two_entities):
    result = evaluate(*two_entities)
    # Precision 1 up to recall 1/2 (51 of 101 points), 2/3 beyond it.
    expected = (51 * 1 + 50 * 2 / 3) / 101
    assert result.metrics["AP"] == pytest.approx(expected)
    assert result.metrics["AP50"] == result.metrics["AP75"] == pytest.approx(expected)
    assert [result.metrics[name] for name in ("AR1", "AR10", "AR100")] == [0.5, 1.0, 1.0]
    assert result.metrics["APs"] == result.metrics["AP"]
    assert math.isnan(result.metrics["APl"])
    assert result.matches.outcome[0, 0].tolist() == [1, 0, 1]
    assert result.matches.dt_gt[0, 0].tolist() == [0, -1, 1]
    assert result.matches.gt_dt[0, 0].tolist() == [0, 2]
    assert result.precision.shape == (10, 101, 4, 3)
    assert result.recall.shape == (10, 4, 3)


def test_names_of_the_metrics(two_entities):
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    with_e = [f"{name[:2]}e{name[2:]}" for name in names]
    assert list(evaluate(*two_entities).metrics) == names + with_e
    params = EvalParams(
        max_dets=(2, 5), area_ranges={"all": (0, 1e10), "tiny": (0, 9)}, remove_overlaps=False
    )
    names = ["AP", "AP50", "AP75", "AP_tiny", "AR2", "AR5", "AR_tiny"]
    assert list(evaluate(*two_entities, params).metrics) == names


def test_a_match_to_annotation_id_0_counts(two_entities):
    """pycocotools stores the matched id and reads 0 as no match."""
    gt, dt = two_entities
    expected = evaluate(gt, dt).metrics
    for ids in ((0, 1), (1, 0), (0, 0), (7, 7), ("a", "b")):
        for entry, new in zip(gt["annotations"], ids, strict=True):
            entry["id"] = new
        assert evaluate(gt, dt).metrics == pytest.approx(expected, nan_ok=True)
    for entry in gt["annotations"]:
        del entry["id"]
    assert evaluate(gt, dt).metrics == pytest.approx(expected, nan_ok=True)


def test_the_mask_decides_the_area_of_a_prediction(two_entities):
    """pycocotools takes the box's area where a bbox stands beside the segmentation."""
    gt, dt = two_entities
    areas = {"all": (0.0, 1e10), "small": (0.0, 50.0), "large": (50.0, 1e10)}
    params = EvalParams(area_ranges=areas)
    plain = evaluate(gt, dt, params)
    # The false positive of 20 pixels is ignored among the large ones.
    assert plain.metrics["APl"] == pytest.approx(1.0)
    for boxes in ([[0.0, 0.0, 0.0, 0.0]] * 3, [[0, 0, 20, 10]] * 3, [[0, 0, 9, 9], None, []]):
        with_boxes = [{**p, "bbox": b} for p, b in zip(dt, boxes, strict=True) if b is not None]
        with_boxes += [p for p, b in zip(dt, boxes, strict=True) if b is None]
        assert evaluate(gt, with_boxes, params).metrics == pytest.approx(plain.metrics, nan_ok=True)


def test_the_file_decides_the_area_of_an_annotation(two_entities):
    """As in COCO, whose areas are those of the polygons; the mask's where there is none."""
    gt, dt = two_entities
    areas = {"all": (0.0, 1e10), "small": (0.0, 50.0), "large": (50.0, 1e10)}
    gt["annotations"][0]["area"] = 10
    gt["annotations"][1]["area"] = None
    ignored = evaluate(gt, dt, EvalParams(area_ranges=areas)).matches.gt_ignored
    assert ignored.tolist() == [[False, False], [False, True], [True, False]]


def test_categories_are_not_read_when_class_agnostic(two_entities):
    gt, dt = two_entities
    expected = evaluate(gt, dt).metrics
    gt["annotations"][1]["category_id"] = 5
    others = [{**p, "category_id": 99 + k} for k, p in enumerate(dt)]
    assert evaluate(gt, others).metrics == pytest.approx(expected, nan_ok=True)
    del gt["annotations"][0]["category_id"]
    assert evaluate(gt, dt).metrics == pytest.approx(expected, nan_ok=True)


def test_class_aware(two_entities):
    gt, dt = two_entities
    gt["annotations"][1]["category_id"] = 2
    labelled = [{**p, "category_id": c} for p, c in zip(dt, (1, 2, 2), strict=True)]
    result = evaluate(gt, labelled, EvalParams(class_aware=True, category_ids=[2, 1, 3]))
    assert result.category_ids == [2, 1, 3]
    per_category = result.per_category()
    assert per_category[1] == pytest.approx(1.0)
    assert per_category[2] == pytest.approx(0.5)
    assert math.isnan(per_category[3])
    assert result.metrics["AP"] == pytest.approx(0.75)
    assert result.precision.shape == (10, 101, 3, 4, 3)
    assert evaluate(gt, labelled, EvalParams(class_aware=True)).category_ids == [1, 2]
    # A category that the ground truth does not have meets nobody; nor does none at all.
    for category_id in (9, None):
        wrong = [{**p, "category_id": category_id} for p in dt]
        assert evaluate(gt, wrong, EvalParams(class_aware=True)).metrics["AP"] == 0.0
    gt["annotations"][0]["category_id"] = 0
    assert evaluate(gt, dt, EvalParams(class_aware=True)).metrics["AP"] == 0.0


def test_only_the_best_of_an_image_count(two_entities):
    gt, dt = two_entities
    result = evaluate(gt, dt, EvalParams(max_dets=(1, 2)))
    assert result.metrics["AP"] == pytest.approx(51 / 101)
    assert result.matches.records.tolist() == [0, 1]


def test_ties_go_by_the_order_of_the_file(two_entities):
    gt, dt = two_entities
    dt = [{**p, "score": 0.5} for p in dt]
    assert evaluate(gt, dt).matches.outcome[0, 0].tolist() == [1, 0, 1]
    assert evaluate(gt, dt[::-1]).matches.records.tolist() == [0, 1, 2]


def test_images_go_by_rising_id_numbers_before_text():
    ids = ("b", 10, "a", 9)
    gt = ground_truth(*(annotation(k, LEFT, image_id) for k, image_id in enumerate(ids)),
                      image_ids=ids)  # fmt: skip
    dt = [prediction(LEFT, 0.5, image_id) for image_id in ids]
    result = evaluate(gt, dt)
    assert result.matches.records.tolist() == [3, 1, 2, 0]
    assert result.metrics["AP"] == pytest.approx(1.0)


def test_a_part_of_the_images():
    gt = ground_truth(annotation(1, LEFT, 1), annotation(2, LEFT, 2), image_ids=(1, 2, 3))
    dt = [prediction(LEFT, 0.9, 1), prediction(RIGHT, 0.8, 3)]
    assert evaluate(gt, dt).metrics["AP"] == pytest.approx(51 / 101)
    only = evaluate(gt, dt, EvalParams(image_ids=[1]))
    assert only.metrics["AP"] == pytest.approx(1.0)
    assert only.matches.records.tolist() == [0]
    assert evaluate(gt, dt, EvalParams(image_ids=[2, 3])).metrics["AP"] == 0.0


@pytest.mark.parametrize("class_aware", [False, True])
@pytest.mark.parametrize("kind", ["segm", "bbox", "boundary"])
def test_nothing_on_one_side_or_both(class_aware, kind):
    params = EvalParams(class_aware=class_aware, iou_type=kind)
    full = ground_truth(annotation(1, LEFT, bbox=[0, 0, 8, 10]))
    predictions = [prediction(LEFT, 0.5, bbox=[0, 0, 8, 10], category_id=1)]
    no_dt = evaluate(full, [], params).metrics
    assert no_dt["AP"] == no_dt["AR100"] == 0.0
    for gt in (ground_truth(), ground_truth(image_ids=())):
        dt = predictions if gt["images"] else []
        for detections in ([], dt):
            metrics = evaluate(gt, detections, params).metrics
            assert all(math.isnan(value) for value in metrics.values())


def test_only_crowds():
    gt = ground_truth(annotation(1, LEFT, iscrowd=1))
    result = evaluate(gt, [prediction(LEFT, 0.9), prediction(box(0, 0, 4, 10), 0.8)])
    assert math.isnan(result.metrics["AP"])
    # Both lie within the crowd, which may be matched twice and counts neither way.
    assert result.matches.outcome[0, 0].tolist() == [2, 2]


def test_the_callers_data_stay_as_they_were(two_entities):
    gt, dt = two_entities
    gt["annotations"].append(annotation(3, [[0, 0, 4, 0, 4, 4]], iscrowd=0))
    gt["annotations"].append(
        annotation(4, {"size": list(SIZE), "counts": [0, 10, 190]}, iscrowd=1, bbox=[0, 0, 1, 10])
    )
    before = copy.deepcopy((gt, dt))
    evaluate(gt, dt)
    evaluate(gt, dt, EvalParams(class_aware=True))
    assert (gt, dt) == before


def test_columns_are_taken_as_well(two_entities):
    gt, dt = two_entities
    gt_table = GroundTruth.from_coco(gt)
    dt_table = Detections.from_coco(dt, gt_table)
    before = copy.deepcopy((gt_table, dt_table))
    assert evaluate(gt_table, dt_table).metrics == pytest.approx(
        evaluate(gt, dt).metrics, nan_ok=True
    )
    for table, old in zip((gt_table, dt_table), before, strict=True):
        for field in dataclasses.fields(table):
            np.testing.assert_equal(getattr(table, field.name), getattr(old, field.name))


@pytest.mark.parametrize("threads", [1, 3])
def test_progress_adds_up_to_the_images(threads):
    image_ids = range(1, 3001)
    gt = ground_truth(*(annotation(k, LEFT, k) for k in image_ids), image_ids=image_ids)
    dt = [prediction(LEFT, 0.5, k) for k in image_ids]
    calls = []
    result = evaluate(gt, dt, EvalParams(threads=threads), calls.append)
    assert sum(calls) == 3000
    assert len(calls) > 1
    assert result.metrics["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_a_thread_names_its_record(threads):
    gt = ground_truth(*(annotation(k, LEFT, k) for k in range(50)), image_ids=range(50))
    table = GroundTruth.from_coco(gt)
    dt = Detections.from_coco([prediction(LEFT, 0.5, k) for k in range(50)], table)
    counts = list(dt.counts)
    counts[37] = "14"
    with pytest.raises(RecordError, match="dt record 37: run-length code covers 5 of"):
        evaluate(table, dataclasses.replace(dt, counts=counts), EvalParams(threads=threads))


BROKEN = [
    ({"category_id": "1"}, "category_id '1' is not a whole number"),
    ({"category_id": 1.5}, "category_id 1.5 is not a whole number"),
    ({"category_id": 2**63}, "category_id 9223372036854775808 is not"),
    ({"score": None}, "score None is not a number"),
    ({"score": "0.5"}, "score '0.5' is not a number"),
    ({"score": True}, "score True is not a number"),
    ({"score": math.nan}, "score nan is not finite"),
    ({"score": math.inf}, "score inf is not finite"),
    ({"score": np.float32("nan")}, "score nan is not finite"),
    ({"score": 10**400}, "is not finite"),
    ({"image_id": 2}, "image_id 2 is not among the images"),
    ({"image_id": "1"}, "image_id '1' is not among the images"),
    ({"image_id": None}, "image_id None is not among the images"),
    ({"image_id": [1]}, r"image_id \[1\] is not among the images"),
    ({"segmentation": None}, "an RLE is a dict"),
    ({"segmentation": "abc"}, "an RLE is a dict"),
    ({"segmentation": []}, "no polygons"),
    ({"segmentation": {"size": [20, 10], "counts": LEFT["counts"]}}, r"size \[20, 10\] is not"),
    ({"segmentation": {"size": [10, 20], "counts": "1"}}, "covers 1 of the 200 pixels"),
]


@pytest.mark.parametrize(("fields", "message"), BROKEN, ids=lambda value: repr(value)[:40])
def test_broken_predictions(two_entities, fields, message):
    gt, dt = two_entities
    dt[1].update(fields)
    with pytest.raises(RecordError, match=f"dt record 1: .*{message}") as caught:
        evaluate(gt, dt)
    assert (caught.value.side, caught.value.idx) == ("dt", 1)


@pytest.mark.parametrize("key", ["image_id", "score", "segmentation"])
def test_predictions_that_lack_a_field(two_entities, key):
    gt, dt = two_entities
    del dt[2][key]
    with pytest.raises(RecordError, match="dt record 2: "):
        evaluate(gt, dt)


@pytest.mark.parametrize(
    ("fields", "message"), [case for case in BROKEN if "score" not in case[0]],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_broken_annotations(two_entities, fields, message):
    gt, dt = two_entities
    gt["annotations"][1].update(fields)
    with pytest.raises(RecordError, match=f"gt record 1: .*{message}"):
        evaluate(gt, dt)


def test_an_area_that_is_no_number(two_entities):
    gt, dt = two_entities
    gt["annotations"][1]["area"] = "80"
    with pytest.raises(RecordError, match="gt record 1: area '80' is not a number"):
        evaluate(gt, dt)


def test_an_image_listed_twice(two_entities):
    gt, dt = two_entities
    gt["images"].append(dict(gt["images"][0]))
    with pytest.raises(ValueError, match="an image id stands twice"):
        evaluate(gt, dt)


@pytest.mark.parametrize("with_annotation", [True, False])
def test_an_image_that_is_too_large(with_annotation):
    """Even one without annotations, whose predictions cannot be counted either."""
    huge = {"size": [2**16, 2**16], "counts": "01"}
    table = GroundTruth(
        image_ids=[1],
        sizes=np.array([[2**16, 2**16]]),
        image_idx=np.zeros(int(with_annotation), np.int64),
        counts=[huge["counts"]] * with_annotation,
        category_ids=np.zeros(int(with_annotation), np.int64),
        iscrowd=np.zeros(int(with_annotation), bool),
        areas=np.full(int(with_annotation), np.nan),
        ids=[1] * with_annotation,
    )
    dt = Detections(np.zeros(1, np.int64), [huge["counts"]], np.zeros(1, np.int64), np.ones(1))
    with pytest.raises(ValueError, match="too large"):
        evaluate(table, dt)


def test_boxes_that_are_missing(two_entities):
    gt, dt = two_entities
    for entry in (*gt["annotations"], *dt):
        entry["bbox"] = [0.0, 0.0, 1.0, 1.0]
    dt[1]["bbox"] = None
    with pytest.raises(RecordError, match="dt record 1: it has no bbox"):
        evaluate(gt, dt, EvalParams(iou_type="bbox"))


@pytest.mark.parametrize(
    "fields",
    [
        {"iou_thrs": ()}, {"rec_thrs": ()}, {"max_dets": ()}, {"max_dets": (10, 1)},
        {"max_dets": (0, 1)}, {"max_dets": (-5,)}, {"iou_thrs": (0.9, 0.5)}, {"area_ranges": {}},
        {"area_ranges": {"all": (5, 1)}}, {"area_ranges": {"all": (math.nan, 1)}},
        {"threads": 0}, {"iou_thrs": (0.0, 0.5)}, {"iou_thrs": (0.5, 1.5)},
        {"iou_thrs": (math.nan,)}, {"rec_thrs": (-0.5, 0.5)}, {"rec_thrs": (0.5, math.nan)},
        {"iou_type": "keypoints"},
    ],
    ids=repr,
)  # fmt: skip
def test_parameters_that_make_no_sense(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        EvalParams(**fields)


def test_table(two_entities):
    text = str(evaluate(*two_entities))
    lines = [line.split() for line in text.splitlines()]
    percent = f"{100 * (51 + 50 * 2 / 3) / 101:.2f}"
    assert lines[1][:5] == ["AP^e", "overlaps", "removed", percent, percent]
    assert lines[2][:5] == ["AP", "masks", "as", "submitted", percent]
    # Large entities there are none.
    assert lines[2][-1] == "-"
    assert "No predictions overlap" in text
    gt, dt = two_entities
    text = str(evaluate(gt, [*dt, prediction(box(0, 0, 9, 10), 0.1)]))
    assert "overlap in 1 of 1 images: 1 pairs of masks, 80 pixels" in text
    text = str(evaluate(gt, dt, EvalParams(remove_overlaps=False)))
    assert "AP^e" not in text
    assert "verlap" not in text
