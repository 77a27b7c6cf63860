"""What the report tells: every number of its pages, computed before a page is written."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams, EvalResult
from entity_api.names import BY_SIZE, HEADLINE
from entityseg_bench.compare import Comparison, compare
from entityseg_bench.compare.comparison import unique_names
from entityseg_bench.errors import ErrorReport, find_errors
from entityseg_bench.errors.by_image import ImageErrors, errors_by_image
from entityseg_bench.formats import Inputs
from entityseg_bench.io import InputError
from entityseg_bench.resampling import Interval, confidence_intervals, image_metrics
from entityseg_bench.score import Scoring, evaluate_files
from entityseg_bench.score.curves import ap_by_iou, precision_at

__all__ = ["MOST_FILES", "Findings", "Side", "choose_images", "gather", "moved_images"]

# Submissions side by side, as many as there are colours.
MOST_FILES = 5
# IoU thresholds at which the viewer shows errors, of those that are scored.
ERROR_THRS = (0.5, 0.75, 0.9)


@dataclasses.dataclass(frozen=True)
class Side:
    """Hold one prediction file and what was found in it.

    Attributes:
        name: What the report calls it.
        scoring: Files, records and result.
        intervals: Metric -> value and 95 % interval over images, fractions.
        per_image: (I,) AP^e of each image by itself, nan without ground truth.
        errors: Where AP^e is lost.
        by_image: The errors of each image, and what they cost it.
    """

    name: str
    scoring: Scoring
    intervals: dict[str, Interval]
    per_image: NDArray[np.float64]
    errors: ErrorReport
    by_image: ImageErrors

    @property
    def result(self) -> EvalResult:
        """The evaluation."""
        return self.scoring.result

    def precision_at(self, iou_thr: float) -> NDArray[np.float64]:
        """Return precision at each recall threshold, (R,) fractions, nan where not measured."""
        return precision_at(self.result, iou_thr)

    def ap_by_iou(self) -> NDArray[np.float64]:
        """Return AP^e at each IoU threshold, (T,) fractions, nan where not measured."""
        return ap_by_iou(self.result)


@dataclasses.dataclass(frozen=True)
class Findings:
    """Hold what a report is about: one side, or several and how they differ from the first."""

    sides: list[Side]
    comparison: Comparison | None
    n_resamples: int


def gather(
    gt_path: str | Path,
    dt_paths: Sequence[str | Path],
    threads: int = 1,
    n_resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    inputs: Inputs | None = None,
) -> Findings:
    """Score one to five prediction files, bound their metrics and compare them with the first.

    ``progress`` is called with (images finished, images to go through); each pass over the images
    begins anew. ``inputs`` says what the files are, where they do not.

    Raises:
        InputError: A file that cannot be scored, a ground truth without entities, or too many
            files.
    """
    if not 1 <= len(dt_paths) <= MOST_FILES:
        what = f"{len(dt_paths)} prediction files are named."
        raise InputError("arguments", "PRED", what, f"A report is about 1 to {MOST_FILES}.")
    params = EvalParams(threads=threads)
    scorings = [evaluate_files(gt_path, path, params, progress, inputs=inputs) for path in dt_paths]
    if not len(scorings[0].gt):
        raise InputError(gt_path, "annotations", "there is none.", "A report needs entities.")
    names = name_sides([Path(path) for path in dt_paths])
    comparison = None
    if len(scorings) > 1:
        comparison = compare(scorings, names, n_resamples, n_resamples, seed=seed)
        intervals = comparison.metrics
    else:
        (only,) = scorings
        wanted = [key for key in (*HEADLINE, *BY_SIZE) if key in only.result.metrics]
        intervals = [
            confidence_intervals(only.result, only.dt.scores, n_resamples, seed=seed, names=wanted)
        ]
    losses = [find_errors(scoring, progress=progress) for scoring in scorings]
    sides = [
        Side(name, scoring, own, image_metrics(scoring.result), lost,
             errors_by_image(lost, ERROR_THRS))
        for name, scoring, own, lost in zip(names, scorings, intervals, losses, strict=True)
    ]  # fmt: skip
    return Findings(sides, comparison, n_resamples)


def name_sides(paths: Sequence[Path]) -> list[str]:
    """Call files by the least of their path that tells them apart; one file twice by letters."""
    names = unique_names(paths)
    if len(set(names)) < len(names):
        return [f"{name} ({letter})" for name, letter in zip(names, "ABCDE", strict=False)]
    return names


def choose_images(side: Side, n: int) -> dict[str, list[int]]:
    """Choose the images to show: worst, median and best by their own AP^e.

    Each image stands in one group at most; images without ground truth in none. Ties go by the
    order of the file.

    Args:
        side: With AP^e of each image.
        n: Images a group, fewer where there are not enough.

    Returns:
        Group -> positions of images.
    """
    order = [idx for idx in np.argsort(side.per_image, kind="stable").tolist()
             if not math.isnan(side.per_image[idx])]  # fmt: skip
    n = min(n, math.ceil(len(order) / 3))
    start = max((len(order) - n) // 2, 0)
    groups = {"Worst": order[:n], "Best": order[n:][-n:][::-1] if n else []}
    taken = {*groups["Worst"], *groups["Best"]}
    median = [idx for idx in order[start : start + n] if idx not in taken]
    return {"Worst": groups["Worst"], "Median": median, "Best": groups["Best"]}


def moved_images(first: Side, second: Side, n: int) -> dict[str, list[int]]:
    """Choose the images whose own AP^e the second file raises and lowers most."""
    moved = second.per_image - first.per_image
    order = [idx for idx in np.argsort(moved, kind="stable").tolist() if moved[idx] != 0
             and not math.isnan(moved[idx])]  # fmt: skip
    return {
        f"Better in {second.name}": [idx for idx in order[::-1] if moved[idx] > 0][:n],
        f"Worse in {second.name}": [idx for idx in order if moved[idx] < 0][:n],
    }
