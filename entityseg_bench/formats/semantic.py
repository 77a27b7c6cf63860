"""Semantic maps: one 8-bit PNG an image, 255 = no class, and a list of image and map names."""

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from entityseg_bench import categories as category_tables
from entityseg_bench.categories import IGNORE
from entityseg_bench.check import Collector, Report, image_reported, stop
from entityseg_bench.formats import png
from entityseg_bench.formats.identity import identity
from entityseg_bench.formats.json_files import decoded, foreign
from entityseg_bench.formats.label_maps import (
    ClassRegions,
    LabelMaps,
    bare_maps,
    images_of,
    jpg_name,
    maps_below,
    predicted_maps,
)
from entityseg_bench.formats.maps import (
    add_up,
    by_name,
    check_names,
    map_name,
    maps_folder,
    paint,
    paint_order,
)
from entityseg_bench.formats.opened import Inputs, Opened, agree
from entityseg_bench.io import InputError, atomic_path, read_bytes
from entityseg_bench.layout import IMAGE_SUFFIXES
from entityseg_bench.parallel import Journal
from entityseg_bench.table import AnnotatedImages, LazySegments, Segments
from entityseg_bench.types import Category, ImageInfo

__all__ = ["listed_maps", "read_semantic", "split_names", "write_semantic"]

REGIONS = ClassRegions(frozenset((IGNORE,)))


def read_semantic(
    source: str | Path,
    maps: str | Path | None = None,
    categories: Sequence[Category] | None = None,
    *,
    report: Report = stop,
) -> LazySegments:
    """Read class maps: those of a list of image and map names, or all of a folder.

    Each class of an image becomes one annotation, however many regions it has. Images are numbered
    from 1 in the order of the list, or of the names of the maps; their size is that of the map,
    since users report maps of the low resolution beside images of the high one (`entityseg info`
    compares them).

    Args:
        source: A list, one ``<image name> <map name>`` a line, names may hold spaces; or a folder.
        maps: Folder of the PNGs of a list, read when a mask is asked for; looked for beside it by
            default.
        categories: Of the map's values; the 150 semantic ones by default.
        report: Takes the faults of single lines or maps.

    Raises:
        InputError: A line that names no two files, a map that is missing or no PNG; later, one
            that is not of 8 bits.
    """
    source = Path(source)
    if source.is_dir():
        images, paths = images_of(source, maps_below(source, ".png"), jpg_name, report)
    else:
        folder = maps_folder(source, "semantic", Path(maps) if maps else None)
        images, paths = _listed_images(source, folder, report)
    return LazySegments(
        images,
        LabelMaps(images, paths, REGIONS),
        categories=categories or category_tables.table("semantic"),
        task="semantic",
        where_from=str(source),
        kind="class",
    )


def _listed_images(
    list_file: Path, folder: Path, report: Report
) -> tuple[list[ImageInfo], list[Path]]:
    """Return the images of a list and the map of each."""
    images, paths = [], []
    for image_id, line, image_name, path in _lines(list_file, folder, report):
        with image_reported(report):
            size = png.png_size(path, f"line {line} of {list_file.name}")
            images.append(ImageInfo(image_id, image_name, *size))
            paths.append(path)
    return images, paths


def _lines(list_file: Path, folder: Path, report: Report) -> Iterator[tuple[int, int, str, Path]]:
    """Yield id, line, name and map of each image; lines that name none are reported."""
    data = read_bytes(list_file)
    fault = foreign(list_file, data, "a list")
    if fault is not None:
        raise fault
    text = decoded(list_file, data)
    lines = [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    for image_id, (number, line) in enumerate(lines, start=1):
        names = None
        with image_reported(report):
            names = split_names(line, list_file, number)
        if names:
            yield image_id, number, names[0], by_name(folder, names[1])


def listed_maps(list_file: Path, folder: Path) -> list[Path]:
    """Return the maps that a list names, there or not; lines that are none are left out."""
    return [path for *_, path in _lines(list_file, folder, Collector())]


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


def write_semantic(
    dataset: AnnotatedImages,
    list_file: str | Path,
    maps: str | Path,
    jobs: int = 1,
    label: str | None = None,
) -> dict[str, int]:
    """Write class maps and their list; a run that broke off goes on where it stopped.

    Lost where it occurs, and counted in the result: which regions of a class were apart
    (instances), crowd flags, overlap (a pixel goes to the later annotation; crowds lie under all
    others), empty and hidden masks. Ids and other fields of annotations and images have no place.

    Args:
        dataset: Category ids in 0..254; `subset` turns entity ones into semantic.
        list_file: The list.
        maps: Folder of the PNGs.
        jobs: Processes.
        label: Title of a progress bar.

    Returns:
        What was lost -> how often.

    Raises:
        InputError: A category id that a map cannot hold.
    """
    list_file, maps = Path(list_file), Path(maps)
    check_names(dataset.images, dataset.where_from)
    path = list_file.with_name(f".{list_file.name}.journal")
    lines = [f"{image.file_name} {map_name(image.file_name)}\n" for image in dataset.images]
    work = functools.partial(_write_map, dataset, maps)
    with Journal(path, identity(dataset, str(maps)), dict) as journal:
        journal.run(work, len(dataset.images), jobs, label)
        with atomic_path(list_file) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
        lost = add_up(journal.results())
        journal.finish()
    return lost


def _write_map(dataset: AnnotatedImages, maps: Path, idx: int) -> dict[str, Any]:
    """Write the map of one image; return what was lost."""
    image, annotations = dataset.images[idx], dataset.annotations(idx)
    values = [annotation.category_id for annotation in annotations]
    for annotation in annotations:
        if not 0 <= annotation.category_id < IGNORE:
            raise InputError(
                dataset.where_from or "annotations",
                f"image {image.id} ({image.file_name}), annotation {annotation.id}",
                f"category {annotation.category_id} does not fit an 8-bit map (0..254).",
                "Map the categories to semantic ids first.",
            )
    masks = [annotation.segmentation for annotation in annotations]
    size = (image.height, image.width)
    painted = paint(masks, values, paint_order(annotations), size, IGNORE)
    png.write_labels(maps / map_name(image.file_name), painted.pixels)
    lost = painted.losses()
    lost["annotations merged with others of their class"] = len(values) - len(set(values))
    lost["crowd flags dropped"] = sum(annotation.iscrowd for annotation in annotations)
    return {"lost": lost}


def open_gt(path: Path, inputs: Inputs, *, whole: bool = True, report: Report = stop) -> Opened:
    """Open a list of class maps or a folder of them; see `entityseg_bench.formats.open`."""
    agree(path, "semantic", inputs.task)
    if path.is_dir():
        return Opened(read_semantic(path, report=report), [path])
    maps = maps_folder(path, "semantic", inputs.gt_maps, "--gt-maps")
    return Opened(read_semantic(path, maps, report=report), [path, maps])


def open_dt(
    path: Path, truth: Segments, inputs: Inputs, *, some_images: bool, report: Report
) -> Opened:
    """Open a folder of predicted class maps, called like the images."""
    maps, notes = bare_maps(path, truth.images, some_images, report)
    table = predicted_maps(truth, maps, REGIONS, path)
    return Opened(table, [path], "all" if truth.task == "semantic" else "none", notes)
