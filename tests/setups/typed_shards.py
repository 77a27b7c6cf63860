"""Both sides of a set of any annotation type, whole and cut into shards."""

import json

import numpy as np
from drawn_boxes import draw_box
from scoring_sides import save_ids, save_json, save_png

from entity_api import rle

SIDE = 32
TABLE = [
    {"id": 1, "name": "dog", "isthing": 1},
    {"id": 2, "name": "sky", "isthing": 0},
    {"id": 3, "name": "cat", "isthing": 1},
]
# Where each side is cut: at these images. A list of no maps is no ground truth.
SPLITS = {
    "alike": ((5, 9), (5, 9)),
    "unlike": ((3, 4, 10), (7,)),
    "empty shards": ((6, 6), (0, 6, 6)),
}

__all__ = ["SIDE", "SPLITS", "TABLE", "write_typed"]


def draw(n_images, seed=0):
    """Draw (mask, category, crowd) of each image, and (mask, category, score) of predictions."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for image_id in range(1, n_images + 1):
        taken, own, guesses = np.zeros((SIDE, SIDE), bool), [], []
        for _ in range(int(rng.integers(0, 5))):
            mask = draw_box(rng, SIDE, 16) & ~taken
            if mask.any():
                taken |= mask
                own.append((mask, int(rng.integers(1, 4)), bool(rng.random() < 0.1)))
        for mask, category, _ in own:
            right = category if rng.random() < 0.8 else int(rng.integers(1, 4))
            moved = np.roll(mask, rng.integers(-1, 2, 2), (0, 1))
            guesses.append((moved, right, round(float(rng.random()), 1)))
        for _ in range(int(rng.integers(0, 3))):
            guess = draw_box(rng, SIDE, 16), int(rng.integers(1, 4))
            guesses.append((*guess, round(float(rng.random()), 1)))
        truth.append(own)
        found.append(guesses if image_id % 6 else [])
    return truth, found


def write_typed(folder, task, cuts, n_images=13, only_category=None):
    """Write gt and pred whole and in shards.

    Args:
        folder: Where to write.
        task: Type of the ground truth.
        cuts: Of both sides.
        n_images: Of the set.
        only_category: Give the predictions of this shard one category.

    Returns:
        Paths of both wholes, and patterns of both sides' shards.
    """
    truth, found = draw(n_images)
    suffix = "txt" if task == "semantic" else "json"
    if task == "semantic":
        cuts = tuple(dict.fromkeys(cuts[0])), cuts[1]
    for side, own in zip(("gt", "pred"), cuts, strict=True):
        (folder / side).mkdir(parents=True)
        spans = [(0, n_images), *zip((0, *own), (*own, n_images), strict=True)]
        for k, (start, end) in enumerate(spans, start=-1):
            path = folder / side / f"{k:03}.json" if k >= 0 else folder / "whole" / f"{side}.json"
            path.parent.mkdir(exist_ok=True)
            if side == "pred":
                alike = spans[1 + only_category] if only_category is not None else (0, 0)
                save_json(path, results(found, start, end, range(*alike)))
            else:
                WRITERS[task](path, truth, start, end)
    whole = [folder / "whole" / f"gt.{suffix}", folder / "whole" / "pred.json"]
    return whole, [folder / "gt" / f"*.{suffix}", folder / "pred" / "*.json"]


def results(found, start, end, alike):
    """List predictions as COCO results, those of some images all of one category."""
    return [
        {
            "image_id": idx + 1,
            "category_id": 1 if idx in alike else category,
            "segmentation": rle.encode(mask),
            "score": score,
        }
        for idx in range(start, end)
        for mask, category, score in found[idx]
    ]


def images_of(start, end):
    return [
        {"id": idx + 1, "file_name": f"{idx + 1:02}.jpg", "height": SIDE, "width": SIDE}
        for idx in range(start, end)
    ]


def write_instances(path, truth, start, end):
    rows = [
        {"id": 10 * idx + k + 1, "image_id": idx + 1, "category_id": category,
         "segmentation": rle.encode(mask), "iscrowd": int(crowd)}
        for idx in range(start, end)
        for k, (mask, category, crowd) in enumerate(truth[idx])
    ]  # fmt: skip
    table = [{"id": row["id"], "name": row["name"]} for row in TABLE]
    for row in rows:
        row["area"] = rle.area(row["segmentation"])
        row["bbox"] = rle.bbox(row["segmentation"])
    content = {"images": images_of(start, end), "annotations": rows, "categories": table}
    path.write_text(json.dumps(content), encoding="utf-8")


def write_panoptic(path, truth, start, end):
    path.with_suffix("").mkdir(exist_ok=True)
    rows = []
    for image, own in zip(images_of(start, end), truth[start:end], strict=True):
        ids = np.zeros((SIDE, SIDE), np.int64)
        for k, (mask, _, _) in enumerate(own, start=1):
            ids[mask] = k
        save_ids(path.with_suffix("") / image["file_name"].replace("jpg", "png"), ids)
        segments = [
            {"id": k, "category_id": category, "iscrowd": int(crowd)}
            for k, (_, category, crowd) in enumerate(own, start=1)
        ]
        row = {"image_id": image["id"], "file_name": image["file_name"].replace("jpg", "png")}
        rows.append(row | {"segments_info": segments})
    content = {"images": images_of(start, end), "annotations": rows, "categories": TABLE}
    path.write_text(json.dumps(content), encoding="utf-8")


def write_semantic(path, truth, start, end):
    lines = []
    for image, own in zip(images_of(start, end), truth[start:end], strict=True):
        labels = np.full((SIDE, SIDE), 255, np.uint8)
        for mask, category, _ in own:
            labels[mask] = category
        name = image["file_name"].replace("jpg", "png")
        save_png(path.with_suffix("") / name, labels)
        lines.append(f"{image['file_name']} {name}\n")
    path.with_suffix("").mkdir(exist_ok=True)
    path.with_suffix(".txt").write_text("".join(lines), encoding="utf-8")


WRITERS = {
    "entity": write_instances,
    "instance": write_instances,
    "panoptic": write_panoptic,
    "semantic": write_semantic,
}
