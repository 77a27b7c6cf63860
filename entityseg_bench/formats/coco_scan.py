"""One pass over a COCO file: columns now, masks left where they lie in the file.

Masks are nine tenths of such a file, as long strings. They are cut out unread, what remains is
decoded by type, and each mask is known by its place in the mapped file: about 90 bytes of memory an
annotation. Files whose masks are no strings (polygons, plain run lengths) are decoded whole.
"""

import contextlib
import dataclasses
import json
import mmap
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from entityseg_bench import cache
from entityseg_bench.contents.records import Masks
from entityseg_bench.formats.coco_masks import Data, JsonMasks, LiteralMasks, Places, TextExtras
from entityseg_bench.io import InputError, decode_json, read_bytes

__all__ = ["Scan", "scan"]


class Names(NamedTuple):
    """List the fields beside COCO's: of the file, and of its annotations."""

    head: tuple[str, ...]
    record: tuple[str, ...]


USUAL_HEAD = ("info", "licenses", "type")
KNOWN = ("id", "image_id", "category_id", "segmentation", "bbox", "area", "iscrowd")
TABLES = ("images", "annotations", "categories")
# Smaller files are read faster than hashed and looked up.
LEAST_CACHED = 1 << 20

COUNTS = re.compile(rb'"counts"\s*:\s*"')


class Box(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """Hold a bbox; a tuple would be watched by the garbage collector."""

    x: float
    y: float
    w: float
    h: float


class Size(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """Hold the size of a mask."""

    height: int
    width: int


class CutMask(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Hold what is left of an RLE whose string was cut out."""

    size: Size
    counts: Literal[""]


@dataclasses.dataclass(frozen=True)
class Scan:
    """Hold a COCO file.

    Attributes:
        head: Every top-level field but the annotations.
        image_ids: (N,) of the annotations.
        columns: id, category_id, area, bbox, iscrowd.
        masks: Of the annotations.
        extras: Their other fields, None when there are none.
    """

    head: dict[str, Any]
    image_ids: Sequence[Any]
    columns: dict[str, NDArray[Any]]
    masks: Masks
    extras: TextExtras | None


def scan(path: Path, cached: bool = True) -> Scan:
    """Read a COCO file, plain or gzip, from the cache when it was read before.

    Raises:
        InputError: No such file, broken JSON (with the byte), or a record of another shape.
    """
    data = read_bytes(path)
    if cached and isinstance(data, mmap.mmap) and len(data) >= LEAST_CACHED:
        arrays = _through_cache(path, data)
    else:
        arrays = _parse(path, data)
    texts = {name: arrays[name].tobytes() for name in ("head", "extra_names", "extra_text")}
    masks: Masks
    if "size" in arrays:
        masks = LiteralMasks(path, arrays["place"], arrays["size"], data)
    else:
        masks = JsonMasks(path, arrays["place"], data)
    if "image_id" in arrays:
        image_ids = arrays["image_id"].tolist()
    else:
        image_ids = msgspec.json.decode(arrays["image_id_text"].tobytes())
    names = msgspec.json.decode(texts["extra_names"])
    return Scan(
        head=msgspec.json.decode(texts["head"]),
        image_ids=image_ids,
        columns={k: arrays[k] for k in ("id", "category_id", "area", "bbox", "iscrowd")},
        masks=masks,
        extras=TextExtras(names, texts["extra_text"], arrays["extra_end"]) if names else None,
    )


def _through_cache(path: Path, data: mmap.mmap) -> dict[str, NDArray[Any]]:
    """Take a file's arrays from the cache, or parse it, hash it meanwhile, and store them."""
    digest = cache.known_hash(path)
    if digest is None and cache.holds_size(len(data)):
        digest = cache.file_hash(path, data)
    arrays = cache.load(digest, len(data)) if digest else None
    if arrays is None:
        with ThreadPoolExecutor(1) as pool:
            hashing = pool.submit(cache.file_hash, path, data)
            arrays = _parse(path, data)
            cache.store(hashing.result(), len(data), arrays)
    return arrays


def _prefault(data: mmap.mmap) -> None:
    """Map all pages at once where the system can (Linux 5.14): a third of the scan's time."""
    if sys.platform == "linux":
        populate_read = 22
        # Older systems do not know the advice; then pages are mapped as they are met.
        with contextlib.suppress(OSError):
            data.madvise(populate_read)


def _parse(path: Path, data: Data) -> dict[str, NDArray[Any]]:
    """Read a file into the arrays of a cache entry."""
    if isinstance(data, mmap.mmap):
        _prefault(data)
    skeleton, places = _cut_masks(data)
    if len(places):
        try:
            head, rows, names = _decode(path, skeleton, CutMask)
        except InputError:
            # Not all masks are strings, or the file is broken: the whole of it tells where.
            rows = []
        if len(rows) == len(places):
            sides = ("segmentation.size.height", "segmentation.size.width")
            size = np.stack([_whole(path, side, rows) for side in sides], axis=1)
            return {**_columns(path, head, rows, names), "place": places, "size": size}
    head, rows, names = _decode(path, data, msgspec.Raw)
    place = _addresses(data, [row.segmentation for row in rows])
    return {**_columns(path, head, rows, names), "place": place}


def _cut_masks(data: Data) -> tuple[bytes, Places]:
    """Take the strings of all ``counts`` out of JSON text.

    Run-length codes hold neither quotes nor escaped ones, so each ends at the next quote. Other
    text may be cut by mistake; what is left is then no valid file of `CutMask`, one a record.

    Returns:
        The text without them, and (N, 2) where each was, with its quotes.
    """
    at = data.find(b'"counts"')
    found = COUNTS.match(data, at) if at >= 0 else None
    if found is None:
        return b"", np.zeros((0, 2), np.int64)
    key, find = found.group(), data.find
    begin, skip = 0, len(key)
    pieces: list[bytes] = []
    places: list[int] = []
    while at >= 0:
        start = at + skip
        end = find(b'"', start)
        if end < 0:
            break
        pieces.append(data[begin:start])
        places += (start - 1, end + 1)
        begin = end
        at = find(key, end)
    pieces.append(data[begin:])
    return b"".join(pieces), np.array(places, np.int64).reshape(-1, 2)


def _columns(
    path: Path, head: dict[str, Any], rows: Sequence[Any], names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Gather decoded rows into the arrays of a cache entry, all but the masks'."""
    extras = [getattr(row, f"f{n}") for row in rows for n in range(len(names))] if names else []
    texts = [b"" if text is None else bytes(memoryview(text)) for text in extras]
    arrays: dict[str, NDArray[Any]] = {
        "head": _bytes(msgspec.json.encode(head)),
        "id": _whole(path, "id", rows),
        "category_id": _whole(path, "category_id", rows),
        "area": _decimal("area", rows),
        "bbox": np.stack([_decimal(f"bbox.{name}", rows) for name in "xywh"], axis=1),
        "iscrowd": _whole(path, "iscrowd", rows) != 0,
        "extra_names": _bytes(msgspec.json.encode(names)),
        "extra_text": _bytes(b"".join(texts)),
        "extra_end": np.cumsum([len(text) for text in texts], dtype=np.int64).reshape(
            len(rows), len(names)
        ),
    }
    image_id = attrgetter("image_id")
    if set(map(type, map(image_id, rows))) <= {int}:
        arrays["image_id"] = _whole(path, "image_id", rows)
    else:
        arrays["image_id_text"] = _bytes(msgspec.json.encode(list(map(image_id, rows))))
    return arrays


def _bytes(text: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(text, np.uint8)


def _whole(path: Path, name: str, rows: Sequence[Any]) -> NDArray[np.int64]:
    """Gather a field of whole numbers."""
    get = attrgetter(name)
    try:
        return np.fromiter(map(get, rows), np.int64, len(rows))
    except OverflowError:
        idx = next(i for i, row in enumerate(rows) if not -(2**63) <= get(row) < 2**63)
        raise InputError(
            path, f"annotations[{idx}]", f"{name} {get(rows[idx])} has more than 64 bits."
        ) from None


def _decimal(name: str, rows: Sequence[Any]) -> NDArray[np.float64]:
    """Gather a field of numbers, nan where it or what holds it is None."""
    get = attrgetter(name)
    try:
        return np.fromiter(map(get, rows), np.float64, len(rows))
    except (TypeError, AttributeError):
        outer = attrgetter(name.partition(".")[0])
        found = [None if outer(row) is None else get(row) for row in rows]
        return np.array(found, np.float64)


def _decode(path: Path, data: Data, mask: Any) -> tuple[dict[str, Any], list[Any], Sequence[str]]:
    """Decode a file into its head, its annotations, and the names of their other fields.

    Args:
        path: Of the file, for errors.
        data: Its text.
        mask: Type of a segmentation.
    """
    names = Names(USUAL_HEAD, _names_of_first_record(data))
    try:
        head, rows = _decode_with(path, data, mask, names)
    except InputError as error:
        if "unknown field" not in error.what:
            raise
        names = _all_names(path, data)
        head, rows = _decode_with(path, data, mask, names)
    return head, rows, names.record


def _decode_with(
    path: Path, data: Data, mask: Any, names: Names
) -> tuple[dict[str, Any], list[Any]]:
    """Decode into typed rows; a field that neither COCO nor ``names`` knows is an error."""
    row = msgspec.defstruct(
        "Row",
        [
            ("id", int),
            ("image_id", int | str),
            ("category_id", int),
            ("segmentation", mask),
            ("bbox", Box | None, None),
            ("area", float | None, None),
            ("iscrowd", bool | int, 0),
            *[(f"f{n}", msgspec.Raw, None) for n in range(len(names.record))],
        ],
        rename={f"f{n}": name for n, name in enumerate(names.record)},
        forbid_unknown_fields=True,
        gc=False,
    )
    rows_type: Any = list[row]  # type: ignore[valid-type]
    table = list[dict[str, Any]]
    file = msgspec.defstruct(
        "File",
        [
            ("images", table),
            ("annotations", rows_type),
            ("categories", table, []),
            *[(f"f{n}", Any, msgspec.UNSET) for n in range(len(names.head))],
        ],
        rename={f"f{n}": name for n, name in enumerate(names.head)},
        forbid_unknown_fields=True,
    )
    content: Any = decode_json(path, data, msgspec.json.Decoder(file))
    head = {"images": content.images, "categories": content.categories}
    for n, name in enumerate(names.head):
        if getattr(content, f"f{n}") is not msgspec.UNSET:
            head[name] = getattr(content, f"f{n}")
    return head, content.annotations


def _names_of_first_record(data: Data) -> tuple[str, ...]:
    """Guess the extra fields of all annotations from the first; `_decode` finds a wrong guess."""
    start = data.find(b"{", data.find(b'"annotations"') + 1)
    text = data[start : start + (1 << 20)].decode("utf-8", "ignore")
    try:
        record, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return ()
    return tuple(name for name in record if name not in KNOWN)


def _all_names(path: Path, data: Data) -> Names:
    """Collect the names of all fields, in a pass of its own."""
    raw = dict[str, msgspec.Raw]
    head = decode_json(path, data, msgspec.json.Decoder(raw))
    rows = msgspec.json.decode(head["annotations"], type=list[raw])
    record = dict.fromkeys(name for row in rows for name in row if name not in KNOWN)
    return Names(tuple(name for name in head if name not in TABLES), tuple(record))


def _addresses(data: Data, parts: Sequence[msgspec.Raw]) -> Places:
    """Find where each part lies in the text, (N, 2) start and end, by its address in memory."""
    base = np.frombuffer(data, np.uint8).ctypes.data
    places = np.zeros((len(parts), 2), np.int64)
    for idx, part in enumerate(parts):
        view = np.frombuffer(part, np.uint8)
        start = view.ctypes.data - base
        places[idx] = start, start + len(view)
    return places
