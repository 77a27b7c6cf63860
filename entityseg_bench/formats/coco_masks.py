"""Masks and rare fields of a COCO file, read where they lie when they are asked for."""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entityseg_bench.io import read_bytes
from entityseg_bench.types import RLE

__all__ = ["Data", "JsonMasks", "LiteralMasks", "Places", "TextExtras"]

Data = bytes | mmap.mmap
Places = NDArray[np.int64]


# What the decoder raises for text that is no JSON, of another shape, or no UTF-8.
BROKEN = (msgspec.MsgspecError, UnicodeDecodeError)


class Segmentation(msgspec.Struct, gc=False):
    """Hold an RLE whose counts are still JSON text: a string or a list."""

    size: tuple[int, int]
    counts: msgspec.Raw


class LiteralMasks:
    """Read compressed counts where they lie in a COCO file.

    Args:
        path: The file, mapped again in another process.
        places: (N, 2) start and end of each string with its quotes.
        sizes: (N, 2) height and width.
        data: Its content, where it is mapped already.
    """

    def __init__(
        self, path: Path, places: Places, sizes: NDArray[np.int64], data: Data | None = None
    ) -> None:
        self._state = path, places, sizes
        self._data = read_bytes(path) if data is None else data

    def __reduce__(self) -> tuple[Any, ...]:
        return LiteralMasks, self._state

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx`` as a checked RLE of the image's size."""
        try:
            counts = msgspec.json.decode(self.counts(idx, size))
        except BROKEN as error:
            raise rle_codes.RLEError(f"the counts cannot be read: {error}") from None
        return rle_codes.to_rle({"size": size, "counts": counts}, *size)  # type: ignore[return-value]

    def counts(self, idx: int, size: tuple[int, int]) -> bytes:
        """Return its compressed counts, as the JSON literal of the file."""
        _, places, sizes = self._state
        found = sizes[idx].tolist()
        if found != list(size):
            raise rle_codes.RLEError(
                f"size {found} is not the image's [height, width] {list(size)}"
            )
        start, end = places[idx].tolist()
        return self._data[start:end]


class JsonMasks:
    """Read masks of any kind where they lie in a COCO file.

    Args:
        path: The file, mapped again in another process.
        places: (N, 2) start and end of each segmentation.
        data: Its content, where it is mapped already.
    """

    def __init__(self, path: Path, places: Places, data: Data | None = None) -> None:
        self._state = path, places
        self._data = read_bytes(path) if data is None else data
        self._decoder = msgspec.json.Decoder(Segmentation)

    def __reduce__(self) -> tuple[Any, ...]:
        return JsonMasks, self._state

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx`` as a checked RLE of the image's size."""
        start, end = self._state[1][idx].tolist()
        text = self._data[start:end]
        found: Any
        try:
            if text[:1] == b"[":
                found = msgspec.json.decode(text, type=list[list[float]])
            else:
                segmentation = self._decoder.decode(text)
                counts = msgspec.json.decode(segmentation.counts, type=str | list[int])
                found = {"size": list(segmentation.size), "counts": counts}
        except BROKEN as error:
            raise rle_codes.RLEError(f"the segmentation cannot be read: {error}") from None
        return rle_codes.to_rle(found, *size)  # type: ignore[return-value]

    def counts(self, idx: int, size: tuple[int, int]) -> str:
        """Return its compressed counts."""
        return self.rle(idx, size)["counts"]


class TextExtras:
    """Hold the fields without a column as JSON text.

    Args:
        names: F fields.
        text: All their values, one after the other.
        ends: (N, F) end of each value in the text; an absent one has no length.
    """

    def __init__(self, names: Sequence[str], text: bytes, ends: NDArray[np.int64]) -> None:
        self._names = names
        self._text = text
        self._starts = np.append(0, ends.ravel())[: ends.size].reshape(ends.shape)
        self._ends = ends

    def __getitem__(self, idx: int) -> dict[str, Any] | None:
        spans = zip(self._starts[idx].tolist(), self._ends[idx].tolist(), strict=True)
        found = {
            name: msgspec.json.decode(self._text[start:end])
            for name, (start, end) in zip(self._names, spans, strict=True)
            if start < end
        }
        return found or None
