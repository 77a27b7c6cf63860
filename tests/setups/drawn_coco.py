"""A folder like COCO's own: its real annotations of some images, with drawn pictures.

``python tests/setups/drawn_coco.py INSTANCES.json datasets/coco`` writes the annotations of the
first 100 images as panoptic ones. COCO's photographs are not needed: each segment is drawn in a
colour and a grain of its own.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from entity_api import rle
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats import png
from entityseg_bench.formats.coco import read_coco

# Categories of COCO's panoptic annotations that fill what its instances leave.
STUFF = {187: "sky-other-merged", 193: "grass-merged"}


def write_coco(instances: Path, root: Path, n_train: int = 80, n_val: int = 20) -> None:
    """Write ``annotations``, ``panoptic_{train,val}2017`` and ``{train,val}2017`` below root."""
    dataset = EntityDataset.of(read_coco(instances, "instance"))
    categories = [
        {"id": category.id, "name": category.name, "isthing": 1} for category in dataset.categories
    ]
    categories += [{"id": number, "name": name, "isthing": 0} for number, name in STUFF.items()]
    (root / "annotations").mkdir(parents=True)
    numbers = {"train": range(n_train), "val": range(n_train, n_train + n_val)}
    for split, chosen in numbers.items():
        images, annotations = [], []
        for idx in chosen:
            image = dataset.images[idx]
            name = f"{image.id:012d}.jpg"
            ids, segments = _segments(dataset, idx)
            _save(root / f"{split}2017" / name, _picture(ids, np.random.default_rng(image.id)))
            target = root / f"panoptic_{split}2017" / f"{image.id:012d}.png"
            target.parent.mkdir(exist_ok=True)
            png.write_ids(target, ids)
            size = {"height": image.height, "width": image.width}
            images.append({"id": image.id, "file_name": name, **size})
            annotations.append(
                {"image_id": image.id, "file_name": target.name, "segments_info": segments}
            )
        content = {"images": images, "annotations": annotations, "categories": categories}
        file = root / "annotations" / f"panoptic_{split}2017.json"
        file.write_text(json.dumps(content), encoding="utf-8")


def _segments(dataset: EntityDataset, idx: int) -> tuple[np.ndarray, list[dict]]:
    """Paint an image's instances, large ones lowest, over two segments of stuff."""
    image = dataset.images[idx]
    ids = np.full((image.height, image.width), 1, np.uint32)
    ids[image.height // 2 :] = 2
    about = {1: (187, 0), 2: (193, 0)}
    found = sorted(dataset.annotations(idx), key=lambda a: (not a.iscrowd, -a.area))
    for number, annotation in enumerate(found, start=3):
        ids[rle.decode(annotation.segmentation)] = number
        about[number] = annotation.category_id, int(annotation.iscrowd)
    segments = []
    for number, (category_id, iscrowd) in about.items():
        rows, columns = np.nonzero(ids == number)
        if not len(rows):
            continue
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        segments.append(
            {"id": number, "category_id": category_id, "iscrowd": iscrowd, "area": len(rows),
             "bbox": [int(side) for side in box]}
        )  # fmt: skip
    return ids, segments


def _picture(ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    highest = int(ids.max()) + 1
    colours, grains = rng.integers(40, 216, (highest, 3)), rng.uniform(2, 20, highest)
    noise = rng.normal(size=(*ids.shape, 1)) * grains[ids][..., None]
    return np.clip(colours[ids] + noise, 0, 255).astype(np.uint8)


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90)


if __name__ == "__main__":
    write_coco(Path(sys.argv[1]), Path(sys.argv[2]))
