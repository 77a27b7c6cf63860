"""Maps of labels whose regions become annotations."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entityseg_bench.check import Report, image_reported, stop, within
from entityseg_bench.formats import png
from entityseg_bench.formats.maps import files_below, find_map, map_name, size_fault
from entityseg_bench.formats.matching import match_ids
from entityseg_bench.io import InputError
from entityseg_bench.names import is_there
from entityseg_bench.table import LazySegments, Segments
from entityseg_bench.types import RLE, Annotation, ImageInfo

__all__ = [
    "ClassRegions",
    "LabelMaps",
    "Region",
    "bare_maps",
    "images_of",
    "jpg_name",
    "maps_below",
    "predicted_maps",
    "regions_by_value",
]

# Annotation ids are MOST_REGIONS * (position of the image) + (position of the region) + 1.
MOST_REGIONS = 1 << 20


class Region(NamedTuple):
    """Hold one segment that a map shows."""

    category_id: int
    mask: RLE
    iscrowd: bool = False


class LabelMaps:
    """Read the annotations of an image from its map.

    Args:
        images: Of the size of their maps.
        maps: (I,) map of each; None for an image without one, which has no annotations.
        regions: From the path of a map to its regions and its (height, width).
    """

    def __init__(
        self,
        images: Sequence[ImageInfo],
        maps: Sequence[Path | None],
        regions: Callable[[Path], tuple[list[Region], tuple[int, int]]],
    ) -> None:
        self._images = images
        self._maps = maps
        self._regions = regions

    def __call__(self, image_idx: int) -> list[Annotation]:
        """Return the annotations of one image."""
        image, path = self._images[image_idx], self._maps[image_idx]
        if path is None:
            return []
        place = f"image {image.id} ({image.file_name})"
        with within(place):
            # Before it is decoded: a small file can hold a large map.
            if (size := png.image_size(path)) != (image.height, image.width):
                raise size_fault(path, place, size, (image.height, image.width))
            regions, _ = self._regions(path)
        return [
            _annotation(image, MOST_REGIONS * image_idx + n, region)
            for n, region in enumerate(regions, start=1)
        ]


def _annotation(image: ImageInfo, number: int, region: Region) -> Annotation:
    x, y, w, h = rle_codes.bbox(region.mask)
    return Annotation(
        id=number,
        image_id=image.id,
        category_id=region.category_id,
        segmentation=region.mask,
        area=float(rle_codes.area(region.mask)),
        bbox=(x, y, w, h),
        iscrowd=region.iscrowd,
    )


def regions_by_value(pixels: NDArray[Any]) -> list[tuple[int, RLE]]:
    """Return each value of a map, ascending, and where it lies."""
    ids, masks = rle_codes.encode_id_map(pixels)
    return list(zip(ids.tolist(), masks, strict=True))  # type: ignore[arg-type]


class ClassRegions:
    """Take each value of a map as one region, or each connected part of it as one.

    Args:
        ignore: Values that are no class.
        connected: Split a class into its 4-connected parts.
        deep: Read maps of 16 bits too.
    """

    def __init__(self, ignore: frozenset[int], connected: bool = False, deep: bool = False) -> None:
        self._ignore = ignore
        self._connected = connected
        self._read = png.read_ids if deep else png.read_labels

    def __call__(self, path: Path) -> tuple[list[Region], tuple[int, int]]:
        pixels = self._read(path)
        found = [(k, mask) for k, mask in regions_by_value(pixels) if k not in self._ignore]
        if not self._connected:
            return [Region(k, mask) for k, mask in found], pixels.shape
        from scipy import ndimage

        parts = []
        for category_id, _ in found:
            labels, _ = ndimage.label(pixels == category_id)
            parts += [Region(category_id, mask) for k, mask in regions_by_value(labels) if k]
        return parts, pixels.shape


def maps_below(folder: Path, suffix: str) -> list[Path]:
    """List the maps of a folder and its subfolders by name."""
    if not folder.is_dir():
        raise InputError(folder, "", "there is no such folder.", "Give the folder of the maps.")
    paths = files_below(folder, suffix)
    if not paths:
        raise InputError(folder, "", f"no file in it ends in {suffix}.")
    return paths


def jpg_name(map_name: str) -> str:
    """Return how the image of a map is called where nothing says it."""
    stem = map_name[:-4] if map_name.lower().endswith(".png") else map_name
    return f"{stem}.jpg"


def images_of(
    folder: Path, paths: Sequence[Path], name_of: Callable[[str], str], report: Report = stop
) -> tuple[list[ImageInfo], list[Path]]:
    """Number the images of maps from 1; each has the size of its map.

    Returns:
        The images, and the map of each; those that are no PNG are reported and left out.
    """
    images, kept = [], []
    for number, path in enumerate(paths, start=1):
        name = name_of(path.relative_to(folder).as_posix())
        with image_reported(report):
            images.append(ImageInfo(number, name, *png.png_size(path)))
            kept.append(path)
    return images, kept


def predicted_maps(
    truth: Segments,
    maps: Sequence[Path | None],
    regions: Callable[[Path], tuple[list[Region], tuple[int, int]]],
    folder: Path,
) -> LazySegments:
    """Take the regions of maps as predictions for the images of the ground truth."""
    return LazySegments(
        truth.images,
        LabelMaps(truth.images, maps, regions),
        categories=truth.categories,
        task=truth.task,
        where_from=str(folder),
        predicted=True,
        kind="prediction",
    )


def bare_maps(
    folder: Path, images: Sequence[ImageInfo], some_images: bool, report: Report
) -> tuple[list[Path | None], list[str]]:
    """Find maps that are called like the images, and say which are called otherwise.

    Args:
        folder: Of the maps.
        images: Of the ground truth.
        some_images: Whether maps may be missing.
        report: Takes the faults of single images.

    Returns:
        (I,) the map of each image, None where there is none; and notes.

    Raises:
        InputError: No image has a map.
    """
    found = [find_map(folder, image.file_name) for image in images]
    maps: list[Path | None] = [path if is_there(path) else None for path in found]
    notes = _found_loosely(folder, images, maps)
    n_missing = sum(path is None for path in maps)
    for image, path in zip(images, maps, strict=True):
        if path is not None or (some_images and n_missing < len(images)):
            continue
        place = f"image {image.id} ({image.file_name})"
        what = f"its map {map_name(image.file_name)} is missing ({n_missing} of {len(images)} are)."
        if n_missing == len(images):
            raise InputError(folder, place, what)
        report(InputError(folder, place, what, "--predicted-images-only leaves such images out."))
    last = {path: image for path, image in zip(maps, images, strict=True) if path is not None}
    for image, path in zip(images, maps, strict=True):
        if path is not None and last[path] is not image:
            place = f"image {image.id} ({image.file_name})"
            other = last[path]
            what = f"its map would be that of image {other.id} ({other.file_name}), too."
            report(InputError(path, place, what, "Put the maps into the folders of their images."))
    unused = sorted(path.name for path in maps_below(folder, ".png") if path not in last)
    if unused:
        notes.append(f"{len(unused)} maps belong to no image, {unused[0]} first: not read.")
    return maps, notes


def _found_loosely(folder: Path, images: Sequence[ImageInfo], maps: list[Path | None]) -> list[str]:
    """Give images without a map the one whose name is theirs but for case or what is cut off.

    Args:
        folder: Of the maps.
        images: Of the ground truth.
        maps: (I,) the map of each image, None where there is none; filled.

    Returns:
        A note, where maps were found so.
    """
    lost = [idx for idx, path in enumerate(maps) if path is None]
    taken = {path for path in maps if path is not None}
    # Maps of one name in several folders are nobody's for certain.
    names = Counter(path.name for path in files_below(folder, ".png"))
    unused = {
        path.name: path
        for path in files_below(folder, ".png")
        if path not in taken and names[path.name] == 1
    }
    if not lost or not unused:
        return []
    where = match_ids(unused, [images[idx] for idx in lost], folder).where
    if len(set(where.values())) < len(where):
        return []
    for name, at in where.items():
        maps[lost[at]] = unused[name]
    if not where:
        return []
    name, at = next(iter(where.items()))
    first = f"{name} with {images[lost[at]].file_name}"
    return [f"{len(where)} maps were matched loosely by name, {first} first."]
