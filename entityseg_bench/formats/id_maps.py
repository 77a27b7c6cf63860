"""Id maps: one PNG an image, 0 = nothing, 1.. = its segments; 16 bits from the 256th on."""

import functools
from pathlib import Path
from typing import Any

from entityseg_bench.check import Report, stop
from entityseg_bench.formats import png
from entityseg_bench.formats.identity import identity
from entityseg_bench.formats.index import index_row, open_indexed_dt, read_index, write_index
from entityseg_bench.formats.label_maps import (
    ClassRegions,
    LabelMaps,
    Region,
    bare_maps,
    images_of,
    jpg_name,
    maps_below,
    predicted_maps,
)
from entityseg_bench.formats.maps import (
    add_up,
    check_names,
    find_map,
    map_name,
    paint,
    paint_order,
)
from entityseg_bench.formats.opened import INDEX, Inputs, Opened, agree
from entityseg_bench.formats.panoptic import PanopticMasks
from entityseg_bench.parallel import Journal
from entityseg_bench.table import AnnotatedImages, LazySegments, Segments

__all__ = ["read_id_png", "write_id_png"]


def write_id_png(
    dataset: AnnotatedImages, folder: str | Path, jobs: int = 1, label: str | None = None
) -> dict[str, int]:
    """Write id maps, and ``annotations.json`` with everything else.

    The value of a segment is its place in its image's annotations, from 1. Lost where it occurs,
    and counted in the result: overlap (the highest score wins, without scores the later one;
    crowds lie lowest), empty and entirely hidden masks. Areas and boxes of cut masks are computed
    anew. A run that broke off goes on where it stopped.

    Args:
        dataset: Ground truth, or predictions.
        folder: Where to write.
        jobs: Processes.
        label: Title of a progress bar.

    Returns:
        What was lost -> how often.

    Raises:
        InputError: An image with more than 65535 segments.
    """
    folder = Path(folder)
    check_names(dataset.images, dataset.where_from)
    work = functools.partial(_write_map, dataset, folder)
    with Journal(folder / f".{INDEX}.journal", identity(dataset, "id maps"), dict) as journal:
        journal.run(work, len(dataset.images), jobs, label)
        write_index(dataset, folder, (made["rows"] for made in journal.results()))
        lost = add_up(journal.results())
        journal.finish()
    return lost


def _write_map(dataset: AnnotatedImages, folder: Path, idx: int) -> dict[str, Any]:
    """Write the map of one image; return the rows of its segments and what was lost."""
    image, annotations = dataset.images[idx], dataset.annotations(idx)
    values = range(1, len(annotations) + 1)
    masks = [annotation.segmentation for annotation in annotations]
    painted = paint(masks, values, paint_order(annotations), (image.height, image.width))
    png.write_labels(folder / map_name(image.file_name), painted.pixels)
    measures = painted.measures(values, annotations)
    rows = []
    for k, annotation in enumerate(annotations):
        if painted.areas[k]:
            area, bbox = measures[k]
            rows.append({**index_row(annotation, values[k]), "area": area, "bbox": bbox})
    return {"rows": rows, "lost": painted.losses()}


def read_id_png(folder: str | Path, report: Report = stop) -> Segments | LazySegments:
    """Read id maps with their ``annotations.json``, or bare ones.

    Bare maps give each value but 0 as a segment of category 0 (unknown); images are numbered from
    1 in the order of their names, and called like their map with ``.jpg``.

    Args:
        folder: Of the maps.
        report: Takes the faults of single rows of the index.

    Raises:
        InputError: No maps there, or broken ones.
    """
    folder = Path(folder)
    if (folder / INDEX).is_file():
        return _read_indexed(folder, report)
    images, paths = images_of(folder, maps_below(folder, ".png"), jpg_name)
    rows = LabelMaps(images, paths, _ids_alone)
    return LazySegments(images, rows, where_from=str(folder), kind="segment")


def _read_indexed(folder: Path, report: Report) -> Segments:
    def masks_of(images: Any, image_idx: Any, values: Any) -> PanopticMasks:
        maps = [find_map(folder, image.file_name) for image in images]
        names = [f"image {image.id} ({image.file_name})" for image in images]
        return PanopticMasks(maps, names, image_idx, values)

    return read_index(folder, masks_of, report)


def _ids_alone(path: Path) -> tuple[list[Region], tuple[int, int]]:
    regions, size = ClassRegions(frozenset((0,)), deep=True)(path)
    return [Region(0, region.mask) for region in regions], size


def open_gt(path: Path, inputs: Inputs, *, whole: bool = True, report: Report = stop) -> Opened:
    """Open id maps; see `entityseg_bench.formats.open`."""
    table = read_id_png(path, report)
    agree(path, table.task, inputs.task)
    return Opened(table, [path])


def open_dt(
    path: Path, truth: Segments, inputs: Inputs, *, some_images: bool, report: Report
) -> Opened:
    """Open predictions: id maps with their index, or bare ones called like the images."""
    if (path / INDEX).is_file():
        return open_indexed_dt(_read_indexed(path, report), path, truth, report)
    maps, notes = bare_maps(path, truth.images, some_images, report)
    table = predicted_maps(truth, maps, ClassRegions(frozenset((0,)), deep=True), path)
    return Opened(table, [path], "none", notes)
