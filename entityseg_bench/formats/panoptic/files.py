"""COCO panoptic: one RGB map an image, and JSON that says what each segment is."""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entityseg_bench import categories as category_tables
from entityseg_bench.check import Report, raise_all, stop, within
from entityseg_bench.formats import png
from entityseg_bench.formats.coco import category_row, image_row, table_of_content
from entityseg_bench.formats.identity import identity
from entityseg_bench.formats.index import category_rows, image_rows
from entityseg_bench.formats.json_files import read_records
from entityseg_bench.formats.maps import (
    add_up,
    check_names,
    find_map,
    map_name,
    maps_folder,
    paint,
    paint_order,
    size_fault,
)
from entityseg_bench.formats.matching import listed_names
from entityseg_bench.formats.opened import Classes, Inputs, Opened, agree
from entityseg_bench.formats.panoptic.lists import has_maps, read_predictions, records_of_maps
from entityseg_bench.formats.panoptic.rows import (
    MOST_ID,
    File,
    Segment,
    checked_segments,
    image_segments,
)
from entityseg_bench.io import InputError, write_json
from entityseg_bench.masks import Masks
from entityseg_bench.parallel import Journal
from entityseg_bench.selection import rows_of
from entityseg_bench.table import AnnotatedImages, Segments
from entityseg_bench.types import RLE, Annotation, Category, ImageInfo, Tally

__all__ = ["PanopticMasks", "read_panoptic", "write_panoptic"]

# How many segments an error names.
SHOWN = 10


class PanopticMasks(Masks):
    """Read masks from RGB maps, all of an image at once.

    Args:
        maps: (I,) map of each image.
        names: (I,) how errors call each image.
        image_idx: (N,) image of each segment.
        segment_ids: (N,) its id in the map.
    """

    def __init__(
        self,
        maps: Sequence[Path],
        names: Sequence[str],
        image_idx: NDArray[np.int64],
        segment_ids: NDArray[np.int64],
    ) -> None:
        self._state = maps, names, image_idx, segment_ids
        self._of_image: dict[int, set[int]] = {}
        for idx, segment_id in zip(image_idx.tolist(), segment_ids.tolist(), strict=True):
            self._of_image.setdefault(idx, set()).add(segment_id)
        # The last maps read: an image's segments are asked for one after the other.
        self._read_once = functools.lru_cache(maxsize=8)(self._read)

    def __reduce__(self) -> tuple[Any, ...]:
        return PanopticMasks, self._state

    @property
    def paths(self) -> Sequence[Path]:
        """(I,) map of each image, there or not."""
        return self._state[0]

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return the mask of segment ``idx``."""
        _, _, image_idx, segment_ids = self._state
        return self._read_once(int(image_idx[idx]), size)[int(segment_ids[idx])]

    def _read(self, image_idx: int, size: tuple[int, int]) -> dict[int, RLE]:
        path, name = self._state[0][image_idx], self._state[1][image_idx]
        with within(name):
            # Before it is decoded: a small file can hold a large map.
            if (stated := png.image_size(path)) != size:
                raise size_fault(path, name, stated, size)
            pixels = png.read_ids(path)
        ids, masks = rle_codes.encode_id_map(pixels)
        found = dict(zip(ids.tolist(), masks, strict=True))
        found.pop(0, None)
        expected = self._of_image.get(image_idx, set())
        faults = []
        for missing, place in ((expected - set(found), "map"), (set(found) - expected, "JSON")):
            if missing:
                listed = ", ".join(map(str, sorted(missing)[:SHOWN]))
                more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
                what = f"segments {listed}{more} are not in the {place}."
                faults.append(InputError(path, name, what, "Map and JSON do not belong together."))
        raise_all(faults)
        return found


class Row(NamedTuple):
    """Hold one segment, the position of its image, and its other fields."""

    image_idx: int
    segment: Segment
    extra: dict[str, Any] | None


def read_panoptic(
    path: str | Path,
    maps: str | Path | None = None,
    *,
    images: Sequence[ImageInfo] | None = None,
    report: Report = stop,
) -> Segments:
    """Read panoptic JSON and its maps; each segment becomes an annotation.

    Annotation ids are the segments' where no two images share one. Else annotations are numbered
    from 1, and ``extra["segment_id"]`` keeps the map's id.

    Args:
        path: The JSON.
        maps: Folder of the PNGs, read when a mask is asked for; looked for beside the JSON by
            default (see `maps_folder`).
        images: Those of the ground truth, where the file is one of predictions, whose own list may
            be missing.
        report: Takes the faults of single records.

    Raises:
        InputError: A broken record, or no folder of maps; later, a map that is missing, of another
            size, or whose segments are not those of the JSON.
    """
    path, tally = Path(path), Tally()
    content = read_records(path, File) if images is None else read_predictions(path, tally)
    return _table(path, content, tally, maps, images, report)


def _table(
    path: Path,
    content: File,
    tally: Tally,
    maps: str | Path | None,
    images: Sequence[ImageInfo] | None,
    report: Report,
) -> Segments:
    """Make the table of what a file holds; see `read_panoptic`."""
    own = None if images is None else listed_names(content.images)
    if images is None:
        if content.images is None:
            raise InputError(path, "images", "it is missing or no list.")
        images = image_rows(content.images, path, report, tally)
    table = category_rows(content.categories or [], path, report, tally=tally)
    of_images = image_segments(content.annotations, images, path, report, tally, own)
    rows = []
    for idx, row in of_images.items():
        place = f"image {row.image_id} ({row.file_name or images[idx].file_name})"
        segments = checked_segments(row.segments_info, path, place, report, tally)
        rows += [Row(idx, segment, extra) for segment, extra in segments]
    given = Path(maps) if maps else None
    # A file of no images has no maps that could be looked for.
    folder = maps_folder(path, "panoptic", given) if images else path.parent
    named = {idx: row.file_name for idx, row in of_images.items() if row.file_name}
    found = [find_map(folder, named.get(i, image.file_name)) for i, image in enumerate(images)]
    info = {k: v for k in ("info", "licenses") if (v := getattr(content, k)) is not None}
    columns = _columns(rows, images, found, path)
    table = table or category_tables.table("panoptic")
    return columns.replace(categories=table, info=info, notes=tuple(tally.notes()))


def _columns(
    rows: Sequence[Row], images: Sequence[ImageInfo], maps: Sequence[Path], path: Path
) -> Segments:
    """Put segments into columns, numbered anew where images share an id."""
    image_idx = np.array([row.image_idx for row in rows], np.int64)
    segments = [row.segment for row in rows]
    segment_ids = np.array([segment.id for segment in segments], np.int64)
    names = [f"image {image.id} ({image.file_name})" for image in images]
    ids, extras = segment_ids, [row.extra for row in rows]
    if len(np.unique(ids)) != len(ids):
        ids = np.arange(1, len(ids) + 1, dtype=np.int64)
        extras = [{"segment_id": row.segment.id, **(row.extra or {})} for row in rows]
    nan = float("nan")
    scores = np.array([nan if s.score is None else s.score for s in segments], np.float64)
    return Segments.make(
        images,
        image_idx,
        PanopticMasks(maps, names, image_idx, segment_ids),
        ids,
        category_ids=np.array([s.category_id for s in segments], np.int64),
        scores=scores,
        predicted=not np.isnan(scores).all(),
        areas=np.array([nan if s.area is None else s.area for s in segments], np.float64),
        boxes=np.array([s.bbox or (nan,) * 4 for s in segments]).reshape(-1, 4),
        iscrowd=np.array([bool(s.iscrowd) for s in segments], bool),
        extras=extras if any(extras) else None,
        task="panoptic",
        where_from=str(path),
        kind="segment",
    )


def write_panoptic(
    dataset: AnnotatedImages,
    path: str | Path,
    maps: str | Path,
    jobs: int = 1,
    label: str | None = None,
    named: Literal["maps", "images"] = "maps",
) -> dict[str, int]:
    """Write panoptic JSON and RGB maps; a run that broke off goes on where it stopped.

    Lost where it occurs, and counted in the result: overlap (a pixel goes to the later annotation;
    crowds lie under all others), empty and entirely hidden masks, annotation ids that are no
    segment ids (0, beyond 2**24, or twice in an image). Categories that are said to be neither
    things nor stuff are written as things, and counted. Areas are the pixels', as
    panopticapi needs them; boxes of cut masks are computed anew. All else is kept.

    Args:
        dataset: What to write.
        path: The JSON.
        maps: Folder of the PNGs.
        jobs: Processes.
        label: Title of a progress bar.
        named: What ``file_name`` of an annotation names: its map, as COCO's tools (panopticapi,
            detectron2) expect it, or its image, as the data set's own files have it.

    Returns:
        What was lost -> how often.
    """
    path, maps = Path(path), Path(maps)
    check_names(dataset.images, dataset.where_from)
    work = functools.partial(_write_map, dataset, maps)
    made = identity(dataset, str(maps))
    with Journal(path.with_name(f".{path.name}.journal"), made, dict) as journal:
        journal.run(work, len(dataset.images), jobs, label)
        write_json(path, _content(dataset, journal.results(), named))
        untold = "categories written as things: nothing says that they are stuff"
        n_untold = sum(category.type is None for category in dataset.categories)
        lost = add_up([*journal.results(), {"lost": {untold: n_untold}}])
        journal.finish()
    return lost


def _content(
    dataset: AnnotatedImages, results: Iterable[dict[str, Any]], named: Literal["maps", "images"]
) -> dict[str, Any]:
    """Return the JSON of a dataset from what writing its maps has given."""
    name_of = map_name if named == "maps" else str
    rows = [
        {
            "image_id": image.id,
            "file_name": name_of(image.file_name),
            "segments_info": made["segments"],
        }
        for image, made in zip(dataset.images, results, strict=True)
    ]
    return {
        **dataset.info,
        "images": [image_row(image) for image in dataset.images],
        "annotations": rows,
        "categories": [_isthing_row(category) for category in dataset.categories],
    }


def _write_map(dataset: AnnotatedImages, maps: Path, idx: int) -> dict[str, Any]:
    """Write the map of one image; return its segments and what was lost."""
    image, annotations = dataset.images[idx], dataset.annotations(idx)
    ids, renumbered = segment_ids(annotations)
    masks = [annotation.segmentation for annotation in annotations]
    painted = paint(masks, ids, paint_order(annotations), (image.height, image.width))
    png.write_ids(maps / map_name(image.file_name), painted.pixels)
    measures = painted.measures(ids, annotations)
    segments = [
        _segment_row(
            annotation, ids[k], _area(measures[k][0], int(painted.areas[k])), measures[k][1]
        )
        for k, annotation in enumerate(annotations)
        if painted.areas[k]
    ]
    lost = painted.losses()
    lost["annotation ids changed: a map holds 1..2**24 - 1, each once an image"] = renumbered
    return {"segments": segments, "lost": lost}


def _area(stated: float, pixels: int) -> float:
    """Keep a stated area, and how it is written, if it is that of the pixels."""
    return stated if stated == pixels else pixels


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
    row["isthing"] = int(row.pop("type", "thing") == "thing")
    return row


def open_gt(path: Path, inputs: Inputs, *, whole: bool = True, report: Report = stop) -> Opened:
    """Open panoptic JSON; see `entityseg_bench.formats.open`."""
    agree(path, "panoptic", inputs.task)
    try:
        maps = maps_folder(path, "panoptic", inputs.gt_maps, "--gt-maps")
    except InputError as fault:
        report(fault)
        # The records can be checked all the same.
        table = read_panoptic(path, path.parent, report=report)
        return Opened(rows_of(table, np.zeros(0, np.int64)), [path])
    return Opened(read_panoptic(path, maps, report=report), [path, maps])


def open_dt(
    path: Path, truth: Segments, inputs: Inputs, *, some_images: bool, report: Report
) -> Opened:
    """Open predictions in panoptic JSON; its own list of images may be missing."""
    classes: Classes = "all" if truth.task == "panoptic" else "none"
    tally = Tally()
    content = read_predictions(path, tally)
    if has_maps(content.annotations):
        records = list(records_of_maps(content.annotations, path, tally))
        return Opened(table_of_content(path, records, inputs, truth, tally), [path], classes)
    maps = maps_folder(path, "panoptic", inputs.pred_maps, "--pred-maps")
    table = _table(path, content, tally, maps, truth.images, report)
    table = table.replace(categories=truth.categories, predicted=True)
    return Opened(table, [path, maps], classes)
