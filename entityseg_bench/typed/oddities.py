"""What is odd of files that hold maps, and scored all the same: warnings, one rule a generator."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entityseg_bench.contents.layout import ImageFiles
from entityseg_bench.contents.panoptic import PanopticMasks
from entityseg_bench.contents.records import Records
from entityseg_bench.contents.semantic import listed_maps
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.index import INDEX
from entityseg_bench.formats.npz import NpzMasks, read_arrays
from entityseg_bench.io import InputError
from entityseg_bench.rules import Problem
from entityseg_bench.typed.predictions import Predictions
from entityseg_bench.typed.truth import Truth
from entityseg_bench.types import ImageInfo

__all__ = ["image_files", "of_predictions", "of_truth"]


def of_truth(truth: Truth) -> Iterator[Problem]:
    """Run the rules on ground truth."""
    yield from _repeated_names(truth.dataset)
    yield from _of_folders(truth.read, truth.dataset)


def of_predictions(predictions: Predictions) -> Iterator[Problem]:
    """Run the rules on predictions."""
    yield from _of_folders(predictions.read, predictions.dataset)


def _warning(path: Path | str, where: str, what: str, mend: str = "") -> Problem:
    return Problem(str(path), where, what, mend, "warning")


def _repeated_names(dataset: EntityDataset) -> Iterator[Problem]:
    """An image that a list of maps names twice."""
    if dataset.task != "semantic":
        return
    for name, n in Counter(image.file_name for image in dataset.images).items():
        if n > 1:
            mend = "It counts as often: take the other lines out."
            yield _warning(
                dataset.where, f"image {name}", f"it stands {n} times in the list.", mend
            )


def _of_folders(read: Sequence[Path], dataset: EntityDataset) -> Iterator[Problem]:
    """Run the rules on the folder of maps that a list, a JSON file or an index belongs to."""
    first, folder = read[0], read[-1]
    indexed = first == folder and (folder / INDEX).is_file()
    if not folder.is_dir() or (first == folder and not indexed):
        return
    if first.suffix == ".txt":
        yield from _unused_maps(folder, set(listed_maps(first, folder)), first)
        return
    masks = dataset.records.masks
    if isinstance(masks, PanopticMasks | NpzMasks):
        yield from _unused_maps(folder, set(masks.paths), folder / INDEX if indexed else first)
    if isinstance(masks, NpzMasks):
        yield from _unlike_the_index(dataset, masks)


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


def _unlike_the_index(dataset: EntityDataset, masks: NpzMasks) -> Iterator[Problem]:
    """Arrays beside the masks of an NPZ file that say other things than the index, which counts."""
    records = dataset.records
    for image_idx, path in enumerate(masks.paths):
        rows = records.of_image(image_idx)
        try:
            arrays = read_arrays(path, ("ids", "category_ids", "scores"), all_of=False)
        except InputError:
            # A file that masks are read from was named by the reader.
            continue
        index = {
            "ids": records.ids[rows],
            "category_ids": records.category_ids[rows],
            "scores": np.array([(_extra(records, row)).get("score", np.nan) for row in rows]),
        }
        values = masks.values[rows]
        for name, array in arrays.items():
            what = _unlike(array, values, index[name])
            if what:
                yield _warning(path, name, what, f"The index ({INDEX}) counts.")
        if "ids" in arrays and arrays["ids"].size > len(rows):
            what = f"the index names {len(rows)} of its {arrays['ids'].size} masks."
            yield _warning(path, "masks", what, "The others are not read.")


def _extra(records: Records, row: int) -> dict[str, Any]:
    extra = records.extras[int(row)] if records.extras is not None else None
    return extra or {}


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
    from PIL import Image

    absent, unread, unlike = [], [], []
    for image in images:
        try:
            path = files.find(ImageInfo(image.id, image.file_name, image.height, image.width))
            with Image.open(path) as opened:
                have, want = opened.size[::-1], (image.height, image.width)
        except InputError as fault:
            absent.append((image, f"{fault.what} {fault.mend}".rstrip()))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            unread.append((image, f"{error}."))
        else:
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
