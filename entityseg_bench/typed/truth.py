"""What ground truth is, and opening it: any of the four types."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from entityseg_bench import categories as category_tables
from entityseg_bench.categories import IGNORE, TASKS, Task
from entityseg_bench.contents import layout
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.faults import Report, stop
from entityseg_bench.formats.index import INDEX
from entityseg_bench.formats.label_maps import (
    ClassRegions,
    LabelMaps,
    images_of,
    jpg_name,
    maps_below,
)
from entityseg_bench.formats.maps import maps_folder
from entityseg_bench.formats.panoptic import read_panoptic
from entityseg_bench.formats.semantic import read_semantic
from entityseg_bench.inputs import PANOPTIC_MARK, Inputs
from entityseg_bench.io import InputError, read_bytes

__all__ = [
    "Truth",
    "is_root",
    "open_truth",
    "read_indexed",
    "root_file",
    "sources_below",
    "task_of_categories",
]


class Truth(NamedTuple):
    """Hold the ground truth and the files and folders that it was read from."""

    dataset: EntityDataset
    read: list[Path]


def root_file(root: Path, inputs: Inputs) -> tuple[Path, Task] | None:
    """Return the one entity or instance JSON that a data set's folder means, None for others."""
    if (root / INDEX).is_file() or not _tasks_below(root, inputs):
        return None
    task = _task_of_root(root, inputs)
    if task not in ("entity", "instance"):
        return None
    sources = layout.find_sources(root, task, inputs.split, inputs.resolution, inputs.parts)
    if len(sources) > 1 or (inputs.parts and sources[0].part is None):
        return None
    return sources[0].annotations, task


def open_truth(path: Path, inputs: Inputs, report: Report = stop) -> Truth:
    """Open ground truth of any type.

    Args:
        path: COCO or panoptic JSON, a semantic list (.txt), a folder of class maps, of id maps or
            NPZ with their index, or the root of a data set.
        inputs: What the user said of it.
        report: Takes the faults that something is left of the ground truth without.

    Raises:
        InputError: It cannot be told what it is, it is not of the type that the user named, its
            maps are missing, or it is broken.
    """
    if path.is_dir():
        return _truth_of_folder(path, inputs, report)
    if path.suffix == ".txt":
        _agree(path, "semantic", inputs.task)
        maps = maps_folder(path, "semantic", inputs.gt_maps, "--gt-maps")
        return Truth(read_semantic(path, maps, report=report), [path, maps])
    if read_bytes(path).find(PANOPTIC_MARK) >= 0:
        _agree(path, "panoptic", inputs.task)
        try:
            maps = maps_folder(path, "panoptic", inputs.gt_maps, "--gt-maps")
        except InputError as fault:
            report(fault)
            mapless = read_panoptic(path, path.parent, report=report).replace(annotations=[])
            return Truth(mapless, [path])
        return Truth(read_panoptic(path, maps, report=report), [path, maps])
    from entityseg_bench.formats.coco import read_coco

    dataset = read_coco(path, "entity")
    found = inputs.task or task_of_categories([c.id for c in dataset.categories])
    if found not in ("entity", "instance"):
        _agree(path, "entity", found)
    return Truth(dataset.replace(task=found), [path])


def task_of_categories(category_ids: Sequence[int]) -> Task:
    """Tell entity from instance ground truth: the latter has the table of its 206 categories."""
    instance = [category.id for category in category_tables.table("instance")]
    return "instance" if sorted(category_ids) == instance else "entity"


def is_root(path: Path, inputs: Inputs) -> bool:
    """Tell a data set's folder from a folder of maps."""
    if not path.is_dir() or (path / INDEX).is_file():
        return False
    return bool(_tasks_below(path, inputs)) or not any(path.glob("*.png"))


def sources_below(root: Path, inputs: Inputs) -> tuple[Task, list[layout.Source]]:
    """Return the type that a data set's folder means, and its annotation files.

    Raises:
        InputError: None is there, or several types and nothing tells which.
    """
    task = _task_of_root(root, inputs)
    found = layout.find_sources(root, task, inputs.split, inputs.resolution, inputs.parts)
    return task, found


def _truth_of_root(root: Path, inputs: Inputs, report: Report) -> Truth:
    task, sources = sources_below(root, inputs)
    read = [part for one in sources for part in (one.annotations, one.maps) if part]
    dataset = EntityDataset.open(
        root, task, inputs.split, inputs.resolution, inputs.parts, report=report
    )
    return Truth(dataset, read)


def _truth_of_folder(path: Path, inputs: Inputs, report: Report) -> Truth:
    if is_root(path, inputs):
        return _truth_of_root(path, inputs, report)
    if (path / INDEX).is_file():
        dataset = read_indexed(path, report)
        _agree(path, dataset.task, inputs.task)
        return Truth(dataset, [path])
    _agree(path, "semantic", inputs.task)
    images, paths = images_of(path, maps_below(path, ".png"), jpg_name, report)
    rows = LabelMaps(images, paths, str(path), ClassRegions(frozenset((IGNORE,))))
    return Truth(EntityDataset(images, rows, None, "semantic", where=str(path)), [path])


def read_indexed(path: Path, report: Report = stop) -> EntityDataset:
    """Read a folder of id maps or NPZ with their index."""
    from entityseg_bench.formats.id_png import read_id_png
    from entityseg_bench.formats.npz import read_npz

    if not (path / INDEX).is_file():
        raise InputError(path, "", f"there is no index ({INDEX}).", "NPZ needs it.")
    read: Callable[[Path, Report], EntityDataset] = (
        read_npz if next(path.rglob("*.npz"), None) else read_id_png
    )
    return read(path, report)


def _tasks_below(root: Path, inputs: Inputs) -> list[Task]:
    """List the annotation types that a data set's folder holds."""
    found: list[Task] = []
    for task in TASKS:
        try:
            layout.find_sources(root, task, inputs.split, inputs.resolution, inputs.parts)
        except InputError:
            continue
        found.append(task)
    return found


def _task_of_root(root: Path, inputs: Inputs) -> Task:
    found = _tasks_below(root, inputs)
    if inputs.task or not found:
        task = inputs.task or "entity"
        # Raises with what is expected and what is there.
        layout.find_sources(root, task, inputs.split, inputs.resolution, inputs.parts)
        return task
    if len(found) > 1:
        what = f"the data set has annotations of the types {', '.join(found)}."
        raise InputError(root, "", what, f"Say which: --task {'|'.join(found)}.")
    return found[0]


def _agree(path: Path, found: Task, asked: Task | None) -> None:
    if asked not in (None, found):
        raise InputError(
            path,
            "",
            f"this is {found} ground truth, and --task says {asked}.",
            f"Leave it out, or make {asked} ground truth of it: entityseg convert.",
        )
