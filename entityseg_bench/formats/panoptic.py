"""COCO panoptic: one RGB map an image, and JSON that says what each segment is."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.dataset.layout import ImageFiles, Resolution, Split
from entityseg_bench.dataset.records import Records, positions
from entityseg_bench.formats import png
from entityseg_bench.formats.coco import category_row, image_row, to_category, to_image
from entityseg_bench.formats.maps import (
    add_up,
    check_names,
    find_map,
    identity,
    map_name,
    maps_folder,
    paint,
    paint_order,
)
from entityseg_bench.io import InputError, decode_json, read_bytes, write_json
from entityseg_bench.parallel import Journal
from entityseg_bench.types import RLE, Annotation, Category

__all__ = ["read_panoptic", "write_panoptic"]

MOST_ID = (1 << 24) - 1
SEGMENT_FIELDS = ("id", "category_id", "area", "bbox", "iscrowd")


class Segments(msgspec.Struct):
    """Hold one image's row of the JSON."""

    image_id: int | str
    file_name: str
    segments_info: list[dict[str, Any]]


class File(msgspec.Struct):
    """Hold the JSON."""

    images: list[dict[str, Any]]
    annotations: list[Segments]
    categories: list[dict[str, Any]] = []
    info: Any = None
    licenses: Any = None


class Segment(msgspec.Struct):
    """Hold what is known of a segment beside its pixels."""

    id: int
    category_id: int
    area: float | None = None
    bbox: tuple[float, float, float, float] | None = None
    iscrowd: bool | int = 0


class PanopticMasks:
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

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return the mask of segment ``idx``."""
        _, _, image_idx, segment_ids = self._state
        return self._read_once(int(image_idx[idx]), size)[int(segment_ids[idx])]

    def counts(self, idx: int, size: tuple[int, int]) -> str:
        """Return its compressed counts."""
        return self.rle(idx, size)["counts"]

    def _read(self, image_idx: int, size: tuple[int, int]) -> dict[int, RLE]:
        path, name = self._state[0][image_idx], self._state[1][image_idx]
        pixels = png.read_ids(path)
        if pixels.shape != size:
            raise InputError(
                path,
                name,
                f"the map's {pixels.shape[0]} x {pixels.shape[1]} pixels (height x width) are not "
                f"the image's {size[0]} x {size[1]}.",
                "Is it the other resolution's map?",
            )
        ids, masks = rle_codes.encode_id_map(pixels)
        found = dict(zip(ids.tolist(), masks, strict=True))
        found.pop(0, None)
        expected = self._of_image.get(image_idx, set())
        for missing, place in ((expected - set(found), "map"), (set(found) - expected, "JSON")):
            if missing:
                listed = ", ".join(map(str, sorted(missing)[:10]))
                raise InputError(
                    path,
                    name,
                    f"segments {listed} are not in the {place}.",
                    "Map and JSON do not belong together.",
                )
        return found


def read_panoptic(
    path: str | Path,
    maps: str | Path | None = None,
    *,
    split: Split | None = None,
    resolution: Resolution = "high",
    image_files: ImageFiles | None = None,
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

    Raises:
        InputError: A broken record; later, a map that is missing, of another size, or whose
            segments are not those of the JSON.
    """
    path = Path(path)
    content = decode_json(path, read_bytes(path), msgspec.json.Decoder(File))
    images = [to_image(row, path, idx) for idx, row in enumerate(content.images)]
    table = [to_category(row, path, idx) for idx, row in enumerate(content.categories)]
    where = {image.id: idx for idx, image in enumerate(images)}
    at = positions(where, [row.image_id for row in content.annotations], str(path))
    named = {int(idx): row.file_name for idx, row in zip(at, content.annotations, strict=True)}
    if len(named) != len(content.annotations):
        raise InputError(path, "annotations", "an image stands twice.", "Join its segments.")
    rows = [
        (idx, segment, extra)
        for idx, row in zip(at.tolist(), content.annotations, strict=True)
        for segment, extra in _segments(row, path)
    ]
    image_idx = np.array([idx for idx, _, _ in rows], np.int64)
    segment_ids = np.array([segment.id for _, segment, _ in rows], np.int64)
    extras = [extra for _, _, extra in rows]
    ids = segment_ids
    if len(np.unique(ids)) != len(ids):
        ids = np.arange(1, len(ids) + 1, dtype=np.int64)
        extras = [{"segment_id": s.id, **(extra or {})} for _, s, extra in rows]
    nan = float("nan")
    # A file of no images has no maps that could be looked for.
    folder = Path(maps or path.parent) if maps or not images else maps_folder(path, "panoptic")
    masks = PanopticMasks(
        [find_map(folder, named.get(i, image.file_name)) for i, image in enumerate(images)],
        [f"image {image.id} ({image.file_name})" for image in images],
        image_idx,
        segment_ids,
    )
    return EntityDataset(
        images,
        Records(
            ids=ids,
            image_idx=image_idx,
            category_ids=np.array([s.category_id for _, s, _ in rows], np.int64),
            areas=np.array([nan if s.area is None else s.area for _, s, _ in rows], np.float64),
            boxes=np.array([s.bbox or (nan,) * 4 for _, s, _ in rows]).reshape(-1, 4),
            iscrowd=np.array([bool(s.iscrowd) for _, s, _ in rows], bool),
            masks=masks,
            extras=extras if any(extras) else None,
            where=str(path),
        ),
        table or None,
        "panoptic",
        split=split,
        resolution=resolution,
        image_files=image_files or ImageFiles(path.parent, resolution),
        info={k: v for k in ("info", "licenses") if (v := getattr(content, k)) is not None},
        where=str(path),
    )


def _segments(row: Segments, path: Path) -> list[tuple[Segment, dict[str, Any] | None]]:
    """Check the segments of one image."""
    place = f"image {row.image_id} ({row.file_name})"
    found = []
    taken = set()
    for idx, fields in enumerate(row.segments_info):
        try:
            segment = msgspec.convert(fields, Segment)
        except msgspec.ValidationError as error:
            raise InputError(path, f"{place}, segments_info[{idx}]", f"{error}.") from None
        if not 0 < segment.id <= MOST_ID:
            what = f"segment id {segment.id} must lie in 1..{MOST_ID}: 0 is void."
            raise InputError(path, f"{place}, segments_info[{idx}]", what)
        if segment.id in taken:
            raise InputError(path, place, f"segment {segment.id} stands twice.", "Merge them.")
        taken.add(segment.id)
        extra = {name: value for name, value in fields.items() if name not in SEGMENT_FIELDS}
        found.append((segment, extra or None))
    return found


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
