"""Rows of COCO JSON, decoded by type; what cannot be decoded is named record by record.

Segmentations stay JSON text: masks are nine tenths of such a file, and the evaluator's kernels read
run-length strings where they lie in the mapped file.
"""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from entity_api import _records
from entityseg_bench.check import raise_all
from entityseg_bench.formats.coco_columns import Columns, annotations, decoded, scanned
from entityseg_bench.formats.coco_masks import CodedMask, TextExtras, address_of
from entityseg_bench.io import InputError, collector_paused, decode_json
from entityseg_bench.types import Category, ImageInfo

__all__ = [
    "Content",
    "Whole",
    "decode_ground_truth",
    "decode_results",
    "to_category",
    "to_image",
]

IMAGE_FIELDS = ("id", "file_name", "height", "width")
CATEGORY_FIELDS = ("id", "name", "supercategory", "type", "c_name")
RECORD_FIELDS = ("id", "image_id", "category_id", "segmentation", "bbox", "area", "iscrowd")
TABLES = ("images", "annotations", "categories")
USUAL_HEAD = ("info", "licenses", "type")

# Whole numbers that the columns hold: JSON knows larger ones.
Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Pixels = Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]


class ImageRow(msgspec.Struct, gc=False):
    """Hold what scoring needs of an image."""

    id: int | str
    height: Pixels
    width: Pixels
    file_name: str = ""


class CategoryRow(msgspec.Struct, gc=False):
    """Hold what scoring needs of a category."""

    id: int
    name: str = ""


class AnnotationRow(msgspec.Struct, gc=False):
    """Hold what scoring needs of an annotation; ``area`` may be missing: then the mask's counts."""

    image_id: int | str
    segmentation: msgspec.Raw
    id: int | str | None = None
    category_id: Whole | None = None
    area: float | None = None
    iscrowd: int | bool = 0


class ResultRow(msgspec.Struct, gc=False):
    """Hold what scoring needs of a prediction; ``bbox`` and the rest are not read."""

    image_id: int | str
    score: float
    segmentation: msgspec.Raw
    id: int | str | None = None
    category_id: Whole | None = None


class Box(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """Hold a bbox; a tuple would be watched by the garbage collector."""

    x: float
    y: float
    w: float
    h: float


class File(msgspec.Struct):
    """Hold a ground-truth file."""

    images: list[ImageRow]
    annotations: list[AnnotationRow]
    categories: list[CategoryRow] = []


class WrappedResults(msgspec.Struct):
    """Hold predictions that stand under a key, as some tools write them."""

    annotations: list[ResultRow]


class Head(msgspec.Struct):
    """Hold a ground-truth file whose annotations stay text."""

    images: list[ImageRow]
    annotations: msgspec.Raw
    categories: list[CategoryRow] = []


class Content(NamedTuple):
    """Hold what a COCO file says; ``boxes`` and ``extras`` only where all fields were wanted."""

    images: list[ImageInfo]
    columns: Columns
    categories: list[Category]
    info: dict[str, Any]
    boxes: NDArray[np.float64] | None = None
    extras: TextExtras | None = None


FILE = msgspec.json.Decoder(File)
HEAD = msgspec.json.Decoder(Head)
RESULTS = msgspec.json.Decoder(list[ResultRow] | WrappedResults)


def decode_results(path: Path, data: bytes) -> Columns:
    """Decode predictions, a list or one under ``annotations``.

    Raises:
        InputError: No JSON (with the byte), or every record that is wrong.
    """
    # Most files are read by the kernel; of others this tells what they hold, or what is wrong.
    found = _records.scan(data, 0, len(data), True)
    if found is not None:
        return scanned(found, data, scores=found.scores)
    try:
        content = decode_json(path, data, RESULTS)
    except InputError as error:
        raise _named(path, data, True, error) from None
    rows = content.annotations if isinstance(content, WrappedResults) else content
    return decoded(rows, scores=np.array([row.score for row in rows], np.float64))


def decode_ground_truth(path: Path, data: bytes, whole: bool) -> Content:
    """Decode a ground-truth file.

    Args:
        path: Its name, for errors.
        data: Its text.
        whole: Whether to read boxes and every field that has no column, too.

    Raises:
        InputError: No JSON (with the byte), or every record that is wrong.
    """
    try:
        if whole:
            return _decode_whole(path, data)
        found = _scan_ground_truth(data)
        if found is not None:
            return found
        content = decode_json(path, data, FILE)
    except InputError as error:
        raise _named(path, data, False, error) from None
    return _content(content, annotations(content.annotations))


def _scan_ground_truth(data: bytes) -> Content | None:
    """Read a file whose annotations the kernel can read; None for another."""
    try:
        with collector_paused():
            head = HEAD.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    start = address_of(head.annotations) - address_of(data)
    found = _records.scan(data, start, start + len(memoryview(head.annotations)), False)
    if found is None:
        return None
    columns = scanned(found, data, areas=found.areas, iscrowd=found.iscrowd.astype(bool))
    return _content(head, columns)


def _content(head: File | Head, columns: Columns) -> Content:
    images = [ImageInfo(row.id, row.file_name, row.height, row.width) for row in head.images]
    return Content(images, columns, [Category(row.id, row.name) for row in head.categories], {})


def _decode_whole(path: Path, data: Any) -> Content:
    """Decode a file with all its fields: those of the first record, else those of any."""
    names: tuple[tuple[str, ...], tuple[str, ...]] = USUAL_HEAD, _names_of_first_record(data)
    try:
        head, rows = _decode_with(path, data, *names)
    except InputError:
        all_names = _all_names(path, data)
        if set(all_names[0]) <= set(names[0]) and set(all_names[1]) <= set(names[1]):
            raise
        names = all_names
        head, rows = _decode_with(path, data, *names)
    images = [to_image(row, path, idx) for idx, row in enumerate(head.pop("images"))]
    table = [to_category(row, path, idx) for idx, row in enumerate(head.pop("categories"))]
    boxes = np.full((len(rows), 4), np.nan)
    for idx, box in enumerate(row.bbox for row in rows):
        if box is not None:
            boxes[idx] = box.x, box.y, box.w, box.h
    extras = _extras(rows, names[1]) if names[1] else None
    return Content(images, annotations(rows), table, head, boxes, extras)


def _decode_with(
    path: Path, data: Any, head_names: Sequence[str], names: Sequence[str]
) -> tuple[dict[str, Any], list[Any]]:
    """Decode into rows with a field for each name; a field beside them is an error."""
    row = msgspec.defstruct(
        "Row",
        [
            ("image_id", int | str),
            ("segmentation", msgspec.Raw),
            ("id", int | str | None, None),
            ("category_id", Whole | None, None),
            ("bbox", Box | None, None),
            ("area", float | None, None),
            ("iscrowd", bool | int, 0),
            *[(f"f{n}", msgspec.Raw, None) for n in range(len(names))],
        ],
        rename={f"f{n}": name for n, name in enumerate(names)},
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
            *[(f"f{n}", Any, msgspec.UNSET) for n in range(len(head_names))],
        ],
        rename={f"f{n}": name for n, name in enumerate(head_names)},
        forbid_unknown_fields=True,
    )
    content: Any = decode_json(path, data, msgspec.json.Decoder(file))
    head = {"images": content.images, "categories": content.categories}
    for n, name in enumerate(head_names):
        if getattr(content, f"f{n}") is not msgspec.UNSET:
            head[name] = getattr(content, f"f{n}")
    return head, content.annotations


def _names_of_first_record(data: Any) -> tuple[str, ...]:
    """Guess the extra fields of all annotations from the first; a wrong guess is found out."""
    start = data.find(b"{", data.find(b'"annotations"') + 1)
    text = data[start : start + (1 << 20)].decode("utf-8", "ignore")
    try:
        record, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return ()
    return tuple(name for name in record if name not in RECORD_FIELDS)


def _all_names(path: Path, data: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Collect the names of the other fields of the file and of its annotations, in a pass."""
    raw = dict[str, msgspec.Raw]
    head = decode_json(path, data, msgspec.json.Decoder(raw))
    try:
        rows = msgspec.json.decode(head.get("annotations", b"[]"), type=list[raw])
    except msgspec.MsgspecError:
        rows = []
    record = dict.fromkeys(name for row in rows for name in row if name not in RECORD_FIELDS)
    return tuple(name for name in head if name not in TABLES), tuple(record)


def _extras(rows: Sequence[Any], names: Sequence[str]) -> TextExtras:
    found = [getattr(row, f"f{n}") for row in rows for n in range(len(names))]
    texts = [b"" if text is None else bytes(memoryview(text)) for text in found]
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    return TextExtras(names, b"".join(texts), ends.reshape(len(rows), len(names)))


def to_image(row: dict[str, Any], path: Path, idx: int, named: bool = False) -> ImageInfo:
    """Check and read one image row with all its fields; ``named``: it must have a name."""
    try:
        kept = {"file_name": "", **{name: row[name] for name in IMAGE_FIELDS if name in row}}
        extra = {name: row[name] for name in row if name not in kept}
        for name in ("id", "height", "width", *(("file_name",) if named else ())):
            if name not in row:
                raise InputError(path, f"images[{idx}]", f"{name!r} is missing.")
        return msgspec.convert({**kept, "extra": extra or None}, ImageInfo)
    except msgspec.ValidationError as error:
        raise InputError(path, f"images[{idx}]", f"{error}.") from None


def to_category(row: dict[str, Any], path: Path, idx: int) -> Category:
    """Check and read one category row; COCO's ``isthing`` becomes the type."""
    extra = {name: row[name] for name in row if name not in CATEGORY_FIELDS}
    fields = {"name": "", **{name: row[name] for name in CATEGORY_FIELDS if name in row}}
    if "isthing" in extra and "type" not in fields:
        fields["type"] = "thing" if extra.pop("isthing") else "stuff"
    try:
        return msgspec.convert({**fields, "extra": extra or None}, Category)
    except msgspec.ValidationError as error:
        raise InputError(path, f"categories[{idx}]", f"{error}.") from None


class WholeAnnotation(AnnotationRow, kw_only=True):
    """Hold an annotation whose segmentation is read, too."""

    segmentation: CodedMask | list[list[float]]  # type: ignore[assignment]


class WholeResult(ResultRow, kw_only=True):
    """Hold a prediction whose segmentation is read, too."""

    segmentation: CodedMask | list[list[float]]  # type: ignore[assignment]


def _named(path: Path, data: Any, predictions: bool, error: InputError) -> InputError:
    """Return the error that names every record that cannot be decoded, or the decoder's own."""
    faults = [InputError(path, where, f"{what}.") for where, what in bad_records(data, predictions)]
    try:
        raise_all(faults, "entityseg validate lists every one.")
    except InputError as named:
        return named
    return error


def bad_records(data: Any, predictions: bool) -> Iterator[tuple[str, str]]:
    """Name every record of a file that cannot be decoded, as (where, what).

    Slow and thorough: for the file that the typed decoder has refused. Nothing is wrong with the
    records of a file that is no JSON.
    """
    try:
        content = json.loads(bytes(data), parse_constant=str, parse_float=_finite_or_text)
    except (ValueError, RecursionError):
        return
    groups: dict[str, type] = (
        {"annotations": WholeResult}
        if predictions
        else {"images": ImageRow, "annotations": WholeAnnotation, "categories": CategoryRow}
    )
    if predictions and isinstance(content, list):
        content = {"annotations": content}
    if not isinstance(content, dict):
        yield "", f"it holds {type(content).__name__}, not the records of COCO"
        return
    for key, record_type in groups.items():
        records = content.get(key, [] if key == "categories" else None)
        if not isinstance(records, list):
            yield key, "it is missing or no list"
            continue
        for idx, record in enumerate(records):
            try:
                msgspec.json.decode(msgspec.json.encode(record), type=record_type)
            except msgspec.ValidationError as error:
                yield f"{key} record {idx}{_names(record)}", _in_words(str(error), record)
            except UnicodeEncodeError:
                yield f"{key} record {idx}{_names(record)}", "it holds half a character of UTF-16"


def _finite_or_text(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _names(record: Any) -> str:
    if not isinstance(record, dict):
        return ""
    names = [f"{key} {record[key]!r}" for key in ("id", "image_id") if key in record]
    return f" ({', '.join(names)})" if names else ""


def _in_words(error: str, record: Any) -> str:
    """Put the decoder's message and the offending value into one sentence."""
    what, _, field = error.partition(" - at `$.")
    field = field.rstrip("`")
    if not field or not isinstance(record, dict):
        return what
    return f"{field} is {record.get(field.partition('.')[0].partition('[')[0])!r:.80}: {what}"
