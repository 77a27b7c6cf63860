"""What becomes of a fault that a reader finds: scoring stops at the first, validate lists all.

Readers hand each fault to a ``Report`` and go on without what is at fault. The one that scoring
gives them, `stop`, raises; so a rule stands once, in the reader, whoever asks.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from entityseg_bench.io import InputError

__all__ = [
    "Faults",
    "LostImage",
    "Report",
    "SeveralFaults",
    "UnknownImage",
    "image_reported",
    "misfit",
    "raise_all",
    "reported",
    "stop",
    "within",
]

Report = Callable[[InputError], None]


def stop(fault: InputError) -> None:
    """Raise a fault."""
    raise fault


@contextlib.contextmanager
def reported(report: Report) -> Iterator[None]:
    """Report what the block raises; where that is not the end, the rest of the block is left."""
    try:
        yield
    except InputError as fault:
        report(fault)


@contextlib.contextmanager
def within(where: str) -> Iterator[None]:
    """Let what the block raises say where, if it does not."""
    try:
        yield
    except InputError as fault:
        if fault.where:
            raise
        raise InputError(fault.file, where, fault.what, fault.mend) from None


class SeveralFaults(InputError):
    """Say the first of the faults of one file, and hold all."""

    def __init__(self, faults: Sequence[InputError]) -> None:
        first = faults[0]
        super().__init__(first.file, first.where, first.what, first.mend)
        self.faults = list(faults)

    def __reduce__(self) -> tuple[Any, ...]:
        return SeveralFaults, (self.faults,)


def raise_all(faults: Sequence[InputError]) -> None:
    """Raise the faults of one file, if there are any, as one error."""
    if faults:
        raise faults[0] if len(faults) == 1 else SeveralFaults(faults)


class LostImage(InputError):
    """Say why an image cannot stand among those of the ground truth."""


class UnknownImage(InputError):
    """Say that a record, a map or a file is of no image of the ground truth."""


@contextlib.contextmanager
def image_reported(report: Report) -> Iterator[None]:
    """Report what the block raises as the loss of an image of the ground truth."""
    try:
        yield
    except InputError as fault:
        report(LostImage(fault.file, fault.where, fault.what, fault.mend))


class Faults:
    """Collect faults; one that is met twice counts once.

    What is of no known image counts only until an image is lost, for it may be that one's.
    """

    def __init__(self) -> None:
        self._found: dict[str, InputError] = {}
        self.lost_images = self.unknown_images = False

    def __call__(self, fault: InputError) -> None:
        for one in fault.faults if isinstance(fault, SeveralFaults) else (fault,):
            self.lost_images |= isinstance(one, LostImage)
            self.unknown_images |= isinstance(one, UnknownImage)
            if not (self.lost_images and isinstance(one, UnknownImage)):
                self._found.setdefault(str(one), one)

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[InputError]:
        return iter(self._found.values())


def misfit(have: Sequence[int], want: Sequence[int]) -> Literal["swapped", "scaled", "other"]:
    """Tell how a size [height, width] misses another: swapped, of its proportions, or neither."""
    if list(have) == list(want)[::-1]:
        return "swapped"
    scaled = abs(have[0] * want[1] - have[1] * want[0]) <= max(want)
    return "scaled" if scaled else "other"
