"""What a folder holds: its files are found, each is read, the parts are joined."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from entityseg_bench import categories
from entityseg_bench.categories import Task
from entityseg_bench.contents import layout, records
from entityseg_bench.contents.coco import coco_contents
from entityseg_bench.contents.contents import Contents, check_images
from entityseg_bench.contents.layout import Resolution, Split
from entityseg_bench.contents.panoptic import panoptic_contents
from entityseg_bench.contents.semantic import semantic_contents
from entityseg_bench.faults import Report
from entityseg_bench.io import InputError
from entityseg_bench.types import ImageInfo

__all__ = ["Opened", "open_folder"]


class Opened(NamedTuple):
    """Hold what a folder says, and the part that all of it is of, None for several."""

    contents: Contents
    part: str | None


def open_folder(
    root: Path,
    task: Task,
    split: Split,
    resolution: Resolution,
    parts: Sequence[str] | None,
    cache: bool,
    report: Report,
) -> Opened:
    """Read a folder; see `EntityDataset.open`."""
    sources = layout.find_sources(root, task, split, resolution, parts)
    found = [_read_source(task, source, cache, report) for source in sources]
    for contents in found:
        # Once images are numbered anew or left out, nothing shows that an id stood twice.
        check_images(contents.images, contents.where)
    if len(found) > 1:
        return Opened(_joined(found, [source.part for source in sources], task), None)
    if parts is not None and sources[0].part is None:
        return Opened(_only_parts(found[0], parts), None)
    return Opened(found[0], sources[0].part)


def _read_source(task: Task, source: layout.Source, cache: bool, report: Report) -> Contents:
    """Read one annotation file with the reader of its type."""
    if task == "semantic":
        assert source.maps is not None
        return semantic_contents(source.annotations, source.maps, report)
    if task == "panoptic":
        return panoptic_contents(source.annotations, source.maps, report)
    return coco_contents(source.annotations, cache)


def _joined(found: Sequence[Contents], parts: Sequence[str | None], task: Task) -> Contents:
    """Chain the parts, numbered anew; image paths begin with the part's folder."""
    images: list[ImageInfo] = []
    first_images = []
    for contents, part in zip(found, parts, strict=True):
        first_images.append(len(images))
        for image in contents.images:
            name = image.file_name
            if part and layout.part_of(name) is None:
                name = f"{layout.PART_FOLDERS[part]}/{name}"
            fresh = ImageInfo(len(images) + 1, name, image.height, image.width, image.extra)
            images.append(fresh)
    tables = [contents.categories or categories.table(task) for contents in found]
    return Contents(
        images,
        records.join([contents.columns() for contents in found], first_images),
        list({category.id: category for table in tables for category in table}.values()),
        found[0].info,
        ", ".join(contents.where for contents in found),
    )


def _only_parts(contents: Contents, parts: Sequence[str]) -> Contents:
    """Keep the images of some parts of a file that holds all."""
    part_of = [layout.part_of(image.file_name) for image in contents.images]
    if None in part_of:
        bare = contents.images[part_of.index(None)]
        raise InputError(
            contents.where,
            f"image {bare.id} ({bare.file_name})",
            "its path does not say of which part it is.",
            f"Put {' or '.join(layout.PART_FOLDERS.values())} before its name, or leave out parts.",
        )
    picked = np.flatnonzero([part in parts for part in part_of])
    return contents._replace(
        images=[contents.images[idx] for idx in picked.tolist()],
        annotations=records.take(contents.columns(), picked, len(part_of)),
    )
