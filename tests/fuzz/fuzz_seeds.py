"""A data set of three tiny images in every format: what the fuzzers damage."""

import gzip
import json
from pathlib import Path

import numpy as np

from entity_api import rle
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.coco import write_coco, write_results
from entityseg_bench.formats.id_maps import write_id_png
from entityseg_bench.formats.npz import write_npz
from entityseg_bench.formats.panoptic import write_panoptic
from entityseg_bench.formats.semantic import write_semantic
from entityseg_bench.score import evaluate_files, result_record
from entityseg_bench.types import Annotation, Category, ImageInfo

SIZES = ((9, 7), (4, 30), (1, 1))


def tiny(task: str = "entity") -> EntityDataset:
    """Make a data set whose masks do not overlap, with scores."""
    rng = np.random.default_rng(7)
    images, annotations = [], []
    for number, (height, width) in enumerate(SIZES, start=1):
        images.append(ImageInfo(number, f"{number}.png", height, width))
        owner = rng.integers(0, 4, (height, width))
        for value in range(1, 4):
            mask = rle.encode(owner == value)
            if not rle.area(mask):
                continue
            annotations.append(
                Annotation(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=value,
                    segmentation=mask,
                    area=float(rle.area(mask)),
                    bbox=tuple(rle.bbox(mask)),
                    iscrowd=value == 3 and number == 1,
                    extra={"score": round(float(rng.random()), 3)},
                )
            )
    categories = [Category(value, f"c{value}", "thing") for value in range(1, 4)]
    return EntityDataset(images, annotations, categories, task, split="val")


def write_seeds(folder: Path) -> Path:
    """Write the data set in every format below a folder."""
    dataset = tiny()
    write_coco(dataset, folder / "gt.json")
    write_results(dataset, folder / "dt.json")
    mixed(folder / "gt.json", folder / "mixed.json")
    (folder / "dt.json.gz").write_bytes(gzip.compress((folder / "dt.json").read_bytes(), mtime=0))
    write_id_png(dataset, folder / "ids")
    write_npz(dataset, folder / "npz")
    write_panoptic(tiny("panoptic"), folder / "pan.json", folder / "pan")
    write_semantic(tiny("semantic"), folder / "sem.txt", folder / "sem")
    scoring = evaluate_files(folder / "gt.json", folder / "dt.json")
    (folder / "result.json").write_text(json.dumps(result_record(scoring), default=str))
    return folder


def mixed(source: Path, target: Path) -> None:
    """Write masks of all kinds: strings, lists and polygons."""
    content = json.loads(source.read_bytes())
    for k, annotation in enumerate(content["annotations"]):
        height, width = annotation["segmentation"]["size"]
        if k % 3 == 1:
            counts = [0, height * width] if k % 2 else [height * width]
            annotation["segmentation"]["counts"] = counts
        elif k % 3 == 2:
            annotation["segmentation"] = [[0, 0, width, 0, width, height]]
    target.write_text(json.dumps(content))
