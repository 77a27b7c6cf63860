"""Files that a set is written in, called ``val-00000-of-00003.parquet``."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from entityseg_bench.io import InputError
from entityseg_bench.names import real_path

__all__ = ["Numbered", "check_complete", "check_finished"]

NAME = re.compile(r"(.*?)(\d{5,})-of-(\d{5,})(\.\D*)", re.DOTALL)
# The journal of a run that writes such files.
JOURNAL = re.compile(r"\.\w+\.(shards|journal)")


class Numbered:
    """Name the files of a set, and keep those of others apart.

    Args:
        folder: Where they are.
        start: How their names begin.
        ending: How they end.
        n: How many there are.

    Attributes:
        paths: The files.
    """

    def __init__(self, folder: Path, start: str, ending: str, n: int) -> None:
        self._folder, self._key = folder, (start, ending)
        self.paths = [folder / f"{start}{k:05d}-of-{n:05d}{ending}" for k in range(n)]

    def refuse_sources(self, sources: Iterable[Path]) -> None:
        """See that nothing that is read would be replaced or removed.

        Raises:
            InputError: A source has such a name, and is in the folder.
        """
        own = real_path(self._folder)
        for path in sources:
            if self._is_alike(path.name) and real_path(path.parent) == own:
                what = "it is read, and would be replaced by what is written."
                raise InputError(path, "", what, "Name another target.")

    def remove_others(self) -> None:
        """Remove the files of an earlier set: once this one is written, so that none is lost."""
        own = set(self.paths)
        for path in self._folder.iterdir():
            if self._is_alike(path.name) and path not in own:
                path.unlink()

    def _is_alike(self, name: str) -> bool:
        found = NAME.fullmatch(name)
        return found is not None and (found[1], found[4]) == self._key


def check_finished(folder: Path) -> None:
    """See that no run which writes numbered files into a folder was broken off.

    Its files may stand there beside those of an earlier set.

    Raises:
        InputError: One was.
    """
    for path in folder.iterdir():
        if JOURNAL.fullmatch(path.name):
            what = f"what writes it is not finished ({path.name})."
            raise InputError(folder, "", what, "Repeat its command.")


def check_complete(folder: str | Path, names: Sequence[str]) -> None:
    """See that no file of a numbered set is missing in a folder.

    Args:
        folder: Name of the folder, for errors.
        names: Of all files in it; those without numbers are let be.

    Raises:
        InputError: Some are missing, or there are files of two sets.
    """
    sets: dict[tuple[str, str, int], set[int]] = defaultdict(set)
    for found in map(NAME.fullmatch, names):
        if found:
            sets[found[1], found[4], int(found[3])].add(int(found[2]))
    for (start, _, n), numbers in sets.items():
        if numbers != set(range(n)):
            where = start.rstrip("-_.")
            what = f"{len(numbers)} of {n} shards are here."
            raise InputError(folder, where, what, "Copy the others too, or finish the run.")
