"""Ground truth and predictions as files of maps, and their scores."""

import json

import numpy as np
from PIL import Image

from entityseg_bench.formats import Inputs
from entityseg_bench.score import evaluate_files

PANOPTIC_TABLE = [
    {"id": 10, "name": "dog", "isthing": 1},
    {"id": 20, "name": "sky", "isthing": 0},
    {"id": 30, "name": "cat", "isthing": 1},
]


def save_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path)


def save_ids(path, ids):
    ids = np.asarray(ids)
    save_png(path, np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8))


def save_json(path, content):
    path.write_text(json.dumps(content))
    return path


def write_panoptic_side(path, maps, categories_of, table=PANOPTIC_TABLE, crowds=()):
    """Write id maps and their JSON; ``categories_of`` gives each id of an image its category."""
    images, rows = [], []
    for image_id, (id_map, of) in enumerate(zip(maps, categories_of, strict=True), start=1):
        height, width = np.shape(id_map)
        name = f"image {image_id}.v1.jpg"
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        save_ids(path.with_suffix("") / f"image {image_id}.v1.png", id_map)
        segments = [
            {"id": k, "category_id": c, "iscrowd": int((image_id, k) in crowds)}
            for k, c in of.items()
        ]
        rows.append({"image_id": image_id, "file_name": name, "segments_info": segments})
    content = {"images": images, "annotations": rows, "categories": table}
    return save_json(path, content)


def write_semantic_side(folder, maps):
    """Write class maps; with a list in the folder above."""
    lines = []
    for number, labels in enumerate(maps, start=1):
        save_png(folder / f"image {number}.png", np.asarray(labels, np.uint8))
        lines.append(f"image {number}.jpg image {number}.png\n")
    path = folder.parent / f"{folder.name}.txt"
    path.write_text("".join(lines))
    return path


def score(gt, dt, **inputs):
    return evaluate_files(gt, dt, inputs=Inputs(**inputs))
