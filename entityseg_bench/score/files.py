"""Files in, result and provenance out."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from entity_api import EvalParams, EvalResult, RecordError, evaluate
from entity_api.shown import Shown
from entityseg_bench import formats
from entityseg_bench.categories import Task
from entityseg_bench.check import NOTE, Problem, Report, refuse, stop
from entityseg_bench.formats import Inputs, Opened
from entityseg_bench.formats.opened import Classes
from entityseg_bench.io import InputError, collector_paused, fingerprint
from entityseg_bench.rules import problems
from entityseg_bench.set_rules import Counted
from entityseg_bench.table import VOID_TASKS, Segments

if TYPE_CHECKING:
    import pandas as pd

    from entityseg_bench.score.type_counts import TypeCounts
    from entityseg_bench.score.type_metrics import TypeMetrics

__all__ = [
    "BENCHMARK",
    "Scoring",
    "Sides",
    "evaluate_files",
    "evaluate_sides",
    "on_void",
    "read_checked",
    "read_predictions",
    "read_sides",
    "score_sides",
]

# Name of the benchmark's own protocol: see `entityseg_bench.score.protocols`.
BENCHMARK = "entityseg"


@dataclasses.dataclass(frozen=True, repr=False)
class Sides(Shown):
    """Hold what is scored.

    Attributes:
        gt: Ground truth; its ``task`` is the type.
        dt: Predictions on the same images, each with a score.
        classes: What the categories of the predictions are worth.
        notes: What the user should know of how they were read.
        read: Side -> files and folders it was read from.
        protocol: Name of the protocol that they are scored by.
    """

    gt: Segments
    dt: Segments
    classes: Classes
    notes: list[Problem]
    read: dict[str, list[Path]]
    protocol: str = BENCHMARK

    @property
    def task(self) -> Task:
        """Type of the ground truth."""
        return self.gt.task

    def files(self) -> dict[str, dict[str, str]]:
        """Name and hash what each side was read from."""
        return {
            side: {"name": paths[0].name, "sha256": fingerprint(paths)}
            for side, paths in self.read.items()
        }

    def error(self, fault: RecordError) -> InputError:
        """Name a record that cannot be scored."""
        side = self.gt if fault.side == "gt" else self.dt
        return side.error(fault.idx, fault.what, "entityseg validate lists every one.")


@dataclasses.dataclass(frozen=True, repr=False)
class Scoring:
    """Hold a scored pair of files.

    Attributes:
        gt: Ground truth, one record a segment whatever its type.
        dt: Predictions likewise.
        result: AP and AP^e.
        warnings: What is unusual, but scored.
        sides: Both sides, and where they came from.
        own: The type's metric; None for entities, which have none.
        boundary: Boundary AP and AP^e, where they were asked for.
        counts: What ``own`` was computed from.
    """

    gt: Segments
    dt: Segments
    result: EvalResult
    warnings: list[Problem]
    sides: Sides
    own: "TypeMetrics | None" = None
    boundary: EvalResult | None = None
    counts: "TypeCounts | None" = None

    @property
    def metrics(self) -> dict[str, float]:
        """AP, APe and so on: fractions in [0, 1], nan where there is nothing to measure."""
        return self.result.metrics

    def __repr__(self) -> str:
        n = len(self.warnings)
        warned = f"{n} warning{'s' * (n > 1)}: see .warnings" if n else ""
        own = repr(self.own) if self.own else ""
        return "\n\n".join(part for part in (repr(self.result), own, warned) if part)

    def _repr_html_(self) -> str:
        own = self.own._repr_html_() if self.own else ""
        return self.result._repr_html_() + own

    def to_frame(self, rows: str = "metrics") -> "pd.DataFrame":
        """Return a pandas frame, where pandas is; see `entityseg_bench.frames`.

        Args:
            rows: What each row is of: metrics, images, entities or predictions.
        """
        from entityseg_bench.frames import frame_of

        return frame_of(self, rows)

    def plot(self, axes: Any = None) -> Any:
        """Draw the curves of the result; see `EvalResult.plot`."""
        return self.result.plot(axes)


def evaluate_files(
    gt_path: str | Path,
    dt_path: str | Path,
    params: EvalParams | None = None,
    progress: Callable[[int, int], None] | None = None,
    predicted_images_only: bool = False,
    inputs: Inputs | None = None,
    boundary: bool = False,
    protocol: str = BENCHMARK,
    is_part: bool = False,
) -> Scoring:
    """Check and score predictions against ground truth of any of the four types.

    Args:
        gt_path: COCO or panoptic JSON, plain or ``.gz``, a semantic list (.txt) or folder of class
            maps, or the root of a data set.
        dt_path: COCO results, a list or wrapped in ``annotations``; panoptic JSON; or a folder of
            class maps, id maps or NPZ.
        params: What to measure.
        progress: Called with (images finished, images to go through) now and then; each time that
            all images are gone through it begins anew.
        predicted_images_only: Leave out images without predictions instead of counting them as
            missed.
        inputs: What the two sides are, where they do not say it.
        boundary: Whether to measure Boundary AP, too.
        protocol: Name of a protocol of `entityseg_bench.score.protocols`; what it sets goes before
            ``params``.
        is_part: Whether the scoring is to be merged with those of other images.

    Raises:
        InputError: A file or record that would give a wrong number.
        ValueError: There is no such protocol.
    """
    params, only = params or EvalParams(), predicted_images_only
    if protocol != BENCHMARK:
        from entityseg_bench.score.protocols import protocol_of

        chosen = protocol_of(protocol)
        params, only = chosen.settled(params), only or chosen.predicted_images_only
    with collector_paused():
        sides = read_sides(gt_path, dt_path, inputs or Inputs(), only, protocol=protocol)
        return evaluate_sides(sides, params, progress, only, boundary, is_part)


def read_sides(
    gt_path: str | Path,
    dt_path: str | Path,
    inputs: Inputs,
    some_images: bool = False,
    report: Report = stop,
    protocol: str = BENCHMARK,
) -> Sides:
    """Read both sides, whatever their formats.

    Args:
        gt_path: Ground truth of any type.
        dt_path: Predictions of any format.
        inputs: What they are, where they do not say it.
        some_images: Whether maps of predictions may be missing.
        report: Takes the faults that something is left of the sides without.
        protocol: That they are to be scored by: it may change the ground truth.

    Raises:
        InputError: They cannot be told, are missing or broken, or do not fit each other.
    """
    truth = formats.open(gt_path, inputs, whole=False, report=report)
    gt = truth.segments.read(report)
    notes: list[Problem] = []
    if protocol != BENCHMARK:
        from entityseg_bench.score.protocols import protocol_of

        gt, notes = protocol_of(protocol).truth(gt)
    sides = read_predictions(truth, gt, Path(dt_path), inputs, some_images, report)
    return dataclasses.replace(sides, notes=[*notes, *sides.notes], protocol=protocol)


def read_predictions(
    truth: Opened, gt: Segments, path: Path, inputs: Inputs, some_images: bool, report: Report
) -> Sides:
    """Read predictions for ground truth that was opened and read; see `read_sides`."""
    found = formats.open(path, inputs, gt, some_images=some_images, report=report)
    dt = found.segments.read(report).replace(task=gt.task, predicted=True)
    if len(gt) and len(dt) and np.isfinite(gt.scores).all() and np.isnan(dt.scores).all():
        what = "it has no scores, but the ground truth has one in each record."
        raise InputError(path, "", what, "Are GT and PRED exchanged? GT comes first.")
    dt, notes = _scored(dt, list(found.notes), report)
    problems = [Problem(str(path), "", note, "", "warning") for note in notes]
    read = {"ground_truth": truth.read, "predictions": found.read}
    return Sides(gt, dt, found.classes, problems, read)


def read_checked(
    gt_path: str | Path, dt_path: str | Path | None, inputs: Inputs
) -> tuple[list[Segments], list[Problem]]:
    """Read ground truth and, if given, predictions, checked as scoring checks them.

    Returns:
        The sides, and what the user should know of how they were read.

    Raises:
        InputError: As `read_sides`, and for every rule that scoring refuses a file by.
    """
    if dt_path is not None:
        sides = read_sides(gt_path, dt_path, inputs)
        found = list(problems(sides.gt, sides.dt, all_classes=sides.classes == "all"))
        both, notes = [sides.gt, sides.dt], sides.notes
    else:
        gt = formats.open(gt_path, inputs, whole=False).segments.read()
        found = list(problems(gt, None))
        both, notes = [gt], []
    refuse(found)
    return both, [*notes, *(problem for problem in found if problem.code == NOTE)]


def _scored(dt: Segments, notes: list[str], report: Report) -> tuple[Segments, list[str]]:
    """Give predictions without scores 1 each, and say so."""
    n, n_missing = len(dt), int(np.isnan(dt.scores).sum())
    if not n_missing:
        return dt, notes
    if n_missing < n:
        what = f"{n_missing} of {n} predictions have no score, the others do."
        report(InputError(dt.where_from, "", what, "Write a score for each, or for none."))
    notes.append("the predictions have no scores: each gets 1.")
    # Named, so that parts of a set with and without scores are not ranked together.
    return dt.replace(scores=np.nan_to_num(dt.scores, nan=1.0), score_from="none"), notes


def evaluate_sides(
    sides: Sides,
    params: EvalParams,
    progress: Callable[[int, int], None] | None,
    predicted_images_only: bool,
    boundary: bool,
    is_part: bool = False,
) -> Scoring:
    """Check and score two sides that were read; see `evaluate_files`."""
    gt, dt = sides.gt, sides.dt
    if is_part and params.class_aware:
        from entityseg_bench.score.type_counts import class_ids

        if not gt.categories:
            what = "it lists no categories: a part of a set may lack some."
            raise InputError(gt.where_from, "", what, "Score the whole set in one process.")
        params = dataclasses.replace(params, category_ids=class_ids(gt))
    if predicted_images_only:
        predicted = np.flatnonzero(dt.n_per_image).tolist()
        params = dataclasses.replace(params, image_ids=[gt.images[idx].id for idx in predicted])
    max_det = params.max_dets[-1]
    rules = problems(gt, dt, params.class_aware, max_det, sides.classes == "all")
    found = [*sides.notes, *rules]
    refuse(found)
    return score_sides(
        sides, params, progress, predicted_images_only, boundary, is_part, found=found
    )


def _scorer(
    sides: Sides,
    params: EvalParams,
    progress: Callable[[int, int], None] | None,
) -> Callable[..., EvalResult]:
    """Make what scores both sides, with some parameters changed."""
    columns = sides.gt.ground_truth(), sides.dt.detections()
    n_images = len(sides.gt.images if params.image_ids is None else params.image_ids)

    def score(**changes: Any) -> EvalResult:
        done = 0

        def report(n: int) -> None:
            nonlocal done
            done += n
            if progress:
                progress(done, n_images)

        try:
            return evaluate(*columns, dataclasses.replace(params, **changes), report)
        except RecordError as error:
            raise sides.error(error) from None

    return score


def on_void(dt: Counted, n: int) -> Problem:
    """Say that some predictions are not scored."""
    what = f"{n} predictions lie on unlabelled pixels alone and are left out."
    return Problem(dt.where_from, "", what, "", "warning", "on-void")


def score_sides(
    sides: Sides,
    params: EvalParams,
    progress: Callable[[int, int], None] | None = None,
    predicted_images_only: bool = False,
    boundary: bool = False,
    is_part: bool = False,
    found: Sequence[Problem] = (),
) -> Scoring:
    """Score two sides that were checked; see `evaluate_files`.

    Args:
        sides: Both sides.
        params: What to measure.
        progress: As for `evaluate_files`.
        predicted_images_only: Whether the parameters leave out images without predictions.
        boundary: As for `evaluate_files`.
        is_part: Likewise.
        found: What is unusual about the sides.

    Raises:
        InputError: A record that cannot be scored.
    """
    gt, dt = sides.gt, sides.dt
    warnings, counts = list(found), None
    if gt.task in VOID_TASKS:
        from entityseg_bench.score.type_counts import count_type

        read, only = progress or (lambda done, total: None), predicted_images_only
        counts = count_type(gt, dt, sides.classes, only, stop, read, is_part)
    score = _scorer(sides, params, progress)
    result = score()
    n_on_void = int(result.on_void.sum())
    if n_on_void:
        warnings.append(on_void(dt, n_on_void))
    if gt.task == "instance":
        from entityseg_bench.score.type_counts import count_instances

        counts = count_instances(gt, dt, sides.classes, score, is_part)
    return Scoring(
        gt,
        dt,
        result,
        warnings,
        sides,
        counts.metrics() if counts else None,
        score(iou_type="boundary") if boundary else None,
        counts,
    )
