"""COCO panoptic: one RGB map an image, and JSON that says what each segment is."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from entityseg_bench.contents.layout import ImageFiles, Resolution, Split
from entityseg_bench.contents.panoptic import panoptic_contents
from entityseg_bench.contents.panoptic_rows import MOST_ID
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.faults import Report, stop
from entityseg_bench.formats import png
from entityseg_bench.formats.coco import category_row, image_row
from entityseg_bench.formats.identity import identity
from entityseg_bench.formats.maps import add_up, check_names, map_name, paint, paint_order
from entityseg_bench.io import write_json
from entityseg_bench.parallel import Journal
from entityseg_bench.types import Annotation, Category

__all__ = ["read_panoptic", "write_panoptic"]


def read_panoptic(
    path: str | Path,
    maps: str | Path | None = None,
    *,
    split: Split | None = None,
    resolution: Resolution = "high",
    image_files: ImageFiles | None = None,
    report: Report = stop,
) -> EntityDataset:
    """Read panoptic JSON and its maps; each segment becomes an annotation.

    Annotation ids are the segments' where no two images share one. Else annotations are numbered
    from 1, and ``extra["segment_id"]`` keeps the map's id.

    Args:
        path: The JSON.
        maps: Folder of the PNGs, read when a mask is asked for; looked for beside the JSON by
            default (see `maps_folder`).
        split: Of the data set, where known.
        resolution: Of the pixels.
        image_files: Where the images are.
        report: Takes the faults of single records.

    Raises:
        InputError: A broken record; later, a map that is missing, of another size, or whose
            segments are not those of the JSON.
    """
    path = Path(path)
    return EntityDataset(
        **panoptic_contents(path, Path(maps) if maps else None, report)._asdict(),
        task="panoptic",
        split=split,
        resolution=resolution,
        image_files=image_files or ImageFiles(path.parent, resolution),
    )


def write_panoptic(
    dataset: EntityDataset,
    path: str | Path,
    maps: str | Path,
    jobs: int = 1,
    label: str | None = None,
) -> dict[str, int]:
    """Write panoptic JSON and RGB maps; a run that broke off goes on where it stopped.

    Lost where it occurs, and counted in the result: overlap (a pixel goes to the later annotation;
    crowds lie under all others), empty and entirely hidden masks, annotation ids that are no
    segment ids (0, beyond 2**24, or twice in an image). Areas and boxes of cut masks are computed
    anew. All else is kept.

    Args:
        dataset: What to write.
        path: The JSON.
        maps: Folder of the PNGs.
        jobs: Processes.
        label: Title of a progress bar.

    Returns:
        What was lost -> how often.
    """
    path, maps = Path(path), Path(maps)
    check_names(dataset.images, dataset.where)
    journal = Journal(path.with_name(f".{path.name}.journal"), identity(dataset, str(maps)))
    work = functools.partial(_write_map, dataset, maps)
    journal.run(work, len(dataset), jobs, label)
    rows = (
        {"image_id": image.id, "file_name": image.file_name, "segments_info": made["segments"]}
        for image, made in zip(dataset.images, journal.results(), strict=True)
    )
    content = {
        **dataset.info,
        "images": [image_row(image) for image in dataset.images],
        "annotations": list(rows),
        "categories": [_isthing_row(category) for category in dataset.categories],
    }
    write_json(path, content)
    lost = add_up(journal.results())
    journal.finish()
    return lost


def _write_map(dataset: EntityDataset, maps: Path, idx: int) -> dict[str, Any]:
    """Write the map of one image; return its segments and what was lost."""
    image, annotations = dataset.images[idx], dataset.annotations(idx)
    ids, renumbered = segment_ids(annotations)
    masks = [annotation.segmentation for annotation in annotations]
    painted = paint(masks, ids, paint_order(annotations), (image.height, image.width))
    png.write_ids(maps / map_name(image.file_name), painted.pixels)
    measures = painted.measures(ids, annotations)
    segments = [
        _segment_row(annotation, ids[k], *measures[k])
        for k, annotation in enumerate(annotations)
        if painted.areas[k]
    ]
    lost = painted.losses()
    lost["annotation ids changed: a map holds 1..2**24 - 1, each once an image"] = renumbered
    return {"segments": segments, "lost": lost}


def _segment_row(annotation: Annotation, segment_id: int, area: float, bbox: Any) -> dict[str, Any]:
    extra = {k: v for k, v in (annotation.extra or {}).items() if k != "segment_id"}
    return {
        "id": segment_id,
        "category_id": annotation.category_id,
        "area": area,
        "bbox": bbox,
        "iscrowd": int(annotation.iscrowd),
        **extra,
    }


def segment_ids(annotations: Sequence[Annotation]) -> tuple[list[int], int]:
    """Choose the map's ids of an image's annotations: their own, or 1.. where those cannot be.

    Returns:
        Ids, and how many annotations lost theirs.
    """
    ids = [(a.extra or {}).get("segment_id", a.id) for a in annotations]
    fit = all(isinstance(k, int) and 0 < k <= MOST_ID for k in ids) and len(set(ids)) == len(ids)
    return (ids, 0) if fit else (list(range(1, len(ids) + 1)), len(ids))


def _isthing_row(category: Category) -> dict[str, Any]:
    row = category_row(category)
    if "type" in row:
        row["isthing"] = int(row.pop("type") == "thing")
    return row
