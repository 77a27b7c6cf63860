"""From masks to one map of an image and back, and what a map cannot hold."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entityseg_bench.categories import Task
from entityseg_bench.check import MAPS_MISSING, mismatch
from entityseg_bench.io import InputError, read_bytes
from entityseg_bench.layout import IMAGE_SUFFIXES, MAPS, portable
from entityseg_bench.names import check_name, inside, is_there
from entityseg_bench.types import RLE, Annotation, ImageInfo

__all__ = [
    "Painted",
    "add_up",
    "by_name",
    "check_names",
    "files_below",
    "find_map",
    "map_name",
    "maps_folder",
    "paint",
    "paint_order",
    "painting_order",
    "size_fault",
]


class Painted(NamedTuple):
    """Hold an image's map and what is left of each of its N masks.

    Attributes:
        pixels: (H, W) the values painted, ``background`` elsewhere.
        areas: (N,) pixels of each mask that can be seen.
        full: (N,) pixels of each mask.
    """

    pixels: NDArray[np.int64]
    areas: NDArray[np.int64]
    full: NDArray[np.int64]

    def measures(
        self, values: Sequence[int], annotations: Sequence[Annotation]
    ) -> list[tuple[float, Sequence[float]]]:
        """Return area and bbox of what can be seen of each mask: as stated where it is whole."""
        stated: list[tuple[float, Sequence[float]]] = [(a.area, a.bbox) for a in annotations]
        cut = np.flatnonzero((self.areas > 0) & (self.areas < self.full)).tolist()
        if cut:
            ids, masks = rle_codes.encode_id_map(self.pixels)
            seen = dict(zip(ids.tolist(), masks, strict=True))
            for idx in cut:
                stated[idx] = float(self.areas[idx]), rle_codes.bbox(seen[values[idx]])
        return stated

    def losses(self) -> Counter[str]:
        """Name what the map does not hold."""
        hidden = (self.areas == 0) & (self.full > 0)
        cut = (self.areas < self.full) & ~hidden
        return Counter(
            {
                "empty masks dropped: a map cannot show them": int((self.full == 0).sum()),
                "masks dropped: others hide them entirely": int(hidden.sum()),
                "masks cut: a pixel belongs to one segment": int(cut.sum()),
            }
        )


def paint_order(annotations: Sequence[Annotation]) -> list[int]:
    """Order the annotations of an image for painting, later over earlier.

    Crowds lie lowest. Where records have a score (predictions) the higher one wins, the earlier of
    equal ones, as in AP^e; else the later record does.
    """

    scores = [(annotation.extra or {}).get("score") for annotation in annotations]
    return painting_order([annotation.iscrowd for annotation in annotations], scores)


def painting_order(
    iscrowd: Sequence[bool], scores: Sequence[float | None] | None = None
) -> list[int]:
    """Order N masks for painting by their crowd flags and scores; see `paint_order`."""

    def key(idx: int) -> tuple[bool, float, int]:
        score = scores[idx] if scores is not None else None
        return not iscrowd[idx], score or 0.0, idx if score is None else -idx

    return sorted(range(len(iscrowd)), key=key)


def paint(
    masks: Sequence[RLE],
    values: Sequence[int],
    order: Sequence[int],
    size: tuple[int, int],
    background: int = 0,
) -> Painted:
    """Paint the masks of an image.

    Args:
        masks: N masks of the size.
        values: (N,) what each is painted with.
        order: (N,) positions of the masks as they are painted, later over earlier.
        size: (height, width).
        background: Value where no mask lies.
    """
    turn = rle_codes.paint_id_map([masks[idx] for idx in order], range(1, len(masks) + 1), *size)
    seen = np.bincount(turn.ravel(), minlength=len(masks) + 1)[1:]
    areas = np.zeros(len(masks), np.int64)
    areas[list(order)] = seen
    full = np.array([rle_codes.area(mask) for mask in masks], np.int64)
    value_of_turn = np.array([background, *(values[idx] for idx in order)], np.int64)
    return Painted(value_of_turn[turn], areas, full)


def map_name(file_name: str) -> str:
    """Return the name of an image's map: the same stem, which may hold dots, with ``.png``."""
    path = PurePosixPath(portable(file_name))
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return path.with_suffix(".png").as_posix()
    return f"{path.as_posix()}.png"


def check_names(images: Iterable[ImageInfo], where: str) -> None:
    """Check that every image gets a map of its own, inside the folder.

    Raises:
        InputError: Two images share a map's name, or a name is none or leads out of the folder.
    """
    taken: dict[str, ImageInfo] = {}
    for image in images:
        name = map_name(image.file_name)
        place = f"image {image.id} ({image.file_name})"
        check_name(where, name, place, allow_outside=True)
        path = PurePosixPath(name)
        drive = PureWindowsPath(name).drive
        if path.is_absolute() or drive or ".." in path.parts or "\\" in name:
            raise InputError(where, place, "its name leads out of the folder of the maps.")
        other = taken.setdefault(name.casefold(), image)
        if other is not image:
            raise InputError(
                where,
                place,
                f"its map would have the name of image {other.id}'s ({other.file_name}): {name}.",
                "Rename one of them.",
            )


def maps_folder(path: Path, task: Task, given: Path | None = None, option: str = "") -> Path:
    """Find the folder of the PNG maps that belong to a list or a panoptic JSON.

    Tried are the file's name without its ending, also beside the file's folder as COCO's layout has
    it, the names of the data set's two layouts, and the folder of the file itself.

    Raises:
        InputError: None is there.
    """
    if given is not None:
        if not given.is_dir():
            raise InputError(given, "", "there is no such folder of maps.")
        return given
    stem = path.name.removesuffix(".gz").removesuffix(".json").removesuffix(".txt")
    words = {
        "split": "train" if "train" in stem else "val",
        "lr": "_lr" if stem.endswith("_lr") else "",
    }
    names = [stem, f"../{stem}", *(name.format(**words) for name in MAPS[task])]
    for name in names:
        if (path.parent / name).is_dir():
            return path.parent / name
    if path.is_file() and any(path.parent.glob("*.png")):
        return path.parent
    read_bytes(path)
    raise InputError(
        path,
        "",
        "the folder of its maps is not beside it.",
        f"Looked for {', '.join(names)}." + (f" Name it: {option} DIR." if option else ""),
        MAPS_MISSING,
    )


def find_map(folder: Path, file_name: str) -> Path:
    """Return an image's map: by its path, else by its base name in the folder.

    Raises:
        InputError: Its name leads out of the folder, see `names.inside`.
    """
    return by_name(folder, map_name(file_name))


def by_name(folder: Path, name: str) -> Path:
    """Return a file by its path below a folder, else by its base name in it, there or not.

    Raises:
        InputError: Its name leads out of the folder, see `names.inside`.
    """
    path = inside(folder, name)
    if is_there(path):
        return path
    base = inside(folder, PurePosixPath(name).name)
    return base if is_there(base) else path


def files_below(folder: Path, ending: str) -> list[Path]:
    """List the files below a folder with an ending in any case, by path; hidden ones are none."""
    return sorted(
        path
        for path in folder.rglob("*.*")
        if path.name.lower().endswith(ending.lower()) and not path.name.startswith(".")
    )


# What may be behind a size that is not the image's.
MISMATCHES = {
    "swapped": "Height and width are swapped.",
    "scaled": "Is it the other resolution's map?",
    "other": "Maps have their image's own size.",
}


def size_fault(path: Path, where: str, found: Sequence[int], expected: Sequence[int]) -> InputError:
    """Make the error of a map whose (height, width) is not its image's."""
    return InputError(
        path,
        where,
        f"the map's {found[0]} x {found[1]} pixels (height x width) are not the image's "
        f"{expected[0]} x {expected[1]}.",
        MISMATCHES[mismatch(found, expected)],
    )


def add_up(results: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Add the ``lost`` counters of all images; what is 0 is left out."""
    total: Counter[str] = Counter()
    for result in results:
        total.update(result["lost"])
    return {name: n for name, n in total.items() if n}
