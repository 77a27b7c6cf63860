"""The record of a long run: which images are finished, and with what result.

A run appends one line of JSON an image, each process to a file of its own, in a folder beside the
output. A killed run leaves whole lines and at most one cut one, so the next run goes on after
them. The folder goes when the output is whole.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from entityseg_bench.io import InputError, atomic_path

__all__ = ["Finished", "Place", "Progress"]


class Finished(msgspec.Struct):
    """One finished image.

    Attributes:
        image_id: Of the image.
        error: Why there is no result, else None; such an image is tried again by the next run.
        predictions: Its records of the results file, JSON kept as text.
        segments_info: Its rows of the panoptic file, likewise.
    """

    image_id: int | str
    error: str | None = None
    predictions: msgspec.Raw = msgspec.Raw(b"[]")
    segments_info: msgspec.Raw = msgspec.Raw(b"[]")


class Place(NamedTuple):
    """Where the line of a finished image lies: file and byte offset; and whether it failed."""

    path: Path
    offset: int
    failed: bool


class Progress:
    """The finished images of a run, over all its processes and all its attempts.

    Args:
        out: The output that the run works on; its record lies beside it.
        rank: Of this process; names the file it appends to.
    """

    def __init__(self, out: Path, rank: int = 0) -> None:
        self.folder = out.with_name(f".{out.name}.unfinished")
        self._rank = rank
        self._file: BinaryIO | None = None

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Start a run, or go on with one of the same settings. One process calls it, before all.

        Raises:
            InputError: An unfinished run of other settings is there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "settings.json"
        text = json.dumps(settings, indent=1, sort_keys=True, default=str)
        if path.is_file():
            earlier = path.read_text(encoding="utf-8")
            if earlier == text:
                return
            before, now = json.loads(earlier), json.loads(text)
            changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
            raise InputError(
                self.folder,
                "",
                f"an unfinished run lies there with another {', '.join(changed)}.",
                "Repeat its command to finish it, or remove the folder.",
            )
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")

    def finished(self) -> dict[int | str, Place]:
        """Find the line of every finished image."""
        found: dict[int | str, Place] = {}
        for path in sorted(self.folder.glob("rank*.jsonl")):
            for offset, line in _whole_lines(path):
                row = msgspec.json.decode(line, type=Finished)
                # A success stays, whatever an earlier or a later attempt met.
                if row.image_id not in found or row.error is None:
                    found[row.image_id] = Place(path, offset, row.error is not None)
        return found

    def append(self, row: Finished) -> None:
        """Add one image, at once and whole."""
        if self._file is None:
            path = self.folder / f"rank{self._rank}.jsonl"
            _drop_cut_line(path)
            self._file = path.open("ab")
        self._file.write(msgspec.json.encode(row) + b"\n")
        self._file.flush()

    def read(self, place: Place) -> Finished:
        """Read one line that `finished` found."""
        with place.path.open("rb") as file:
            file.seek(place.offset)
            return msgspec.json.decode(file.readline(), type=Finished)

    def close(self) -> None:
        """Close this process's file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Remove the record; the output is whole."""
        self.close()
        shutil.rmtree(self.folder)


def _whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield offset, line
            offset += len(line)


def _drop_cut_line(path: Path) -> None:
    """Cut a file back to its last whole line."""
    if not path.is_file():
        return
    end = max((offset + len(line) for offset, line in _whole_lines(path)), default=0)
    os.truncate(path, end)
