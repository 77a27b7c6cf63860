"""The record of a long prediction: which images are finished, and with which result.

Each process appends to its own journal in a folder beside the output. A run that was killed
continues from these journals, with any number of processes. The folder is removed when the output
is complete.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from entityseg_bench.io import InputError
from entityseg_bench.parallel import Journal, lines_of

__all__ = ["Finished", "Place", "Progress"]


class Finished(msgspec.Struct):
    """Hold one finished image.

    Attributes:
        image_id: Id of the image.
        error: Reason why there is no result, or None. The next run tries such an image again.
        predictions: Its records of the results file, as JSON text.
    """

    image_id: int | str
    error: str | None = None
    predictions: msgspec.Raw = msgspec.Raw(b"[]")


class Place(NamedTuple):
    """Hold file and byte offset of the line of a finished image, and whether the image failed."""

    path: Path
    offset: int
    failed: bool


class Progress:
    """Record the finished images of a run, over all its processes and attempts.

    Args:
        out: The output of the run; the record lies beside it.
        rank: Rank of this process, which names its journal.
    """

    def __init__(self, out: Path, rank: int = 0) -> None:
        self.folder = out.with_name(f".{out.name}.unfinished")
        self._path = self.folder / f"rank{rank}.jsonl"
        self._journal: Journal | None = None

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Start a run, or continue one of the same settings. Only the first process calls this.

        Raises:
            InputError: There is an unfinished run with other settings, or another process runs it;
                or what has the record's name is no folder.
        """
        if self.folder.is_symlink() or (self.folder.exists() and not self.folder.is_dir()):
            what = "it is no record of a prediction, and is left as it is."
            raise InputError(self.folder, "", what, "Delete it.")
        self._journal = Journal(self._path, dict(settings))
        for path in self.folder.glob("rank*.jsonl"):
            is_file = path.is_file() and not path.is_symlink()
            if not is_file or _head_of(path) != self._journal.head:
                # It belongs to a run that was given up: the first process's journal has told that
                # no run of other settings is unfinished.
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
                try:
                    row = msgspec.json.decode(line.text, type=Finished)
                except msgspec.ValidationError:
                    # Nothing of this program's: the images of it and after it are done again.
                    break
                # A success counts, whether another attempt failed earlier or later.
                if row.image_id not in found or row.error is None:
                    found[row.image_id] = Place(path, line.offset, row.error is not None)
        return found

    def append(self, row: Finished) -> None:
        """Append one image to the journal, complete or not at all."""
        self._open_journal().append(row)

    def read(self, place: Place) -> Finished:
        """Read one line that `finished` found."""
        with place.path.open("rb") as file:
            file.seek(place.offset)
            return msgspec.json.decode(file.readline(), type=Finished)

    def close(self) -> None:
        """Release this process's journal; its content stays."""
        if self._journal is not None:
            self._journal.close()

    def remove(self) -> None:
        """Remove the record, once the output is complete."""
        self.close()
        shutil.rmtree(self.folder)

    def _open_journal(self) -> Journal:
        if self._journal is None:
            raise RuntimeError("the run has not begun")
        return self._journal


def _head_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline()
