"""The record of a long prediction: which images are finished, and with what result.

Each process adds to a journal of its own, in a folder beside the output, so a run that was killed
goes on, with as many processes as it likes. The folder goes when the output is whole.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from entityseg_bench.parallel import Journal, lines_of

__all__ = ["Finished", "Place", "Progress"]


class Finished(msgspec.Struct):
    """One finished image.

    Attributes:
        image_id: Of the image.
        error: Why there is no result, else None; such an image is tried again by the next run.
        predictions: Its records of the results file, JSON kept as text.
    """

    image_id: int | str
    error: str | None = None
    predictions: msgspec.Raw = msgspec.Raw(b"[]")


class Place(NamedTuple):
    """Where the line of a finished image lies: file and byte offset; and whether it failed."""

    path: Path
    offset: int
    failed: bool


class Progress:
    """The finished images of a run, over all its processes and all its attempts.

    Args:
        out: The output that the run works on; its record lies beside it.
        rank: Of this process; names its journal.
    """

    def __init__(self, out: Path, rank: int = 0) -> None:
        self.folder = out.with_name(f".{out.name}.unfinished")
        self._path = self.folder / f"rank{rank}.jsonl"
        self._journal: Journal | None = None

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Start a run, or go on with one of the same settings. The first process calls it.

        Raises:
            InputError: An unfinished run of other settings is there, or another process runs it.
        """
        self._journal = Journal(self._path, dict(settings))
        for path in self.folder.glob("rank*.jsonl"):
            if _head_of(path) != self._journal.head:
                # Of a run that was given up; whose it was is settled by the first journal.
                path.unlink()

    def join(self) -> None:
        """Take part in the run that the first process has begun."""
        head = msgspec.json.decode(_head_of(self.folder / "rank0.jsonl"))
        self._journal = Journal(self._path, head["identity"])

    def finished(self) -> dict[int | str, Place]:
        """Find the line of every finished image."""
        found: dict[int | str, Place] = {}
        for path in sorted(self.folder.glob("rank*.jsonl")):
            for line in lines_of(path, self._open_journal().head):
                row = msgspec.json.decode(line.text, type=Finished)
                # A success stays, whatever an earlier or a later attempt met.
                if row.image_id not in found or row.error is None:
                    found[row.image_id] = Place(path, line.offset, row.error is not None)
        return found

    def append(self, row: Finished) -> None:
        """Add one image, at once and whole."""
        self._open_journal().append(row)

    def read(self, place: Place) -> Finished:
        """Read one line that `finished` found."""
        with place.path.open("rb") as file:
            file.seek(place.offset)
            return msgspec.json.decode(file.readline(), type=Finished)

    def close(self) -> None:
        """Let others use this process's journal; what is in it stays."""
        if self._journal is not None:
            self._journal.close()

    def remove(self) -> None:
        """Remove the record; the output is whole."""
        self.close()
        shutil.rmtree(self.folder)

    def _open_journal(self) -> Journal:
        if self._journal is None:
            raise RuntimeError("the run has not begun")
        return self._journal


def _head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline()
