"""Which image of the ground truth a record is of: by id, by id of another type, by name."""

import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from entityseg_bench.formats.maps import map_name
from entityseg_bench.formats.tolerant.fields import WHOLE_TEXT, bare
from entityseg_bench.io import InputError
from entityseg_bench.table import plain
from entityseg_bench.types import ImageInfo, Images

__all__ = [
    "ImageIds",
    "Matched",
    "as_number",
    "listed_names",
    "match_ids",
    "match_names",
    "names_beside",
    "names_of_records",
    "positions",
    "stem_of",
]

ImageIds = Sequence[Any] | NDArray[np.int64]
# Where a file name stands in the first record of a file, if it has one.
HEAD = 1 << 16
# What tools call the name of an image in the list of images.
NAME_KEYS = ("file_name", "filename", "image_name", "name", "path")


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
    if isinstance(image_id, str) and WHOLE_TEXT.fullmatch(bare(image_id)):
        return int(bare(image_id).partition(".")[0])
    return image_id if isinstance(image_id, int) else None


def base_of(name: Any) -> str:
    """Return a name without folders; of an id that is no text there is none."""
    return PureWindowsPath(name.strip()).name if isinstance(name, str) else ""


def end_of(name: Any, n: int) -> str:
    """Return the last ``n`` parts of a path of either system; "" of an id that is no text."""
    if not isinstance(name, str):
        return ""
    return "/".join(PureWindowsPath(name.strip()).parts[-n:])


def plainly(name: Any, n: int = 1) -> str:
    """Return the last ``n`` parts of a path without its ending, in small letters."""
    return map_name(end_of(name, n)).removesuffix(".png").casefold() if end_of(name, n) else ""


def undotted(name: Any) -> str:
    """Return a name without folders and ending, in small letters; "" of one with a dot in it."""
    found = plainly(name)
    return "" if "." in found else found


NAMES = "no image_id is an image's id: each is matched with the file names"
# How an id may say an image, beside being its id: what is compared of the id and of the image.
WAYS: tuple[tuple[str, Callable[[Any], Hashable], Callable[[ImageInfo], Hashable]], ...] = (
    (
        "image ids are text on one side and numbers on the other: they were compared as numbers.",
        as_number,
        lambda image: as_number(image.id),
    ),
    (f"{NAMES}.", base_of, lambda image: base_of(image.file_name)),
    (
        f"{NAMES} without their endings.",
        lambda name: stem_of(name) if isinstance(name, str) else "",
        lambda image: stem_of(image.file_name),
    ),
    # Files of one name may lie in several folders.
    *(
        (
            f"{NAMES} and their folders.",
            functools.partial(end_of, n=n),
            lambda image, n=n: end_of(image.file_name, n),
        )
        for n in (3, 2)
    ),
    (
        f"{NAMES} without their endings, in small letters.",
        plainly,
        lambda image: plainly(image.file_name),
    ),
    (
        f"{NAMES} and their folders, without endings.",
        functools.partial(plainly, n=2),
        lambda image: plainly(image.file_name, 2),
    ),
    # A mask that is called image.jpg.png.
    (f"{NAMES}.", plainly, lambda image: base_of(image.file_name).casefold()),
    # Scripts that take name.split(".")[0].
    (
        f"{NAMES} up to their first dot.",
        undotted,
        lambda image: plainly(image.file_name).partition(".")[0],
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
        lost = [image_id for image_id in wanted if image_id not in exact]
        turned = _by_key(lost, images, of_id, of_image) if lost else {}
        # Beside right ids, a name is whole.
        lost = [image_id for image_id in lost if image_id not in turned]
        named = _by_key(lost, images, base_of, lambda image: base_of(image.file_name))
        notes = [note] if turned else []
        if named:
            notes.append("some image ids are file names: these were matched with the file names.")
        return Matched({**exact, **turned, **named}, notes)
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
    told = {image_id: name for image_id, name in own.items() if name}
    if not told or not any(image.file_name for image in images):
        return None
    by_id = {image.id: image for image in images}
    # An id of another JSON type is the same id, where names agree.
    numbered = _by_key(list(told), images, *WAYS[0][1:])
    ids = {k: by_id[k] if k in by_id else images[numbered[k]] for k in told
           if k in by_id or k in numbered}  # fmt: skip
    stems = [plainly(image.file_name) for image in images]
    shared = len(set(stems)) < len(stems)
    other = [k for k, name in told.items() if k not in ids or not _alike(name, ids[k], shared)]
    if not other:
        return None
    names = list(dict.fromkeys(told.values()))
    ways = (_by_key(names, images, *way[1:]) for way in WAYS[1:])
    by_name = next((found for found in ways if len(found) == len(names)), None)
    if by_name is not None and len(told) == len(own):
        where = {image_id: by_name[name] for image_id, name in told.items()}
        if len(set(where.values())) == len(where):
            note = "the file numbers its images anew: they were matched by their file names."
            return Matched(where, [note])
    for image_id in other:
        if image_id in ids and ids[image_id].file_name:
            what = (
                f"the file calls it {told[image_id]}, the ground truth {ids[image_id].file_name}."
            )
            hint = "Is it of other images? If the ids are right, take out the file's own images."
            raise InputError(path, f"image {image_id!r}", what, hint)
    return None


def _alike(name: str, image: ImageInfo, shared: bool) -> bool:
    """Tell whether a name is an image's: with its folders, where images share their names."""
    n = min(len(PureWindowsPath(text).parts) for text in (name, image.file_name)) if shared else 1
    return plainly(name, n) == plainly(image.file_name, n)


def listed_names(images: Any) -> dict[Any, str]:
    """Return id -> file name of the images that predictions list themselves."""
    found = {}
    for image in images if isinstance(images, list) else []:
        if not isinstance(image, dict):
            continue
        image_id = image.get("id", image.get("image_id"))
        if isinstance(image_id, float) and image_id.is_integer():
            image_id = int(image_id)
        name = next((image[key] for key in NAME_KEYS if isinstance(image.get(key), str)), None)
        if isinstance(image_id, int | str) and name is not None:
            found[image_id] = name
    return found


def names_of_ids(own: dict[Any, str], ids: Iterable[Any]) -> dict[Any, str]:
    """Return what a file calls the image of each id, also of one of another JSON type; else ""."""
    numbers = {as_number(image_id): name for image_id, name in own.items()}
    return {k: own.get(k) or numbers.get(as_number(k), "") if as_number(k) is not None
            else own.get(k, "") for k in ids}  # fmt: skip


class Named(msgspec.Struct, gc=False):
    """Hold what a record says of its image."""

    image_id: int | str
    file_name: str


def names_beside(data: Any, images: Sequence[ImageInfo] | None) -> dict[Any, str]:
    """Return id -> file name where each result of a JSON list has both; see `names_of_records`."""
    if data.find(b'"file_name"', 0, HEAD) < 0:
        return {}
    try:
        rows = msgspec.json.decode(data, type=list[Named])
    except msgspec.MsgspecError:
        return {}
    return names_of_records(((row.image_id, row.file_name) for row in rows), images)


def names_of_records(
    pairs: Iterable[tuple[Any, Any]], images: Sequence[ImageInfo] | None
) -> dict[Any, str]:
    """Return what records call the image of each id beside it.

    Args:
        pairs: Id and name of each record.
        images: Of the ground truth.

    Returns:
        Nothing where the names are not those of images, one for each id.
    """
    own: dict[Any, str] = {}
    for image_id, name in pairs:
        if not isinstance(name, str) or own.setdefault(image_id, name) != name:
            return {}
    names = list(dict.fromkeys(own.values()))
    ways = (_by_key(names, images or (), *way[1:]) for way in WAYS[1:])
    return own if any(len(found) == len(names) for found in ways) else {}


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
        used = names_of_ids(own, _once(image_ids))
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
    known = Images.of(images)
    if isinstance(image_ids, np.ndarray) and known.numbers is not None:
        return _located(known.numbers, known.by_number, image_ids)
    return _looked_up({image.id: idx for idx, image in enumerate(known)}, image_ids)


def _located(
    known: NDArray[np.int64], order: NDArray[np.int64], wanted: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return where each wanted id stands among those known, the last of several, else -1."""
    at = order[np.searchsorted(known, wanted, side="right", sorter=order) - 1]
    return np.where(known[at] == wanted, at, -1)
