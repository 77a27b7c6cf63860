"""Which image of the ground truth a record is of: by id, by id of another type, by name."""

import contextlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entityseg_bench.formats.maps import map_name
from entityseg_bench.formats.tolerant import WHOLE_TEXT
from entityseg_bench.io import InputError
from entityseg_bench.table import plain
from entityseg_bench.types import ImageInfo

__all__ = ["ImageIds", "Matched", "match_ids", "match_names", "positions", "stem_of"]

ImageIds = Sequence[Any] | NDArray[np.int64]


class Matched(NamedTuple):
    """Hold the position of the image of each id that is known, and how that was found."""

    where: dict[Any, int]
    notes: list[str]


def stem_of(name: Any) -> str:
    """Return the name of an image without folders, of either system, and without its ending."""
    base = PurePosixPath(PureWindowsPath(str(name)).name).name
    return map_name(base).removesuffix(".png") if base else ""


def as_number(image_id: Any) -> Hashable:
    """Return an id as a whole number where it is one as text, perhaps with zeros before it."""
    if isinstance(image_id, str) and WHOLE_TEXT.fullmatch(image_id.strip()):
        return int(image_id.strip().partition(".")[0])
    return image_id if isinstance(image_id, int) else None


def base_of(name: Any) -> str:
    """Return a name without folders; of an id that is no text there is none."""
    return PureWindowsPath(name).name if isinstance(name, str) else ""


# How an id may say an image, beside being its id: what is compared of the id and of the image.
WAYS: tuple[tuple[str, Callable[[Any], Hashable], Callable[[ImageInfo], Hashable]], ...] = (
    (
        "image ids are text on one side and numbers on the other: they were compared as numbers.",
        as_number,
        lambda image: as_number(image.id),
    ),
    (
        "no image_id is an image's id: each is matched with the file names.",
        base_of,
        lambda image: base_of(image.file_name),
    ),
    (
        "no image_id is an image's id: each is matched with the file names without their endings.",
        lambda name: stem_of(name) if isinstance(name, str) else "",
        lambda image: stem_of(image.file_name),
    ),
)


def match_ids(ids: Iterable[Any], images: Sequence[ImageInfo], path: Any) -> Matched:
    """Find the image of each id that records name.

    The ids are those of the images, or all are one of the other `WAYS`; ids that are known in none
    are left out.

    Args:
        ids: Each once.
        images: Of the ground truth.
        path: The file, for errors.

    Raises:
        InputError: As numbers the ids are those of other images than as file names.
    """
    wanted = list(ids)
    where = {image.id: idx for idx, image in enumerate(images)}
    exact = {image_id: where[image_id] for image_id in wanted if image_id in where}
    if exact:
        note, of_id, of_image = WAYS[0]
        # Some ids are right already, so that no others are names.
        lost = [image_id for image_id in wanted if image_id not in exact]
        turned = _by_key(lost, images, of_id, of_image) if lost else {}
        return Matched({**exact, **turned}, [note] if turned else [])
    found = []
    for note, of_id, of_image in WAYS:
        known = _by_key(wanted, images, of_id, of_image)
        if known:
            found.append((known, note))
    if not found:
        return Matched({}, [])
    most = max(len(known) for known, _ in found)
    best = [(known, note) for known, note in found if len(known) == most]
    for known, _ in best[1:]:
        for image_id, idx in known.items():
            if best[0][0].get(image_id, idx) != idx:
                others = [images[k].file_name for k in (best[0][0][image_id], idx)]
                what = f"as a number it is {others[0]}, as a name {others[1]}."
                hint = "Write the ground truth's own image ids."
                raise InputError(path, f"image_id {image_id!r}", what, hint)
    return Matched(best[0][0], [best[0][1]])


def _by_key(
    ids: Sequence[Any],
    images: Sequence[ImageInfo],
    of_id: Callable[[Any], Hashable],
    of_image: Callable[[ImageInfo], Hashable],
) -> dict[Any, int]:
    """Match ids with images by a key that is each image's own; nothing where two share one."""
    keys: dict[Hashable, int] = {}
    for idx, image in enumerate(images):
        key = of_image(image)
        if key in (None, ""):
            continue
        if key in keys:
            return {}
        keys[key] = idx
    return {image_id: keys[of_id(image_id)] for image_id in ids if of_id(image_id) in keys}


def match_names(own: dict[Any, str], images: Sequence[ImageInfo], path: Any) -> Matched | None:
    """Match images that predictions list with their own ids, by their file names.

    Args:
        own: Id of each image that records name -> its file name.
        images: Of the ground truth.
        path: The file, for errors.

    Returns:
        None where names say nothing: images without names, or ids that agree with the names.

    Raises:
        InputError: Names say that the ids are of other images, but not of which.
    """
    named = {image.id: image for image in images}
    if not own or not all(own.values()) or not any(image.file_name for image in images):
        return None
    # An id of another JSON type is the same id, where names agree.
    numbered = _by_key(list(own), images, *WAYS[0][1:])
    agree = []
    for image_id, name in own.items():
        at = numbered.get(image_id)
        image = named.get(image_id, None if at is None else images[at])
        agree.append(image is not None and stem_of(image.file_name) == stem_of(name))
    if all(agree):
        return None
    names = list(dict.fromkeys(own.values()))
    by_name = _by_key(names, images, base_of, lambda image: base_of(image.file_name))
    if len(by_name) < len(names):
        by_name = _by_key(names, images, stem_of, lambda image: stem_of(image.file_name))
    if len(by_name) == len(names):
        where = {image_id: by_name[name] for image_id, name in own.items()}
        if len(set(where.values())) == len(where):
            note = "the file numbers its images anew: they were matched by their file names."
            return Matched(where, [note])
    for (image_id, name), fits in zip(own.items(), agree, strict=True):
        if not fits and image_id in named and named[image_id].file_name:
            what = f"the file calls it {name}, the ground truth {named[image_id].file_name}."
            hint = "Is it of other images? If the ids are right, take out the file's own images."
            raise InputError(path, f"image {image_id!r}", what, hint)
    return None


def positions(
    path: Path,
    images: Sequence[ImageInfo],
    image_ids: ImageIds,
    own: dict[Any, str] | None = None,
) -> tuple[NDArray[np.int64], dict[int, Any], list[str]]:
    """Return the position of each record's image, -1 if unknown, what those name, and notes.

    Args:
        path: The file, for errors.
        images: Of the ground truth.
        image_ids: What the records name.
        own: Id -> name of the images that the file itself lists.
    """
    found = None
    if own:
        used = {image_id: own.get(image_id, "") for image_id in _once(image_ids)}
        found = match_names(used, images, path)
    image_idx = _of_ids(images, image_ids) if found is None else _looked_up(found.where, image_ids)
    if found is None and (image_idx < 0).any():
        found = match_ids(_once(image_ids), images, path)
        image_idx = _looked_up(found.where, image_ids)
    lost = np.flatnonzero(image_idx < 0).tolist()
    notes = [] if found is None else found.notes
    return image_idx, {idx: plain(image_ids[idx]) for idx in lost}, notes


def _once(image_ids: ImageIds) -> dict[Any, None]:
    """Return the ids that records name, each once, in the order of the file."""
    return dict.fromkeys(_listed(image_ids))


def _listed(image_ids: ImageIds) -> Sequence[Any]:
    listed: Sequence[Any] = image_ids.tolist() if isinstance(image_ids, np.ndarray) else image_ids
    return listed


def _looked_up(where: dict[Any, int], image_ids: ImageIds) -> NDArray[np.int64]:
    return np.array([where.get(image_id, -1) for image_id in _listed(image_ids)], np.int64)


def _of_ids(images: Sequence[ImageInfo], image_ids: ImageIds) -> NDArray[np.int64]:
    """Return the position of the image of each id, -1 where there is none."""
    known = [image.id for image in images]
    if isinstance(image_ids, np.ndarray) and known and set(map(type, known)) == {int}:
        with contextlib.suppress(OverflowError):
            return _located(np.array(known, np.int64), image_ids)
    return _looked_up({image_id: idx for idx, image_id in enumerate(known)}, image_ids)


def _located(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each wanted id stands among those known, the last of several, else -1."""
    order = np.argsort(known, kind="stable")
    at = order[np.searchsorted(known, wanted, side="right", sorter=order) - 1]
    return np.where(known[at] == wanted, at, -1)
