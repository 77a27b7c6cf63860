"""Maps of labels that become entities: semantic classes, ADE20K's, Cityscapes' instances."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.dataset.layout import ImageFiles
from entityseg_bench.dataset.records import Records
from entityseg_bench.formats import png
from entityseg_bench.io import InputError
from entityseg_bench.types import RLE, Annotation, Category, ImageInfo

__all__ = [
    "ClassRegions",
    "LabelMaps",
    "Region",
    "images_of",
    "maps_below",
    "read_ade20k",
    "read_cityscapes",
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
        maps: (I,) map of each.
        where: Name of the source, for errors.
        regions: From the path of a map to its regions and its (height, width).
    """

    def __init__(
        self,
        images: Sequence[ImageInfo],
        maps: Sequence[Path],
        where: str,
        regions: Callable[[Path], tuple[list[Region], tuple[int, int]]],
    ) -> None:
        self._images = images
        self._maps = maps
        self._where = where
        self._regions = regions

    def of_image(self, image_idx: int) -> list[Annotation]:
        """Return the annotations of one image."""
        image = self._images[image_idx]
        regions, size = self._regions(self._maps[image_idx])
        if size != (image.height, image.width):
            raise InputError(
                self._maps[image_idx],
                f"image {image.id} ({image.file_name})",
                f"the map's {size[0]} x {size[1]} pixels (height x width) are not the image's "
                f"{image.height} x {image.width}.",
            )
        return [
            _annotation(image, MOST_REGIONS * image_idx + n, region)
            for n, region in enumerate(regions, start=1)
        ]

    def records(self) -> Records:
        """Read all maps, in threads: decoding releases the interpreter lock."""
        with ThreadPoolExecutor() as pool:
            found = pool.map(self.of_image, range(len(self._images)))
            rows = [annotation for annotations in found for annotation in annotations]
        return Records.from_annotations(rows, self._images, self._where)


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


def _regions_by_value(pixels: NDArray[Any]) -> list[tuple[int, RLE]]:
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
        found = [(k, mask) for k, mask in _regions_by_value(pixels) if k not in self._ignore]
        if not self._connected:
            return [Region(k, mask) for k, mask in found], pixels.shape
        from scipy import ndimage

        parts = []
        for category_id, _ in found:
            labels, _ = ndimage.label(pixels == category_id)
            parts += [Region(category_id, mask) for k, mask in _regions_by_value(labels) if k]
        return parts, pixels.shape


def read_ade20k(
    maps: str | Path,
    categories: Sequence[Category] | None = None,
    regions: Literal["class", "connected"] = "class",
) -> EntityDataset:
    """Read a folder of label maps as in ADE20K's scene parsing: 0 = unlabelled, 1.. = class.

    Such maps do not say where one object ends and the next of its class begins; entities are the
    classes of an image, or their connected parts. Neither is what an annotator would draw.

    Args:
        maps: Folder of PNGs with one channel of 8 or 16 bits; an image has its map's name with
            ``.jpg``.
        categories: Of the values; numbered names by default.
        regions: "class" for one entity a class, "connected" for one a 4-connected part.

    Raises:
        InputError: No map there, or one that cannot be read.
    """
    if regions not in ("class", "connected"):
        raise ValueError(f"regions {regions!r} must be class or connected")
    folder = Path(maps)
    paths = maps_below(folder, ".png")
    images = images_of(folder, paths, lambda name: f"{name.removesuffix('.png')}.jpg")
    reader = ClassRegions(frozenset((0, 255)), regions == "connected", deep=True)
    rows = LabelMaps(images, paths, str(folder), reader)
    table = categories or [Category(k, f"class_{k}") for k in range(1, 151)]
    return EntityDataset(images, rows, table, image_files=ImageFiles(folder), where=str(folder))


# Classes that Cityscapes evaluates: id -> name (Cordts et al., "The Cityscapes Dataset", 2016;
# labels.py of cityscapesScripts). Ids from 24 have instances; the others of 0..33 are void.
CITYSCAPES = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole",
    19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky",
    24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train",
    32: "motorcycle", 33: "bicycle",
}  # fmt: skip
FIRST_THING = 24
INSTANCE_SUFFIX = "_gtFine_instanceIds.png"


class CityscapesRegions:
    """Take each value of an instance map as a region: class, or class x 1000 + instance."""

    def __call__(self, path: Path) -> tuple[list[Region], tuple[int, int]]:
        pixels = png.read_ids(path)
        regions = []
        for value, mask in _regions_by_value(pixels):
            category_id = value // 1000 if value >= 1000 else value
            if category_id in CITYSCAPES:
                group = value < 1000 and category_id >= FIRST_THING
                regions.append(Region(category_id, mask, iscrowd=group))
        return regions, pixels.shape


def read_cityscapes(maps: str | Path) -> EntityDataset:
    """Read a folder of Cityscapes' instance maps (``*_gtFine_instanceIds.png``, 16 bits).

    A value below 1000 is a class without instances, from 1000 it is class x 1000 + instance. A
    thing class without an instance number is a group and becomes a crowd. The 19 classes that
    Cityscapes evaluates become entities; void ones do not.

    Args:
        maps: Folder, searched with its subfolders (cities).

    Raises:
        InputError: No map there, or one that cannot be read.
    """
    folder = Path(maps)
    paths = maps_below(folder, INSTANCE_SUFFIX)
    images = images_of(
        folder, paths, lambda name: f"{name.removesuffix(INSTANCE_SUFFIX)}_leftImg8bit.png"
    )
    table = [
        Category(k, name, type="thing" if k >= FIRST_THING else "stuff")
        for k, name in CITYSCAPES.items()
    ]
    rows = LabelMaps(images, paths, str(folder), CityscapesRegions())
    return EntityDataset(images, rows, table, image_files=ImageFiles(folder), where=str(folder))


def maps_below(folder: Path, suffix: str) -> list[Path]:
    """List the maps of a folder and its subfolders by name."""
    if not folder.is_dir():
        raise InputError(folder, "", "there is no such folder.", "Give the folder of the maps.")
    paths = sorted(path for path in folder.rglob(f"*{suffix}") if not path.name.startswith("."))
    if not paths:
        raise InputError(folder, "", f"no file in it ends in {suffix}.")
    return paths


def images_of(
    folder: Path, paths: Sequence[Path], name_of: Callable[[str], str]
) -> list[ImageInfo]:
    """Number the images of maps from 1; each has the size of its map."""
    images = []
    for number, path in enumerate(paths, start=1):
        name = name_of(path.relative_to(folder).as_posix())
        images.append(ImageInfo(number, name, *png.png_size(path)))
    return images
