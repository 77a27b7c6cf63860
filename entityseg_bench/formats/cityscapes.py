"""Instance maps as in Cityscapes."""

from pathlib import Path

from entityseg_bench.check import Report, stop
from entityseg_bench.formats import png
from entityseg_bench.formats.label_maps import (
    LabelMaps,
    Region,
    images_of,
    maps_below,
    regions_by_value,
)
from entityseg_bench.formats.opened import Inputs, Opened, agree
from entityseg_bench.table import LazySegments
from entityseg_bench.types import Category

__all__ = ["CITYSCAPES", "read_cityscapes"]

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
        for value, mask in regions_by_value(pixels):
            category_id = value // 1000 if value >= 1000 else value
            if category_id in CITYSCAPES:
                group = value < 1000 and category_id >= FIRST_THING
                regions.append(Region(category_id, mask, iscrowd=group))
        return regions, pixels.shape


def read_cityscapes(maps: str | Path) -> LazySegments:
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
    images, paths = images_of(
        folder,
        maps_below(folder, INSTANCE_SUFFIX),
        lambda name: f"{name.removesuffix(INSTANCE_SUFFIX)}_leftImg8bit.png",
    )
    table = [
        Category(k, name, type="thing" if k >= FIRST_THING else "stuff")
        for k, name in CITYSCAPES.items()
    ]
    rows = LabelMaps(images, paths, CityscapesRegions())
    return LazySegments(images, rows, categories=table, where_from=str(folder), kind="segment")


def open_gt(path: Path, inputs: Inputs, *, whole: bool = True, report: Report = stop) -> Opened:
    """Open such maps; see `entityseg_bench.formats.open`."""
    agree(path, "entity", inputs.task)
    return Opened(read_cityscapes(path), [path])
