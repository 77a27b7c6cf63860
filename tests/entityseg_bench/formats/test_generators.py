"""What other programs wrote (tests/data/generators) scores as the same masks as COCO results do."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from entity_api import rle
from entityseg_bench import EntityMetric, evaluate_files
from entityseg_bench.formats import Inputs
from entityseg_bench.io import InputError
from entityseg_bench.validate import validate

DATA = Path(__file__).resolve().parents[2] / "data" / "generators"
GT = DATA / "gt.json"
IMAGES = {
    Path(image["file_name"]).name: image for image in json.loads(GT.read_text("utf-8"))["images"]
}
MEAN = "mean(predicted_iou, stability_score)"


def written(name):
    return json.loads(gzip.decompress((DATA / name).read_bytes()))


def result(name, mask, score):
    image_id = IMAGES[name]["id"]
    return {
        "image_id": image_id,
        "segmentation": rle.encode(np.asfortranarray(mask)),
        "score": score,
    }


def of_masks(score):
    """Return the generator's dense masks as COCO results."""
    for name, records in written("binary_mask.json.gz").items():
        for record in records:
            yield result(name, np.array(record["segmentation"], bool), score(record))


def of_pipeline(names):
    for name in names:
        with np.load(DATA / "mask_generation" / f"{Path(name).stem}.npz") as arrays:
            for mask, score in zip(arrays["masks"], arrays["scores"], strict=True):
                yield result(name, mask, float(score))


def of_segments(name):
    """Return what can be seen of each segment of Hugging Face's maps."""
    for image, own in written(name).items():
        pixels = np.array(own["segmentation"])
        for k, segment in enumerate(own["segments_info"]):
            mask = pixels[k] == 1 if pixels.ndim == 3 else pixels == segment["id"]
            if mask.any():
                yield result(image, mask, segment["score"])


def of_id_maps():
    """Return the values of the maps as segments of one score."""
    for name in IMAGES:
        path = DATA / "id_maps" / f"{name.partition('.')[0]}.png"
        pixels = np.array(Image.open(path))
        for value in np.unique(pixels[pixels > 0]):
            yield result(name, pixels == value, 1.0)


def iou(record):
    return record["predicted_iou"]


def mean(record):
    return (record["predicted_iou"] + record["stability_score"]) / 2


# What was written -> its options, the same masks as COCO results, a word of the notes.
LAST = "demo_03_00001.v1.2.jpg"
CASES = {
    "amg_png": ({}, lambda: of_masks(iou), "predicted_iou"),
    "amg_json": ({}, lambda: of_masks(iou), "predicted_iou"),
    "binary_mask.json.gz": ({}, lambda: of_masks(iou), "zeros and ones"),
    "uncompressed_rle.json.gz": ({}, lambda: of_masks(iou), "keyed by image"),
    "coco_rle.json.gz": ({}, lambda: of_masks(iou), "predicted_iou"),
    "mask_generation": ({}, lambda: of_pipeline(IMAGES), "called like"),
    f"mask_generation/{Path(LAST).stem}.pt": ({}, lambda: of_pipeline([LAST]), LAST),
    "mask2former_panoptic.json.gz": ({}, None, "Hugging Face"),
    "mask2former_instance.json.gz": ({}, None, "others hide the segment"),
    "mask2former_instance_binary.json.gz": ({}, None, "Hugging Face"),
    "oneformer_panoptic.json.gz": ({}, None, "Hugging Face"),
    "oneformer_instance.json.gz": ({}, None, "Hugging Face"),
    "id_maps": ({}, of_id_maps, "each gets 1"),
    **{
        f"{name} by the mean": ({"score_from": MEAN}, lambda: of_masks(mean), "")
        for name in ("amg_png", "amg_json", "binary_mask.json.gz", "uncompressed_rle.json.gz")
    },
}


@pytest.mark.parametrize("case", CASES)
def test_scores_as_coco_results(case, tmp_path):
    options, same, note = CASES[case]
    path = DATA / case.removesuffix(" by the mean")
    plain = tmp_path / "plain.json"
    rows = list(same() if same else of_segments(path.name))
    plain.write_text(json.dumps(rows), encoding="utf-8")
    scored = evaluate_files(GT, path, inputs=Inputs(**options))
    expected = evaluate_files(GT, plain)
    assert 0 < expected.metrics["APe"] < expected.metrics["AP50"]
    assert scored.metrics == pytest.approx(expected.metrics, abs=1e-12, nan_ok=True)
    assert any(note in str(warning) for warning in scored.warnings)
    found = validate(GT, path, inputs=Inputs(**options))
    assert not [problem for problem in found if problem.severity == "error"]


REFUSED = {
    "mask2former_instance_coco.json.gz": "return_binary_maps=True",
    "oneformer_instance_coco.json.gz": "return_binary_maps=True",
    "mask2former_panoptic_fused.json.gz": "without label_ids_to_fuse",
    "oneformer_panoptic_fused.json.gz": "without label_ids_to_fuse",
    "mask2former_semantic.json.gz": "maps of classes",
    "oneformer_semantic.json.gz": "maps of classes",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_told_is_refused(name):
    with pytest.raises(InputError, match=REFUSED[name]) as caught:
        evaluate_files(GT, DATA / name)
    assert str(DATA / name) in str(caught.value)


@pytest.mark.parametrize("mode", ["binary_mask", "uncompressed_rle", "coco_rle"])
def test_the_metric_takes_what_the_generator_returns(mode):
    metric = EntityMetric(GT)
    for name, records in written(f"{mode}.json.gz").items():
        if mode == "binary_mask":
            for record in records:
                record["segmentation"] = np.array(record["segmentation"], bool)
        metric.update(name, records)
    assert metric.compute().metrics == evaluate_files(GT, DATA / "amg_json").metrics


def test_maps_hold_what_their_predictor_gave():
    """Each map shows masks from a score of 0.5 and 400 pixels on, surer ones over others."""
    with np.load(DATA / "id_maps.npz") as arrays:
        given = {key: arrays[key] for key in arrays.files}
    for name in IMAGES:
        masks, scores = given[f"{name}/masks"], given[f"{name}/scores"]
        pixels, value = np.zeros(masks.shape[1:], np.uint8), 0
        for k in np.argsort(scores, kind="stable"):
            if scores[k] >= 0.5 and masks[k].sum() >= 400:
                value += 1
                pixels[masks[k]] = value
        found = np.array(Image.open(DATA / "id_maps" / f"{name.partition('.')[0]}.png"))
        assert np.array_equal(found, pixels)


def test_fused_parts_are_one_segment(tmp_path):
    pixels = np.zeros((72, 50), int)
    pixels[10:30, 5:25], pixels[40:60, 5:45] = 1, 2
    part = {"id": 1, "label_id": 0, "was_fused": True}
    info = [{**part, "score": 0.6}, {"id": 2, "label_id": 1, "was_fused": False, "score": 0.7},
            {**part, "score": 0.9}]  # fmt: skip
    path, plain = tmp_path / "fused.json", tmp_path / "plain.json"
    row = {"image_id": 1, "segmentation": pixels.tolist(), "segments_info": info}
    path.write_text(json.dumps([row]), encoding="utf-8")
    name = next(iter(IMAGES))
    rows = [result(name, pixels == 1, 0.9), result(name, pixels == 2, 0.7)]
    plain.write_text(json.dumps(rows), encoding="utf-8")
    scored = evaluate_files(GT, path)
    assert scored.metrics == pytest.approx(evaluate_files(GT, plain).metrics, nan_ok=True)
    assert any("fused of several" in str(warning) for warning in scored.warnings)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_value_for_nothing_is_told(dtype, tmp_path):
    """Maps that number segments from 0 and have -1 for nothing, in bits without a sign."""
    for path in (DATA / "id_maps").iterdir():
        pixels = np.array(Image.open(path)).astype(int)
        Image.fromarray((pixels - 1).astype(dtype)).save(tmp_path / path.name.upper())
    told = f"the value {np.iinfo(dtype).max} of these id maps"
    found = list(validate(GT, tmp_path))
    assert any(told in problem.what for problem in found)
    assert not any("these id maps" in p.what for p in validate(GT, DATA / "id_maps"))
