"""Sound files of three small images, and what other tools make of the same masks."""

import copy
import json
from pathlib import Path

import numpy as np

from entity_api import rle
from entityseg_bench.score import evaluate_files

HEIGHT, WIDTH = 12, 16
NAMES = ("pond_07.jpg", "pond_08.jpg", "tower_1.v2.png")
IDS = (11, 5, 8)


def box_mask(top, left, bottom, right):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


# Image -> boxes (top, left, bottom, right) of its entities.
ENTITIES = ([(0, 0, 6, 7), (7, 8, 12, 16)], [(1, 1, 11, 5), (2, 6, 9, 15)], [(3, 3, 9, 12)])
# Image -> boxes and scores of its predictions.
PREDICTIONS = (
    [((0, 0, 6, 8), 0.75), ((7, 9, 12, 16), 0.5), ((6, 0, 8, 4), 0.625)],
    [((1, 1, 11, 6), 0.875), ((2, 6, 8, 15), 0.25)],
    [((4, 3, 9, 12), 0.375)],
)


def coded(mask):
    return rle.encode(np.asarray(mask))


def xywh(box):
    top, left, bottom, right = box
    return [left, top, right - left, bottom - top]


def polygon(box):
    top, left, bottom, right = box
    return [left, top, right, top, right, bottom, left, bottom]


def truth():
    """Return ground truth as COCO JSON."""
    images = [
        {"id": image_id, "file_name": name, "height": HEIGHT, "width": WIDTH}
        for image_id, name in zip(IDS, NAMES, strict=True)
    ]
    annotations = [
        {
            "id": 0, "image_id": image_id, "category_id": 2 - k % 2, "iscrowd": 0,
            "area": int(box_mask(*box).sum()), "bbox": xywh(box),
            "segmentation": coded(box_mask(*box)),
        }
        for image_id, boxes in zip(IDS, ENTITIES, strict=True)
        for k, box in enumerate(boxes)
    ]  # fmt: skip
    for number, annotation in enumerate(annotations, 31):
        annotation["id"] = number
    categories = [{"id": 1, "name": "water"}, {"id": 2, "name": "stone"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def results():
    """Return predictions as COCO results."""
    return [
        {
            "image_id": image_id, "category_id": 1 + k % 2, "score": score,
            "segmentation": coded(box_mask(*box)),
        }
        for image_id, found in zip(IDS, PREDICTIONS, strict=True)
        for k, (box, score) in enumerate(found)
    ]  # fmt: skip


def save(path, content):
    """Write JSON, or bytes or text as they are."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8", newline="\n")
    return path


def saved(folder, gt, dt):
    """Write both sides."""
    return save(Path(folder) / "gt.json", gt), save(Path(folder) / "pred.json", dt)


def edited(content, **changes):
    """Return records with some fields changed: by a function of the value, or to a value."""
    rows = copy.deepcopy(content)
    for row in rows:
        for key, value in changes.items():
            if value is ...:
                row.pop(key, None)
            else:
                row[key] = value(row.get(key)) if callable(value) else value
    return rows


def scored(gt, dt, **inputs):
    """Score two paths; return the metrics and what was said of them."""
    from entityseg_bench.formats import Inputs

    scoring = evaluate_files(gt, dt, inputs=Inputs(**inputs))
    return scoring.result.metrics, [str(problem) for problem in scoring.warnings]


def plain_metrics(folder):
    """Return the metrics of the sound files."""
    folder = Path(folder) / "plain"
    folder.mkdir()
    return scored(*saved(folder, truth(), results()))[0]


def named(image_id):
    """Return the file name of an image."""
    return NAMES[IDS.index(image_id)]


def by_image(dt, key=lambda image_id: image_id, drop=True):
    """Group records by image."""
    found = {}
    for row in dt:
        record = {k: v for k, v in row.items() if not (drop and k == "image_id")}
        found.setdefault(key(row["image_id"]), []).append(record)
    return found


def renumbered(dt, swap=lambda image_id: IDS[(IDS.index(image_id) + 1) % 3]):
    """Number the images of predictions anew, and list them with their names."""
    images = [{"id": swap(k), "file_name": f"other/{named(k)}"} for k in IDS]
    return {"images": images, "annotations": edited(dt, image_id=swap)}
