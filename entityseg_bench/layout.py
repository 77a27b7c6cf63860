"""Where the files of EntitySeg lie: the documented layout, and the names of the v1.0 release.

COCO-Entity, on which the published models were trained first, is found in COCO's own layout.
"""

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PureWindowsPath
from typing import Literal, NamedTuple

from entityseg_bench.categories import Task
from entityseg_bench.check import MAPS_MISSING
from entityseg_bench.io import InputError
from entityseg_bench.names import check_name, is_there, leads_out, lies_in, outside_is_allowed
from entityseg_bench.types import ImageInfo

__all__ = [
    "PARTS",
    "PART_FOLDERS",
    "RESOLUTIONS",
    "SPLITS",
    "ImageFiles",
    "Resolution",
    "Source",
    "Split",
    "documented",
    "find_sources",
    "list_images",
    "part_of",
    "portable",
]

Split = Literal["train", "val"]
Resolution = Literal["high", "low"]
SPLITS: tuple[Split, ...] = ("train", "val")
RESOLUTIONS: tuple[Resolution, ...] = ("high", "low")

PARTS = ("01", "02", "03")
PART_FOLDERS = {"01": "entity_01_11580", "02": "entity_02_11598", "03": "entity_03_10049"}
# What the release's image archives hold inside each part's folder.
RELEASE_INNER = {"01": "images_merge", "02": "images", "03": "images_03_10049"}
SUFFIX = {"high": "", "low": "_lr"}
IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"))

# Only part 01 has class labels; `None` stands for all parts in one file.
# Each name is tried in `annotations/<task>_segmentation`, `annotations` and the root itself.
ANNOTATIONS: dict[Task, dict[str | None, tuple[str, ...]]] = {
    "entity": {
        None: (
            "entityv2_010203_entity_{split}{lr}.json",
            "entityseg_{split}{lr}.json",
            "entity_{split}2017{lr}.json",  # COCO-Entity, as first-generation models name it
        ),
        **{
            part: (
                f"entityv2_{part}_entity_{{split}}{{lr}}.json",
                f"entityseg_{{split}}_{part}{{lr}}.json",
            )
            for part in PARTS
        },
    },
    "instance": {
        "01": ("entityv2_01_instances_{split}{lr}.json", "entityseg_insseg_{split}{lr}.json")
    },
    "panoptic": {
        "01": ("entityv2_01_panoptic_{split}{lr}.json", "entityseg_panseg_{split}{lr}.json")
    },
    "semantic": {"01": ("{split}{lr}.txt", "entityseg_semseg_{split}{lr}.txt")},
}
# Folders of the PNG maps beside the annotation file.
MAPS: dict[Task, tuple[str, ...]] = {
    "semantic": (
        "semantic_maps_{split}{lr}",
        "entityseg_semseg_maps_{split}{lr}/semantic_maps_{split}{lr}",
        "entityseg_semseg_maps_{split}{lr}",
    ),
    "panoptic": (
        "panoptic_maps_{split}{lr}",
        "entityseg_panseg_maps_{split}{lr}/panoptic_maps_{split}{lr}",
        "entityseg_panseg_maps_{split}{lr}",
    ),
}


class Source(NamedTuple):
    """Name one annotation file, its part (None: all in one) and the folder of its maps."""

    annotations: Path
    part: str | None
    maps: Path | None


def documented(
    root: Path, task: Task, split: Split, resolution: Resolution, part: str | None = None
) -> Source:
    """Return where the documented layout keeps a type; for part None its first file."""
    of_task = ANNOTATIONS[task]
    part = part if part in of_task else next(iter(of_task))
    words = {"split": split, "lr": SUFFIX[resolution]}
    folder = root / "annotations" / f"{task}_segmentation"
    maps = folder / MAPS[task][0].format(**words) if task in MAPS else None
    return Source(folder / of_task[part][0].format(**words), part, maps)


def find_sources(
    root: Path,
    task: Task,
    split: Split,
    resolution: Resolution,
    parts: Sequence[str] | None = None,
) -> list[Source]:
    """Find the annotation files of a type: one that holds all parts, else one a part.

    Args:
        root: Of the data set.
        task: Annotation type.
        split: train or val.
        resolution: high or low.
        parts: Parts that are wanted; None takes what is there.

    Raises:
        InputError: Nothing is there, or not all that was asked for: what was expected, what was
            found, and the names nearest to it.
    """
    if not root.is_dir():
        raise InputError(root, "", "there is no such folder.", "Give the data set's root.")
    if parts is not None:
        unknown = sorted(set(parts) - set(PARTS))
        if unknown or not parts:
            raise InputError(root, "", f"parts {list(parts)} must be some of {list(PARTS)}.")
    joined = _source(root, task, split, resolution, None)
    single = {part: _source(root, task, split, resolution, part) for part in PARTS}
    wanted = PARTS if parts is None else tuple(parts)
    found = [source for part in PARTS if part in wanted and (source := single[part])]
    if parts is not None and len(found) == len(set(wanted)):
        return found
    if joined:
        return [joined]
    if found and parts is None:
        return found
    raise _missing(root, task, split, resolution, wanted)


def _source(
    root: Path, task: Task, split: Split, resolution: Resolution, part: str | None
) -> Source | None:
    words = {"split": split, "lr": SUFFIX[resolution]}
    for folder in (root / "annotations" / f"{task}_segmentation", root / "annotations", root):
        for name in ANNOTATIONS[task].get(part, ()):
            path = folder / name.format(**words)
            for candidate in (path, path.with_name(path.name + ".gz")):
                if candidate.is_file():
                    return Source(candidate, part, _maps(root, folder, task, words))
    return None


def _maps(root: Path, folder: Path, task: Task, words: dict[str, str]) -> Path | None:
    if task not in MAPS:
        return None
    names = [name.format(**words) for name in MAPS[task]]
    for base in (folder, root / "annotations", root):
        for name in names:
            if (base / name).is_dir():
                return base / name
    raise InputError(
        folder,
        "",
        f"the folder of the {task} maps is missing.",
        f"Expected {names[0]} or {names[1]} here, in {root / 'annotations'} or in {root}.",
        MAPS_MISSING,
    )


def _missing(
    root: Path, task: Task, split: Split, resolution: Resolution, parts: Sequence[str]
) -> InputError:
    words = {"split": split, "lr": SUFFIX[resolution]}
    rows = [row for part, row in ANNOTATIONS[task].items() if part is None or part in parts]
    names = [name.format(**words) for row in rows for name in row]
    present = sorted(
        path.relative_to(root).as_posix()
        for pattern in ("*.json*", "*.txt", "annotations/*.*", "annotations/*_segmentation/*.*")
        for path in root.glob(pattern)
        if path.is_file()
    )
    near = _nearest(names, present)
    shown = [f"    {name}" for name in present[:20]] or ["    nothing"]
    if len(present) > 20:
        shown.append(f"    and {len(present) - 20} more")
    lines = [
        f"no {task} annotations of split {split} in {resolution} resolution are here.",
        f"  Expected one of, in annotations/{task}_segmentation, annotations, or the root:",
        *[f"    {name}" for name in names],
        "  Found:",
        *shown,
        *([f"  Nearest: {near}"] if near else []),
    ]
    return InputError(root, "", "\n".join(lines))


def _nearest(names: Iterable[str], present: Sequence[str]) -> str | None:
    import difflib  # is seldom needed

    best = max(
        (
            (difflib.SequenceMatcher(None, name, Path(path).name).ratio(), path)
            for name in names
            for path in present
        ),
        default=(0.0, None),
    )
    return best[1] if best[0] >= 0.6 else None


def part_of(file_name: str) -> str | None:
    """Return the part that an image path names by its folder, None for a bare file name."""
    for part, folder in PART_FOLDERS.items():
        if folder in portable(file_name).split("/")[:-1]:
            return part
    return None


def portable(file_name: str) -> str:
    """Return a path that Windows wrote as one below one: ``data/a.jpg`` of ``C:\\data\\a.jpg``."""
    if "\\" not in file_name:
        return file_name
    path = PureWindowsPath(file_name)
    return path.relative_to(path.anchor).as_posix()


def list_images(folder: Path) -> Iterator[Path]:
    """Yield the image files below a folder, in a fixed order; hidden ones are none."""
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
                yield Path(base, name)


class ImageFiles:
    """Find image files: by their path, else by their base name among all images of the folder.

    Names come from files of anybody, so what lies outside the folder is refused, where it is not
    allowed when this is made (`names.outside_allowed`). The folder of images itself may be a link.

    Args:
        root: Of the data set, or any folder of images.
        resolution: Which of the two image folders to look in.
        part: Part of images whose names do not say it.
    """

    def __init__(self, root: Path, resolution: Resolution = "high", part: str | None = None):
        self.root = root
        self.resolution = resolution
        self.part = part
        self.allow_outside = outside_is_allowed()
        self._index: dict[str, list[Path]] | None = None

    def find(self, image: ImageInfo) -> Path:
        """Return the file of an image.

        Raises:
            InputError: There is none, or several of its base name and nothing tells which, or its
                name leads out of the folder.
        """
        where = f"image {image.id} ({image.file_name})"
        portable_name = portable(image.file_name)
        check_name(self.root, portable_name, where, self.allow_outside)
        # As it is first: elsewhere than on Windows a name may hold a backslash.
        names = (image.file_name, portable_name) if os.sep == "/" else (portable_name,)
        outside = False
        for folder, name in (place for one in dict.fromkeys(names) for place in self._direct(one)):
            if is_there(folder / name):
                if self.allow_outside or lies_in(folder, name):
                    return folder / name
                outside = True
        base = _plain(Path(portable_name).name)
        found = self._by_name().get(base, [])
        part = part_of(image.file_name) or self.part
        if len(found) > 1 and part:
            found = [path for path in found if PART_FOLDERS[part] in path.parts] or found
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(str(path.relative_to(self.root)) for path in found)
            raise InputError(
                self.root,
                where,
                f"{len(found)} files have this name: {listed}.",
                "Say which: write the path below the image folder into file_name.",
            )
        if outside:
            raise leads_out(self.root, image.file_name, where)
        import difflib

        near = difflib.get_close_matches(base, self._by_name(), n=1, cutoff=0.8)
        hint = f"The nearest name is {near[0]}." if near else f"Looked in {self._folders()}."
        raise InputError(self.root, where, "there is no such image file.", hint)

    def _direct(self, file_name: str) -> Iterator[tuple[Path, str]]:
        """Yield the places where the layouts keep an image: a folder, and the name in it."""
        part = part_of(file_name) or self.part
        name = Path(file_name).name
        images = self.root / f"images{SUFFIX[self.resolution]}"
        yield images, file_name
        if part:
            yield images / PART_FOLDERS[part], name
            if self.resolution == "high":
                yield self.root / PART_FOLDERS[part] / RELEASE_INNER[part], name
                yield images / PART_FOLDERS[part] / RELEASE_INNER[part], name
            yield self.root / PART_FOLDERS[part], name
        for split in SPLITS:
            yield self.root / f"{split}2017", file_name
        yield self.root, file_name

    def _folders(self) -> list[str]:
        """Name the folders that the index covers: the images', or the root without them."""
        own = f"images{SUFFIX[self.resolution]}"
        if (self.root / own).is_dir():
            return [own]
        return [name for name in PART_FOLDERS.values() if (self.root / name).is_dir()] or ["."]

    def _by_name(self) -> dict[str, list[Path]]:
        if self._index is None:
            # Threads share this: what is not yet whole must not be seen.
            index: dict[str, list[Path]] = {}
            for folder in self._folders():
                for path in list_images(self.root / folder):
                    name = path.relative_to(self.root / folder).as_posix()
                    if self.allow_outside or lies_in(self.root / folder, name):
                        index.setdefault(_plain(path.name), []).append(path)
            self._index = index
        return self._index


def _plain(name: str) -> str:
    """Bring a name to one Unicode form: some file systems decompose accents, JSON does not."""
    return unicodedata.normalize("NFC", name)
