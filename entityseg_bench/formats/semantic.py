"""Semantic maps: one 8-bit PNG an image, 255 = no class, and a list of image and map names."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from entityseg_bench.categories import IGNORE
from entityseg_bench.contents.layout import ImageFiles, Resolution, Split
from entityseg_bench.contents.semantic import semantic_contents
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.faults import Report, stop
from entityseg_bench.formats import png
from entityseg_bench.formats.identity import identity
from entityseg_bench.formats.maps import add_up, check_names, map_name, paint, paint_order
from entityseg_bench.io import InputError, atomic_path
from entityseg_bench.parallel import Journal
from entityseg_bench.types import Category

__all__ = ["read_semantic", "write_semantic"]


def read_semantic(
    list_file: str | Path,
    maps: str | Path,
    categories: Sequence[Category] | None = None,
    *,
    split: Split | None = None,
    resolution: Resolution = "high",
    image_files: ImageFiles | None = None,
    report: Report = stop,
) -> EntityDataset:
    """Read a list of image and map names and the maps it names.

    Each class of an image becomes one annotation, however many regions it has. Images are numbered
    from 1 in the order of the list; their size is that of the map, since users report maps of the
    low resolution beside images of the high one (`entityseg info` compares them).

    Args:
        list_file: One ``<image name> <map name>`` a line; names may hold spaces.
        maps: Folder of the PNGs, read when a mask is asked for.
        categories: Of the map's values; the 150 semantic ones by default.
        split: Of the data set, where known.
        resolution: Of the pixels.
        image_files: Where the images are.
        report: Takes the faults of single lines.

    Raises:
        InputError: A line that names no two files, a map that is missing or no PNG; later, one
            that is not of 8 bits.
    """
    list_file = Path(list_file)
    contents = semantic_contents(list_file, Path(maps), report)
    return EntityDataset(
        **contents._replace(categories=categories)._asdict(),
        task="semantic",
        split=split,
        resolution=resolution,
        image_files=image_files or ImageFiles(list_file.parent, resolution),
    )


def write_semantic(
    dataset: EntityDataset,
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
        dataset: Category ids in 0..254; `dataset.subset` turns entity ones into semantic.
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
    check_names(dataset.images, dataset.where)
    path = list_file.with_name(f".{list_file.name}.journal")
    journal = Journal(path, identity(dataset, str(maps)))
    journal.run(functools.partial(_write_map, dataset, maps), len(dataset), jobs, label)
    lines = [f"{image.file_name} {map_name(image.file_name)}\n" for image in dataset.images]
    with atomic_path(list_file) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
    lost = add_up(journal.results())
    journal.finish()
    return lost


def _write_map(dataset: EntityDataset, maps: Path, idx: int) -> dict[str, Any]:
    """Write the map of one image; return what was lost."""
    image, annotations = dataset.images[idx], dataset.annotations(idx)
    values = [annotation.category_id for annotation in annotations]
    for annotation in annotations:
        if not 0 <= annotation.category_id < IGNORE:
            raise InputError(
                dataset.where or "annotations",
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
