"""Where the records of a results file lie: a file larger than memory is read by its images."""

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from entity_api import _records
from entityseg_bench.formats.coco.rows import decode_results
from entityseg_bench.formats.coco.sampled_boxes import sampled_boxes
from entityseg_bench.formats.json_files import needs_all
from entityseg_bench.formats.matching import names_beside, positions
from entityseg_bench.io import InputError, open_regular
from entityseg_bench.masks import Faults, Masks, Rows
from entityseg_bench.table import Segments
from entityseg_bench.types import RLE, Origin

__all__ = ["ResultsIndex", "index_results"]

# So much text is read at a time, and a record has no more.
WINDOW, LONGEST = 1 << 21, 1 << 26
BLANKS = b" \t\r\n"
# By the first records it is told whether they name their images, and whether masks fit their boxes.
FIRST_RECORDS = 100

Ints = NDArray[np.int64]


class ResultsIndex(NamedTuple):
    """Hold what is known of N predictions without their masks.

    Attributes:
        path: The file.
        image_ids: (N,).
        scores: (N,).
        places: (N, 2) where each record starts and ends in the file.
        stamp: Size and time of change of the file.
    """

    path: Path
    image_ids: Ints
    scores: NDArray[np.float64]
    places: Ints
    stamp: tuple[int, int]

    def table(self, truth: Segments) -> Segments:
        """Return the predictions on the images of the ground truth, their masks unread.

        Raises:
            InputError: Records name their images by ``file_name`` alone.
        """
        if names_beside(self.first(), truth.images):
            what = "its records name their images by file_name, and reading by parts goes by id."
            raise InputError(self.path, "", what, "Score it without --max-memory.")
        image_idx, unknown, notes = positions(self.path, truth.images, self.image_ids)
        return Segments.make(
            truth.images,
            image_idx,
            MasksInFile(self),
            Ids(self),
            scores=self.scores,
            task=truth.task,
            predicted=True,
            categories=truth.categories,
            where_from=str(self.path),
            unknown=unknown,
            notes=tuple(notes),
        )

    def part(self, rows: Ints, table: Segments) -> Segments:
        """Read some records.

        Args:
            rows: Their positions, rising.
            table: As `table` has made it.

        Raises:
            InputError: The file has changed.
        """
        data = self.text(rows)
        columns = decode_results(self.path, data).columns
        return Segments.make(
            table.images,
            table.image_idx[rows],
            columns.masks(self.path, data),
            columns.ids,
            category_ids=columns.category_ids,
            scores=columns.scores,
            task=table.task,
            predicted=True,
            categories=table.categories,
            where_from=str(self.path),
            origin=Origin.in_file(str(self.path), rows),
        )

    def first(self) -> bytes:
        """Return the JSON list of the first records."""
        return self.text(np.arange(min(len(self.scores), FIRST_RECORDS)))

    def text(self, rows: Ints) -> bytes:
        """Return the JSON list of some records, whose positions rise."""
        pieces = []
        with open_regular(self.path) as file:
            # Records that follow each other are read at once, with what is between them.
            first = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
            last = np.append(first[1:], len(rows))[: len(first)] - 1
            starts, ends = self.places[rows[first], 0], self.places[rows[last], 1]
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                file.seek(start)
                pieces.append(file.read(end - start))
            if _stamp(file) != self.stamp:
                raise _changed(self.path)
        return b"[" + b",".join(pieces) + b"]"


class MasksInFile(Masks):
    """Read masks from the file when they are asked for; all at once they are not."""

    def __init__(self, index: ResultsIndex) -> None:
        self._index = index

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx``."""
        text = self._index.text(np.array([idx]))
        columns = decode_results(self._index.path, text).columns
        return columns.masks(self._index.path, text).rle(0, size)

    def read_all(self, table: Rows) -> tuple[list[Any], Faults]:
        """Find no fault: parts of the file are looked at when they are read."""
        return [], {}

    def sampled_boxes(self) -> dict[int, tuple[float, float, float, float] | None]:
        """Return position -> box of the first masks, None of one without."""
        return sampled_boxes(self._index.first())


class Ids(Sequence[Any]):
    """Give the ids of records, read from the file when they are asked for."""

    def __init__(self, index: ResultsIndex) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index.scores)

    def __getitem__(self, idx: Any) -> Any:
        (record,) = msgspec.json.decode(self._index.text(np.array([idx])))
        return record.get("id")


def index_results(path: Path) -> ResultsIndex:
    """Find the records of a results file, some text at a time.

    Raises:
        InputError: It is no plain JSON list of results with compressed run-length codes, which
            alone is read by parts; with the first record that is otherwise.
    """
    with open_regular(path) as file:
        stamp = _stamp(file)
        parts = list(_records_of(path, file))
        if _stamp(file) != stamp:
            raise _changed(path)
    return ResultsIndex(
        path,
        np.concatenate([part.image_ids for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.places for part in parts]),
        stamp,
    )


def _records_of(path: Path, file: io.BufferedReader) -> Iterator["ResultsIndex"]:
    """Yield what is known of the records, some at a time."""
    stamp = _stamp(file)
    text = file.read(WINDOW)
    if needs_all(text[:4]):
        what = "it is compressed or not UTF-8, and only plain text is read by parts."
        raise InputError(path, "", what, "Unpack it, or score it without --max-memory.")
    start = len(text) - len(text.lstrip(BLANKS)) + 1
    if text[start - 1 : start] != b"[":
        raise _unusual(path, "", "it is no JSON list")
    offset, n, ended = 0, 0, False
    while not ended:
        found, at, ended = _records.index(text, start)
        if ended and n and not found.n:
            raise _unusual(path, f"record {n}", "there is none behind the comma")
        n += found.n
        yield ResultsIndex(path, found.image_ids, found.scores, found.places + offset, stamp)
        more = file.read(WINDOW)
        text, offset, start = text[at:] + more, offset + at, 0
        if not ended and (not more or len(text) > LONGEST):
            raise _unusual(path, f"record {n}", "it is broken off, or of another form")
    rest = text[1:]
    while rest:
        if rest.strip(BLANKS):
            raise _unusual(path, "", f"something follows the list of {n} records")
        rest = file.read(WINDOW)


def _stamp(file: io.BufferedReader) -> tuple[int, int]:
    """Return the size of a file and when it was written last."""
    about = os.fstat(file.fileno())
    return about.st_size, about.st_mtime_ns


def _changed(path: Path) -> InputError:
    what = "it was changed while it was read."
    return InputError(path, "", what, "Wait until it is written whole.")


def _unusual(path: Path, where: str, what: str) -> InputError:
    hint = (
        "By parts is read a JSON list of results with compressed run-length codes; without "
        "--max-memory all is read, and what is wrong is named."
    )
    return InputError(path, where, f"{what}.", hint)
