"""What people have in memory is scored as the same masks as COCO records are."""

import gzip
import json

import numpy as np
import pytest

import entity_api
from entity_api import Detections, GroundTruth, RecordError, evaluate, rle

SIZES = {7: (24, 30), "b": (16, 12), 3: (20, 20)}


class Tensor:
    """Behave as a PyTorch tensor on another device does: no array until it is on the CPU."""

    def __init__(self, array, steps=("detach", "cpu")):
        self.array, self.steps = np.asarray(array), steps
        self.dtype = f"torch.{self.array.dtype}"

    def detach(self):
        assert self.steps[0] == "detach"
        return Tensor(self.array, self.steps[1:])

    def cpu(self):
        assert self.steps == ("cpu",)
        return Tensor(self.array, ())

    def numpy(self):
        assert self.steps == ()
        return self.array


@pytest.fixture(scope="module")
def sides():
    """Return image id -> masks, and image id -> (masks, scores), seeded."""
    rng = np.random.default_rng(5)
    truth, found = {}, {}
    for image_id, (height, width) in SIZES.items():
        boxes = rng.integers(0, [height - 6, width - 6], (4, 2))
        masks = np.zeros((4, height, width), bool)
        for mask, (y, x) in zip(masks, boxes, strict=True):
            mask[y : y + 6, x : x + 6] = True
        truth[image_id] = masks
        found[image_id] = np.roll(masks, 1, axis=2)[:3], np.round(rng.random(3), 3)
    return truth, found


@pytest.fixture(scope="module")
def records(sides):
    truth, found = sides
    gt = {
        "images": [{"id": k, "height": h, "width": w} for k, (h, w) in SIZES.items()],
        "annotations": [
            {"image_id": k, "segmentation": rle.encode(mask)}
            for k, own in truth.items() for mask in own
        ],
    }  # fmt: skip
    dt = [
        {"image_id": k, "segmentation": rle.encode(mask), "score": float(score)}
        for k, own in found.items() for mask, score in zip(*own, strict=True)
    ]  # fmt: skip
    return gt, dt


@pytest.fixture(scope="module")
def expected(records):
    return evaluate(*records).metrics


def same(gt, dt, expected):
    found = evaluate(gt, dt).metrics
    assert 0.1 < found["APe"] < 0.9
    assert np.array_equal(list(found.values()), list(expected.values()), equal_nan=True)


def as_array(masks):
    return masks


FORMS = {
    "bool": as_array,
    "uint8": lambda masks: masks.astype(np.uint8),
    "0 and 255": lambda masks: masks.astype(np.uint8) * 255,
    "float": lambda masks: masks.astype(np.float32),
    "list": list,
    "tensor": Tensor,
    "list of tensors": lambda masks: [Tensor(mask) for mask in masks],
    "with an axis": lambda masks: masks[:, None],
    "each with an axis": lambda masks: [mask[None] for mask in masks],
    "codes": lambda masks: [rle.encode(mask) for mask in masks],
    "column-major": lambda masks: np.asfortranarray(masks),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_masks_of_each_image(form, sides, records, expected):
    truth, found = sides
    gt, _ = records
    pairs = [(form(masks), scores) for masks, scores in found.values()]
    same(gt, pairs, expected)
    same(gt, dict(zip(SIZES, pairs, strict=True)), expected)
    named = [
        {"image_id": k, "masks": masks, "scores": scores.tolist()}
        for k, (masks, scores) in zip(SIZES, pairs, strict=True)
    ]
    same(gt, named[::-1], expected)
    for entry in named:
        del entry["image_id"]
    same(gt, named, expected)
    table = GroundTruth.from_masks([form(masks) for masks in truth.values()], list(SIZES))
    same(table, Detections.from_masks(dict(zip(SIZES, pairs, strict=True)), table), expected)
    # Without ids images are numbered: their order, and so the result, may differ where scores tie.
    assert evaluate([form(m) for m in truth.values()], pairs).metrics["APe"] == pytest.approx(
        expected["APe"]
    )


@pytest.mark.parametrize(
    "form",
    [
        as_array, Tensor, lambda m: m.astype(np.uint8), lambda m: m.tolist(),
        lambda m: m.astype(int).tolist(), lambda m: m.astype(float).tolist(),
    ],
)  # fmt: skip
def test_records_with_dense_masks(form, sides, records, expected):
    truth, found = sides
    gt, dt = records
    masks = [mask for own in truth.values() for mask in own]
    dense_gt = {**gt, "annotations": [
        {**record, "segmentation": form(mask)}
        for record, mask in zip(gt["annotations"], masks, strict=True)
    ]}  # fmt: skip
    masks = [mask for own, _ in found.values() for mask in own]
    dense_dt = [
        {**record, "segmentation": form(mask), "score": Tensor(np.array([record["score"]]))}
        for record, mask in zip(dt, masks, strict=True)
    ]
    same(dense_gt, dense_dt, expected)
    by_image = {k: [record for record in dense_dt if record["image_id"] == k] for k in SIZES}
    same(dense_gt, by_image, expected)
    same(dense_gt, list(by_image.values()), expected)


def test_paths_and_coco_objects(records, expected, tmp_path):
    gt, dt = records
    numbers = {7: 7, "b": 8, 3: 3}
    gt = {
        "images": [{**image, "id": numbers[image["id"]]} for image in gt["images"]],
        "annotations": [
            {**a, "id": k, "image_id": numbers[a["image_id"]], "category_id": 1, "iscrowd": 0}
            for k, a in enumerate(gt["annotations"], 1)
        ],
        "categories": [{"id": 1}],
    }
    dt = [{**d, "image_id": numbers[d["image_id"]], "category_id": 1} for d in dt]
    (tmp_path / "gt.json").write_text(json.dumps(gt), encoding="utf-8-sig")
    (tmp_path / "dt.json.gz").write_bytes(gzip.compress(json.dumps(dt).encode()))
    wanted = evaluate(gt, dt).metrics
    for path in (str, lambda path: path):
        same(path(tmp_path / "gt.json"), path(tmp_path / "dt.json.gz"), wanted)
    table = GroundTruth.from_coco(tmp_path / "gt.json")
    same(table, Detections.from_coco(str(tmp_path / "dt.json.gz"), table), wanted)
    coco = entity_api.COCO(tmp_path / "gt.json")
    same(coco, dt, wanted)
    same(coco, {"annotations": dt}, wanted)
    (tmp_path / "broken.json").write_text("{'a': 1}")
    with pytest.raises(ValueError, match=r"detections: .*broken\.json is no JSON"):
        evaluate(gt, tmp_path / "broken.json")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        evaluate(tmp_path / "nowhere.json", dt)


MASK = np.eye(16, 12, dtype=bool)

# What is given for one image of 16 x 12 -> what is said.
REFUSED = [
    ([(np.zeros((1, 12, 16), bool), [0.5])],
     r"image_id 0, mask 0: its shape \[12, 16\] is not the image's \(height, width\) \(16, 12\)"),
    ([(np.full((1, 16, 12), 0.3), [0.5])], "image_id 0, mask 0: .*threshold"),
    ([([MASK, MASK * np.float32("nan")], [0.5, 0.4])], "image_id 0, mask 1: .*threshold"),
    ([(np.arange(192).reshape(1, 16, 12), [0.5])], "image_id 0, mask 0: .*an id map"),
    ([(MASK[None], [float("nan")])], "dt record 0: score nan is not finite .image_id 0"),
    ([(MASK[None], [0.5, 0.4])], r"image 0: there are 1 masks and scores of shape \(2,\)"),
    ([(MASK[None], 0.5)], "image 0: scores are a list"),
    ([(MASK[None], ["a"])], "image 0: scores are a list of numbers"),
    ([(MASK[None], [True])], "image 0: scores are a list of numbers"),
    ([(MASK[None], np.array([True]))], "image 0: scores are numbers, not bool"),
    ([(MASK, [0.5])], r"image_id 0, mask 0: the masks of an image are .*not \(16, 12\)"),
    ([("masks", [0.5])], "image_id 0, mask 0: .*not str"),
    ([(["mask"], [0.5])], "image_id 0, mask 0: .*"),
    ([MASK[None]], "masks alone are no detections"),
    ([(MASK[None], [0.5])] * 2, "masks of 2 images, and 1 in the ground truth"),
    ([{"image_id": 0, "masks": MASK[None], "scores": [1]}] * 2, "entry 1 .*image 0 stands twice"),
    ([{"masks": MASK[None]}], "image 0 of the detections has masks and no scores"),
    ({5: (MASK[None], [0.5])}, "image 5 is not among the images"),
    ({0: MASK[None]}, "image 0 of the detections: give"),
    ([{"image_id": 0, "segmentation": MASK.T, "score": 1}], r"dt record 0: .*\(image_id 0\)"),
    ([{"image_id": 0, "segmentation": MASK.T.tolist(), "score": 1}], r"dt record 0: its shape"),
    ({0: [{"image_id": 1, "segmentation": MASK, "score": 1}]}, "dt record 0: its image_id is 1"),
    (17, "int"),
]  # fmt: skip


@pytest.mark.parametrize(("dt", "said"), REFUSED)
def test_what_is_refused(dt, said):
    with pytest.raises(ValueError, match=said):
        evaluate([MASK[None]], dt)


def test_ground_truth_of_masks_is_refused():
    with pytest.raises(RecordError, match=r"gt record 1: image_id 0, mask 1: its size \[12, 16\]"):
        GroundTruth.from_masks([[MASK, MASK.T]])
    with pytest.raises(ValueError, match="image 'x' of the ground truth has no size"):
        GroundTruth.from_masks([[]], ["x"])
    with pytest.raises(ValueError, match="1 images of masks and 2 image ids"):
        GroundTruth.from_masks([MASK[None]], [1, 2])
    with pytest.raises(ValueError, match=r"ground truth is a COCO .*list of records"):
        evaluate([{"image_id": 1}], [])
    empty = GroundTruth.from_masks([np.zeros((0, 16, 12), bool)])
    assert empty.sizes.tolist() == [[16, 12]]
    assert len(empty.ids) == 0


def test_a_tiny_polygon_is_none_of_a_masks_rows():
    gt = {"images": [{"id": 0, "height": 16, "width": 12}], "annotations": [
        {"image_id": 0, "segmentation": [[0, 0, 1, 0, 1, 1, 0, 1]]}]}  # fmt: skip
    pixel = np.zeros((16, 12), bool)
    pixel[0, 0] = True
    assert evaluate(gt, {0: ([pixel], [1])}).metrics["AP"] == pytest.approx(1)


def test_what_was_given_stays_as_it_is(sides, records):
    gt, dt = records
    before = json.dumps([gt, dt], default=str)
    evaluate(gt, {7: [record for record in dt if record["image_id"] == 7]})
    assert json.dumps([gt, dt], default=str) == before


@pytest.mark.parametrize("kind", [int, float, str])
def test_images_that_are_numbered_anew_are_refused(kind, tmp_path):
    """Their ids are known, and of other images: the number would be wrong without a word."""
    code = rle.encode(np.ones((4, 4), bool))
    truth = {
        "images": [{"id": k, "height": 4, "width": 4, "file_name": f"v/{k}.a.jpg"} for k in (1, 2)],
        "annotations": [{"id": 1, "image_id": 1, "segmentation": code}],
    }
    found = [{"image_id": 1, "segmentation": code, "score": 0.5}]
    for names, refused in (({1: "2.A.png", 2: "1.a"}, True), ({1: "w\\1.A.PNG", 2: "2.a"}, False)):
        images = [{"id": kind(k), "file_name": name} for k, name in names.items()]
        path = tmp_path / "dt.json"
        path.write_text(json.dumps({"images": images, "annotations": found}), encoding="utf-8")
        for given in (path, json.loads(path.read_text(encoding="utf-8"))):
            if refused:
                with pytest.raises(ValueError, match=r"image '1' is 2\.A\.png in the detections"):
                    evaluate(truth, given)
            else:
                assert evaluate(truth, given).metrics["AP"] == pytest.approx(1)
