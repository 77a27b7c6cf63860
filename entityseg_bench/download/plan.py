"""Get EntitySeg: annotations from their release, images from the gated repository, into one layout.

Both places are listed. The name of a file tells its meaning; files with unknown names are not
downloaded, and are listed.
"""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

from entityseg_bench.download.hub import HubFile, fetch, list_files, page
from entityseg_bench.download.transfer import download, read_json
from entityseg_bench.download.unpack import Place, is_archive, unpack
from entityseg_bench.io import InputError, atomic_path, decode_json, locked
from entityseg_bench.layout import (
    ANNOTATIONS,
    IMAGE_SUFFIXES,
    MAPS,
    PART_FOLDERS,
    RELEASE_INNER,
    RESOLUTIONS,
    SPLITS,
    SUFFIX,
    Resolution,
)
from entityseg_bench.names import real_path

__all__ = ["LICENCE", "RELEASE", "Item", "Plan", "get", "make_plan"]

RELEASE = "https://api.github.com/repos/adobe-research/EntitySeg-Dataset/releases/tags/v1.0"
# Folder of downloads until they are unpacked, below the data set's folder.
STORE = ".download"
LICENCE = """\
The annotations are under the Adobe Research License, which allows non-commercial research alone:
https://github.com/adobe-research/EntitySeg-Dataset/blob/main/LICENSE.md
The images belong to third parties; whoever uses them checks their licences."""


class _Asset(msgspec.Struct):
    name: str
    size: int
    browser_download_url: str
    digest: str | None = None


class _Release(msgspec.Struct):
    assets: list[_Asset]


@dataclass(frozen=True)
class Item:
    """One file to get.

    Attributes:
        kind: Annotations or images.
        name: Name in the release, or path in the repository.
        size: Bytes to download.
        target: Path below the data set's folder: the file, or the folder that an archive is
            unpacked to.
        url: Address of an annotation file.
        digest: Its sha256 in hex, if known.
    """

    kind: Literal["annotations", "images"]
    name: str
    size: int
    target: str
    url: str = ""
    digest: str | None = None


@dataclass(frozen=True)
class Plan:
    """Hold what to download, and the names of files that are not known."""

    items: tuple[Item, ...]
    unknown: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of all downloads."""
        return sum(item.size for item in self.items)


def make_plan(
    parts: Sequence[str], resolutions: Sequence[Resolution], annotations_only: bool = False
) -> Plan:
    """List both places and choose the files that are asked for.

    Args:
        parts: Some of "01", "02", "03". A file with the annotations of all parts is always
            included. Annotations with classes belong to part 01, the only one that has classes.
        resolutions: Some of "high", "low".
        annotations_only: Leave out the images, without asking their repository.

    Raises:
        InputError: A place cannot be reached, gives no access, or holds none of the files.
    """
    url = os.environ.get("ENTITYSEG_RELEASE", RELEASE)
    release = decode_json(url, read_json(url), msgspec.json.Decoder(_Release))
    items: list[Item] = []
    unknown: list[str] = []
    for asset in release.assets:
        known = _annotations(asset.name)
        if known is None:
            unknown.append(asset.name)
        elif _is_wanted(known, parts, resolutions):
            digest = (asset.digest or "").removeprefix("sha256:") or None
            target, address = known[2], asset.browser_download_url
            items.append(Item("annotations", asset.name, asset.size, target, address, digest))
    if not items:
        raise InputError(url, "", "the release holds no annotations that are asked for.")
    if not annotations_only:
        images, strange = _image_items(parts, resolutions)
        items += images
        unknown += strange
    return Plan(tuple(items), tuple(unknown))


def _annotations(name: str) -> tuple[str | None, Resolution | None, str] | None:
    """Tell part, resolution and place of a file of the release; None of one that is not known."""
    if name == "url.json":
        return None, None, "annotations/url.json"
    stem = re.sub(r"\.gz$", "", name)
    for task, rows in ANNOTATIONS.items():
        folder = f"annotations/{task}_segmentation"
        for part, names in rows.items():
            for split in SPLITS:
                for resolution in RESOLUTIONS:
                    words = {"split": split, "lr": SUFFIX[resolution]}
                    documented, *others = (text.format(**words) for text in names)
                    if stem in (documented, *others):
                        gz = ".gz" if name.endswith(".gz") else ""
                        place = f"{folder}/{documented}{gz}"
                        return part, resolution if task == "entity" else None, place
        for split in SPLITS if task in MAPS and is_archive(name) else ():
            maps = [text.format(split=split, lr="") for text in MAPS[task]]
            if re.split(r"\.(?:zip|t)", name)[0] in (maps[0], maps[2]):
                return "01", None, f"{folder}/{maps[0]}"
    return None


def _is_wanted(
    known: tuple[str | None, Resolution | None, str],
    parts: Sequence[str],
    resolutions: Sequence[Resolution],
) -> bool:
    part, resolution, _ = known
    return (part is None or part in parts) and (resolution is None or resolution in resolutions)


def _image_items(
    parts: Sequence[str], resolutions: Sequence[Resolution]
) -> tuple[list[Item], list[str]]:
    """Choose the images of the repository; each archive or image tells its part by its path."""
    found: list[Item] = []
    unknown: list[str] = []
    for file in list_files():
        part = next((p for p, name in PART_FOLDERS.items() if name in file.path), None)
        if part is None:
            continue
        low = re.search(r"(^|/)images_lr(/|$)|_lr\.", file.path) is not None
        resolution: Resolution = "low" if low else "high"
        if part not in parts or resolution not in resolutions:
            continue
        target = f"images{SUFFIX[resolution]}/{PART_FOLDERS[part]}"
        if PurePosixPath(file.path).suffix.lower() in IMAGE_SUFFIXES:
            target += f"/{PurePosixPath(file.path).name}"
        elif not is_archive(file.path):
            unknown.append(file.path)
            continue
        found.append(Item("images", file.path, file.size, target, digest=file.digest))
    missing = {(p, r) for p in parts for r in resolutions} - {
        (p, r) for p in parts for r in resolutions
        for item in found if item.target.startswith(f"images{SUFFIX[r]}/{PART_FOLDERS[p]}")
    }  # fmt: skip
    if missing:
        listed = ", ".join(f"part {part} in {resolution}" for part, resolution in sorted(missing))
        hint = f"Files of unknown kind there: {', '.join(unknown)}." if unknown else ""
        raise InputError(page(), "", f"no images are found for {listed} resolution.", hint)
    return found, unknown


def get(root: Path, item: Item, keep: bool = False) -> int:
    """Download one item and put it in its place. An item that was done before is left as it is.

    Args:
        root: Folder of the data set.
        item: An item of a plan.
        keep: Keep the archive after it was unpacked.

    Returns:
        Number of files that were written.

    Raises:
        InputError: As `download`, `fetch` and `unpack`; or another process gets the same.
    """
    note = root / STORE / f"{re.sub(r'[^A-Za-z0-9.]+', '_', item.name)}.done"
    _no_link(root, note)
    with locked(note):
        return _get(root, item, note, keep)


def _get(root: Path, item: Item, note: Path, keep: bool) -> int:
    """Get an item whose note is locked; see `get`."""
    target = root / item.target
    state = f"{item.name} {item.size} {item.digest}"
    noted = note.read_bytes().decode("utf-8", "replace").splitlines() if note.is_file() else []
    if len(noted) == 2 and noted[0] == state and noted[1].isdecimal() and target.exists():
        return int(noted[1])
    packed = is_archive(item.name)
    if item.url:
        path = root / STORE / item.target if packed else target
        path = path.with_name(Path(item.name).name) if packed else path
        _no_link(root, path)
        download(item.url, path, item.size, item.digest)
    else:
        path = fetch(HubFile(item.name, item.size, item.digest), root / STORE)
    count = 1
    _no_link(root, target)
    if packed:
        count = unpack(path, target, _place(target.name))
    elif path != target:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as temporary:
            shutil.copyfile(path, temporary)
    # A file in the cache of the library is kept: other programs may use it.
    if path != target and not keep and path.is_relative_to(root / STORE):
        path.unlink()
    note.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(note) as temporary:
        temporary.write_text(f"{state}\n{count}\n", encoding="utf-8", newline="\n")
    return count


def _no_link(root: Path, path: Path) -> None:
    """Refuse a path that leads out of the folder through a link."""
    if not real_path(path).is_relative_to(real_path(root)):
        raise InputError(path, "", f"a link leads it out of {root}.", "Name the real folder.")


def _place(folder: str) -> Place:
    """Give what decides where members of an archive go: images and maps, without the wrapping."""
    wrapping = {*PART_FOLDERS.values(), *RELEASE_INNER.values(), "images_lr", folder}

    def place(inner: PurePosixPath) -> PurePosixPath | None:
        if inner.suffix.lower() not in IMAGE_SUFFIXES:
            return None
        parts = list(inner.parts)
        inside = [idx for idx, part in enumerate(parts[:-1]) if part in wrapping]
        return PurePosixPath(*parts[inside[-1] + 1 if inside else 0 :])

    return place
