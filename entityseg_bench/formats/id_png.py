"""Id maps: one PNG an image, 0 = nothing, 1.. = its segments; 16 bits from the 256th on."""

import functools
from pathlib import Path
from typing import Any

from entityseg_bench.contents.layout import ImageFiles
from entityseg_bench.contents.panoptic import PanopticMasks
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.faults import Report, stop
from entityseg_bench.formats import png
from entityseg_bench.formats.identity import identity
from entityseg_bench.formats.index import INDEX, index_row, read_index, write_index
from entityseg_bench.formats.label_maps import (
    ClassRegions,
    LabelMaps,
    Region,
    images_of,
    jpg_name,
    maps_below,
)
from entityseg_bench.formats.maps import (
    add_up,
    check_names,
    find_map,
    map_name,
    paint,
    paint_order,
)
from entityseg_bench.parallel import Journal

__all__ = ["read_id_png", "write_id_png"]


def write_id_png(
    dataset: EntityDataset, folder: str | Path, jobs: int = 1, label: str | None = None
) -> dict[str, int]:
    """Write id maps, and ``annotations.json`` with everything else.

    The value of a segment is its place in its image's annotations, from 1. Lost where it occurs,
    and counted in the result: overlap (the highest score wins, without scores the later one;
    crowds lie lowest), empty and entirely hidden masks. Areas and boxes of cut masks are computed
    anew. A run that broke off goes on where it stopped.

    Args:
        dataset: Ground truth, or predictions (`formats.results`).
        folder: Where to write.
        jobs: Processes.
        label: Title of a progress bar.

    Returns:
        What was lost -> how often.

    Raises:
        InputError: An image with more than 65535 segments.
    """
    folder = Path(folder)
    check_names(dataset.images, dataset.where)
    journal = Journal(folder / f".{INDEX}.journal", identity(dataset, "id maps"))
    journal.run(functools.partial(_write_map, dataset, folder), len(dataset), jobs, label)
    write_index(dataset, folder, (made["rows"] for made in journal.results()))
    lost = add_up(journal.results())
    journal.finish()
    return lost


def _write_map(dataset: EntityDataset, folder: Path, idx: int) -> dict[str, Any]:
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


def read_id_png(folder: str | Path, report: Report = stop) -> EntityDataset:
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

        def masks_of(images: Any, image_idx: Any, values: Any) -> PanopticMasks:
            maps = [find_map(folder, image.file_name) for image in images]
            names = [f"image {image.id} ({image.file_name})" for image in images]
            return PanopticMasks(maps, names, image_idx, values)

        return read_index(folder, masks_of, report)
    images, paths = images_of(folder, maps_below(folder, ".png"), jpg_name)
    rows = LabelMaps(images, paths, str(folder), _ids_alone)
    return EntityDataset(images, rows, image_files=ImageFiles(folder), where=str(folder))


def _ids_alone(path: Path) -> tuple[list[Region], tuple[int, int]]:
    regions, size = ClassRegions(frozenset((0,)), deep=True)(path)
    return [Region(0, region.mask) for region in regions], size
