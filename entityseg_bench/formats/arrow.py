"""Predictions as columns: Parquet or Arrow with image_id, score, size and counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entityseg_bench.check import IMAGE_UNNAMED, Report, mismatch, stop
from entityseg_bench.formats.coco import table_of_content
from entityseg_bench.formats.coco.masks import HINTS
from entityseg_bench.formats.matching import match_ids
from entityseg_bench.formats.opened import Inputs, Opened
from entityseg_bench.formats.parquet.size import check_bytes, check_footer
from entityseg_bench.formats.tolerant.results import named_image
from entityseg_bench.formats.tolerant.rows import MASK_KEYS
from entityseg_bench.formats.tolerant.score_from import ScoreFrom, known_key
from entityseg_bench.io import InputError, atomic_path, open_regular
from entityseg_bench.masks import Faults, Masks, Rows
from entityseg_bench.table import AnnotatedImages, Segments
from entityseg_bench.types import RLE, Category, ImageInfo, Tally

__all__ = ["SizedMasks", "read_arrow", "write_arrow"]

COLUMNS = "image_id, score, size (height, width) and counts (a compressed run-length code)"
# Predictions of a row group.
GROUP = 1 << 16


class SizedMasks(Masks):
    """Hold masks as compressed run-length codes in memory.

    Args:
        codes: (N,) counts.
        sizes: (N, 2) height and width that each is of.
    """

    def __init__(self, codes: Sequence[bytes], sizes: NDArray[np.int64]) -> None:
        self._codes, self._sizes = codes, sizes

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx``."""
        code = {"size": self._sizes[idx].tolist(), "counts": self._codes[idx]}
        return rle_codes.to_rle(code, *size)  # type: ignore[return-value]

    def take(self, rows: NDArray[np.int64]) -> "SizedMasks":
        """Return some of the masks."""
        return SizedMasks([self._codes[row] for row in rows.tolist()], self._sizes[rows])

    def read_all(self, table: Rows) -> tuple[list[Any], Faults]:
        """Return the counts of all masks; the evaluator reads them as they are."""
        faults: Faults = {}
        known = table.image_idx >= 0
        if len(table.images):
            want = table.sizes[table.image_idx]
            for row in np.flatnonzero(known & (self._sizes != want).any(axis=1)).tolist():
                have, of_image = self._sizes[row].tolist(), want[row].tolist()
                what = f"size {have} is not its image's {of_image}"
                faults[row] = table.error(row, what, HINTS[mismatch(have, of_image)])
        return list(self._codes), faults


def read_arrow(
    path: str | Path,
    inputs: Inputs | None = None,
    images: Sequence[ImageInfo] | None = None,
    categories: Sequence[Category] | None = None,
) -> Segments:
    """Read predictions of a Parquet or Arrow file.

    Args:
        path: The file.
        inputs: What the user says of it.
        images: Those of the ground truth; without them images are what the rows name.
        categories: Of ``category_id``.

    Raises:
        InputError: It is broken, or lacks a column.
    """
    path = Path(path)
    return _table(path, _columns(path), inputs or Inputs(), images, categories)


def _table(
    path: Path,
    columns: dict[str, list[Any]],
    inputs: Inputs,
    images: Sequence[ImageInfo] | None,
    categories: Sequence[Category] | None,
) -> Segments:
    """Make the table of columns; see `read_arrow`."""
    counts = [_code(code, path, row) for row, code in enumerate(_needed(columns, "counts", path))]
    n = len(counts)
    sizes = _sizes(columns, path, n)
    ids = _image_ids(columns, path, inputs, images, n)
    if images is None:
        first = {image_id: row for row, image_id in reversed(list(enumerate(ids)))}
        images = [ImageInfo(k, f"{k}.jpg", *sizes[first[k]].tolist()) for k in dict.fromkeys(ids)]
    where, notes = match_ids(dict.fromkeys(ids), images, path)
    image_idx = np.array([where.get(image_id, -1) for image_id in ids], np.int64)
    scores, taken = _scores(columns, path, inputs.score_from, n)
    if taken not in ("score", inputs.score_from):
        notes.append(f"there is no score: {taken} was taken.")
    return Segments.make(
        images,
        image_idx,
        SizedMasks(counts, sizes),
        np.arange(n, dtype=np.int64),
        category_ids=_whole(columns.get("category_id"), "category_id", path, n),
        scores=scores,
        predicted=True,
        categories=categories,
        where_from=str(path),
        unknown={row: ids[row] for row in np.flatnonzero(image_idx < 0).tolist()},
        notes=tuple(notes),
        score_from=taken,
    )


def _columns(path: Path) -> dict[str, list[Any]]:
    """Read the columns of a file as Python values."""
    try:
        import pyarrow as pa
        from pyarrow import ipc, parquet
    except ImportError:
        what = "Parquet and Arrow files are read by pyarrow, which is not installed."
        raise InputError(path, "", what, "pip install pyarrow") from None
    try:
        with open_regular(path) as file:
            if file.peek(4)[:4] == b"PAR1":
                return _parquet_columns(parquet, file, path)
            opened, n_bytes, batches = ipc.open_file(file), 0, []
            for idx in range(opened.num_record_batches):
                batches.append(opened.get_batch(idx))
                # Offsets that lead out of their buffer are followed otherwise.
                batches[-1].validate(full=True)
                n_bytes += batches[-1].nbytes
                check_bytes(path, file, n_bytes)
            table = pa.Table.from_batches(batches, opened.schema)
        return {name: table.column(name).to_pylist() for name in table.column_names}
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        raise InputError(path, "", f"it cannot be read: {error}.", "Is the file whole?") from None


def _parquet_columns(parquet: Any, file: BinaryIO, path: Path) -> dict[str, list[Any]]:
    """Read a Parquet file; a value that its dictionary holds once is held once here, too."""
    shared = [name for name in parquet.read_schema(file).names if name == "counts"]
    opened = parquet.ParquetFile(file, read_dictionary=shared)
    check_footer(path, file, opened)
    columns: dict[str, list[Any]] = {name: [] for name in opened.schema_arrow.names}
    n_bytes = 0
    for batch in opened.iter_batches():
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if hasattr(column, "dictionary"):
                values = [*column.dictionary.to_pylist(), None]
                places = column.indices.fill_null(len(values) - 1).to_pylist()
                columns[name] += [values[place] for place in places]
                n_bytes += sum(len(values[place] or b"") for place in places)
            else:
                columns[name] += column.to_pylist()
        check_bytes(path, file, n_bytes)
    return columns


def _needed(columns: dict[str, list[Any]], name: str, path: Path) -> list[Any]:
    if name not in columns:
        what = f"it has no column {name}; it has {', '.join(columns) or 'none'}."
        raise InputError(path, "", what, f"Predictions have {COLUMNS}.")
    return columns[name]


def _code(code: Any, path: Path, row: int) -> bytes:
    if isinstance(code, str):
        code = code.encode("utf-8")
    if not isinstance(code, bytes):
        what = f"counts are {code!r:.40}, not bytes or text."
        raise InputError(path, f"row {row}", what, f"Predictions have {COLUMNS}.")
    return code


def _sizes(columns: dict[str, list[Any]], path: Path, n: int) -> NDArray[np.int64]:
    """Return (N, 2) height and width."""
    if "size" not in columns and {"height", "width"} <= set(columns):
        rows = [list(pair) for pair in zip(columns["height"], columns["width"], strict=True)]
    else:
        rows = _needed(columns, "size", path)
    for row, pair in enumerate(rows):
        fit = isinstance(pair, list) and len(pair) == 2
        if not fit or any(type(side) is not int or not 0 <= side < 2**32 for side in pair):
            what = f"size {pair!r:.40} is not two whole numbers, height and width."
            raise InputError(path, f"row {row}", what)
    return np.array(rows, np.int64).reshape(n, 2)


def _image_ids(
    columns: dict[str, list[Any]],
    path: Path,
    inputs: Inputs,
    images: Sequence[ImageInfo] | None,
    n: int,
) -> list[Any]:
    if "image_id" not in columns and inputs.image_id is not None:
        return [named_image(inputs.image_id, images)] * n
    name = "image_id" if "image_id" in columns or "file_name" not in columns else "file_name"
    try:
        found = _needed(columns, name, path)
    except InputError as error:
        raise InputError(path, "", error.what, error.hint, IMAGE_UNNAMED) from None
    if inputs.image_id is not None:
        what = "its rows name their images, and --image-id says which they are of."
        raise InputError(path, "", what, "Leave --image-id out.")
    # pandas writes whole numbers as floats where one is missing.
    ids = [int(k) if isinstance(k, float) and k.is_integer() else k for k in found]
    for row, image_id in enumerate(ids):
        if isinstance(image_id, bool) or not isinstance(image_id, int | str):
            raise InputError(path, f"row {row}", f"{name} is {image_id!r:.40}.")
    return ids


def _scores(
    columns: dict[str, list[Any]], path: Path, text: str | None, n: int
) -> tuple[NDArray[np.float64], str]:
    """Return (N,) scores and what was taken."""
    take = ScoreFrom(text or ("score" if "score" in columns else known_key(columns) or "score"))
    missing = [key for key in take.keys if key not in columns]
    if missing:
        hint = f"It has {', '.join(columns)}: --score-from KEY says which is the score."
        raise InputError(path, "", f"it has no column {missing[0]}.", hint)
    found = [take({key: columns[key][row] for key in take.keys}) for row in range(n)]
    if None in found:
        row = found.index(None)
        said = columns[take.keys[0]][row]
        raise InputError(path, f"row {row}", f"its {take.text} is {said!r:.40}: no finite number.")
    return np.array(found, np.float64), take.text


def _whole(column: list[Any] | None, name: str, path: Path, n: int) -> NDArray[np.int64]:
    """Return (N,) whole numbers, -1 where there is none."""
    found = np.full(n, -1, np.int64)
    for row, value in enumerate(column or []):
        if value is None or value != value:
            continue
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not -(2**63) <= value < 2**63:
            raise InputError(path, f"row {row}", f"{name} is {value!r:.40}, no whole number.")
        found[row] = int(value)
    return found


def write_arrow(dataset: AnnotatedImages, path: str | Path) -> dict[str, int]:
    """Write predictions as Parquet: image_id, category_id, score, size, counts.

    Lost: annotation ids, crowd flags, other extra fields, boxes, and images without predictions. A
    record without a score gets 1.0, which is counted.

    Args:
        dataset: Predictions.
        path: The file, ``.parquet``.

    Returns:
        What was lost -> how often.

    Raises:
        InputError: Image ids that are both numbers and text.
    """
    import pyarrow as pa
    from pyarrow import parquet

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {type(image.id) for image in dataset.images}
    if len(kinds) > 1:
        raise InputError(dataset.where_from, "", "image ids are both numbers and text.", "Use one.")
    schema = pa.schema(
        [
            ("image_id", pa.string() if kinds == {str} else pa.int64()),
            ("category_id", pa.int64()),
            ("score", pa.float64()),
            ("size", pa.list_(pa.int64(), 2)),
            ("counts", pa.binary()),
        ]
    )
    n_missing, rows = 0, []
    # Opened here: the library takes no name that is not UTF-8.
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        parquet.ParquetWriter(file, schema) as writer,
    ):
        for image_idx in range(len(dataset.images)):
            for annotation in dataset.annotations(image_idx):
                score = (annotation.extra or {}).get("score")
                n_missing += score is None
                mask = annotation.segmentation
                rows.append(
                    {
                        "image_id": annotation.image_id,
                        "category_id": annotation.category_id,
                        "score": 1.0 if score is None else score,
                        "size": mask["size"],
                        "counts": mask["counts"].encode("ascii"),
                    }
                )
            if len(rows) >= GROUP:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return {"scores missing: written as 1.0": n_missing} if n_missing else {}


def open_results(
    path: Path, inputs: Inputs, *, whole: bool = True, report: Report = stop
) -> Opened:
    """Open predictions without their ground truth; see `entityseg_bench.formats.open`."""
    return Opened(_of_columns(path, inputs, None), [path])


def open_dt(
    path: Path, truth: Segments, inputs: Inputs, *, some_images: bool, report: Report
) -> Opened:
    """Open predictions; see `entityseg_bench.formats.open`."""
    return Opened(_of_columns(path, inputs, truth), [path])


def _of_columns(path: Path, inputs: Inputs, truth: Segments | None) -> Segments:
    """Read a file whose masks are columns, or a column of records as pandas writes results."""
    columns = _columns(path)
    if "counts" in columns or not set(MASK_KEYS) & set(columns):
        given = (None, None) if truth is None else (truth.images, truth.categories)
        return _table(path, columns, inputs, *given)
    rows = zip(*columns.values(), strict=True)
    records = [
        {key: _plain(value) for key, value in zip(columns, row, strict=True)} for row in rows
    ]
    return table_of_content(path, records, inputs, truth, Tally())


def _plain(value: Any) -> Any:
    """Return a value with text for bytes, which codes of pycocotools are."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value.decode("latin-1") if isinstance(value, bytes) else value
