"""Where the masks of a table lie, and the fields without a column: in memory, chained, picked."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from entity_api.counts import Codes, RLEError
from entityseg_bench.io import InputError
from entityseg_bench.types import RLE, ImageInfo, Tally

__all__ = [
    "CodedMasks",
    "Extras",
    "Faults",
    "JoinedExtras",
    "JoinedMasks",
    "ListMasks",
    "Masks",
    "PickedExtras",
    "PickedMasks",
    "Rows",
    "in_threads",
]

T = TypeVar("T")

# The fault of each mask that cannot be read, by position.
Faults = dict[int, InputError]


def in_threads(work: Callable[[int], T], n: int) -> Iterator[T]:
    """Do something for each number below n, several at once; yield the results in order."""
    from concurrent.futures import ThreadPoolExecutor  # brings logging along

    with ThreadPoolExecutor() as pool:
        yield from pool.map(work, range(n))


class Extras(Protocol):
    """Give the fields of a segment that have no column."""

    def __getitem__(self, idx: int) -> dict[str, Any] | None: ...


class Rows(Protocol):
    """What masks ask of the table that they belong to, which is an `entityseg_bench.table`."""

    @property
    def images(self) -> Sequence[ImageInfo]: ...
    @property
    def image_idx(self) -> NDArray[np.int64]: ...
    @property
    def sizes(self) -> NDArray[np.int64]: ...
    def __len__(self) -> int: ...
    def of_image(self, image_idx: int, /) -> NDArray[np.int64]:
        """Return the positions of an image's segments in file order."""

    def size_of_image(self, image_idx: int, /) -> tuple[int, int]:
        """Return (height, width) of an image."""

    def error(self, idx: int, what: str, hint: str = "", /) -> InputError:
        """Make the error of one segment."""


class Masks:
    """Give the masks of N segments by their positions; formats say where they lie."""

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx``, checked against its image's (height, width).

        Raises:
            RLEError: A mask that is broken or of another size.
            InputError: A file that cannot be read.
        """
        raise NotImplementedError

    def counts(self, idx: int, size: tuple[int, int]) -> Any:
        """Return its compressed counts in any form that `entity_api.counts.pack` reads."""
        return self.rle(idx, size)["counts"]

    def take(self, rows: NDArray[np.int64]) -> "Masks":
        """Return some of the masks; those that can be read together stay so."""
        return PickedMasks(self, rows)

    def outlined(self, table: Rows) -> frozenset[int]:
        """Return the positions of masks that are polygons: their stated area is the outline's."""
        return frozenset()

    def notes(self) -> list[str]:
        """Say, once all are read, which masks were read though they are not quite of the format."""
        return []

    def tally(self) -> Tally | None:
        """Return what `notes` is made from, where masks of parts of a file are counted together."""
        return None

    def sampled_boxes(self) -> dict[int, tuple[float, float, float, float] | None]:
        """Return position -> COCO xywh of some masks, None where their file states no box."""
        return {}

    def read_all(self, table: Rows) -> tuple[Codes | list[Any], Faults]:
        """Return the counts of all masks, and the fault of each that has none.

        Images are read in threads: decoding a map releases the interpreter lock. Segments of
        unknown images are left as they are.
        """
        counts: list[Any] = [b""] * len(table)
        faults: Faults = {}

        def read(image_idx: int) -> None:
            for row in table.of_image(image_idx).tolist():
                try:
                    counts[row] = self.counts(row, table.size_of_image(image_idx))
                except RLEError as error:
                    faults[row] = table.error(row, str(error), "Write the mask again.")
                except InputError as error:
                    # The file of the image is at fault: no mask of it can be read.
                    own = table.of_image(image_idx).tolist()
                    faults.update(dict.fromkeys(own, error))
                    return

        for _ in in_threads(read, len(table.images)):
            pass
        return counts, dict(sorted(faults.items()))


class ListMasks(Masks):
    """Hold masks in memory."""

    def __init__(self, masks: Sequence[RLE]) -> None:
        self._masks = masks

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx``."""
        if tuple(self._masks[idx]["size"]) != size:
            raise RLEError(
                f"size {self._masks[idx]['size']} is not the image's [height, width] {list(size)}"
            )
        return self._masks[idx]


class CodedMasks(Masks):
    """Hold masks as the compressed counts that the evaluator reads, each of its image's size."""

    def __init__(self, counts: Codes | list[Any]) -> None:
        self._counts = counts

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx``."""
        counts: Any = self._counts[idx]
        return {"size": list(size), "counts": counts}

    def take(self, rows: NDArray[np.int64]) -> "CodedMasks":
        """Return some of the masks."""
        return CodedMasks([self._counts[row] for row in rows.tolist()])

    def read_all(self, table: Rows) -> tuple[Codes | list[Any], Faults]:
        """Return the counts; none has a fault."""
        return self._counts, {}


class Chained(NamedTuple):
    """Find the part, and the position in it, that a position of chained sequences falls into."""

    parts: Sequence[Any]
    ends: NDArray[np.int64]

    def locate(self, idx: int) -> tuple[Any, int]:
        """Return the part and the position in it."""
        part = int(np.searchsorted(self.ends, idx, side="right"))
        return self.parts[part], idx - (int(self.ends[part - 1]) if part else 0)


class JoinedMasks(Masks):
    """Chain the masks of several tables."""

    def __init__(self, parts: Sequence[Masks], ends: NDArray[np.int64]) -> None:
        self._chained = Chained(parts, ends)

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx`` of the chain."""
        masks, at = self._chained.locate(idx)
        return masks.rle(at, size)

    def counts(self, idx: int, size: tuple[int, int]) -> Any:
        """Return its compressed counts."""
        masks, at = self._chained.locate(idx)
        return masks.counts(at, size)

    def notes(self) -> list[str]:
        """Return those of all parts, each once."""
        return list(dict.fromkeys(note for part in self._chained.parts for note in part.notes()))


class JoinedExtras:
    """Chain the extra fields of several tables."""

    def __init__(self, parts: Sequence[Extras | None], ends: NDArray[np.int64]) -> None:
        self._chained = Chained(parts, ends)

    def __getitem__(self, idx: int) -> dict[str, Any] | None:
        extras, at = self._chained.locate(idx)
        return None if extras is None else extras[at]


class PickedMasks(Masks):
    """Show some masks of another source, in another order."""

    def __init__(self, masks: Masks, picks: NDArray[np.int64]) -> None:
        self._masks = masks
        self._picks = picks

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return pick ``idx``."""
        return self._masks.rle(int(self._picks[idx]), size)

    def counts(self, idx: int, size: tuple[int, int]) -> Any:
        """Return its compressed counts."""
        return self._masks.counts(int(self._picks[idx]), size)

    def notes(self) -> list[str]:
        """Return those of the other source."""
        return self._masks.notes()


class PickedExtras:
    """Show the extra fields of some segments of another source."""

    def __init__(self, extras: Extras, picks: NDArray[np.int64]) -> None:
        self._extras = extras
        self._picks = picks

    def __getitem__(self, idx: int) -> dict[str, Any] | None:
        return self._extras[int(self._picks[idx])]
