"""EntitySeg in detectron2's catalogs, under the names of the original."""

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from entityseg_bench import categories, layout
from entityseg_bench.categories import IGNORE, Task
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.maps import find_map
from entityseg_bench.formats.semantic import split_names
from entityseg_bench.integrations.dataset_names import DATASETS, Subset
from entityseg_bench.io import InputError, read_text
from entityseg_bench.types import ImageInfo

__all__ = ["Registered", "open_registered", "register_entityseg"]

EVALUATORS: dict[Task, str] = {
    "entity": "coco",
    "instance": "coco",
    "semantic": "sem_seg",
    "panoptic": "coco_panoptic_seg",
}


class Registered(NamedTuple):
    """Say where a registered data set comes from; it is its metadata's ``entityseg``."""

    root: str
    subset: Subset


def register_entityseg(root: str | Path | None = None, replace: bool = False) -> list[str]:
    """Register every type, split, part and resolution; nothing is read until it is asked for.

    The names are those of the original and others made like them, see
    `entityseg_bench.integrations.dataset_names`. ``entityv2_entity_train_all_lr`` is the training
    split here, where the original registers the validation file under it. Registering the same root
    again changes nothing.

    Args:
        root: Of the data set in either layout that `EntityDataset.open` takes; None takes
            ``entityseg`` below the folder that the environment variable DETECTRON2_DATASETS names
            (``datasets`` without it), as the original does.
        replace: Whether names that are taken, by another root or by the original's own package,
            are given to this one.

    Returns:
        The names.

    Raises:
        ValueError: Names are taken.
    """
    if root is None:
        root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"), "entityseg")
    wanted = {name: Registered(str(root), subset) for name, subset in DATASETS.items()}
    missing = [name for name, source in wanted.items() if not _is_here(name, source)]
    taken = [name for name in missing if name in DatasetCatalog]
    if taken and not replace:
        raise ValueError(
            f"{len(taken)} names are taken by another root or package, {taken[0]} for one: "
            "register_entityseg(root, replace=True) takes them over"
        )
    for name in missing:
        for catalog in (DatasetCatalog, MetadataCatalog):
            if name in catalog:
                catalog.remove(name)
        source = wanted[name]
        DatasetCatalog.register(name, functools.partial(_load, source))
        MetadataCatalog.get(name).set(entityseg=source, **_metadata(source))
    return list(wanted)


def open_registered(name: str) -> EntityDataset:
    """Open the data set behind a registered name.

    Raises:
        ValueError: `register_entityseg` has not registered it.
        InputError: Its files are missing or broken.
    """
    return _open(source_of(name))


def source_of(name: str) -> Registered:
    """Give where a registered name comes from; raises ValueError for others."""
    source = MetadataCatalog.get(name).get("entityseg")
    if source is None:
        raise ValueError(f"register_entityseg has registered no {name!r}")
    return source


def _is_here(name: str, source: Registered) -> bool:
    return name in DatasetCatalog and MetadataCatalog.get(name).get("entityseg") == source


def _open(source: Registered) -> EntityDataset:
    task, split, resolution, parts = source.subset
    return EntityDataset.open(source.root, task, split, resolution, parts)


def _metadata(source: Registered) -> dict[str, Any]:
    """Give what other parts of detectron2 ask of a data set of this type."""
    task, split, resolution, parts = source.subset
    root = Path(source.root)
    try:
        file = layout.find_sources(root, task, split, resolution, parts)[0]
    except InputError:
        # Said when the data set is opened; until then the documented place is as good as any.
        file = layout.documented(root, task, split, resolution, parts[0] if parts else None)
    table = categories.table(task)
    names = [category.name for category in table]
    number = {category.id: idx for idx, category in enumerate(table)}
    found: dict[str, Any] = {
        "evaluator_type": EVALUATORS[task],
        "image_root": str(root / f"images{layout.SUFFIX[resolution]}"),
    }
    if task in ("entity", "instance"):
        return found | {
            "json_file": str(file.annotations),
            "thing_classes": names,
            "thing_dataset_id_to_contiguous_id": number,
        }
    if task == "semantic":
        return found | {
            "txt_path": str(file.annotations),
            "sem_seg_root": str(file.maps),
            "stuff_classes": names,
            "stuff_dataset_id_to_contiguous_id": number,
            "ignore_label": IGNORE,
        }
    things = {category.id: number[category.id] for category in table if category.type == "thing"}
    return found | {
        "panoptic_json": str(file.annotations),
        "panoptic_root": str(file.maps),
        "thing_classes": names,
        "stuff_classes": names,
        "thing_dataset_id_to_contiguous_id": things,
        "stuff_dataset_id_to_contiguous_id": {k: v for k, v in number.items() if k not in things},
        "ignore_label": IGNORE,
        "label_divisor": 1000,
    }


def _load(source: Registered) -> list[dict[str, Any]]:
    """Read a data set as detectron2's list of dictionaries; categories are numbered from 0."""
    dataset = _open(source)
    number = {c.id: idx for idx, c in enumerate(categories.table(source.subset.task))}
    truths = {"semantic": _semantic, "panoptic": _panoptic}
    rows = truths.get(source.subset.task, _instances)(dataset, source, number)
    return [
        {
            "file_name": str(dataset.image_path(image)),
            "image_id": image.id,
            "height": image.height,
            "width": image.width,
            **row,
        }
        for image, row in zip(dataset.images, rows, strict=True)
    ]


def _instances(
    dataset: EntityDataset, source: Registered, number: dict[int, int]
) -> Iterator[dict[str, Any]]:
    for image, annotations in dataset:
        yield {
            "annotations": [
                {
                    "bbox": list(annotation.bbox),
                    "bbox_mode": BoxMode.XYWH_ABS,
                    "category_id": _number(number, annotation.category_id, dataset, image),
                    "segmentation": dict(annotation.segmentation),
                    "iscrowd": int(annotation.iscrowd),
                }
                for annotation in annotations
            ]
        }


def _semantic(
    dataset: EntityDataset, source: Registered, number: dict[int, int]
) -> Iterator[dict[str, Any]]:
    task, split, resolution, parts = source.subset
    file = layout.find_sources(Path(source.root), task, split, resolution, parts)[0]
    assert file.maps is not None
    lines = read_text(file.annotations).splitlines()
    for line_number, line in enumerate(lines, start=1):
        if line.strip():
            _, name = split_names(line, file.annotations, line_number)
            yield {"sem_seg_file_name": str(find_map(file.maps, name))}


def _panoptic(
    dataset: EntityDataset, source: Registered, number: dict[int, int]
) -> Iterator[dict[str, Any]]:
    task, split, resolution, parts = source.subset
    maps = layout.find_sources(Path(source.root), task, split, resolution, parts)[0].maps
    assert maps is not None
    is_thing = {category.id: category.type == "thing" for category in categories.table(task)}
    records = dataset.records
    for image_idx, image in enumerate(dataset.images):
        segments = []
        for row in records.of_image(image_idx).tolist():
            extra = records.extras[row] if records.extras is not None else None
            category_id = int(records.category_ids[row])
            segments.append(
                {
                    "id": (extra or {}).get("segment_id", int(records.ids[row])),
                    "category_id": _number(number, category_id, dataset, image),
                    "iscrowd": int(records.iscrowd[row]),
                    "isthing": is_thing[category_id],
                }
            )
        yield {
            "pan_seg_file_name": str(find_map(maps, image.file_name)),
            "segments_info": segments,
        }


def _number(
    number: dict[int, int], category_id: int, dataset: EntityDataset, image: ImageInfo
) -> int:
    if category_id not in number:
        raise InputError(
            dataset.where,
            f"image {image.id} ({image.file_name})",
            f"its category_id {category_id} is not in EntitySeg's table of {dataset.task} "
            "categories, which the registered metadata follow.",
            "Register data with other categories by detectron2's own register_coco_instances.",
        )
    return number[category_id]
