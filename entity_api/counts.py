"""Decode RLE dictionaries to runs and encode runs: the first and last step of `rle`'s functions.

The kernels report a fault in the counts as a number; this module turns it into an error message.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import _rle
from entity_api._codes import Codes, split_segmentations

__all__ = [
    "MAX_PIXELS",
    "Codes",
    "RLEError",
    "bare",
    "compress_list",
    "counts_of",
    "from_bounds",
    "pack",
    "pixels_of",
    "runs_of",
    "size_of",
    "split_segmentations",
]

MAX_PIXELS = 2**32 - 1

FAULTS = {
    1: "has a character that is no run-length code at position {position}",
    2: "ends in the middle of a number",
    3: "has a number of more than 32 bits at position {position}",
    4: "has a run of negative length at position {position}",
    5: "holds more than the {pixels} pixels of its size",
    6: "covers {position} of the {pixels} pixels of its size",
}
ESCAPED = 7


class RLEError(ValueError):
    """Raised for a broken mask; ``idx`` is its position among the masks that were passed together.

    Examples:
        >>> rle.area({"size": [2, 2], "counts": "2"})
        Traceback (most recent call last):
        entity_api.counts.RLEError: run-length code covers 2 of the 4 pixels of its size
    """

    def __init__(self, message: str, idx: int = 0) -> None:
        super().__init__(message)
        self.idx = idx


def pack(
    masks: list[Any] | Codes, size: tuple[int, int], rows: NDArray[np.int64] | None = None
) -> _rle.Runs:
    """Decode the compressed counts of one image's masks into runs.

    Args:
        masks: Compressed counts of each mask: str, bytes, any buffer, or where they lie (`Codes`).
        size: (height, width) in pixels.
        rows: (N,) positions of the masks to decode; all of them by default.

    Raises:
        RLEError: Counts that do not add up to height x width pixels; ``idx`` is the position of the
            mask among those decoded.
    """
    pixels = pixels_of(size)
    try:
        return _rle.Runs(masks, pixels, rows)
    except _rle.CountsError as error:
        if error.code == ESCAPED:
            # Some writers escape more than they need to; the kernel reads doubled backslashes only.
            chosen = range(len(masks)) if rows is None else rows.tolist()
            return pack([bare(masks[idx], i) for i, idx in enumerate(chosen)], size)
        fault = FAULTS[error.code].format(position=error.position, pixels=error.pixels)
        raise RLEError(f"run-length code {fault}", error.idx) from None


def bare(text: Any, idx: int = 0) -> Any:
    """Read a JSON string literal; counts without quotes stay as they are.

    Raises:
        RLEError: A broken literal; ``idx`` is its position in the batch.
    """
    literal = text if isinstance(text, str) else bytes(memoryview(text)).decode("utf-8", "replace")
    if not literal.startswith('"'):
        return literal
    try:
        return str(json.loads(literal))
    except ValueError:
        raise RLEError("run-length code is a broken JSON string", idx) from None


def pixels_of(size: tuple[int, int]) -> int:
    """Return height x width, checked against what 32-bit positions can count."""
    if size[0] * size[1] > MAX_PIXELS:
        raise RLEError(f"an image of {size[0]} x {size[1]} pixels is too large: the limit is 2**32")
    return size[0] * size[1]


def compress_list(counts: Sequence[int]) -> bytes:
    """Compress plain run lengths as COCO does; they must be whole numbers of at least 0."""
    try:
        lengths = np.asarray(counts)
    except ValueError:  # lists within the list, of several lengths
        lengths = np.zeros((1, 1))
    if lengths.ndim != 1 or (lengths.size and lengths.dtype.kind not in "iu"):
        raise RLEError("uncompressed run lengths must be a flat list of whole numbers")
    if lengths.size and (lengths.min() < 0 or lengths.max() > MAX_PIXELS):
        raise RLEError("uncompressed run lengths must lie in 0..2**32 - 1")
    return _rle.compress_counts(np.ascontiguousarray(lengths, np.int64))


def size_of(rle: Mapping[str, Any]) -> tuple[int, int]:
    """Return (height, width) of an RLE, after checking that they are whole numbers.

    Examples:
        >>> rle.size_of({"size": [2, 3], "counts": "6"})
        (2, 3)
    """
    try:
        height, width = rle["size"]
        counts = rle["counts"]
    except (TypeError, LookupError, ValueError):
        raise RLEError('an RLE is a dict {"size": [height, width], "counts": ...}') from None
    if not (_is_whole(height) and _is_whole(width)):
        raise RLEError(f"size {[height, width]!r} must be two whole numbers, height and width")
    if not isinstance(counts, str | bytes | list | tuple | np.ndarray):
        raise RLEError(f"counts of type {type(counts).__name__} must be a string or a list")
    return int(height), int(width)


def _is_whole(n: Any) -> bool:
    """Tell a side of an image; tables and JSON of some tools have whole numbers as floats."""
    if isinstance(n, float | np.floating):
        return float(n) >= 0 and float(n).is_integer()
    return isinstance(n, int | np.integer) and not isinstance(n, bool) and int(n) >= 0


def counts_of(rle: Mapping[str, Any]) -> bytes:
    """Return the compressed counts of an RLE, compressing a plain list."""
    counts = rle["counts"]
    if not isinstance(counts, str | bytes):
        return compress_list(counts)
    text = counts.encode("utf-8", "surrogatepass") if isinstance(counts, str) else counts
    # The kernel also reads JSON string literals. Counts passed from Python are none, so a quote is
    # an error here.
    if text[:1] == b'"':
        raise RLEError(f"run-length code {FAULTS[1].format(position=0)}")
    return text


def runs_of(rles: Sequence[Mapping[str, Any]], size: tuple[int, int] | None = None) -> _rle.Runs:
    """Decode RLEs of one size to runs, for the functions that work on runs.

    Args:
        rles: N masks.
        size: The (height, width) that all must have; that of the first mask by default.

    Raises:
        RLEError: A broken mask or one of another size, with its position.

    Examples:
        >>> rle.runs_of([{"size": [2, 2], "counts": "22"}]).bounds_of(0).tolist()
        [2, 4]
    """
    sizes = [size_of(rle) for rle in rles]
    size = size or (sizes[0] if sizes else (0, 0))
    for idx, other in enumerate(sizes):
        if other != size:
            raise RLEError(f"mask {idx} has size {list(other)}, not {list(size)}", idx)
    counts = []
    for idx, rle in enumerate(rles):
        try:
            counts.append(counts_of(rle))
        except RLEError as error:
            raise RLEError(str(error), idx) from None
    return pack(counts, size)


def from_bounds(bounds: NDArray[np.uint32], size: tuple[int, int]) -> dict[str, Any]:
    """Encode foreground runs as an RLE.

    Args:
        bounds: (2 R,) uint32: start and end of each run in turn, ascending. Pixels are counted
            column by column, and the end is the position after the last pixel.
        size: (height, width) in pixels.

    Examples:
        >>> rle.from_bounds(np.array([2, 4], np.uint32), (2, 2))
        {'size': [2, 2], 'counts': '22'}
    """
    text = _rle.compress(np.ascontiguousarray(bounds, np.uint32), size[0] * size[1])
    return {"size": [int(size[0]), int(size[1])], "counts": text.decode("ascii")}
