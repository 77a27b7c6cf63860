"""Write a copy of a data set whose images are seen through turbulent air; link its annotations."""

import contextlib
import dataclasses
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from entityseg_bench import __version__
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.png import opened_image, write_image
from entityseg_bench.io import (
    InputError,
    atomic_path,
    decode_json,
    locked,
    read_bytes,
    write_json,
)
from entityseg_bench.layout import PART_FOLDERS
from entityseg_bench.names import lies_in, real_path
from entityseg_bench.turbulence import Air, distort
from entityseg_bench.types import ImageInfo

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
    where the objects are. A copy has the time of its source; images whose copies exist and have it
    are kept, so that a run that was stopped continues.

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
        InputError: There is no data set, `out` holds another corruption, another process writes
            there, an image cannot be read, or its name leads out of the folder.
    """
    _check_folders(root, out, resolution)
    with locked(out):
        _begin(root, out, air, seed, resolution)
        images: dict[Path, Path] = {}
        for split in splits:
            dataset = EntityDataset.open(root, "entity", split, resolution)
            for image in dataset.images:
                path = dataset.image_path(image)
                images[path] = _place(root, out, path, image)
        for done, (path, target) in enumerate(images.items(), start=1):
            # Taken before it is read: what is changed meanwhile is written again the next time.
            time = path.stat().st_mtime_ns
            if not (target.is_file() and target.stat().st_mtime_ns == time):
                target.parent.mkdir(parents=True, exist_ok=True)
                _write(path, target, air, image_seed(seed, target.relative_to(out).as_posix()))
                os.utime(target, ns=(time, time))
            if progress:
                progress(done, len(images))
    return len(images)


def _place(root: Path, out: Path, path: Path, image: ImageInfo) -> Path:
    """Return where an image's copy stands: inside the folder, wherever the image is read from."""
    inner = Path(os.path.relpath(path, root))
    if inner.is_absolute() or ".." in inner.parts or not lies_in(out, inner.as_posix()):
        place = f"image {image.id} ({image.file_name})"
        what = "its file is not in the data set's folder, so its copy has no place."
        raise InputError(root, place, what)
    return out / inner


def image_seed(seed: int, name: str) -> int:
    """Return the seed of an image, made from the seed of the run and the image's path."""
    return (seed << 32) + zlib.crc32(name.encode())


def _check_folders(root: Path, out: Path, resolution: "Resolution") -> None:
    """Refuse folders that lie in each other, and one without a data set."""
    inside, around = real_path(out), real_path(root)
    if inside.is_relative_to(around) or around.is_relative_to(inside):
        raise InputError(
            out, "", "it lies in the data set's folder, or around it.", "Name another."
        )
    EntityDataset.open(root, "entity", "val", resolution)


def _begin(root: Path, out: Path, air: Air, seed: int, resolution: str) -> None:
    """Write a note of the settings into the folder, refuse other folders, and link the rest."""
    around = real_path(root)
    settings = {**dataclasses.asdict(air), "seed": seed, "resolution": resolution}
    settings |= {"of": str(around), "version": __version__}
    if (out / NOTE).is_file():
        if decode_json(out / NOTE, read_bytes(out / NOTE), msgspec.json.Decoder()) != settings:
            raise InputError(out, NOTE, "another corruption is in this folder.", "Name another.")
    elif out.is_dir() and any(out.iterdir()):
        raise InputError(out, "", "the folder is not empty.", "Name another.")
    out.mkdir(parents=True, exist_ok=True)
    # First: a run that is stopped while it links goes on.
    write_json(out / NOTE, settings, indent=1)
    for entry in sorted(around.iterdir()):
        link = out / entry.name
        if entry.name in IMAGE_FOLDERS or entry.name.startswith(".") or link.exists():
            continue
        try:
            link.symlink_to(entry, target_is_directory=entry.is_dir())
        except OSError:  # a system, or an account, without links
            with _copied(link) as temporary:
                (shutil.copytree if entry.is_dir() else shutil.copy2)(entry, temporary)


@contextlib.contextmanager
def _copied(target: Path) -> Iterator[Path]:
    """Give a path beside a file or folder that takes its name when the block succeeds."""
    temporary = target.with_name(f".{target.name}.copy")
    if temporary.is_dir():
        shutil.rmtree(temporary)
    yield temporary
    temporary.replace(target)


def _write(path: Path, target: Path, air: Air, seed: int) -> None:
    """Write one image in its own format, with its orientation tag."""
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
    write_image(target, distort(pixels, air, seed), kind, **more)
