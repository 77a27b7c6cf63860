"""List the pictures that a user names: a file, a folder, a pattern, a list, COCO, a dataset."""

from collections.abc import Iterable
from dataclasses import dataclass
from glob import has_magic
from itertools import takewhile
from pathlib import Path

import msgspec
import numpy as np

from baselines.archives import Member, archives_of, members_of
from baselines.images import image_size, read_image
from entityseg_bench.categories import Task
from entityseg_bench.io import InputError, decode_json, read_bytes, read_text
from entityseg_bench.layout import ImageFiles, Resolution, Split
from entityseg_bench.names import real_path
from entityseg_bench.types import ImageInfo

__all__ = ["Picture", "list_pictures", "pictures_in"]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Picture:
    """One image to predict on.

    Attributes:
        image_id: Id from the COCO file or data set; the `file_name` of an image without one.
        path: Path of the image file.
        file_name: Name in the COCO file or data set, or path relative to the folder searched.
        size: (height, width) that the COCO file or data set states, if any.
        member: Where it lies, if it is no file but in an archive; `path` then is a name alone.
    """

    image_id: int | str
    path: Path
    file_name: str
    size: tuple[int, int] | None = None
    member: Member | None = None

    def read(self) -> np.ndarray:
        """Read the image, see `read_image`."""
        return read_image(self.path, self.size, self._data())

    def measure(self) -> tuple[int, int]:
        """Return (height, width) of what `read` returns, see `image_size`."""
        return image_size(self.path, self.size, self._data())

    def _data(self) -> bytes | None:
        return self.member.read() if self.member else None


def list_pictures(
    source: str | Path,
    image_root: str | Path | None = None,
    *,
    task: Task = "entity",
    split: Split | None = None,
    resolution: Resolution = "high",
) -> list[Picture]:
    """List the images that `source` names.

    Args:
        source: One of these: an image; a folder, which is searched with its subfolders; a pattern
            such as ``a/*.jpg``; tar archives or Parquet files (one, a folder or a pattern of them,
            see `baselines.archives`); a COCO JSON (``.json``, ``.json.gz``); a list (``.txt``) with
            one image path on each line, relative to the list; or the root of an EntitySeg data set.
            A folder is a data set if it holds ``annotations``, or if `split` is given.
        image_root: Folder of the images of a COCO file. They are searched by path, then by file
            name alone. The default is the nearest folder above the file that holds ``images``, or
            else the folder of the file.
        task: Annotation type, for a data set.
        split: train or val, for a data set; val by default.
        resolution: high or low, for a data set.

    Returns:
        At least one image, in the order of the COCO file, data set or archive, or sorted by path.

    Raises:
        InputError: There is no image; a list names an image twice, or one that does not exist; ids
            of a COCO file or of archives repeat; or an image of it is missing, or there are several
            of its name.
    """
    path = Path(source)
    archives = [] if split else archives_of(path)
    if archives:
        return _once([picture for own in archives for picture in pictures_in(own)])
    if path.name.endswith((".json", ".json.gz")):
        return _from_coco(path, image_root)
    if path.suffix == ".txt" and path.is_file():
        return _from_list(path, image_root)
    if path.is_dir() and (split is not None or (path / "annotations").is_dir()):
        return _from_dataset(path, task, split or "val", resolution)
    if path.is_dir():
        base, found = path, path.rglob("*")
    elif path.is_file():
        return [Picture(path.name, path, path.name)]
    else:
        base = Path(*takewhile(lambda part: not has_magic(part), path.parts))
        found = base.glob(path.relative_to(base).as_posix()) if base != path else iter(())
    files = sorted(file for file in found if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise InputError(source, "", "no image is there.", f"Known: {' '.join(sorted(SUFFIXES))}.")
    names = [file.relative_to(base).as_posix() for file in files]
    return [Picture(name, file, name) for name, file in zip(names, files, strict=True)]


def pictures_in(archive: Path) -> list[Picture]:
    """List the images of a tar archive or Parquet file, in its order.

    Raises:
        InputError: It is broken, or holds no image.
    """
    return [
        Picture(found.image_id, archive / found.name, found.name, found.size, found.member)
        for found in members_of(archive, SUFFIXES)
    ]


def _once(pictures: list[Picture]) -> list[Picture]:
    """Refuse archives that hold two images of one id: their results could not be told apart."""
    seen: dict[int | str, Picture] = {}
    for picture in pictures:
        other = seen.setdefault(picture.image_id, picture)
        if other is not picture:
            what = f"its id {picture.image_id!r} is that of {other.path}, too."
            raise InputError(picture.path, "", what, "Ids must differ.")
    return pictures


def _from_list(path: Path, image_root: str | Path | None) -> list[Picture]:
    found: dict[str, Picture] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        name = line.strip()
        if not name:
            continue
        # Joining an absolute path to a folder gives the absolute path.
        beside = Path(image_root or path.parent) / name
        file = beside if beside.is_file() else Path(name)
        if not file.is_file():
            raise InputError(path, f"line {number}", f"there is no image {name}.")
        # Outputs are named after the image, so only the name of an absolute path is kept.
        own = file.name if Path(name).is_absolute() or ".." in Path(name).parts else name
        if own in found:
            raise InputError(path, f"line {number}", f"the image {own} stands twice.")
        found[own] = Picture(own, file, own)
    if not found:
        raise InputError(path, "", "the list is empty.")
    return list(found.values())


class _CocoImage(msgspec.Struct):
    id: int | str
    file_name: str
    height: int | None = None
    width: int | None = None


class _CocoFile(msgspec.Struct):
    images: list[_CocoImage]


def _from_coco(path: Path, image_root: str | Path | None) -> list[Picture]:
    decoder = msgspec.json.Decoder(_CocoFile)
    images = decode_json(path, read_bytes(path), decoder).images
    if not images:
        raise InputError(path, "images", "the list is empty.")
    seen: set[int | str] = set()
    for image in images:
        if image.id in seen:
            raise InputError(path, f"image {image.id}", "the id stands twice.", "Ids must differ.")
        seen.add(image.id)
    if image_root is None:
        above = real_path(path).parents
        root = next((folder for folder in above if (folder / "images").is_dir()), above[0])
    else:
        root = Path(image_root)
    if not root.is_dir():
        raise InputError(root, "", "there is no such image folder.")
    files = ImageFiles(root, "low" if "_lr." in path.name else "high")
    infos = (ImageInfo(i.id, i.file_name, i.height or 0, i.width or 0) for i in images)
    return _found(infos, files)


def _from_dataset(root: Path, task: Task, split: Split, resolution: Resolution) -> list[Picture]:
    from entityseg_bench.dataset import EntityDataset

    dataset = EntityDataset.open(root, task, split, resolution)
    return _found(dataset.images, dataset.image_files or ImageFiles(root, resolution))


def _found(images: Iterable[ImageInfo], files: ImageFiles) -> list[Picture]:
    return [
        Picture(
            image.id,
            files.find(image),
            image.file_name,
            (image.height, image.width) if image.height and image.width else None,
        )
        for image in images
    ]
