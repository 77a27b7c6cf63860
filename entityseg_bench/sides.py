"""The two sides of a scoring: COCO files at once, all else through `entityseg_bench.typed`."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from entityseg_bench.coco_records import read_ground_truth, read_predictions
from entityseg_bench.inputs import PANOPTIC_MARK, Inputs, Sides
from entityseg_bench.io import InputError, read_bytes

if TYPE_CHECKING:
    from entityseg_bench.categories import Task

__all__ = ["file_meant", "holds_segments", "read_as_coco", "read_sides"]

# How far to look for what marks panoptic JSON: every image has it, so it is not far.
LOOK = 1 << 16

# Instance ground truth has this many categories; entity, 644.
N_INSTANCE_CATEGORIES = 206


def read_sides(
    gt_path: str | Path,
    dt_path: str | Path,
    inputs: Inputs,
    progress: Callable[[int, int], None],
    predicted_images_only: bool = False,
) -> Sides:
    """Read both sides.

    Args:
        gt_path: Ground truth of any type.
        dt_path: Predictions of any format.
        inputs: What they are, where they do not say it.
        progress: Called with (images read, images to read), unless both are COCO files.
        predicted_images_only: Whether maps of predictions may be missing.

    Raises:
        InputError: They cannot be told, are missing or broken, or do not fit each other.
    """
    gt_path, dt_path = Path(gt_path), Path(dt_path)
    gt_path, inputs = file_meant(gt_path, dt_path, inputs)
    if may_be_coco(gt_path, dt_path, inputs):
        try:
            return read_coco_files(gt_path, dt_path, inputs.task)
        except InputError:
            if not (holds_segments(gt_path) or holds_segments(dt_path)):
                raise
    from entityseg_bench.typed.columns import read_typed

    return read_typed(gt_path, dt_path, inputs, progress, predicted_images_only)


def file_meant(gt_path: Path, dt_path: Path | None, inputs: Inputs) -> tuple[Path, Inputs]:
    """Take a data set's folder for the one COCO file it means, where predictions are a file."""
    if gt_path.is_dir() and not (dt_path and dt_path.is_dir()):
        from entityseg_bench.typed.truth import root_file

        found = root_file(gt_path, inputs)
        if found:
            return found[0], dataclasses.replace(inputs, task=found[1])
    return gt_path, inputs


def read_as_coco(gt_path: Path, dt_path: Path | None, inputs: Inputs) -> bool:
    """Tell whether `read_sides` reads both sides, or ground truth alone, as COCO files."""
    sides = (gt_path, dt_path or gt_path)
    try:
        if not may_be_coco(*sides, inputs):
            return False
        if not any(map(holds_segments, sides)):
            return True
    except InputError:
        # A file that cannot be opened is none of another kind.
        return True
    try:
        gt = read_ground_truth(gt_path)
        if dt_path:
            read_predictions(dt_path, gt)
    except InputError:
        return False
    return True


def may_be_coco(gt_path: Path, dt_path: Path, inputs: Inputs) -> bool:
    """Tell whether both sides may be COCO files, without reading more than a little of them."""
    named_so = (
        inputs.task in (None, "entity", "instance")
        and inputs.pred_format in (None, "results")
        and inputs.gt_maps is None
        and inputs.pred_maps is None
        and gt_path.suffix != ".txt"
        and not gt_path.is_dir()
        and not dt_path.is_dir()
    )
    return named_so and not (looks_panoptic(gt_path) or looks_panoptic(dt_path))


def looks_panoptic(path: Path) -> bool:
    """Look for panoptic segments at three places of a plain file; any other is not looked into."""
    if path.suffix == ".gz" or not path.is_file():
        return False
    data = read_bytes(path)
    places = (0, len(data) // 2, len(data) - LOOK)
    return any(data.find(PANOPTIC_MARK, max(at, 0), max(at, 0) + LOOK) >= 0 for at in places)


def holds_segments(path: Path) -> bool:
    """Tell whether a file that is no plain COCO is panoptic JSON."""
    return path.is_file() and read_bytes(path).find(PANOPTIC_MARK) >= 0


def read_coco_files(gt_path: Path, dt_path: Path, task: "Task | None") -> Sides:
    """Read COCO ground truth and results, the way that scoring is fastest by."""
    gt = read_ground_truth(gt_path)
    dt = read_predictions(dt_path, gt)
    if task is None:
        task = "entity"
        if len(gt.categories) == N_INSTANCE_CATEGORIES:
            from entityseg_bench.typed.truth import task_of_categories

            task = task_of_categories([category.id for category in gt.categories])
    fault = ""
    if task == "instance":
        from entityseg_bench.typed.own_metrics import class_fault

        used, present = (set(np.unique(side.category_ids).tolist()) for side in (dt, gt))
        fault = class_fault(used, gt.categories, present)
    read = {"ground_truth": [gt_path], "predictions": [dt_path]}
    return Sides(task, gt, dt, fault, None, [], read)
