"""Rules of what was read: each takes a table and yields its problems."""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entity_api.counts import MAX_PIXELS, RLEError, pack, runs_of
from entityseg_bench.check import IMAGE_UNKNOWN, NOTE, Problem, SeveralFaults, problem_of
from entityseg_bench.io import InputError
from entityseg_bench.set_rules import of_all, set_problems
from entityseg_bench.table import VOID_TASKS, Segments, plain

__all__ = ["broken_masks", "masks", "problems"]

VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|-?\d+(\.\d+)?")
# Boxes of less in common are of other places; of more, of the same.
LEAST_OVERLAP, SURE_OVERLAP = 0.5, 0.9
# Masks of fewer runs, and files of fewer masks, do not tell how they were coded; a few are enough.
LEAST_RUNS, LEAST_MASKS, ENOUGH_MASKS, MOSTLY = 8, 3, 8, 0.8

Rule = Callable[[Segments], Iterator[Problem]]


def _error(table: Segments, row: int, what: str, hint: str, code: str) -> Problem:
    return Problem(table.file_of(row), table.where(row), what, hint, code=code)


def _warning(table: Segments, what: str, hint: str, code: str, row: int) -> Problem:
    return Problem(table.file_of(row), table.where(row), what, hint, "warning", code)


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
    """Find annotation ids that stand twice in an image: an entity may be listed twice.

    Ids that begin anew in each image, and one id for all, are how some exporters write; no metric
    reads them.
    """
    if isinstance(gt.ids, np.ndarray) and np.diff(np.sort(gt.ids)).all():
        return
    ids = [plain(own) for own in gt.ids]
    if len(ids) == len(set(map(repr, ids))) or not set(ids) - {None}:
        return
    filler = len(set(ids)) == 1
    seen: dict[object, int] = {}
    copies = []
    for row, own in enumerate(ids):
        if own is not None and not filler:
            first = seen.setdefault((int(gt.image_idx[row]), own), row)
            if first != row:
                copies.append((row, first))
    for row, first in copies:
        what = f"its id stands at record {first} already, for the same image."
        hint = "If it is a copy, take it out; if it is another entity, give it an id of its own."
        yield _error(gt, row, what, hint, "annotation-twice")
    if not copies:
        what = "annotation ids repeat: they begin anew in each image."
        if filler:
            what = f"all {len(ids)} annotations have the id {ids[0]!r}."
        yield of_all(gt, what, "No metric reads them.", "annotation-ids-repeat")


def negative_areas(gt: Segments) -> Iterator[Problem]:
    """Find stated areas below 0, which are in no range of sizes, not even that of all."""
    rows = np.flatnonzero(gt.areas < 0)
    if len(rows):
        what = f"{len(rows)} annotations state an area below 0: they count as of no size."
        hint = "Leave area out, and that of the mask is taken."
        yield _warning(gt, what, hint, "areas-negative", int(rows[0]))


def unlike_boxes(table: Segments) -> Iterator[Problem]:
    """Find masks that lie elsewhere than the boxes beside them; of the first records of a file.

    Run lengths count pixels column by column. Masks that were coded row by row are of the right
    area and size, but lie where nobody meant them; their boxes tell.
    """
    checked, elsewhere, by_rows = 0, [], 0
    for row, box in table.masks.sampled_boxes().items():
        if box is None or table.image_idx[row] < 0 or row in table.counts_and_faults[1]:
            continue
        try:
            mask = table.rle(row)
            own = rle_codes.bbox(mask)
        except (InputError, RLEError):
            # Named by another rule.
            continue
        x, y, w, h = box
        # Some tools write two corners: then nothing is wrong with the mask.
        boxes = box, (x, y, w - x, h - y)
        checked += 1
        if max(_overlap(own, one) for one in boxes) < LEAST_OVERLAP:
            elsewhere.append(row)
            turned = _bbox_by_rows(mask)
            by_rows += max(_overlap(turned, one) for one in boxes) > SURE_OVERLAP
    if 2 * len(elsewhere) <= checked:
        return
    n = f"{len(elsewhere)} of the first {checked} masks lie elsewhere than their boxes"
    if by_rows >= SURE_OVERLAP * len(elsewhere):
        what = f"{n}, but fit them if they are read row by row: they were coded in the wrong order."
        hint = "Codes count column by column: pycocotools.mask.encode(np.asfortranarray(mask))."
        yield _error(table, elsewhere[0], what, hint, "masks-by-rows")
    else:
        yield _warning(table, f"{n}.", "Masks are scored.", "masks-unlike-boxes", elsewhere[0])


def torn_masks(table: Segments) -> Iterator[Problem]:
    """Find masks that hang together only row by row; of the first records that state no box.

    Coded row by row, the parts of a mask in neighbouring rows lie a row apart, and not a column.
    """
    looked, torn = 0, []
    for row, box in table.masks.sampled_boxes().items():
        if looked == ENOUGH_MASKS:
            break
        if box is not None or table.image_idx[row] < 0 or row in table.counts_and_faults[1]:
            continue
        try:
            mask = table.rle(row)
            bounds = runs_of([mask]).bounds_of(0).astype(np.int64)
        except (InputError, RLEError):
            # Named by another rule.
            continue
        height, width = mask["size"]
        if len(bounds) < 2 * LEAST_RUNS or height == width:
            continue
        across, down = _joined(bounds, height), _joined(bounds, width)
        if max(across, down) > MOSTLY and min(across, down) < LEAST_OVERLAP:
            # One that hangs together both ways tells nothing.
            looked += 1
            torn += [row] * (across < down)
    if len(torn) >= max(LEAST_MASKS, SURE_OVERLAP * looked):
        what = (
            f"{len(torn)} of {looked} masks are in shreds, and hang together if they are read row "
            "by row: they may have been coded in the wrong order."
        )
        hint = "Codes count column by column: pycocotools.mask.encode(np.asfortranarray(mask))."
        yield _warning(table, what, hint, "masks-torn", torn[0])


def _joined(bounds: NDArray[np.int64], step: int) -> float:
    """Return the share of a mask's runs whose middle is in the mask so many pixels further, too."""
    places = (bounds[::2] + bounds[1::2]) // 2 + step
    places = places[places < bounds[-1]]
    inside = np.searchsorted(bounds, places, side="right") % 2 == 1
    return float(inside.mean()) if len(places) else 0.0


def _bbox_by_rows(mask: Any) -> list[float]:
    """Return the box of a mask whose code counts its pixels row by row, COCO xywh."""
    height, width = mask["size"]
    y, x, h, w = rle_codes.bbox({"size": [width, height], "counts": mask["counts"]})
    return [x, y, w, h]


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Return intersection over union of two boxes, COCO xywh."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(wide, 0.0) * max(high, 0.0)
    union = a[2] * a[3] + b[2] * b[3] - common
    return common / union if union > 0 else 0.0


def noted(table: Segments) -> Iterator[Problem]:
    """Repeat what was done to read a file that is not quite of its format."""
    _ = table.counts_and_faults
    for note in (*table.notes, *table.masks.notes()):
        yield of_all(table, note, "", NOTE)


def unknown_images(table: Segments) -> Iterator[Problem]:
    """Find records of images that the ground truth does not list."""
    lost = np.flatnonzero(table.image_idx < 0).tolist()
    for row in lost[:1]:
        n_ids = len({str(table.unknown.get(idx)) for idx in lost})
        more = f" ({len(lost)} of {len(table)} records, {n_ids} ids.)" if len(lost) > 1 else ""
        what = f"its image is not among the images of the ground truth.{more}"
        hint = "Is this the right split, and are the ids of this file's own numbering?"
        yield _error(table, row, what, hint, IMAGE_UNKNOWN)


def broken_masks(table: Segments) -> Iterator[Problem]:
    """Find masks that cannot be read from their file."""
    alike: dict[tuple[str, str, str, str], list[InputError]] = {}
    for fault in dict.fromkeys(table.counts_and_faults[1].values()):
        for one in fault.faults if isinstance(fault, SeveralFaults) else (fault,):
            # Records are alike where the same is said of them; other places are told apart.
            place = "" if one.where.startswith("record ") else one.where
            alike.setdefault((one.file, place, _cause(one.what), one.hint), []).append(one)
    for found in alike.values():
        first = problem_of(found[0])
        more = f" ({len(found)} are so.)" if len(found) > 1 else ""
        yield dataclasses.replace(first, what=first.what + more)


def _cause(what: str) -> str:
    """Return a sentence without what differs from record to record: numbers and quoted values."""
    return VALUES.sub("#", what)


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


def masks(
    table: Segments, progress: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[Problem]:
    """Decode every mask: find broken and empty ones, and areas that are not what the file says.

    Masks that cannot even be read are those of `broken_masks`. ``progress`` is called with (masks
    seen, masks to see).
    """
    counts, faults = table.counts_and_faults
    outlined = table.masks.outlined(table)
    for row, image_idx in enumerate(table.image_idx.tolist()):
        progress(row + 1, len(table))
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
            yield _warning(table, what, "", "mask-empty", row)
        elif not table.predicted and abs(said - area) > 0.05 * area and row not in outlined:
            what = f"its area is {said:g}, but its mask has {area} pixels."
            hint = "The file's area decides whether it counts as small, medium or large."
            yield _warning(table, what, hint, "area-unlike-mask", row)


GT_RULES: tuple[Rule, ...] = (
    repeated_images, huge_images, unknown_images, repeated_ids,
    broken_masks, unlike_boxes, torn_masks, noted, negative_areas,
)  # fmt: skip
DT_RULES: tuple[Rule, ...] = (unknown_images, broken_masks, unlike_boxes, torn_masks, noted)


def problems(
    gt: Segments | None,
    dt: Segments | None,
    class_aware: bool = False,
    max_det: int = 100,
    all_classes: bool = False,
    is_part: bool = False,
) -> Iterator[Problem]:
    """Run the rules that cost little on both sides.

    Args:
        gt: Ground truth; None where it was checked before.
        dt: Predictions, where there are any.
        class_aware: Whether categories matter.
        max_det: Most predictions of an image that AP reads.
        all_classes: Whether the predictions are in a format of classes, as maps are.
        is_part: Whether they are a part of a set: rules of the whole set are left out.
    """
    extra = (unknown_categories,) if class_aware else ()
    sides: list[tuple[Segments, Iterable[Rule]]] = []
    if gt is not None:
        of_maps = (unknown_classes,) if gt.task in VOID_TASKS else ()
        sides.append((gt, (*GT_RULES, *of_maps, *extra)))
    if dt is not None:
        of_maps = (unknown_classes,) if all_classes and dt.task in VOID_TASKS else ()
        sides.append((dt, (*DT_RULES, *of_maps, *extra)))
    for side, rules in sides:
        for rule in rules:
            yield from rule(side)
    if not is_part:
        yield from set_problems(gt, dt, class_aware, max_det)
