"""Rules of a whole set: what is true of all its segments need not be of those of a part."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from entityseg_bench.categories import Task
from entityseg_bench.check import Problem
from entityseg_bench.table import VOID_TASKS
from entityseg_bench.types import ImageInfo

__all__ = ["Counted", "of_all", "set_problems"]


class Counted(Protocol):
    """What the rules of a whole set look at: a table, or what was counted of its parts."""

    @property
    def images(self) -> Sequence[ImageInfo]: ...
    @property
    def task(self) -> Task: ...
    @property
    def where_from(self) -> str: ...
    @property
    def n_per_image(self) -> NDArray[np.int64]: ...
    @property
    def scores(self) -> NDArray[np.float64]: ...
    @property
    def iscrowd(self) -> NDArray[np.bool_]: ...
    def __len__(self) -> int: ...


Rule = Callable[[Counted], Iterator[Problem]]


def of_all(table: Counted, what: str, hint: str, code: str) -> Problem:
    """Make a warning that is of a side, and not of one segment."""
    return Problem(table.where_from, "", what, hint, "warning", code)


def all_crowds(gt: Counted) -> Iterator[Problem]:
    """Find ground truth in which nothing is to be found."""
    if len(gt) and gt.iscrowd.all():
        what = f"all {len(gt)} annotations are crowds (iscrowd 1): there is nothing to find."
        hint = "Some exporters (CVAT's) write iscrowd 1 for every mask: single entities have 0."
        yield of_all(gt, what, hint, "all-crowds")


def equal_scores(dt: Counted) -> Iterator[Problem]:
    """Find scores that rank nothing. (JSON has no word for a score that is not finite.)"""
    if len(dt) > 1 and (dt.scores == dt.scores[0]).all():
        what = f"all {len(dt)} scores are {dt.scores[0]:g}."
        hint = "AP ranks by score: ties go by the order of the file."
        yield of_all(dt, what, hint, "scores-equal")


def coverage(dt: Counted) -> Iterator[Problem]:
    """Find images without predictions, and files without any."""
    if not len(dt):
        what = "it holds no predictions: every metric is 0."
        yield of_all(dt, what, "", "no-predictions")
        return
    missing = np.flatnonzero(dt.n_per_image == 0)
    if len(missing):
        what = (
            f"{len(missing)} of {len(dt.images)} images have no predictions, "
            f"image_id {dt.images[missing[0]].id!r} first."
        )
        hint = "They count as missed, unless --predicted-images-only leaves them out."
        yield of_all(dt, what, hint, "images-without-predictions")


def too_many(dt: Counted, max_det: int = 100) -> Iterator[Problem]:
    """Find images with more predictions than AP reads."""
    over = np.flatnonzero(dt.n_per_image > max_det)
    if len(over):
        what = (
            f"{len(over)} images have more than {max_det} predictions, "
            f"image_id {dt.images[over[0]].id!r} first with {dt.n_per_image[over[0]]}."
        )
        hint = f"Only the {max_det} highest scores of an image count."
        yield of_all(dt, what, hint, "too-many-predictions")


def unannotated(gt: Counted) -> Iterator[Problem]:
    """Find images without ground truth."""
    missing = np.flatnonzero(gt.n_per_image == 0)
    if len(missing):
        what = (
            f"{len(missing)} of {len(gt.images)} images have no annotations, "
            f"image_id {gt.images[missing[0]].id!r} first."
        )
        hint = (
            "They are void: nothing predicted on them counts."
            if gt.task in VOID_TASKS
            else "Every prediction on them is a false positive."
        )
        yield of_all(gt, what, hint, "images-without-annotations")


GT_RULES: tuple[Rule, ...] = (all_crowds, unannotated)
DT_RULES: tuple[Rule, ...] = (equal_scores, coverage)


def set_problems(
    gt: Counted | None, dt: Counted | None, class_aware: bool = False, max_det: int = 100
) -> Iterator[Problem]:
    """Run the rules of whole sides, where these are given; see `entityseg_bench.rules.problems`."""
    limit = () if class_aware else (functools.partial(too_many, max_det=max_det),)
    for side, rules in ((gt, GT_RULES), (dt, (*DT_RULES, *limit))):
        if side is not None:
            for rule in rules:
                yield from rule(side)
