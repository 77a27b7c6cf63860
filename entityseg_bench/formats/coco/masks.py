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
from entityseg_bench.formats.coco.sampled_boxes import sampled_boxes
from entityseg_bench.formats.json_files import needs_all, read_json
from entityseg_bench.formats.tolerant.shapes import NoMask, plain_shape
from entityseg_bench.io import InputError, open_regular
from entityseg_bench.masks import Masks, PickedMasks, Rows
from entityseg_bench.types import RLE, Tally

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


NO_MASK = "Write its mask (or its box as a polygon, if that is what it is), or take the record out."
# Of how many masks the spelling is looked at, and how counts begin that are printed bytes, or what
# stands in a printed list within the first characters; none is of a code.
SAMPLE = 16
PRINTED = (b"\"b'", b'"b\\')
LISTED = (b",", b" ", b"(")


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
            packed = needs_all(file.read(4))
        # A gzip, or another encoding, has no places of its own: it is read whole.
        self._unpacked = read_json(path) if packed else None

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
        path: The file, read again in another process.
        texts: (N,) the segmentations as JSON, buffers that lie in the file's content.
        data: The content; None where the texts lie elsewhere.
        plain: The content that was made of it then, with the boxes of its records.
        split: What is known of the masks; found where it is needed by default.
    """

    def __init__(
        self,
        path: Path,
        texts: Sequence[Any],
        data: bytes | None = None,
        plain: bytes | None = None,
        split: Split | None = None,
    ) -> None:
        self._path, self._texts, self._data, self._split = path, texts, data, split
        self._boxes_in = plain or data
        self._tally = Tally()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._data is None:
            texts = self._texts
            kept = texts if isinstance(texts, Slices) else [bytes(memoryview(t)) for t in texts]
            return JsonMasks, (self._path, kept)
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
        parsed = self._parsed(idx, size, Tally())
        return rle_codes.to_rle(parsed, *size)  # type: ignore[return-value]

    def take(self, rows: NDArray[np.int64]) -> Masks:
        """Return some of the masks, where they lie."""
        if isinstance(self._texts, Slices):
            # In another process each text is fetched when it is asked for.
            return PickedMasks(self, rows)
        return JsonMasks(self._path, [self._texts[row] for row in rows.tolist()])

    def stated_size(self, idx: int) -> tuple[int, int] | None:
        """Return the (height, width) that mask ``idx`` states, None where it states none."""
        found = _coded_or_none(self._texts[idx])
        return found.size if found else None

    def outlined(self, table: Rows) -> frozenset[int]:
        """Return the positions of polygons."""
        return frozenset(np.flatnonzero(self._parts(table)[1][:, 0] < 0).tolist())

    def read_all(self, table: Rows) -> tuple[Codes, dict[int, InputError]]:
        """Find all counts strings in the file; other masks are compressed."""
        codes, stated, odd = self._parts(table)
        self._tally = Tally()
        faults = {}
        known = table.image_idx >= 0
        printed = self._printed(codes)
        for row in [*odd, *printed]:
            if known[row]:
                try:
                    codes.put(row, self._compressed(row, table))
                except RLEError as error:
                    hint = NO_MASK if isinstance(error, NoMask) else "Write the mask again."
                    faults[row] = table.error(row, str(error), hint)
        if len(table.images):
            want = table.sizes[table.image_idx]
            wrong = known & (stated[:, 0] >= 0) & (stated != want).any(axis=1)
            for row in np.flatnonzero(wrong).tolist():
                sizes = stated[row].tolist(), want[row].tolist()
                what = f"size {sizes[0]} is not its image's {sizes[1]}"
                faults[row] = table.error(row, what, HINTS[mismatch(*sizes)])
        return codes, dict(sorted(faults.items()))

    def _parts(self, table: Rows) -> Split:
        """Find strings, stated sizes (-1 for none), and the masks whose counts are no string."""
        if self._split is None:
            slots = np.where(table.image_idx < 0, len(table.images), table.image_idx)
            self._split = split_segmentations(list(self._texts), slots, _coded_or_none)
        return self._split

    def notes(self) -> list[str]:
        """Say which masks were read though they are not written as COCO writes them."""
        return self._tally.notes()

    def tally(self) -> Tally:
        """Return how many were read so."""
        return self._tally

    def sampled_boxes(self) -> dict[int, tuple[float, float, float, float] | None]:
        """Return position -> box of the first masks, None where there is none."""
        return sampled_boxes(self._boxes_in) if self._boxes_in else {}

    def _printed(self, codes: Codes) -> list[int]:
        """Return the masks whose counts are as Python prints them; a file has all or none."""
        step = max(len(codes) // SAMPLE, 1)
        if not any(_is_printed(codes[row]) for row in range(0, len(codes), step)):
            return []
        return [row for row in range(len(codes)) if _is_printed(codes[row])]

    def _parsed(self, idx: int, size: tuple[int, int], tally: Tally) -> Any:
        """Return a segmentation as a code or polygons of Python values."""
        text = self._texts[idx]
        try:
            found = SEGMENTATION.decode(text)
            if isinstance(found, CodedMask):
                counts = msgspec.json.decode(found.counts)
                plain = isinstance(counts, str) and min(counts, default="0") >= "0"
                if plain or (isinstance(counts, list) and all(type(n) is int for n in counts)):
                    return {"size": list(found.size), "counts": counts}
        except BROKEN:
            # Of another shape than COCO's.
            pass
        try:
            value = msgspec.json.decode(text)
        except BROKEN as error:
            raise RLEError(
                f"segmentation is {shown(text)}, which cannot be read: {error}"
            ) from None
        return plain_shape(value, size, tally)

    def _compressed(self, row: int, table: Rows) -> bytes | str:
        size = table.size_of_image(int(table.image_idx[row]))
        parsed = self._parsed(row, size, self._tally)
        if isinstance(parsed, list):
            return str(rle_codes.from_polygons(parsed, *size)["counts"])
        if list(rle_codes.size_of(parsed)) != list(size):
            have = list(parsed["size"])
            raise RLEError(f"size {have} is not its image's {list(size)}")
        counts = parsed["counts"]
        return counts if isinstance(counts, str) else compress_list(counts)


def address_of(text: Any) -> int:
    """Return where a buffer lies in memory."""
    return int(np.frombuffer(text, np.uint8).ctypes.data)


def shown(text: Any) -> str:
    """Return the start of a JSON value as it is shown in an error."""
    try:
        return f"{msgspec.json.decode(text)!r:.80}"
    except BROKEN:
        return f"{bytes(memoryview(text))!r:.80}"


def _is_printed(counts: bytes) -> bool:
    """Tell whether counts, as JSON text, are bytes or a list as Python prints them."""
    head = counts[:12]
    return head[:3] in PRINTED or (head[:1] == b'"' and any(mark in head for mark in LISTED))


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
            name: self._decoded(idx, name, self._text[start:end])
            for name, (start, end) in zip(self._names, spans, strict=True)
            if start < end
        }
        return found or None

    def _decoded(self, idx: int, name: str, text: bytes) -> Any:
        try:
            return msgspec.json.decode(text)
        except (*BROKEN, RecursionError) as error:
            raise InputError(f"annotations[{idx}]", name, f"it cannot be read: {error}.") from None
