"""Masks and rare fields of a COCO file, read where they lie in the mapped file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entity_api.counts import Codes, RLEError, compress_list, split_segmentations
from entityseg_bench.check import mismatch
from entityseg_bench.io import InputError, open_regular, read_bytes
from entityseg_bench.masks import Masks
from entityseg_bench.table import Segments
from entityseg_bench.types import RLE

__all__ = ["JsonMasks", "Spans", "Split", "TextExtras", "address_of"]

# What the decoder raises for text that is no JSON, of another shape, or no UTF-8.
BROKEN = (msgspec.MsgspecError, UnicodeDecodeError)

Extent = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]

# What may be behind a size that is not the image's.
HINTS = {
    "swapped": "Height and width are swapped: size is [height, width].",
    "scaled": "It looks like the other resolution: score it against that ground truth.",
    "other": "Masks must have the image's own size.",
}


class CodedMask(msgspec.Struct, gc=False):
    """Hold a run-length code whose counts are a JSON literal, a string or a list."""

    size: tuple[Extent, Extent]
    counts: msgspec.Raw


SEGMENTATION = msgspec.json.Decoder(CodedMask | list[list[float]])


class Slices(Sequence[bytes]):
    """Give places of a file, read when they are asked for, also after unpickling.

    Args:
        path: The file.
        places: (N, 2) start and end of each.
    """

    def __init__(self, path: Path, places: NDArray[np.int64]) -> None:
        self._state = path, places
        with open_regular(path) as file:
            packed = file.read(2) == b"\x1f\x8b"
        # A gzip has no places of its own: it is unpacked whole.
        self._unpacked = read_bytes(path) if packed else None

    def __reduce__(self) -> tuple[Any, ...]:
        return Slices, self._state

    def __len__(self) -> int:
        return len(self._state[1])

    def __getitem__(self, idx: Any) -> Any:
        path, places = self._state
        start, end = places[idx].tolist()
        if self._unpacked is not None:
            return self._unpacked[start:end]
        with open_regular(path) as file:
            file.seek(start)
            return file.read(end - start)


class Spans(Sequence[memoryview]):
    """Give places of a file's content.

    Args:
        data: The content.
        places: (N, 2) start and end of each.
    """

    def __init__(self, data: bytes, places: NDArray[np.int64]) -> None:
        self._data = memoryview(data)
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, idx: Any) -> Any:
        start, end = self.places[idx].tolist()
        return self._data[start:end]


# Counts strings where they lie, stated sizes (-1 for none), and which masks have no string.
Split = tuple[Codes, NDArray[np.int64], list[int]]


class JsonMasks(Masks):
    """Read masks of any kind where they lie in a COCO file.

    Args:
        path: The file, mapped again in another process.
        texts: (N,) the segmentations as JSON, buffers that lie in the file's content.
        data: The content.
        split: What is known of the masks; found where it is needed by default.
    """

    def __init__(
        self,
        path: Path,
        texts: Sequence[Any],
        data: bytes | None = None,
        split: Split | None = None,
    ) -> None:
        self._path, self._texts, self._data, self._split = path, texts, data, split

    def __reduce__(self) -> tuple[Any, ...]:
        if self._data is None:
            return JsonMasks, (self._path, self._texts)
        if isinstance(self._texts, Spans):
            return JsonMasks, (self._path, Slices(self._path, self._texts.places))
        base = address_of(self._data)
        places = np.zeros((len(self._texts), 2), np.int64)
        for idx, text in enumerate(self._texts):
            start = address_of(text) - base
            places[idx] = start, start + len(memoryview(text))
        return JsonMasks, (self._path, Slices(self._path, places))

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx`` as a checked RLE of the image's size."""
        return rle_codes.to_rle(self._parsed(idx), *size)  # type: ignore[return-value]

    def stated_size(self, idx: int) -> tuple[int, int] | None:
        """Return the (height, width) that mask ``idx`` states, None where it states none."""
        found = _coded_or_none(self._texts[idx])
        return found.size if found else None

    def outlined(self, table: Segments) -> frozenset[int]:
        """Return the positions of polygons."""
        return frozenset(np.flatnonzero(self._parts(table)[1][:, 0] < 0).tolist())

    def read_all(self, table: Segments) -> tuple[Codes, dict[int, InputError]]:
        """Find all counts strings in the file; other masks are compressed."""
        codes, stated, odd = self._parts(table)
        faults = {}
        known = table.image_idx >= 0
        for row in odd:
            if known[row]:
                try:
                    codes.put(row, self._compressed(row, table))
                except RLEError as error:
                    faults[row] = table.error(row, str(error), "Write the mask again.")
        if len(table.images):
            want = table.sizes[table.image_idx]
            wrong = known & (stated[:, 0] >= 0) & (stated != want).any(axis=1)
            for row in np.flatnonzero(wrong).tolist():
                sizes = stated[row].tolist(), want[row].tolist()
                what = f"size {sizes[0]} is not its image's {sizes[1]}"
                faults[row] = table.error(row, what, HINTS[mismatch(*sizes)])
        return codes, dict(sorted(faults.items()))

    def _parts(self, table: Segments) -> Split:
        """Find strings, stated sizes (-1 for none), and the masks whose counts are no string."""
        if self._split is None:
            slots = np.where(table.image_idx < 0, len(table.images), table.image_idx)
            self._split = split_segmentations(list(self._texts), slots, _coded_or_none)
        return self._split

    def _parsed(self, idx: int) -> Any:
        """Return a segmentation as Python values."""
        text = self._texts[idx]
        try:
            found = SEGMENTATION.decode(text)
            counts = None if isinstance(found, list) else msgspec.json.decode(found.counts)
        except BROKEN as error:
            raise RLEError(
                f"segmentation is {shown(text)}, which cannot be read: {error}"
            ) from None
        if isinstance(found, list):
            return found
        listed = isinstance(counts, list) and all(type(count) is int for count in counts)
        if not listed and not isinstance(counts, str):
            raise RLEError("counts must be a string or a list of whole numbers")
        return {"size": list(found.size), "counts": counts}

    def _compressed(self, row: int, table: Segments) -> bytes | str:
        parsed = self._parsed(row)
        if isinstance(parsed, list):
            size = table.size_of_image(int(table.image_idx[row]))
            return str(rle_codes.from_polygons(parsed, *size)["counts"])
        return compress_list(parsed["counts"])


def address_of(text: Any) -> int:
    """Return where a buffer lies in memory."""
    return int(np.frombuffer(text, np.uint8).ctypes.data)


def shown(text: Any) -> str:
    """Return the start of a JSON value as it is shown in an error."""
    try:
        return f"{msgspec.json.decode(text)!r:.80}"
    except BROKEN:
        return f"{bytes(memoryview(text))!r:.80}"


def _coded_or_none(text: Any) -> CodedMask | None:
    try:
        found = SEGMENTATION.decode(text)
    except BROKEN:
        # Named when its counts are asked for.
        return None
    return found if isinstance(found, CodedMask) else None


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
