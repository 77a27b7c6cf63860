"""A folder of EntitySeg: its files are found, each is read, the parts are joined."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from entityseg_bench import categories, layout
from entityseg_bench.categories import TASKS, Task
from entityseg_bench.check import MAPS_MISSING, Report, check_image, stop
from entityseg_bench.formats.coco import read_coco
from entityseg_bench.formats.opened import Inputs, Opened
from entityseg_bench.formats.panoptic import read_panoptic
from entityseg_bench.formats.semantic import read_semantic
from entityseg_bench.io import InputError
from entityseg_bench.layout import Resolution, Source, Split
from entityseg_bench.selection import join, take
from entityseg_bench.table import LazySegments, Segments
from entityseg_bench.types import ImageInfo

__all__ = ["Part", "read_folder", "task_of_folder", "tasks_below"]


class Part(NamedTuple):
    """Say which part of the data set is wanted; None takes what is there."""

    split: Split = "val"
    resolution: Resolution = "high"
    parts: Sequence[str] | None = None


class Folder(NamedTuple):
    """Hold what a folder says, its annotation files, and the part it is of, None for several."""

    segments: Segments | LazySegments
    sources: list[Source]
    part: str | None


def tasks_below(root: Path, wanted: Part) -> tuple[list[Task], list[InputError]]:
    """List the annotation types that a folder holds, and the faults of those without their maps."""
    found: list[Task] = []
    faults = []
    for task in TASKS:
        try:
            layout.find_sources(root, task, *wanted)
        except InputError as error:
            if error.code == MAPS_MISSING:
                faults.append(error)
            continue
        found.append(task)
    return found, faults


def task_of_folder(root: Path, wanted: Part, asked: Task | None) -> Task:
    """Return the type that a folder means.

    Raises:
        InputError: Several types are there, and nothing tells which.
    """
    found, _ = tasks_below(root, wanted)
    if asked or not found:
        return asked or "entity"
    if len(found) > 1:
        what = f"the data set has annotations of the types {', '.join(found)}."
        raise InputError(root, "", what, f"Say which: --task {'|'.join(found)}.")
    return found[0]


def read_folder(
    root: Path, task: Task, wanted: Part, *, whole: bool = True, report: Report = stop
) -> Folder:
    """Read one type of a folder.

    Where each part has a file of its own, parts are joined: images and annotations are then
    numbered anew from 1, since ids restart in each part, and image paths begin with the part's
    folder.

    Args:
        root: Of the data set.
        task: Annotation type.
        wanted: Split, resolution and parts.
        whole: As in `read_coco`.
        report: Takes the faults of single records of maps.

    Raises:
        InputError: A file is missing (with the expected and the found ones) or broken.
    """
    sources = layout.find_sources(root, task, *wanted)
    found = [_read_source(task, source, whole, report) for source in sources]
    if len(found) > 1:
        for one in found:
            # Once images are numbered anew, nothing shows that an id stood twice.
            _check_images(one)
        return Folder(_joined(found, [source.part for source in sources], task), sources, None)
    if wanted.parts is not None and sources[0].part is None:
        return Folder(_only_parts(found[0], wanted.parts), sources, None)
    return Folder(found[0], sources, sources[0].part)


def _read_source(
    task: Task, source: Source, whole: bool, report: Report
) -> Segments | LazySegments:
    """Read one annotation file with the reader of its type."""
    if task == "semantic":
        return read_semantic(source.annotations, source.maps, report=report)
    if task == "panoptic":
        return read_panoptic(source.annotations, source.maps, report=report)
    return read_coco(source.annotations, task, whole=whole)


def _check_images(segments: Segments | LazySegments) -> None:
    seen: set[int | str] = set()
    for image in segments.images:
        check_image(image, seen, segments.where_from)
        seen.add(image.id)


def _joined(
    found: Sequence[Segments | LazySegments], parts: Sequence[str | None], task: Task
) -> Segments:
    """Chain the parts, numbered anew; image paths begin with the part's folder."""
    images: list[ImageInfo] = []
    for segments, part in zip(found, parts, strict=True):
        for image in segments.images:
            name = image.file_name
            if part and layout.part_of(name) is None:
                name = f"{layout.PART_FOLDERS[part]}/{name}"
            fresh = ImageInfo(len(images) + 1, name, image.height, image.width, image.extra)
            images.append(fresh)
    tables = [segments.read() for segments in found]
    own = [t.replace(categories=t.categories or categories.table(task)) for t in tables]
    return join(own, images)


def _only_parts(segments: Segments | LazySegments, parts: Sequence[str]) -> Segments:
    """Keep the images of some parts of a file that holds all."""
    _check_images(segments)
    part_of = [layout.part_of(image.file_name) for image in segments.images]
    if None in part_of:
        bare = segments.images[part_of.index(None)]
        raise InputError(
            segments.where_from,
            f"image {bare.id} ({bare.file_name})",
            "its path does not say of which part it is.",
            f"Put {' or '.join(layout.PART_FOLDERS.values())} before its name, or leave out parts.",
        )
    return take(segments.read(), np.flatnonzero([part in parts for part in part_of]))


def open_gt(path: Path, inputs: Inputs, *, whole: bool = True, report: Report = stop) -> Opened:
    """Open one type of a data set's folder; see `entityseg_bench.formats.open`."""
    wanted = Part(inputs.split, inputs.resolution, inputs.parts)
    task = task_of_folder(path, wanted, inputs.task)
    found = read_folder(path, task, wanted, whole=whole, report=report)
    read = [file for one in found.sources for file in (one.annotations, one.maps) if file]
    return Opened(found.segments, read, part=found.part)
