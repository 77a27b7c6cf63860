"""Every problem of two sides that are not both COCO files: they are read, and go on being read.

The readers are those that scoring uses, with their faults collected instead of raised; so what
scoring refuses is an error here, and what is no error here is scored. COCO files among them are
checked record by record, by `entityseg_bench.rules`.
"""

import dataclasses
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from entityseg_bench.categories import TASKS
from entityseg_bench.coco_records import (
    FileRecords,
    RawImage,
    read_ground_truth,
    read_predictions,
)
from entityseg_bench.contents import layout
from entityseg_bench.contents.layout import ImageFiles
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.faults import Faults, reported
from entityseg_bench.formats.maps import map_name
from entityseg_bench.inputs import Inputs, Sides
from entityseg_bench.io import InputError
from entityseg_bench.rules import (
    Problem,
    Rule,
    coco_problems,
    masks,
    quick_problems,
    read_or_name,
    unknown_images,
    wrong_sizes,
)
from entityseg_bench.sides import file_meant, holds_segments, read_as_coco
from entityseg_bench.typed import oddities
from entityseg_bench.typed.columns import read_opened
from entityseg_bench.typed.predictions import Predictions, base_name, open_predictions
from entityseg_bench.typed.truth import Truth, is_root, open_truth, sources_below
from entityseg_bench.types import ImageInfo

__all__ = ["typed_problems"]

Images = Sequence[Any]


def typed_problems(
    gt_path: Path, dt_path: Path | None, inputs: Inputs, class_aware: bool
) -> Iterator[Problem]:
    """Name every problem of ground truth of any type and, if given, of predictions for it.

    Args:
        gt_path: Anything that `truth.open_truth` opens; a data set's root without a type and
            without predictions is checked for each type that is there.
        dt_path: Anything that `predictions.open_predictions` opens.
        inputs: What the user said of them.
        class_aware: Check the categories of all types.
    """
    if is_root(gt_path, inputs):
        yield from _root_problems(gt_path, dt_path, inputs, class_aware)
    else:
        yield from _pair_problems(gt_path, dt_path, inputs, class_aware)


def _root_problems(
    root: Path, dt_path: Path | None, inputs: Inputs, class_aware: bool
) -> Iterator[Problem]:
    found, faults = _types_below(root, inputs)
    if inputs.task is None and dt_path is None and (found or faults):
        yield from map(problem_of, faults)
        for one in found:
            yield from _root_problems(root, None, one, class_aware)
        return
    try:
        task, sources = sources_below(root, inputs)
    except InputError as fault:
        yield problem_of(fault)
        return
    path, meant = file_meant(root, dt_path, dataclasses.replace(inputs, task=task))
    if read_as_coco(path, dt_path, meant):
        images = yield from coco_problems(path, dt_path, class_aware)
    else:
        images = yield from _pair_problems(path, dt_path, meant, class_aware)
    files = ImageFiles(root, inputs.resolution, sources[0].part if len(sources) == 1 else None)
    yield from oddities.image_files(files, images, sources[0].annotations)


def _types_below(root: Path, inputs: Inputs) -> tuple[list[Inputs], list[InputError]]:
    """List the types that a data set's folder holds, and those that lack their maps."""
    found, faults = [], []
    for task in TASKS:
        try:
            layout.find_sources(root, task, inputs.split, inputs.resolution, inputs.parts)
        except InputError as fault:
            if "maps is missing" in fault.what:
                faults.append(fault)
            continue
        found.append(dataclasses.replace(inputs, task=task))
    return found, faults


def _pair_problems(
    gt_path: Path, dt_path: Path | None, inputs: Inputs, class_aware: bool
) -> Generator[Problem, None, Images]:
    faults = Faults()
    truth, told = None, 0
    with reported(faults):
        files = _coco_files(gt_path, inputs)
        for file in files:
            told += yield from _tell(coco_problems(file, None, class_aware))
        truth = _images_alone(files, inputs) if told else open_truth(gt_path, inputs, faults)
    if truth is None:
        yield from map(problem_of, faults)
        if dt_path:
            what = "it was not checked, since the ground truth cannot be read."
            yield Problem(str(dt_path), "", what, "", "warning")
        return ()
    predictions = _open_predictions(dt_path, truth.dataset, inputs, faults) if dt_path else None
    sides = read_opened(
        gt_path,
        dt_path or gt_path,
        truth,
        predictions or Predictions(truth.dataset.replace(images=(), annotations=[]), [], "none"),
        lambda done, total: None,
        predictions is None,
        faults,
    )
    read = [dt_path, *(predictions.read if predictions else ())]
    yield from map(problem_of, by_side(faults, read))
    # Where something was left out, what is odd of the rest may be so by that alone.
    whole = not (told or len(faults))
    for problem in _column_problems(sides, predictions is not None, class_aware):
        if (whole or problem.severity == "error") and not (files and problem.file == str(gt_path)):
            yield problem
    if not faults.lost_images:
        yield from oddities.of_truth(truth)
    if predictions and not faults.unknown_images:
        yield from oddities.of_predictions(predictions)
    return truth.dataset.images


def _column_problems(sides: Sides, predicted: bool, class_aware: bool) -> Iterator[Problem]:
    """Run the rules of columns on what was read."""
    yield from quick_problems(sides.gt, sides.dt if predicted else None, class_aware)
    yield from masks(sides.gt)
    if predicted:
        yield from masks(sides.dt)
        yield from sides.notes


def _tell(problems: Iterable[Problem]) -> Generator[Problem, None, int]:
    """Pass problems on; return how many of them are errors."""
    n = 0
    for problem in problems:
        n += problem.severity == "error"
        yield problem
    return n


def problem_of(fault: InputError) -> Problem:
    """Make the problem that a reader's error is."""
    return Problem(fault.file, fault.where, fault.what, fault.mend)


def by_side(faults: Iterable[InputError], read: Sequence[Path | None]) -> list[InputError]:
    """Put the faults of ground truth before those of the files that predictions are read from."""
    own = {path for path in read if path}

    def predicted(fault: InputError) -> bool:
        return not own.isdisjoint((Path(fault.file), *Path(fault.file).parents))

    return sorted(faults, key=predicted)


def _coco_files(gt_path: Path, inputs: Inputs) -> list[Path]:
    """Name the COCO files that ground truth consists of."""
    if is_root(gt_path, inputs):
        task, sources = sources_below(gt_path, inputs)
        return [one.annotations for one in sources] if task in ("entity", "instance") else []
    coco = gt_path.is_file() and gt_path.suffix != ".txt" and not holds_segments(gt_path)
    return [gt_path] if coco else []


def _images_alone(files: Sequence[Path], inputs: Inputs) -> Truth | None:
    """Read the images of a COCO file whose annotations are broken, so that maps can be checked."""
    if len(files) > 1:
        return None
    try:
        side = read_ground_truth(files[0])
    except InputError:
        # Its problems were listed, one by one.
        return None
    images = {i.id: ImageInfo(i.id, i.file_name, i.height, i.width) for i in side.images}
    return Truth(EntityDataset(images.values(), [], None, inputs.task or "entity"), list(files))


def _open_predictions(
    path: Path, truth: EntityDataset, inputs: Inputs, faults: Faults
) -> Predictions | None:
    """Open predictions; of results that cannot be read each record at fault is named."""
    try:
        return open_predictions(path, truth, inputs, False, faults)
    except InputError as fault:
        rules = (wrong_sizes, masks) if faults.lost_images else (unknown_images, wrong_sizes, masks)
        found = _results_problems(path, truth, inputs, rules)
        named = [problem for problem in found if problem.severity == "error"]
        for problem in named:
            faults(InputError(problem.file, problem.where, problem.what, problem.mend))
        if not named:
            faults(fault)
    return None


def _results_problems(
    path: Path, truth: EntityDataset, inputs: Inputs, rules: Sequence[Rule]
) -> Iterator[Problem]:
    """Check results record by record, as they are where the ground truth is a COCO file, too."""
    if inputs.pred_format not in (None, "results") or not path.is_file() or holds_segments(path):
        return
    images = [RawImage(i.id, i.height, i.width, i.file_name) for i in truth.images]
    gt = FileRecords(Path(truth.where), images, [], np.zeros(0, np.int64), [])
    dt = yield from read_or_name(path, lambda: read_predictions(path, gt), predictions=True)
    if dt is None:
        return
    names = {base_name(image): idx for idx, image in enumerate(truth.images)}
    if (dt.image_idx < 0).all():
        ids = (PurePosixPath(map_name(str(record.image_id))).name for record in dt.records)
        at = np.array([names.get(name, -1) for name in ids], np.int64)
        dt = dataclasses.replace(dt, image_idx=at)
    for rule in rules:
        yield from rule(dt)
