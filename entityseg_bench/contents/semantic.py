"""What a list of semantic maps holds: 8-bit PNGs, 255 = no class."""

import re
from collections.abc import Iterator
from pathlib import Path

from entityseg_bench.categories import IGNORE
from entityseg_bench.contents.contents import Contents
from entityseg_bench.contents.layout import IMAGE_SUFFIXES
from entityseg_bench.faults import Faults, Report, image_reported, stop
from entityseg_bench.formats import png
from entityseg_bench.formats.label_maps import ClassRegions, LabelMaps
from entityseg_bench.formats.maps import by_name, map_name
from entityseg_bench.io import InputError, read_bytes
from entityseg_bench.types import ImageInfo

__all__ = ["listed_maps", "semantic_contents", "split_names"]


def semantic_contents(list_file: Path, folder: Path, report: Report = stop) -> Contents:
    """Read a list, its maps when a mask is asked for; see `formats.semantic.read_semantic`.

    Raises:
        InputError: A line that names no two files, a map that is missing or no PNG, unless
            ``report`` takes it.
    """
    images: list[ImageInfo] = []
    paths = []
    for image_id, line, image_name, path in _lines(list_file, folder, report):
        with image_reported(report):
            size = png.png_size(path, f"line {line} of {list_file.name}")
            images.append(ImageInfo(image_id, image_name, *size))
            paths.append(path)
    rows = LabelMaps(images, paths, str(list_file), ClassRegions(frozenset((IGNORE,))))
    return Contents(images, rows, None, {}, str(list_file))


def _lines(list_file: Path, folder: Path, report: Report) -> Iterator[tuple[int, int, str, Path]]:
    """Yield id, line, name and map of each image; lines that name none are reported."""
    try:
        text = bytes(read_bytes(list_file)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(list_file, "", f"it is not UTF-8: {error}.") from None
    lines = [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    for image_id, (number, line) in enumerate(lines, start=1):
        names = None
        with image_reported(report):
            names = split_names(line, list_file, number)
        if names:
            yield image_id, number, names[0], by_name(folder, names[1])


def listed_maps(list_file: Path, folder: Path) -> list[Path]:
    """Return the maps that a list names, there or not; lines that are none are left out."""
    return [path for *_, path in _lines(list_file, folder, Faults())]


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
