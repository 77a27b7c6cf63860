"""What a list of semantic maps holds: 8-bit PNGs, 255 = no class."""

import re
from pathlib import Path

from entityseg_bench.categories import IGNORE
from entityseg_bench.contents.contents import Contents
from entityseg_bench.contents.layout import IMAGE_SUFFIXES
from entityseg_bench.formats import png
from entityseg_bench.formats.label_maps import ClassRegions, LabelMaps
from entityseg_bench.formats.maps import map_name
from entityseg_bench.io import InputError, read_bytes
from entityseg_bench.types import ImageInfo

__all__ = ["semantic_contents", "split_names"]


def semantic_contents(list_file: Path, folder: Path) -> Contents:
    """Read a list, its maps when a mask is asked for; see `formats.semantic.read_semantic`.

    Raises:
        InputError: A line that names no two files, a map that is missing or no PNG.
    """
    try:
        text = bytes(read_bytes(list_file)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(list_file, "", f"it is not UTF-8: {error}.") from None
    images: list[ImageInfo] = []
    paths = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        image_name, name = split_names(line, list_file, number)
        path = folder / name
        if not path.is_file():
            path = folder / Path(name).name
        height, width = png.png_size(path)
        images.append(ImageInfo(len(images) + 1, image_name, height, width))
        paths.append(path)
    rows = LabelMaps(images, paths, str(list_file), ClassRegions(frozenset((IGNORE,))))
    return Contents(images, rows, None, {}, str(list_file))


def split_names(line: str, path: Path, number: int) -> tuple[str, str]:
    """Split a line of a list where the image's name ends; names may hold spaces.

    Raises:
        InputError: No place in the line, or more than one, can be meant.
    """
    line = line.strip()
    cuts = [found.span() for found in re.finditer(r"[ \t]+", line)]
    pairs = [(line[:start], line[end:]) for start, end in cuts]
    endings = tuple(IMAGE_SUFFIXES)
    pairs = [p for p in pairs if p[0].lower().endswith(endings) and p[1].lower().endswith(".png")]
    alike = [p for p in pairs if Path(map_name(p[0])).name == Path(p[1]).name]
    if len(alike or pairs) != 1:
        raise InputError(
            path,
            f"line {number}",
            f"{line!r} is not the name of an image, a space, and the name of its PNG map.",
        )
    return (alike or pairs)[0]
