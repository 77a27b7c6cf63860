"""What is unusual about files of maps and images, but scored: warnings, one rule a generator."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entityseg_bench.check import Problem
from entityseg_bench.formats.npz import NpzMasks, read_numbers
from entityseg_bench.formats.opened import INDEX
from entityseg_bench.formats.panoptic import PanopticMasks
from entityseg_bench.formats.png import image_size
from entityseg_bench.formats.semantic import listed_maps
from entityseg_bench.io import InputError
from entityseg_bench.layout import ImageFiles
from entityseg_bench.table import Segments
from entityseg_bench.types import ImageInfo

__all__ = ["image_files", "of_files"]


def of_files(table: Segments, read: Sequence[Path]) -> Iterator[Problem]:
    """Run the rules on the files that a table was read from.

    Args:
        table: The segments, with their masks as the format gives them.
        read: A file and the folder of its maps, or a folder.
    """
    if not table.predicted:
        yield from _repeated_names(table)
    yield from _of_folders(read, table)


def _warning(path: Path | str, where: str, what: str, hint: str = "") -> Problem:
    return Problem(str(path), where, what, hint, "warning")


def _repeated_names(table: Segments) -> Iterator[Problem]:
    """An image that a list of maps names twice."""
    if table.task != "semantic":
        return
    for name, n in Counter(image.file_name for image in table.images).items():
        if n > 1:
            hint = "It counts as often: take the other lines out."
            yield _warning(
                table.where_from, f"image {name}", f"it stands {n} times in the list.", hint
            )


def _of_folders(read: Sequence[Path], table: Segments) -> Iterator[Problem]:
    """Run the rules on the folder of maps that a list, a JSON file or an index belongs to."""
    first, folder = read[0], read[-1]
    indexed = first == folder and (folder / INDEX).is_file()
    if not folder.is_dir() or (first == folder and not indexed):
        return
    if first.suffix == ".txt":
        yield from _unused_maps(folder, set(listed_maps(first, folder)), first)
        return
    masks = table.masks
    if isinstance(masks, PanopticMasks | NpzMasks):
        yield from _unused_maps(folder, set(masks.paths), folder / INDEX if indexed else first)
    if isinstance(masks, NpzMasks):
        yield from _unlike_the_index(table, masks)


def _unused_maps(folder: Path, used: set[Path], names: Path) -> Iterator[Problem]:
    """Maps that the file of names does not name, where they lie in a folder of their own."""
    if names.parent == folder and names.name != INDEX:
        return
    suffix = next(iter(used)).suffix if used else ".png"
    found = (p for p in folder.rglob(f"*{suffix}") if not p.name.startswith("."))
    unused = sorted(path.name for path in found if path not in used)
    if unused:
        what = f"{len(unused)} maps belong to no image, {unused[0]} first."
        yield _warning(folder, "", what, f"They are not read: {names.name} does not name them.")


def _unlike_the_index(table: Segments, masks: NpzMasks) -> Iterator[Problem]:
    """Arrays beside the masks of an NPZ file that say other things than the index, which counts."""
    for image_idx, path in enumerate(masks.paths):
        rows = np.flatnonzero(masks.image_idx == image_idx)
        try:
            arrays = read_numbers(path, ("ids", "category_ids", "scores"))
        except InputError:
            # A file that masks are read from was named by the reader.
            continue
        index = {
            "ids": np.asarray(table.ids)[rows],
            "category_ids": table.category_ids[rows],
            "scores": np.array([table.extra(int(row)).get("score", np.nan) for row in rows]),
        }
        values = masks.values[rows]
        for name, array in arrays.items():
            what = _unlike(array, values, index[name])
            if what:
                yield _warning(path, name, what, f"The index ({INDEX}) counts.")
        if "ids" in arrays and arrays["ids"].size > len(rows):
            what = f"the index names {len(rows)} of its {arrays['ids'].size} masks."
            yield _warning(path, "masks", what, "The others are not read.")


def _unlike(array: NDArray[Any], values: NDArray[np.int64], index: NDArray[Any]) -> str:
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        return f"{array.dtype} of shape {array.shape} is no list of numbers."
    if not np.isfinite(array).all():
        return "it holds numbers that are not finite."
    if len(values) and values.max() >= len(array):
        return f"it holds {len(array)} numbers for {values.max() + 1} masks."
    same = np.array_equal(array[values], np.asarray(index, np.float64))
    return "" if same else "its numbers are not those of the index."


def image_files(files: ImageFiles, images: Sequence[Any], annotations: Path) -> Iterator[Problem]:
    """Images of a data set that are not there, or are of another size than their annotations.

    Args:
        files: Where they are looked for.
        images: With ``id``, ``file_name``, ``height`` and ``width``.
        annotations: The file that lists them.
    """
    absent, unread, unlike = [], [], []
    for image in images:
        try:
            path = files.find(ImageInfo(image.id, image.file_name, image.height, image.width))
        except InputError as fault:
            absent.append((image, f"{fault.what} {fault.hint}".rstrip()))
            continue
        try:
            have, want = image_size(path), (image.height, image.width)
        except InputError as fault:
            unread.append((image, fault.what))
            continue
        if have != want:
            unlike.append((image, f"{have} is not the {want} of its annotations."))
    kinds = (
        ("are not there", absent),
        ("cannot be read", unread),
        ("are of another size (height, width) than their annotations", unlike),
    )
    for kind, found in kinds:
        if found:
            image, why = found[0]
            what = f"{len(found)} of {len(images)} images {kind}."
            first = f"First: {image.file_name}: {why} " if len(found) < len(images) else ""
            yield _warning(annotations, "", what, f"{first}Scoring does not read images.")
