"""Metrics of all annotation types against plain oracles, on random maps."""

import numpy as np
import pytest
from scoring_sides import (
    save_json,
    score,
    write_panoptic_side,
    write_semantic_side,
)

from entity_api import EvalParams, evaluate, panoptic, rle, semantic
from entityseg_bench.score import evaluate_files


def random_map(rng, size, values):
    """Draw rectangles of values over each other; 0 elsewhere."""
    out = np.zeros(size, np.int64)
    for value in values:
        y, x = rng.integers(0, size[0] - 3), rng.integers(0, size[1] - 3)
        out[y : y + rng.integers(2, 9), x : x + rng.integers(2, 12)] = value
    return out


def random_sides(rng, n_images=5, size=(14, 18)):
    """Make panoptic ground truth with void, and predictions near it."""
    gt, dt = [], []
    for _ in range(n_images):
        truth = random_map(rng, size, range(250, 260))
        found = np.where(rng.random(size) < 0.8, truth, random_map(rng, size, range(1, 4)))
        gt.append(truth)
        dt.append(np.roll(found, int(rng.integers(0, 2)), axis=1))

    def categories_of(maps):
        return [{int(k): int(k) % 3 * 10 + 10 for k in np.unique(m) if k} for m in maps]

    return (gt, categories_of(gt)), (dt, categories_of(dt))


@pytest.mark.parametrize("seed", range(4))
def test_pq_is_that_of_the_pure_functions(seed, tmp_path):
    gt, dt = random_sides(np.random.default_rng(seed))
    crowds = {(1, min(gt[1][0])), (2, max(gt[1][1]))}
    paths = (
        write_panoptic_side(tmp_path / "gt.json", *gt, crowds=crowds),
        write_panoptic_side(tmp_path / "dt.json", *dt),
    )
    found = score(*paths).own

    def segments(side, idx):
        return [
            {"id": k, "category_id": c, "iscrowd": side is gt and (idx + 1, k) in crowds}
            for k, c in side[1][idx].items()
        ]

    tallies = [
        panoptic.tally(gt[0][idx], segments(gt, idx), dt[0][idx], segments(dt, idx))
        for idx in range(len(gt[0]))
    ]
    expected = panoptic.summarize(tallies, {10: True, 20: False, 30: True})
    for group in ("all", "things", "stuff"):
        for name, value in found.groups[group].items():
            assert value == pytest.approx(getattr(getattr(expected, group), name), nan_ok=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("iou_type", ["segm", "boundary"])
def test_ap_with_void_is_that_of_masks_cut_by_hand(seed, iou_type, tmp_path):
    rng = np.random.default_rng(100 + seed)
    gt, _ = random_sides(rng)
    path = write_panoptic_side(tmp_path / "gt.json", *gt)
    rows, cut_rows, images, annotations = [], [], [], []
    for image_id, id_map in enumerate(gt[0], start=1):
        height, width = id_map.shape
        images.append({"id": image_id, "height": height, "width": width})
        annotations += [
            {"image_id": image_id, "segmentation": rle.encode(id_map == k)} for k in gt[1][
                image_id - 1]
        ]  # fmt: skip
        masks = [np.roll(id_map == k, 1, axis=0) for k in gt[1][image_id - 1]]
        masks += [random_map(rng, id_map.shape, [1]) > 0 for _ in range(3)]
        masks.append(id_map == 0)
        for mask in masks:
            row = {"image_id": image_id, "category_id": 10, "score": float(rng.random())}
            rows.append({**row, "segmentation": rle.encode(mask)})
            visible = mask & (id_map > 0)
            if visible.any():
                cut_rows.append({**row, "segmentation": rle.encode(visible)})
    dt = save_json(tmp_path / "dt.json", rows)
    scoring = evaluate_files(path, dt, boundary=True)
    found = scoring.boundary if iou_type == "boundary" else scoring.result
    truth = {"images": images, "annotations": annotations}
    expected = evaluate(truth, cut_rows, EvalParams(iou_type=iou_type)).metrics
    assert 0 < expected["APe"] < expected["AP"] or iou_type == "boundary"
    assert found.metrics == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("as_results", [False, True])
def test_miou_is_that_of_the_pure_functions(as_results, tmp_path):
    rng = np.random.default_rng(5)
    maps = [
        (rng.choice([0, 1, 149, 255], (9, 11)), rng.choice([0, 1, 2, 255], (9, 11)))
        for _ in range(4)
    ]
    gt = write_semantic_side(tmp_path / "gt", [truth for truth, _ in maps])
    dt = tmp_path / "dt"
    if as_results:
        # Higher scores lie over lower ones: a class is drawn too large under the next one.
        rows = [
            {"image_id": f"image {number}", "category_id": k, "score": (k + 1) / 10,
             "segmentation": rle.encode((labels == k) | ((labels > k) & (labels < 255)))}
            for number, (_, labels) in enumerate(maps, start=1) for k in (0, 1, 2)
        ]  # fmt: skip
        dt = save_json(tmp_path / "dt.json", rows)
    else:
        write_semantic_side(dt, [labels for _, labels in maps])
    expected = semantic.summarize(sum(semantic.count(*pair, 150) for pair in maps))
    scoring = score(gt, dt)
    assert scoring.own.groups["all"]["mIoU"] == pytest.approx(expected.mIoU)
    assert scoring.own.groups["all"]["fwIoU"] == pytest.approx(expected.fwIoU)
    assert scoring.own.groups["all"]["n"] == 3
