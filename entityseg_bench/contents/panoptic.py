"""What a panoptic JSON and its RGB maps hold."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entityseg_bench.contents.checked_rows import category_rows, image_rows
from entityseg_bench.contents.contents import Contents
from entityseg_bench.contents.panoptic_rows import (
    File,
    Segment,
    Segments,
    checked_segments,
    image_segments,
)
from entityseg_bench.contents.records import Records
from entityseg_bench.faults import Report, raise_all, stop, within
from entityseg_bench.formats import png
from entityseg_bench.formats.maps import find_map, maps_folder, size_fault
from entityseg_bench.io import InputError, decode_json, read_bytes
from entityseg_bench.types import RLE, ImageInfo

__all__ = ["PanopticMasks", "panoptic_contents"]

# How many segments an error names.
SHOWN = 10


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

    @property
    def paths(self) -> Sequence[Path]:
        """(I,) map of each image, there or not."""
        return self._state[0]

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return the mask of segment ``idx``."""
        _, _, image_idx, segment_ids = self._state
        return self._read_once(int(image_idx[idx]), size)[int(segment_ids[idx])]

    def counts(self, idx: int, size: tuple[int, int]) -> str:
        """Return its compressed counts."""
        return self.rle(idx, size)["counts"]

    def _read(self, image_idx: int, size: tuple[int, int]) -> dict[int, RLE]:
        path, name = self._state[0][image_idx], self._state[1][image_idx]
        with within(name):
            pixels = png.read_ids(path)
        if pixels.shape != size:
            raise size_fault(path, name, pixels.shape, size)
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


def panoptic_contents(path: Path, maps: Path | None = None, report: Report = stop) -> Contents:
    """Read a JSON, its maps when a mask is asked for; see `formats.panoptic.read_panoptic`.

    Raises:
        InputError: A broken record, unless ``report`` takes it, or no folder of maps.
    """
    content = decode_json(path, read_bytes(path), msgspec.json.Decoder(File))
    images = image_rows(content.images, path, report)
    table = category_rows(content.categories, path, report)
    of_images = image_segments(content.annotations, Segments, images, path, report)
    named = {idx: row.file_name for idx, row in of_images.items()}
    rows = []
    for idx, row in of_images.items():
        place = f"image {row.image_id} ({row.file_name})"
        segments = checked_segments(row.segments_info, Segment, path, place, report)
        rows += [Row(idx, segment, extra) for segment, extra in segments]
    # A file of no images has no maps that could be looked for.
    folder = maps or (maps_folder(path, "panoptic") if images else path.parent)
    found = [find_map(folder, named.get(i, image.file_name)) for i, image in enumerate(images)]
    info = {k: v for k in ("info", "licenses") if (v := getattr(content, k)) is not None}
    return Contents(images, _columns(rows, images, found, path), table or None, info, str(path))


def _columns(
    rows: Sequence[Row], images: Sequence[ImageInfo], maps: Sequence[Path], path: Path
) -> Records:
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
    return Records(
        ids=ids,
        image_idx=image_idx,
        category_ids=np.array([s.category_id for s in segments], np.int64),
        areas=np.array([nan if s.area is None else s.area for s in segments], np.float64),
        boxes=np.array([s.bbox or (nan,) * 4 for s in segments]).reshape(-1, 4),
        iscrowd=np.array([bool(s.iscrowd) for s in segments], bool),
        masks=PanopticMasks(maps, names, image_idx, segment_ids),
        extras=extras if any(extras) else None,
        where=str(path),
    )
