"""Every problem of a ground-truth and a prediction file, of any type.

The readers are those that scoring uses, with their faults collected instead of raised; so what
scoring refuses is an error here, and what is no error here is scored.
"""

import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from entityseg_bench import formats
from entityseg_bench.check import (
    IMAGE_LOST,
    IMAGE_UNKNOWN,
    Collector,
    Problem,
    Report,
    problem_of,
    reported,
)
from entityseg_bench.formats import Inputs, Opened
from entityseg_bench.formats.entityseg import Part, task_of_folder, tasks_below
from entityseg_bench.io import InputError, read_bytes
from entityseg_bench.layout import ImageFiles
from entityseg_bench.rules import masks, problems
from entityseg_bench.score import Sides, read_predictions
from entityseg_bench.score.type_counts import count_type
from entityseg_bench.table import Segments
from entityseg_bench.validate import file_warnings

__all__ = [
    "Problem",
    "ReadTruth",
    "not_checked",
    "prediction_problems",
    "truth_problems",
    "validate",
]


class ReadTruth(NamedTuple):
    """Hold ground truth that was checked.

    Attributes:
        truth: As it was opened.
        gt: As it was read.
        lost: Whether images of it were left out.
        whole: Whether nothing was.
    """

    truth: Opened
    gt: Segments
    lost: bool
    whole: bool


Progress: TypeAlias = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """Tell nobody."""


def validate(
    gt_path: str | Path,
    dt_path: str | Path | None = None,
    class_aware: bool = False,
    inputs: Inputs | None = None,
    progress: Progress = _silent,
) -> Iterator[Problem]:
    """Name every problem of ground truth and, if given, of predictions for it.

    Args:
        gt_path: Ground truth of any type, as `entityseg_bench.score.evaluate_files` takes it; a
            data set's folder without a type and without predictions is checked for each type that
            is there.
        dt_path: Predictions of any format, likewise.
        class_aware: Check the categories too.
        inputs: What the two sides are, where they do not say it.
        progress: Called with (finished, to go through): the masks of each side, then the images
            where the type has a metric of its own.

    Raises:
        InputError: A file cannot be opened at all.
    """
    gt, dt, inputs = Path(gt_path), Path(dt_path) if dt_path else None, inputs or Inputs()
    for path in (gt, dt):
        if path and not path.is_dir():
            read_bytes(path)
    if _is_root(gt, inputs):
        yield from _root_problems(gt, dt, inputs, class_aware, progress)
    else:
        yield from _pair_problems(gt, dt, inputs, class_aware, progress)


def _is_root(path: Path, inputs: Inputs) -> bool:
    """Tell a data set's folder from other ground truth."""
    if not path.is_dir() or inputs.gt_format not in (None, "entityseg"):
        return False
    return formats.gt_format(path, inputs) == "entityseg"


def _root_problems(
    root: Path, dt_path: Path | None, inputs: Inputs, class_aware: bool, progress: Progress
) -> Iterator[Problem]:
    wanted = Part(inputs.split, inputs.resolution, inputs.parts)
    found, faults = tasks_below(root, wanted)
    if inputs.task is None and dt_path is None and (found or faults):
        yield from map(problem_of, faults)
        for task in found:
            own = dataclasses.replace(inputs, task=task)
            yield from _root_problems(root, None, own, class_aware, progress)
        return
    try:
        task = task_of_folder(root, wanted, inputs.task)
    except InputError as fault:
        yield problem_of(fault)
        return
    meant = dataclasses.replace(inputs, task=task)
    read = yield from _pair_problems(root, dt_path, meant, class_aware, progress)
    if read is not None:
        truth = read.truth
        files = ImageFiles(root, inputs.resolution, truth.part)
        yield from file_warnings.image_files(files, truth.segments.images, truth.read[0])


def _pair_problems(
    gt_path: Path,
    dt_path: Path | None,
    inputs: Inputs,
    class_aware: bool,
    progress: Progress,
    is_part: bool = False,
) -> Generator[Problem, None, ReadTruth | None]:
    faults = Collector()
    truth = sides = gt = None
    with reported(faults):
        truth = formats.open(gt_path, inputs, whole=False, report=faults)
        gt = truth.segments.read(faults)
    if truth is None or gt is None:
        yield from map(problem_of, faults)
        if dt_path:
            yield not_checked(dt_path)
        return None
    if dt_path:
        with reported(faults):
            sides = read_predictions(truth, gt, dt_path, inputs, False, faults)
    found = list(_problems_read(gt, sides, class_aware, progress, is_part))
    if sides is not None:
        count_type(gt, sides.dt, sides.classes, False, faults, progress)
    lost = faults.has(IMAGE_LOST)
    yield from _in_order(_told(faults, found, lost), dt_path)
    # Where something was left out, what is unusual of the rest may be so by that alone.
    if not len(faults):
        yield from (problem for problem in found if problem.severity == "warning")
    if not lost:
        yield from file_warnings.of_files(gt, truth.read)
    if sides is not None and not faults.has(IMAGE_UNKNOWN):
        yield from file_warnings.of_files(sides.dt, sides.read["predictions"])
    return ReadTruth(truth, gt, lost, not len(faults))


def not_checked(dt_path: str | Path) -> Problem:
    """Say that predictions were left alone."""
    what = "it was not checked, since the ground truth cannot be read."
    return Problem(str(dt_path), "", what, "", "warning")


def truth_problems(
    path: Path, inputs: Inputs, class_aware: bool
) -> tuple[list[Problem], ReadTruth | None]:
    """Name every problem of a part of ground truth; return what could be read of it, too."""
    steps, found = _pair_problems(path, None, inputs, class_aware, _silent, is_part=True), []
    while True:
        try:
            found.append(next(steps))
        except StopIteration as end:
            return found, end.value


def prediction_problems(
    images: Segments,
    dt_path: Path,
    inputs: Inputs,
    class_aware: bool,
    lost: bool,
    count: Callable[[Sides, Report], None],
) -> tuple[list[Problem], Sides | None]:
    """Name every problem of predictions on some of many images.

    Args:
        images: All images of the ground truth, without their segments.
        dt_path: The predictions.
        inputs: As for `validate`.
        class_aware: Likewise.
        lost: Whether there may be images that are not listed.
        count: Counts the type's metric of what was read, and reports what is wrong with it.

    Returns:
        The problems, and what was read; None where something had to be left out.
    """
    faults, sides, found = Collector(), None, list[Problem]()
    with reported(faults):
        sides = read_predictions(Opened(images, []), images, dt_path, inputs, True, faults)
    if sides is not None:
        dt, all_classes = sides.dt, sides.classes == "all"
        rules = problems(None, dt, class_aware, all_classes=all_classes, is_part=True)
        found = [*rules, *masks(dt), *sides.notes]
        count(sides, faults)
    told = _told(faults, found, lost)
    if not len(faults):
        told += [problem for problem in found if problem.severity == "warning"]
    if sides is not None and not faults.has(IMAGE_UNKNOWN):
        told += file_warnings.of_files(sides.dt, sides.read["predictions"])
    return told, None if len(faults) else sides


def _told(faults: Collector, found: Sequence[Problem], lost: bool) -> list[Problem]:
    """List the errors of readers and rules once each."""
    errors = [problem for problem in found if problem.severity == "error"]
    every = [*map(problem_of, faults), *errors]
    # A record of an image that is not listed may be of one that was lost.
    every = [one for one in every if not (lost and one.code == IMAGE_UNKNOWN)]
    # A mask that the type's metric meets and the rule of masks meets is one problem.
    return list({str(problem): problem for problem in every}.values())


def _problems_read(
    gt: Segments, sides: Sides | None, class_aware: bool, progress: Progress, is_part: bool
) -> Iterator[Problem]:
    """Run the rules of columns and of masks on what was read."""
    dt = sides.dt if sides else None
    all_classes = sides is not None and sides.classes == "all"
    yield from problems(gt, dt, class_aware, all_classes=all_classes, is_part=is_part)
    yield from masks(gt, progress)
    if sides is not None:
        yield from masks(sides.dt, progress)
        yield from sides.notes


def _in_order(found: Sequence[Problem], dt_path: Path | None) -> Iterable[Problem]:
    """Put the problems of ground truth before those of the predictions' files."""

    def predicted(problem: Problem) -> bool:
        return dt_path in (Path(problem.file), *Path(problem.file).parents)

    return sorted(found, key=predicted)
