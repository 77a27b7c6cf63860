"""What is wrong with files and records: how it is named, and who takes it.

Readers hand each fault to a ``Report`` and go on without what is at fault. Scoring gives them
`stop`, which raises the first; `entityseg validate` gives them a `Collector`, which lists all. The
rules (`entityseg_bench.rules`) then look at what was read. An *error* would give a wrong number, so
scoring refuses the file; a *warning* is unusual, but is scored.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from entity_api.counts import MAX_PIXELS
from entityseg_bench.io import InputError
from entityseg_bench.table import Segments
from entityseg_bench.types import ImageInfo

__all__ = [
    "IMAGE_LOST",
    "IMAGE_UNKNOWN",
    "IMAGE_UNNAMED",
    "MAPS_MISSING",
    "NOTE",
    "Collector",
    "Problem",
    "Report",
    "SeveralFaults",
    "check_image",
    "image_reported",
    "known_images",
    "mismatch",
    "problem_of",
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
# Predictions whose records do not say of which image they are.
IMAGE_UNNAMED = "image-unnamed"
# And what was done to read a file that is not quite of its format.
NOTE = "note"


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
