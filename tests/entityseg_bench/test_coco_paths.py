"""One file has one answer: scanned by the kernel, decoded by type, or read tolerantly."""

import json
import pickle

import numpy as np
import pytest

from entity_api import _records, rle
from entityseg_bench.formats.coco import read_coco, read_results
from entityseg_bench.formats.coco import rows as coco_rows
from entityseg_bench.io import InputError

NOISE = [rle.encode(np.random.default_rng(k).random((9, 7)) < 0.4) for k in range(4)]
IMAGES = [{"id": k, "height": 9, "width": 7, "file_name": f"p{k}.jpg"} for k in (3, 1, 2)]
TRUTH = {
    "images": IMAGES,
    "annotations": [
        {"id": 5, "image_id": 1, "category_id": 4, "segmentation": NOISE[0], "area": 20.5},
        {"id": 2, "image_id": 3, "category_id": 4, "segmentation": NOISE[1], "area": None},
        {"id": 9, "image_id": 1, "segmentation": NOISE[2], "iscrowd": 1, "bbox": [0, 0, 7, 9]},
    ],
    "categories": [{"id": 4, "name": "four"}],
}
RESULTS = [
    {"image_id": 1, "category_id": 4, "segmentation": NOISE[3], "score": 0.1, "bbox": [0, 0, 7, 9]},
    {"image_id": 3, "category_id": 4, "segmentation": NOISE[1], "score": -2},
    {"image_id": 2, "segmentation": NOISE[0], "score": 3e-1},
]


def changed(rows, **fields):
    """Return rows with fields that are new, each a function of the row."""
    return [{**row, **{name: make(row) for name, make in fields.items()}} for row in rows]


def printed(row):
    return {**row["segmentation"], "counts": str(row["segmentation"]["counts"].encode())}


def turned(row):
    return {**row["segmentation"], "size": row["segmentation"]["size"][::-1]}


# name: (predictions, ids of the images of the ground truth), all of the form that the kernel knows
PREDICTIONS = {
    "plain": (RESULTS, int),
    "with ids": (changed(RESULTS, id=lambda row: row["image_id"] + 7), int),
    "none": ([], int),
    "unknown image": ([*RESULTS, {**RESULTS[0], "image_id": 8}], int),
    "unknown images": (changed(RESULTS, image_id=lambda row: row["image_id"] + 50), int),
    "ids as text": (RESULTS, str),
    "ids as padded text": (RESULTS, lambda image_id: f"{image_id:012d}"),
    "printed bytes": (changed(RESULTS, segmentation=printed), int),
    "turned": (changed(RESULTS, segmentation=turned), int),
}
TRUTHS = {
    "plain": TRUTH,
    "none": {**TRUTH, "annotations": []},
    "no ids": {
        **TRUTH,
        "annotations": [{k: v for k, v in r.items() if k != "id"} for r in TRUTH["annotations"]],
    },
    "unknown image": {**TRUTH, "images": IMAGES[1:]},
    "image twice": {**TRUTH, "images": [*IMAGES, IMAGES[0]]},
    "LVIS": {**TRUTH, "images": changed(IMAGES, not_exhaustive_category_ids=lambda row: [])},
    "addresses": {
        **TRUTH,
        "images": [{**row, "file_name": "", "coco_url": "a/b.jpg"} for row in IMAGES],
    },
}


def answer(table):
    """Return all that a table says, also after it went to another process."""
    said = {
        "images": list(table.images),
        "image_idx": table.image_idx.tolist(),
        "ids": np.asarray(table.ids, object).tolist(),
        "kind of ids": type(table.ids),
        "category_ids": table.category_ids.tolist(),
        "scores": repr(table.scores.tolist()),
        "areas": repr(table.areas.tolist()),
        "iscrowd": table.iscrowd.tolist(),
        "unknown": table.unknown,
        "notes": table.notes,
    }
    for name, one in (("here", table), ("there", pickle.loads(pickle.dumps(table)))):
        codes, faults = one.counts_and_faults
        counts = [bytes(codes[k]) for k in range(len(codes)) if k not in faults]
        said[name] = counts, {k: str(fault) for k, fault in faults.items()}, one.masks.notes()
    return said


def paths_agree(read, file, content, monkeypatch):
    """Read a file in three ways; the third is a copy that the strict decoders refuse."""
    scans = []

    def scan(*of):
        scans.append(_scan(*of))
        return scans[-1]

    _scan = _records.scan
    file.write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setattr(coco_rows, "_records", Kernel(scan))
    scanned = answer(read(file))
    assert [found is not None for found in scans] == [True]
    monkeypatch.setattr(coco_rows, "_records", Kernel(lambda *of: None))
    assert answer(read(file)) == scanned
    monkeypatch.undo()
    rows = content if isinstance(content, list) else content["annotations"]
    if not rows:
        return
    odd = [{**rows[0], "x": float("nan")}, *rows[1:]]
    again = odd if isinstance(content, list) else {**content, "annotations": odd}
    file.write_text(json.dumps(again), encoding="utf-8")
    with pytest.raises(InputError):
        coco_rows.decode_json(file, file.read_bytes(), coco_rows.RESULTS)
    assert answer(read(file)) == scanned


class Kernel:
    """Stand in for the kernel."""

    def __init__(self, scan):
        self.scan = scan


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions(name, tmp_path, monkeypatch):
    rows, id_of = PREDICTIONS[name]
    images = changed(IMAGES, id=lambda row: id_of(row["id"]))
    truth_file = tmp_path / "gt.json"
    truth_file.write_text(
        json.dumps({"images": images, "annotations": [], "categories": []}), encoding="utf-8"
    )
    truth = read_coco(truth_file)
    paths_agree(
        lambda file: read_results(file, truth.images, truth.categories),
        tmp_path / "pred.json", rows, monkeypatch,
    )  # fmt: skip


@pytest.mark.parametrize("name", TRUTHS)
def test_ground_truth(name, tmp_path, monkeypatch):
    paths_agree(
        lambda file: read_coco(file, whole=False), tmp_path / "gt.json", TRUTHS[name], monkeypatch
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_are_scanned_and_found_again_in_another_process(encoding, tmp_path):
    file = tmp_path / "pred.json"
    file.write_text(json.dumps(RESULTS), encoding="utf-8")
    plain = answer(read_results(file))
    file.write_text(json.dumps(RESULTS), encoding=encoding)
    assert answer(read_results(file)) == plain


OWN = json.dumps(TRUTH["annotations"])
OTHER = json.dumps(TRUTH["annotations"][1:])
INFO = f'"info": {{"annotations": {OTHER}}}'
REST = f'"images": {json.dumps(IMAGES)}, "categories": {json.dumps(TRUTH["categories"])}'
# name: a text in which the first list of that name may be another's
LISTS = {
    "first": f'{{"annotations": {OWN}, {REST}}}',
    "last, spread": f'{{{REST}, "annotations"\n:\t{OWN} }}\n',
    "after a field of that name": f'{{{INFO}, "annotations": {OWN}, {REST}}}',
    "before a field of that name": f'{{"annotations": {OWN}, {INFO}, {REST}}}',
    "twice": f'{{"annotations": {OTHER}, {REST}, "annotations": {OWN}}}',
    "in a text": f'{{"info": "\\"annotations\\": [", "annotations": {OWN}, {REST}}}',
    "escaped": f'{{"annotations": {OTHER}, {REST}, "\\u0061nnotations": {OWN}}}',
}


@pytest.mark.parametrize("name", LISTS)
def test_annotations_are_those_of_the_file(name, tmp_path, monkeypatch):
    file = tmp_path / "gt.json"
    file.write_text(LISTS[name], encoding="utf-8")
    found = answer(read_coco(file, whole=False))
    assert found["image_idx"] == [1, 0, 1]
    monkeypatch.setattr(coco_rows, "_records", Kernel(lambda *of: None))
    assert answer(read_coco(file, whole=False)) == found


@pytest.mark.parametrize("rest", [", 1}", "}}", '} "x"', "", ', "annotations": 3}'])
def test_text_behind_annotations_is_read(rest, tmp_path, monkeypatch):
    """The kernel reads no further than their list."""
    file = tmp_path / "gt.json"
    file.write_text(f'{{{REST}, "annotations": {OWN}{rest}', encoding="utf-8")
    with pytest.raises(InputError) as scanned:
        read_coco(file, whole=False)
    monkeypatch.setattr(coco_rows, "_records", Kernel(lambda *of: None))
    with pytest.raises(InputError) as decoded:
        read_coco(file, whole=False)
    assert str(scanned.value) == str(decoded.value)
