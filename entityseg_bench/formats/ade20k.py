"""Label maps as in ADE20K's scene parsing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from entityseg_bench.check import Report, stop
from entityseg_bench.formats.label_maps import (
    ClassRegions,
    LabelMaps,
    images_of,
    jpg_name,
    maps_below,
)
from entityseg_bench.formats.opened import Inputs, Opened, agree
from entityseg_bench.table import LazySegments
from entityseg_bench.types import Category

__all__ = ["read_ade20k"]


def read_ade20k(
    maps: str | Path,
    categories: Sequence[Category] | None = None,
    regions: Literal["class", "connected"] = "class",
) -> LazySegments:
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
    images, paths = images_of(folder, maps_below(folder, ".png"), jpg_name)
    reader = ClassRegions(frozenset((0, 255)), regions == "connected", deep=True)
    rows = LabelMaps(images, paths, reader)
    table = categories or [Category(k, f"class_{k}") for k in range(1, 151)]
    return LazySegments(images, rows, categories=table, where_from=str(folder), kind="segment")


def open_gt(path: Path, inputs: Inputs, *, whole: bool = True, report: Report = stop) -> Opened:
    """Open such maps; see `entityseg_bench.formats.open`."""
    agree(path, "entity", inputs.task)
    return Opened(read_ade20k(path, regions="connected" if inputs.connected else "class"), [path])
