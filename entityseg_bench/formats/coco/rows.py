"""Rows of COCO JSON, decoded by type; what cannot be decoded is named record by record.

Segmentations stay JSON text: masks are nine tenths of such a file, and the evaluator's kernels read
run-length strings where they lie in the text.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from entity_api import _records
from entityseg_bench.formats.coco.columns import Columns, annotations, decoded, scanned
from entityseg_bench.formats.coco.faults import named_faults
from entityseg_bench.formats.coco.masks import TextExtras, address_of
from entityseg_bench.formats.coco.row_types import (
    AnnotationRow,
    Box,
    CategoryRow,
    Content,
    File,
    Head,
    ImageRow,
    ResultRow,
    Results,
    Whole,
    WrappedResults,
)
from entityseg_bench.formats.coco.tables import end_of_address, to_category, to_image
from entityseg_bench.formats.json_files import tools_named
from entityseg_bench.formats.matching import listed_names, names_beside
from entityseg_bench.formats.tolerant.results import (
    Hints,
    Plain,
    parsed_results,
    plain_results,
)
from entityseg_bench.formats.tolerant.truth import plain_truth
from entityseg_bench.io import InputError, collector_paused, decode_json
from entityseg_bench.types import Category, ImageInfo, Tally

__all__ = ["decode_ground_truth", "decode_results", "results_of", "truth_content"]

RECORD_FIELDS = ("id", "image_id", "category_id", "segmentation", "bbox", "area", "iscrowd")
TABLES = ("images", "annotations", "categories")
# What LVIS says of an image: which categories were not looked for everywhere in it.
LVIS = (
    "it is LVIS, whose images are not labelled exhaustively: right predictions of what was not "
    "labelled count as wrong."
)
# How far behind the key of the annotations the fields of the first one are looked for.
NEAR = 1 << 16
SCORED = (
    "its annotations have scores, as predictions have: GT comes first. The scores are not read."
)
# What JSON takes for white space, and where it allows some.
BLANKS = b" \t\n\r"
LIST_OF_ANNOTATIONS = re.compile(rb'"annotations"[ \t\n\r]*:[ \t\n\r]*\[')
USUAL_HEAD = ("info", "licenses", "type")

FILE = msgspec.json.Decoder(File)
HEAD = msgspec.json.Decoder(Head)
RESULTS = msgspec.json.Decoder(list[ResultRow] | WrappedResults)
TRUTH_ROWS = {"images": ImageRow, "annotations": AnnotationRow, "categories": CategoryRow}


def decode_results(path: Path, data: bytes, hints: Hints | None = None) -> Results:
    """Decode predictions: a list of COCO results, one under ``annotations``, or another tool's.

    Raises:
        InputError: No JSON (with the byte), or every record that is wrong.
    """
    hints = hints or Hints()
    refused = InputError(path, "", "its JSON is malformed.", "Is the file whole?")
    if hints.score_from in (None, "score"):
        try:
            return _decode_plain(path, data, hints)
        except InputError as error:
            if error.code:
                raise
            refused = error
    tally = Tally()
    with tools_named(path, data):
        content = parsed_results(path, data, tally, refused)
        return results_of(path, plain_results(path, content, hints, tally))


def _decode_plain(path: Path, data: bytes, hints: Hints) -> Results:
    """Decode COCO results as they should be."""
    found = _decode_strict_results(path, data)
    if hints.image_id is not None:
        what = "its records name their images, and --image-id says which they are of."
        raise InputError(path, "", what, "Leave --image-id out.", "image-named")
    own = found.images or names_beside(data, hints.images)
    return found._replace(images=own)


def _decode_strict_results(path: Path, data: bytes) -> Results:
    """Read COCO results: most by the kernel, others by a decoder, which says what is wrong."""
    found = _records.scan(data, 0, True)
    if found is not None and not data[found.end :].strip(BLANKS):
        return Results(scanned(found, data, scores=found.scores), {})
    content = decode_json(path, data, RESULTS)
    rows, images = content, None
    if isinstance(content, WrappedResults):
        rows, images = content.annotations, content.images
    columns = decoded(rows, scores=np.array([row.score for row in rows], np.float64))
    return Results(columns, listed_names(images))


def results_of(path: Path, plain: Plain) -> Results:
    """Decode predictions of another tool that were brought to COCO results.

    Raises:
        InputError: Every record that is wrong.
    """
    try:
        columns = _decode_strict_results(path, plain.data).columns
    except InputError as error:
        raise named_faults(path, plain.data, {"annotations": ResultRow}, error) from None
    return Results(columns, plain.images, plain.data, plain.notes, plain.score_from)


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
        content = _decode_strictly(path, data, whole)
        if _has_scores(data):
            content = content._replace(notes=[*content.notes, SCORED])
        return content
    except InputError as error:
        with tools_named(path, data):
            return truth_content(path, parsed_results(path, data, Tally(), error), whole)


def _has_scores(data: Any) -> bool:
    """Tell whether the first annotation has a score, which is near if it has one."""
    start = max(data.find(b'"annotations"'), 0)
    near = data.find(b'"score"', start, start + NEAR) >= 0
    return near and "score" in _names_of_first_record(data)


def truth_content(path: Path, found: Any, whole: bool) -> Content:
    """Decode ground truth that stands as Python values; see `tolerant_truth.plain_truth`.

    Raises:
        InputError: It is no ground truth, or every record that is wrong.
    """
    plain, notes = plain_truth(path, found)
    try:
        content = _decode_strictly(path, plain, whole)
    except InputError as error:
        raise named_faults(path, plain, TRUTH_ROWS, error) from None
    return content._replace(data=plain, notes=[*notes, *content.notes])


def _decode_strictly(path: Path, data: bytes, whole: bool) -> Content:
    if whole:
        return _decode_whole(path, data)
    found = _scan_ground_truth(data)
    if found is not None:
        return found
    content = decode_json(path, data, FILE)
    return _content(content, annotations(content.annotations))


def _scan_ground_truth(data: bytes) -> Content | None:
    """Read a file whose annotations the kernel can read; None for another.

    The annotations are read first and the rest without them: a decoder that has to find their end
    reads all of them once more.
    """
    listed = LIST_OF_ANNOTATIONS.search(data)
    if listed is None:
        return None
    start = listed.end() - 1
    found = _records.scan(data, start, False)
    if found is None:
        return None
    rest = b"".join([data[:start], b"[]", data[found.end :]])
    try:
        with collector_paused():
            head = HEAD.decode(rest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if address_of(head.annotations) - address_of(rest) != start:
        # They lie elsewhere: within another value, or the name stands twice.
        return None
    columns = scanned(found, data, areas=found.areas, iscrowd=found.iscrowd.astype(bool))
    return _content(head, columns)


def _content(head: File | Head, columns: Columns) -> Content:
    images = [
        ImageInfo(row.id, row.file_name or end_of_address(row.coco_url), row.height, row.width)
        for row in head.images
    ]
    table = [Category(row.id, row.name) for row in head.categories]
    partial = any(len(memoryview(row.not_exhaustive_category_ids)) for row in head.images)
    notes = [*columns.notes, *[LVIS] * partial]
    return Content(images, columns, table, {}, notes=notes)


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
    partial = any("not_exhaustive_category_ids" in (image.extra or {}) for image in images)
    boxes = np.full((len(rows), 4), np.nan)
    for idx, box in enumerate(row.bbox for row in rows):
        if box is not None:
            boxes[idx] = box.x, box.y, box.w, box.h
    extras = _extras(rows, names[1]) if names[1] else None
    columns = annotations(rows)
    notes = [*columns.notes, *[LVIS] * partial]
    return Content(images, columns, table, head, boxes, extras, notes=notes)


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
    except (ValueError, RecursionError):
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
