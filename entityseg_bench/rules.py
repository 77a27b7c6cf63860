"""What can be wrong with a ground-truth or prediction file, one rule a generator.

An *error* would give a wrong number, so scoring refuses the file; a *warning* is merely odd. Quick
rules read columns only and run before every scoring; deep ones decode every mask.
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from entity_api.counts import MAX_PIXELS, RLEError, pack
from entityseg_bench.coco_records import (
    FileRecords,
    RawImage,
    bad_records,
    read_ground_truth,
    read_predictions,
)
from entityseg_bench.faults import misfit
from entityseg_bench.io import InputError

__all__ = [
    "Problem",
    "Rule",
    "coco_problems",
    "masks",
    "quick_problems",
    "read_or_name",
    "unknown_images",
    "wrong_sizes",
]


@dataclasses.dataclass(frozen=True)
class Problem:
    """Name one thing that is wrong: which file, where in it, what, and how to mend it."""

    file: str
    where: str
    what: str
    mend: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.file}: {self.where}" if self.where else self.file
        return f"{self.severity}: {place}: {self.what} {self.mend}".rstrip()


Rule = Callable[[FileRecords], Iterator[Problem]]


def of_record(side: FileRecords, idx: int, what: str, mend: str) -> Problem:
    """Make the error of one record."""
    return Problem(str(side.path), side.where(idx), what, mend)


def warning(side: FileRecords, what: str, mend: str = "", where: str = "") -> Problem:
    """Make a warning about a file."""
    return Problem(str(side.path), where, what, mend, "warning")


def repeated_images(gt: FileRecords) -> Iterator[Problem]:
    """An image id that stands twice: its annotations cannot be told apart."""
    for image_id, n in Counter(image.id for image in gt.images).items():
        if n > 1:
            yield Problem(
                str(gt.path),
                f"image_id {image_id!r}",
                f"it stands {n} times among the images.",
                "Give every image an id of its own; joined parts must be re-keyed.",
            )


def huge_images(gt: FileRecords) -> Iterator[Problem]:
    """An image of more pixels than the run-length codes of masks can count."""
    for image in gt.images:
        if image.height * image.width > MAX_PIXELS:
            yield Problem(
                str(gt.path),
                f"image_id {image.id!r}",
                f"{image.height} x {image.width} pixels are too many: the limit is 2**32.",
                "Are height and width in pixels?",
            )


def repeated_annotation_ids(gt: FileRecords) -> Iterator[Problem]:
    """An annotation id that stands twice: an entity may be listed twice."""
    ids = [record.id for record in gt.records if record.id is not None]
    if len(set(ids)) == len(ids):
        return
    seen: dict[object, int] = {}
    for idx, record in enumerate(gt.records):
        if record.id is None:
            continue
        first = seen.setdefault(record.id, idx)
        if first != idx:
            yield of_record(
                gt,
                idx,
                f"its id stands at record {first} already.",
                "Remove the copy, or re-key joined parts.",
            )


def unknown_images(side: FileRecords) -> Iterator[Problem]:
    """A record of an image that the ground truth does not list."""
    for idx in np.flatnonzero(side.image_idx < 0):
        yield of_record(
            side,
            int(idx),
            "its image is not among the images of the ground truth.",
            "Is this the right split, and are the ids of this file's own numbering?",
        )


# What may be behind a size that is not the image's.
MISFITS = {
    "swapped": "Height and width are swapped: size is [height, width].",
    "scaled": "It looks like the other resolution: score it against that ground truth.",
    "other": "Masks must have the image's own size.",
}


def wrong_sizes(side: FileRecords) -> Iterator[Problem]:
    """A mask whose stated size is not its image's."""
    known = side.image_idx >= 0
    if not side.images:
        return
    expected = side.image_sizes[side.image_idx]
    stated = side.sizes[:, 0] >= 0
    wrong = (
        known
        & stated
        & ((side.sizes[:, 0] != expected[:, 0]) | (side.sizes[:, 1] != expected[:, 1]))
    )
    for idx in np.flatnonzero(wrong):
        have, want = side.sizes[idx].tolist(), expected[idx].tolist()
        mend = MISFITS[misfit(have, want)]
        yield of_record(side, int(idx), f"size {have} is not its image's {want}.", mend)


def equal_scores(dt: FileRecords) -> Iterator[Problem]:
    """Scores that rank nothing. (JSON has no word for a score that is not finite.)"""
    if len(dt.scores) > 1 and (dt.scores == dt.scores[0]).all():
        yield warning(
            dt,
            f"all {len(dt.scores)} scores are {dt.scores[0]:g}.",
            "AP ranks by score: ties go by the order of the file.",
        )


def unknown_categories(side: FileRecords) -> Iterator[Problem]:
    """A category that the ground truth does not list; matters to class-aware scoring."""
    known = {category.id for category in side.categories}
    for category_id in np.unique(side.category_ids).tolist() if known else []:
        if category_id not in known:
            idx = int(np.argmax(side.category_ids == category_id))
            n = int(np.count_nonzero(side.category_ids == category_id))
            name = "no category" if category_id == -1 else f"category_id {category_id}"
            yield of_record(
                side,
                idx,
                f"{name} (in {n} records) is not among the categories of the ground truth.",
                "Class-aware scoring needs the ground truth's own ids.",
            )


def coverage(dt: FileRecords) -> Iterator[Problem]:
    """Images without predictions; a file without any."""
    if not len(dt.records):
        yield warning(dt, "it holds no predictions: every metric is 0.")
        return
    missing = np.flatnonzero(dt.records_per_image == 0)
    if len(missing):
        yield warning(
            dt,
            f"{len(missing)} of {len(dt.images)} images have no predictions, "
            f"image_id {dt.images[missing[0]].id!r} first.",
            "They count as missed, unless --predicted-images-only leaves them out.",
        )


def too_many(dt: FileRecords, max_det: int = 100) -> Iterator[Problem]:
    """More predictions of an image than AP reads."""
    counts = dt.records_per_image
    over = np.flatnonzero(counts > max_det)
    if len(over):
        yield warning(
            dt,
            f"{len(over)} images have more than {max_det} predictions, "
            f"image_id {dt.images[over[0]].id!r} first with {counts[over[0]]}.",
            f"Only the {max_det} highest scores of an image count.",
        )


def unannotated(gt: FileRecords) -> Iterator[Problem]:
    """Images without ground truth."""
    missing = np.flatnonzero(gt.records_per_image == 0)
    if len(missing):
        yield warning(
            gt,
            f"{len(missing)} of {len(gt.images)} images have no annotations, "
            f"image_id {gt.images[missing[0]].id!r} first.",
            "They are void: nothing predicted on them counts."
            if gt.void
            else "Every prediction on them is a false positive.",
        )


def masks(side: FileRecords) -> Iterator[Problem]:
    """Masks that are no run-length code, are empty, or whose area is not what the file says."""
    counts, faults = side.counts_and_faults
    sizes = [(image.height, image.width) for image in side.images]
    for idx, record in enumerate(side.records):
        if side.image_idx[idx] < 0:
            continue
        if idx in faults:
            yield of_record(side, idx, f"{faults[idx]}.", "Write the mask again.")
            continue
        size = sizes[side.image_idx[idx]]
        try:
            area = int(pack([counts[idx]], size).areas()[0])
        except RLEError as error:
            yield of_record(side, idx, f"{error}.", "Write the mask again.")
            continue
        stated = getattr(record, "area", None)
        if area == 0:
            yield warning(side, "its mask is empty.", where=side.where(idx))
        elif stated is not None and abs(stated - area) > 0.05 * area and side.sizes[idx, 0] >= 0:
            yield warning(
                side,
                f"its area is {stated:g}, but its mask has {area} pixels.",
                "The file's area decides whether it counts as small, medium or large.",
                side.where(idx),
            )


GT_RULES: tuple[Rule, ...] = (
    repeated_images, huge_images, unknown_images, repeated_annotation_ids, wrong_sizes, unannotated,
)  # fmt: skip
DT_RULES: tuple[Rule, ...] = (unknown_images, wrong_sizes, equal_scores, coverage)


def quick_problems(
    gt: FileRecords, dt: FileRecords | None, class_aware: bool = False, max_det: int = 100
) -> Iterator[Problem]:
    """Run the rules that cost little on what was read."""
    extra = (unknown_categories,) if class_aware else ()
    limit = () if class_aware else (functools.partial(too_many, max_det=max_det),)
    sides: list[tuple[FileRecords, Iterable[Rule]]] = [(gt, (*GT_RULES, *extra))]
    if dt is not None:
        sides.append((dt, (*DT_RULES, *limit, *extra)))
    for side, rules in sides:
        for rule in rules:
            yield from rule(side)


def coco_problems(
    gt_path: Path, dt_path: Path | None, class_aware: bool
) -> Generator[Problem, None, Sequence[RawImage]]:
    """Name every problem of COCO files; return the images that the ground truth lists."""
    gt = yield from read_or_name(gt_path, lambda: read_ground_truth(gt_path), predictions=False)
    if gt is None:
        return ()
    dt = None
    if dt_path is not None:
        dt = yield from read_or_name(
            dt_path, lambda: read_predictions(dt_path, gt), predictions=True
        )
    yield from quick_problems(gt, dt, class_aware)
    for side in (gt, dt):
        if side is not None:
            yield from masks(side)
    return gt.images


def read_or_name(
    path: Path, read: Callable[[], FileRecords], predictions: bool
) -> Generator[Problem, None, FileRecords | None]:
    """Read a file; where it cannot be decoded, yield each record that is wrong, return None."""
    try:
        return read()
    except InputError as error:
        found = False
        for where, what in bad_records(path, predictions):
            found = True
            yield Problem(str(path), where, what + ".", "")
        if not found:
            yield Problem(str(path), error.where, error.what, error.mend)
        return None
