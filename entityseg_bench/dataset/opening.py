"""From the files of a folder to one dataset: read each, join the parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from entityseg_bench.categories import Task
from entityseg_bench.dataset import layout, records
from entityseg_bench.dataset.entity_dataset import EntityDataset
from entityseg_bench.dataset.layout import ImageFiles, Resolution, Split
from entityseg_bench.io import InputError
from entityseg_bench.types import ImageInfo

__all__ = ["open_folder"]


def open_folder(
    root: Path,
    task: Task,
    split: Split,
    resolution: Resolution,
    parts: Sequence[str] | None,
    cache: bool,
) -> EntityDataset:
    """Open a folder; see `EntityDataset.open`."""
    sources = layout.find_sources(root, task, split, resolution, parts)
    opened = [_open_source(root, task, split, resolution, one, cache) for one in sources]
    if len(opened) > 1:
        return _joined(opened, [source.part for source in sources], root)
    if parts is not None and sources[0].part is None:
        return _only_parts(opened[0], parts)
    return opened[0]


def _open_source(
    root: Path,
    task: Task,
    split: Split,
    resolution: Resolution,
    source: layout.Source,
    cache: bool,
) -> EntityDataset:
    """Read one annotation file with the reader of its type."""
    files = ImageFiles(root, resolution, source.part)
    about: dict[str, Any] = {"split": split, "resolution": resolution, "image_files": files}
    if task == "semantic":
        from entityseg_bench.formats.semantic import read_semantic

        assert source.maps is not None
        return read_semantic(source.annotations, source.maps, **about)
    if task == "panoptic":
        from entityseg_bench.formats.panoptic import read_panoptic

        return read_panoptic(source.annotations, source.maps, **about)
    from entityseg_bench.formats.coco import read_coco

    return read_coco(source.annotations, task=task, cache=cache, **about)


def _joined(
    opened: Sequence[EntityDataset], parts: Sequence[str | None], root: Path
) -> EntityDataset:
    """Chain the parts, numbered anew; image paths begin with the part's folder."""
    images: list[ImageInfo] = []
    first_images = []
    for dataset, part in zip(opened, parts, strict=True):
        first_images.append(len(images))
        for image in dataset.images:
            name = image.file_name
            if part and layout.part_of(name) is None:
                name = f"{layout.PART_FOLDERS[part]}/{name}"
            fresh = ImageInfo(len(images) + 1, name, image.height, image.width, image.extra)
            images.append(fresh)
    tables = {category.id: category for dataset in opened for category in dataset.categories}
    first = opened[0]
    return EntityDataset(
        images,
        records.join([dataset.records for dataset in opened], first_images),
        tables.values(),
        first.task,
        split=first.split,
        resolution=first.resolution,
        image_files=ImageFiles(root, first.resolution),
        info=first.info,
        where=", ".join(dataset.where for dataset in opened),
    )


def _only_parts(dataset: EntityDataset, parts: Sequence[str]) -> EntityDataset:
    """Keep the images of some parts of a file that holds all."""
    at = [idx for idx, image in enumerate(dataset.images) if layout.part_of(image.file_name)]
    if len(at) < len(dataset):
        bare = next(i for i in dataset.images if layout.part_of(i.file_name) is None)
        raise InputError(
            dataset.where,
            f"image {bare.id} ({bare.file_name})",
            "its path does not say of which part it is.",
            f"Put {' or '.join(layout.PART_FOLDERS.values())} before its name, or leave out parts.",
        )
    return dataset.take(idx for idx in at if layout.part_of(dataset.images[idx].file_name) in parts)
