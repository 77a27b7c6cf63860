"""Write a copy of a data set whose images are seen through turbulent air; link its annotations."""

import dataclasses
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.png import opened_image
from entityseg_bench.io import InputError, atomic_path, decode_json, read_bytes, write_json
from entityseg_bench.layout import PART_FOLDERS
from entityseg_bench.names import real_path
from entityseg_bench.turbulence import Air, distort

if TYPE_CHECKING:
    from entityseg_bench.layout import Resolution, Split

__all__ = ["corrupt", "image_seed"]

NOTE = "corruption.json"
IMAGE_FOLDERS = ("images", "images_lr", *PART_FOLDERS.values())
QUALITY = 95  # of JPEG; a lower quality would add its own corruption


def corrupt(
    root: Path,
    out: Path,
    air: Air,
    seed: int = 0,
    splits: "Sequence[Split]" = ("val",),
    resolution: "Resolution" = "high",
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the images of a data set as they are seen through the air, under the same names.

    Everything else of the folder is linked, so that annotations of all types exist. Masks stay
    where the objects are. Images that exist already and are newer than their source are kept, so
    that a run that was stopped continues.

    Args:
        root: Folder of the data set.
        out: Folder of the copy. Neither folder may lie inside the other.
        air: Strength of the turbulence, and camera. Its pixel angle is that of the images of
            `resolution`.
        seed: Seed of all random numbers. What happens to an image depends on it and on the image's
            name alone.
        splits: The splits whose images are written.
        resolution: Resolution of the images.
        progress: Called with (images done, number of images).

    Returns:
        Number of images.

    Raises:
        InputError: There is no data set, `out` holds another corruption, or an image cannot be
            read.
    """
    _begin(root, out, air, seed, resolution)
    images: dict[Path, None] = {}
    for split in splits:
        dataset = EntityDataset.open(root, "entity", split, resolution)
        images.update(dict.fromkeys(dataset.image_path(image) for image in dataset.images))
    for done, path in enumerate(images, start=1):
        inner = path.relative_to(root)
        if not _is_newer(out / inner, path):
            (out / inner).parent.mkdir(parents=True, exist_ok=True)
            _write(path, out / inner, air, image_seed(seed, inner.as_posix()))
        if progress:
            progress(done, len(images))
    return len(images)


def _is_newer(copy: Path, path: Path) -> bool:
    return copy.is_file() and copy.stat().st_mtime_ns >= path.stat().st_mtime_ns


def image_seed(seed: int, name: str) -> int:
    """Return the seed of an image, made from the seed of the run and the image's path."""
    return (seed << 32) + zlib.crc32(name.encode())


def _begin(root: Path, out: Path, air: Air, seed: int, resolution: str) -> None:
    """Write a note of the settings into the folder, refuse other folders, and link the rest."""
    inside, around = real_path(out), real_path(root)
    if inside.is_relative_to(around) or around.is_relative_to(inside):
        raise InputError(
            out, "", "it lies in the data set's folder, or around it.", "Name another."
        )
    EntityDataset.open(root, "entity", "val", resolution)  # type: ignore[arg-type]
    settings = {**dataclasses.asdict(air), "seed": seed, "resolution": resolution}
    settings["of"] = str(around)
    if (out / NOTE).is_file():
        if decode_json(out / NOTE, read_bytes(out / NOTE), msgspec.json.Decoder()) != settings:
            raise InputError(out, NOTE, "another corruption is in this folder.", "Name another.")
    elif out.is_dir() and any(out.iterdir()):
        raise InputError(out, "", "the folder is not empty.", "Name another.")
    out.mkdir(parents=True, exist_ok=True)
    for entry in sorted(around.iterdir()):
        link = out / entry.name
        if entry.name in IMAGE_FOLDERS or entry.name.startswith(".") or link.exists():
            continue
        try:
            link.symlink_to(entry, target_is_directory=entry.is_dir())
        except OSError:  # a system, or an account, without links
            (shutil.copytree if entry.is_dir() else shutil.copy2)(entry, link)
    write_json(out / NOTE, settings, indent=1)


def _write(path: Path, target: Path, air: Air, seed: int) -> None:
    """Write one image in its own format, with its orientation tag."""
    from PIL import Image

    if air.distance == 0:
        with atomic_path(target) as temporary:
            shutil.copyfile(path, temporary)
        return
    with opened_image(path) as opened:
        kind, exif = opened.format, opened.info.get("exif")
        pixels = np.asarray(opened.convert("RGB"))
    more = {"quality": QUALITY, "subsampling": 0} if kind == "JPEG" else {}
    if exif:
        more["exif"] = exif
    with atomic_path(target) as temporary:
        Image.fromarray(distort(pixels, air, seed)).save(temporary, format=kind, **more)
