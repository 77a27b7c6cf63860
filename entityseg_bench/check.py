"""What can be wrong with files and records: one home for every rule.

Readers hand each fault to a ``Report`` and go on without what is at fault. Scoring gives them
`stop`, which raises the first; `entityseg validate` gives them a `Collector`, which lists all. The
rules below then look at what was read. An *error* would give a wrong number, so scoring refuses the
file; a *warning* is unusual, but is scored.
"""

import contextlib
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from entity_api.counts import MAX_PIXELS, RLEError, pack
from entityseg_bench.io import InputError
from entityseg_bench.table import VOID_TASKS, Segments
from entityseg_bench.types import ImageInfo

__all__ = [
    "IMAGE_LOST",
    "IMAGE_UNKNOWN",
    "MAPS_MISSING",
    "Collector",
    "Problem",
    "Report",
    "SeveralFaults",
    "check_image",
    "image_reported",
    "known_images",
    "masks",
    "mismatch",
    "problem_of",
    "problems",
    "raise_all",
    "refuse",
    "reported",
    "stop",
    "within",
]

Report = Callable[[InputError], None]

# Codes that a program acts on: an image of the ground truth that was left out, a record of an image
# that the ground truth does not list, and a folder of maps that is not there.
IMAGE_LOST, IMAGE_UNKNOWN, MAPS_MISSING = "image-lost", "image-unknown", "maps-missing"


@dataclasses.dataclass(frozen=True)
class Problem:
    """Name one thing that is wrong: which file, where in it, what, and what to do about it.

    ``code`` names the rule, for programs.
    """

    file: str
    where: str
    what: str
    hint: str
    severity: Literal["error", "warning"] = "error"
    code: str = ""

    def __str__(self) -> str:
        place = f"{self.file}: {self.where}" if self.where else self.file
        return f"{self.severity}: {place}: {self.what} {self.hint}".rstrip()


def problem_of(fault: InputError) -> Problem:
    """Return the problem that a reader's error is."""
    return Problem(fault.file, fault.where, fault.what, fault.hint, code=fault.code)


def refuse(found: Sequence[Problem]) -> None:
    """Raise the first error among some problems, saying how many more there are."""
    errors = [problem for problem in found if problem.severity == "error"]
    if not errors:
        return
    first, more = errors[0], len(errors) - 1
    tail = f" ({more} more like it: entityseg validate lists them.)" if more else ""
    raise InputError(first.file, first.where, first.what, first.hint + tail, first.code)


def stop(fault: InputError) -> None:
    """Raise a fault."""
    raise fault


@contextlib.contextmanager
def reported(report: Report) -> Iterator[None]:
    """Report what the block raises; where the report goes on, the rest of the block is left out."""
    try:
        yield
    except InputError as fault:
        report(fault)


@contextlib.contextmanager
def image_reported(report: Report) -> Iterator[None]:
    """Report what the block raises as the loss of an image of the ground truth."""
    try:
        yield
    except InputError as fault:
        report(InputError(fault.file, fault.where, fault.what, fault.hint, IMAGE_LOST))


@contextlib.contextmanager
def within(where: str) -> Iterator[None]:
    """Complete what the block raises by where it was, if it does not say so itself."""
    try:
        yield
    except InputError as fault:
        if fault.where:
            raise
        raise InputError(fault.file, where, fault.what, fault.hint, fault.code) from None


class SeveralFaults(InputError):
    """Say the first of the faults of one file, and hold all."""

    def __init__(self, faults: Sequence[InputError], hint: str = "") -> None:
        first = faults[0]
        super().__init__(first.file, first.where, first.what, first.hint or hint, first.code)
        self.faults = list(faults)

    def __reduce__(self) -> tuple[Any, ...]:
        return SeveralFaults, (self.faults, self.hint)


def raise_all(faults: Sequence[InputError], hint: str = "") -> None:
    """Raise the faults of one file, if there are any, as one error; ``hint`` is of the whole."""
    if faults:
        raise faults[0] if len(faults) == 1 and not hint else SeveralFaults(faults, hint)


class Collector:
    """Collect faults; one that is met twice counts once.

    Once an image of the ground truth was left out, records of unknown images are not collected any
    more: they may be of that image.
    """

    def __init__(self) -> None:
        self._found: dict[str, InputError] = {}
        self._codes: set[str] = set()

    def __call__(self, fault: InputError) -> None:
        for one in fault.faults if isinstance(fault, SeveralFaults) else (fault,):
            self._codes.add(one.code)
            if not (self.has(IMAGE_LOST) and one.code == IMAGE_UNKNOWN):
                self._found.setdefault(str(one), one)

    def has(self, code: str) -> bool:
        """Tell whether a fault of this code was met."""
        return code in self._codes

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[InputError]:
        return iter(self._found.values())


def mismatch(have: Sequence[int], want: Sequence[int]) -> Literal["swapped", "scaled", "other"]:
    """Tell how a size [height, width] differs: swapped, of the same proportions, or neither."""
    if list(have) == list(want)[::-1]:
        return "swapped"
    scaled = abs(have[0] * want[1] - have[1] * want[0]) <= max(want)
    return "scaled" if scaled else "other"


def check_image(image: ImageInfo, others: Container[int | str], where: str | Path) -> None:
    """Check that an image's id is none of others, and that its size can be that of masks.

    Raises:
        InputError: With the image.
    """
    place = f"image {image.id} ({image.file_name})"
    if image.id in others:
        raise InputError(where, place, "its id stands twice.", "Number it anew.")
    size = f"{image.height} x {image.width}"
    if image.height < 1 or image.width < 1:
        raise InputError(where, place, f"it has no pixels: {size}.")
    if image.height * image.width > MAX_PIXELS:
        what = f"{size} pixels are too many: the limit is 2**32."
        raise InputError(where, place, what, "Are height and width in pixels?")


def known_images(table: Segments) -> None:
    """Check that each segment is of an image that is listed.

    Raises:
        InputError: With the first record that is not.
    """
    for row in np.flatnonzero(table.image_idx < 0).tolist():
        what = "its image is not among the images"
        raise table.error(row, what, "Add the image or take the annotation out.")


# Rules: each takes a table and yields its problems.
Rule = Callable[[Segments], Iterator[Problem]]


def _error(table: Segments, row: int, what: str, hint: str, code: str) -> Problem:
    return Problem(table.where_from, table.where(row), what, hint, code=code)


def _warning(table: Segments, what: str, hint: str, code: str, where: str = "") -> Problem:
    return Problem(table.where_from, where, what, hint, "warning", code)


def repeated_images(gt: Segments) -> Iterator[Problem]:
    """Find image ids that stand twice: their annotations cannot be told apart."""
    for image_id, n in Counter(image.id for image in gt.images).items():
        if n > 1:
            yield Problem(
                gt.where_from,
                f"image_id {image_id!r}",
                f"it stands {n} times among the images.",
                "Give every image an id of its own; joined parts must be re-keyed.",
                code="image-twice",
            )


def huge_images(gt: Segments) -> Iterator[Problem]:
    """Find images of more pixels than the run-length codes of masks can count."""
    for image in gt.images:
        if image.height * image.width > MAX_PIXELS:
            what = f"{image.height} x {image.width} pixels are too many: the limit is 2**32."
            hint = "Are height and width in pixels?"
            yield Problem(gt.where_from, f"image_id {image.id!r}", what, hint, code="image-huge")


def repeated_ids(gt: Segments) -> Iterator[Problem]:
    """Find annotation ids that stand twice: an entity may be listed twice."""
    if isinstance(gt.ids, np.ndarray):
        if np.diff(np.sort(gt.ids)).all():
            return
        ids: list[Any] = gt.ids.tolist()
    else:
        ids = list(gt.ids)
    seen: dict[object, int] = {}
    for row, own in enumerate(ids):
        first = seen.setdefault(own, row) if own is not None else row
        if first != row:
            what = f"its id stands at record {first} already."
            hint = "Remove the copy, or re-key joined parts."
            yield _error(gt, row, what, hint, "annotation-twice")


def unknown_images(table: Segments) -> Iterator[Problem]:
    """Find records of images that the ground truth does not list."""
    for row in np.flatnonzero(table.image_idx < 0).tolist():
        what = "its image is not among the images of the ground truth."
        hint = "Is this the right split, and are the ids of this file's own numbering?"
        yield _error(table, row, what, hint, IMAGE_UNKNOWN)


def broken_masks(table: Segments) -> Iterator[Problem]:
    """Find masks that cannot be read from their file."""
    for fault in dict.fromkeys(table.counts_and_faults[1].values()):
        for one in fault.faults if isinstance(fault, SeveralFaults) else (fault,):
            yield problem_of(one)


def equal_scores(dt: Segments) -> Iterator[Problem]:
    """Find scores that rank nothing. (JSON has no word for a score that is not finite.)"""
    if len(dt) > 1 and (dt.scores == dt.scores[0]).all():
        what = f"all {len(dt)} scores are {dt.scores[0]:g}."
        hint = "AP ranks by score: ties go by the order of the file."
        yield _warning(dt, what, hint, "scores-equal")


def unknown_categories(table: Segments) -> Iterator[Problem]:
    """Find categories that the ground truth does not list; class-aware scoring needs them."""
    known = {category.id for category in table.categories}
    for category_id in np.unique(table.category_ids).tolist() if known else []:
        if category_id not in known:
            row = int(np.argmax(table.category_ids == category_id))
            n = int(np.count_nonzero(table.category_ids == category_id))
            name = "no category" if category_id == -1 else f"category_id {category_id}"
            what = f"{name} (in {n} records) is not among the categories of the ground truth."
            hint = "Class-aware scoring needs the ground truth's own ids."
            yield _error(table, row, what, hint, "category-unknown")


def unknown_classes(table: Segments) -> Iterator[Problem]:
    """Find categories that the table of semantic or panoptic ground truth does not have."""
    known = {category.id for category in table.categories}
    ids = table.category_ids
    for row in np.flatnonzero(~np.isin(ids, list(known))).tolist():
        what = f"category {ids[row]} is not among the {len(known)} categories of the ground truth."
        semantic = table.task == "semantic"
        hint = "Is this map of the same table, and 255 where there is no class?" * semantic
        yield _error(table, row, what, hint, "category-unknown")


def coverage(dt: Segments) -> Iterator[Problem]:
    """Find images without predictions, and files without any."""
    if not len(dt):
        yield _warning(dt, "it holds no predictions: every metric is 0.", "", "no-predictions")
        return
    missing = np.flatnonzero(dt.n_per_image == 0)
    if len(missing):
        what = (
            f"{len(missing)} of {len(dt.images)} images have no predictions, "
            f"image_id {dt.images[missing[0]].id!r} first."
        )
        hint = "They count as missed, unless --predicted-images-only leaves them out."
        yield _warning(dt, what, hint, "images-without-predictions")


def too_many(dt: Segments, max_det: int = 100) -> Iterator[Problem]:
    """Find images with more predictions than AP reads."""
    over = np.flatnonzero(dt.n_per_image > max_det)
    if len(over):
        what = (
            f"{len(over)} images have more than {max_det} predictions, "
            f"image_id {dt.images[over[0]].id!r} first with {dt.n_per_image[over[0]]}."
        )
        hint = f"Only the {max_det} highest scores of an image count."
        yield _warning(dt, what, hint, "too-many-predictions")


def unannotated(gt: Segments) -> Iterator[Problem]:
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
        yield _warning(gt, what, hint, "images-without-annotations")


def masks(table: Segments) -> Iterator[Problem]:
    """Decode every mask: find broken and empty ones, and areas that are not what the file says.

    Masks that cannot even be read are those of `broken_masks`.
    """
    counts, faults = table.counts_and_faults
    outlined = table.masks.outlined(table)
    for row, image_idx in enumerate(table.image_idx.tolist()):
        if image_idx < 0 or row in faults:
            continue
        try:
            area = int(pack([counts[row]], table.size_of_image(image_idx)).areas()[0])
        except RLEError as error:
            yield _error(table, row, f"{error}.", "Write the mask again.", "mask-broken")
            continue
        said = float(table.areas[row])
        if area == 0:
            what = "its mask is empty."
            yield _warning(table, what, "", "mask-empty", table.where(row))
        elif not table.predicted and abs(said - area) > 0.05 * area and row not in outlined:
            what = f"its area is {said:g}, but its mask has {area} pixels."
            hint = "The file's area decides whether it counts as small, medium or large."
            yield _warning(table, what, hint, "area-unlike-mask", table.where(row))


GT_RULES: tuple[Rule, ...] = (
    repeated_images, huge_images, unknown_images, repeated_ids, broken_masks, unannotated,
)  # fmt: skip
DT_RULES: tuple[Rule, ...] = (unknown_images, broken_masks, equal_scores, coverage)


def problems(
    gt: Segments,
    dt: Segments | None,
    class_aware: bool = False,
    max_det: int = 100,
    all_classes: bool = False,
) -> Iterator[Problem]:
    """Run the rules that cost little on both sides.

    Args:
        gt: Ground truth.
        dt: Predictions, where there are any.
        class_aware: Whether categories matter.
        max_det: Most predictions of an image that AP reads.
        all_classes: Whether the predictions are in a format of classes, as maps are.
    """
    extra = (unknown_categories,) if class_aware else ()
    limit = () if class_aware else (functools.partial(too_many, max_det=max_det),)
    of_maps = (unknown_classes,) if gt.task in VOID_TASKS else ()
    sides: list[tuple[Segments, Iterable[Rule]]] = [(gt, (*GT_RULES, *of_maps, *extra))]
    if dt is not None:
        own = of_maps if all_classes else ()
        sides.append((dt, (*DT_RULES, *own, *limit, *extra)))
    for side, rules in sides:
        for rule in rules:
            yield from rule(side)
