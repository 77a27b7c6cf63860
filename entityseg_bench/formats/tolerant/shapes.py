"""Masks in other shapes than COCO's: nested and flat polygons, lists of zeros and ones, codes.

What can be meant in one way is read, and counted for a note; the rest is refused in words.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from entity_api import rle as rle_codes
from entity_api.counts import RLEError
from entityseg_bench.formats.tolerant.fields import whole
from entityseg_bench.types import Tally

__all__ = ["NoMask", "plain_shape", "printed_bytes"]

# How Python shows bytes; neither quote is a character of a run-length code.
BYTES = re.compile(r"""(?:bytearray\()?b(['"])(.*)\1\)?""", re.DOTALL)
# How Python and NumPy show a list of numbers; three dots, for what is left out, are none.
NUMBERS = re.compile(
    r"\s*(?:(?:array|tensor)\()?\s*\[\s*\d+\.?0?(?:[\s,]+\d+\.?0?)*[\s,]*\]\s*(?:,[^()]*)?\)?\s*"
)

COORDINATE = re.compile(r"\s*-?\d+(\.\d*)?\s*")

LEAST_POINTS = 3
# A polygon has that many numbers at least.
LEAST_NUMBERS = 2 * LEAST_POINTS
POLYGON = "a polygon is a flat list of at least three finite x, y pairs"
# Polygons of points stand in three lists; some tools add one for each mask or contour.
MOST_NESTED = 3


class NoMask(RLEError):
    """Say that a record has no mask at all."""


def plain_shape(value: Any, size: tuple[int, int], tally: Tally) -> Any:
    """Return a segmentation as COCO writes it: a run-length code, or a list of flat polygons.

    Args:
        value: As the file has it.
        size: (height, width) of the image.
        tally: Counts what was turned.

    Raises:
        RLEError: It is no mask, or may be meant in several ways.
    """
    if isinstance(value, str):
        value = _parsed(value, tally)
    if value is None or value in ([], {}, [[]]):
        raise NoMask(
            f"segmentation is {value!r}: a segmentation of no polygons says nothing, at most a "
            "bounding box is known"
        )
    if isinstance(value, dict):
        return _plain_code(value, tally)
    if not isinstance(value, list):
        raise RLEError(f"segmentation is {value!r:.80}, which is no mask")
    if len(value) == 1 and isinstance(value[0], list) and _is_code(value[0][:1]):
        value = value[0]
    if _is_code(value):
        if len(value) > 1:
            raise RLEError(f"it has {len(value)} run-length codes: which is meant, or all?")
        return plain_shape(value[0], size, tally)
    value = _numbers(value, tally)
    dense = _dense(value, size)
    if dense is not None:
        tally.add(
            "{n}: the mask is a list of rows of zeros and ones of the image's shape, read so."
        )
        return rle_codes.encode(dense)
    outlines = _polygons(value, tally)
    _refuse_fractions(outlines, size)
    return outlines


def _is_code(value: list[Any]) -> bool:
    """Tell whether a list begins with a run-length code."""
    return bool(value) and isinstance(value[0], dict) and not _is_point(value[0])


def printed_bytes(text: str) -> str | None:
    """Return the code in a text that shows bytes as Python does, None where it is none."""
    found = BYTES.fullmatch(text)
    return found[2].replace("\\\\", "\\") if found else None


def _parsed(text: str, tally: Tally) -> Any:
    """Read a segmentation that is JSON within a text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    if isinstance(value, str) or value is None:
        printed = text.lstrip().startswith(("{'", "[", "array(", "tensor("))
        why = "a mask as Python prints it: write it with json.dump" if printed else "no mask"
        raise RLEError(f"segmentation is {text[:50]!r}, which is {why}")
    tally.add("{n}: the segmentation is JSON within a text, read so.")
    return value


def _plain_code(value: dict[str, Any], tally: Tally) -> dict[str, Any]:
    """Return a run-length code whose numbers are whole and whose counts are no printed bytes."""
    inner = value.get("value")
    brush = inner if isinstance(inner, dict) else value
    if "rle" in brush and ("original_width" in value or brush.get("format") == "rle"):
        raise RLEError(
            "this is Label Studio's brush format, another run-length code: export as COCO, or turn "
            "it by label_studio_sdk.converter.brush.decode_rle"
        )
    if set(value) >= {"x", "y", "width", "height"} and "counts" not in value:
        raise RLEError("segmentation is a bounding box, not a mask")
    for name in ("rle", "segmentation", "mask"):
        if "counts" not in value and isinstance(value.get(name), dict):
            return _plain_code(value[name], tally)
    if "counts" not in value or "size" not in value:
        keys = ", ".join(map(str, list(value)[:6]))
        raise RLEError(
            f'a run-length code is {{"size": [height, width], "counts": ...}}, not one of {keys}'
        )
    sides = value["size"]
    sides = [whole(n, "size", tally) for n in sides] if isinstance(sides, list) else sides
    if not isinstance(sides, list) or len(sides) != 2 or any(type(n) is not int for n in sides):
        raise RLEError(f"size {value['size']!r:.60} must be two whole numbers, height and width")
    return {"size": sides, "counts": _plain_counts(value["counts"], tally)}


def _plain_counts(counts: Any, tally: Tally) -> Any:
    if isinstance(counts, list) and len(counts) == 1 and isinstance(counts[0], str):
        counts = counts[0]
    if isinstance(counts, str) and NUMBERS.fullmatch(counts):
        tally.add("{n}: counts are a list of numbers within a text, read so.")
        listed = counts.partition("[")[2].partition("]")[0]
        return [int(float(n)) for n in re.split(r"[\s,]+", listed.strip()) if n]
    if isinstance(counts, str):
        code = printed_bytes(counts)
        if code is not None:
            tally.add("{n}: counts are bytes as Python prints them (b'...'), read without b''.")
        return counts if code is None else code
    if isinstance(counts, list):
        found = [whole(n, "counts", tally) for n in counts]
        if not all(type(n) is int for n in found):
            odd = next(n for n in found if type(n) is not int)
            raise RLEError(f"counts must be a string or a list of whole numbers, not {odd!r:.40}")
        return found
    raise RLEError("counts must be a string or a list of whole numbers")


def _dense(value: list[Any], size: tuple[int, int]) -> Any:
    """Return a mask from rows of zeros and ones, None where the lists are no such rows."""
    rows = value[0] if len(value) == 1 and _is_table(value[0]) else value
    if all(isinstance(row, list) and row and all(map(_is_single, row)) for row in rows):
        # An axis of one, as cameras and networks have for channels.
        rows = [[pixel[0] for pixel in row] for row in rows]
    if not _is_table(rows):
        return None
    values = np.array(rows, np.float64)
    found = np.unique(values)
    # No polygon has all its corners at 0 and 1; 255 is what pictures have for 1.
    binary = bool(np.isin(found, (0, 1)).all() or np.isin(found, (0, 255)).all())
    if values.shape == size and (binary or min(size) > LEAST_NUMBERS):
        if not binary:
            least, most = found[0], found[-1]
            raise RLEError(
                f"it has the image's shape, but values from {least:g} to {most:g}: write 0 and 1 "
                "(or true and false), a threshold is not guessed"
            )
        return values != 0
    if binary and values.size > LEAST_NUMBERS and 1 in found:
        height, width = values.shape
        turned = " (height and width are swapped)" if values.shape == size[::-1] else ""
        raise RLEError(
            f"it is a mask of {height} rows of {width} zeros and ones, but the image has "
            f"{size[0]} x {size[1]} pixels{turned}"
        )
    return None


def _is_single(pixel: Any) -> bool:
    return isinstance(pixel, list) and len(pixel) == 1 and isinstance(pixel[0], bool | int | float)


def _is_table(rows: Any) -> bool:
    """Tell lists of numbers, all of one length."""
    if not isinstance(rows, list) or len(rows) < 2:
        return False
    if not all(isinstance(row, list) for row in rows):
        return False
    width = len(rows[0])
    if width == 0 or any(len(row) != width for row in rows):
        return False
    return all(isinstance(x, bool | int | float) for row in rows for x in row)


def _polygons(value: list[Any], tally: Tally) -> list[list[float]]:
    """Return flat polygons; those of fewer than three points enclose nothing, and are passed over.

    Raises:
        RLEError: None encloses anything, or their numbers are none.
    """
    value = [part for part in value if part is not None] or value
    if _is_numbers(value):
        if _are_runs(value):
            raise RLEError(
                "it is a flat list of starts and lengths, as it seems, and not a polygon: write a "
                "run-length code of COCO's (pycocotools.mask.encode)"
            )
        if set(value) <= {0, 1} and len(value) > LEAST_NUMBERS:
            raise RLEError("it is a flat list of zeros and ones: write it as rows")
        tally.add("{n}: the polygon is a flat list without its outer bracket, read as one polygon.")
        outlines = [value]
    elif all(map(_is_numbers, value)) and not all(len(part) == 2 for part in value):
        outlines = value
    else:
        outlines = list(_outlines(value))
        if any(map(_are_pixels, outlines)):
            raise RLEError(
                "it lists the pixels of a mask, not the corners of a polygon: write the mask"
            )
        tally.add("{n}: polygons are lists of points, read as x, y, x, y, ...")
    kept = [outline for outline in outlines if len(outline) >= LEAST_NUMBERS]
    for outline in outlines:
        if len(outline) % 2:
            raise RLEError(f"{POLYGON}, not {len(outline)} numbers")
    if not kept:
        raise RLEError(f"{POLYGON}: fewer enclose nothing")
    if len(kept) < len(outlines):
        tally.add("{n}: a polygon of fewer than three points was passed over beside good ones.")
    return kept


def _are_runs(values: list[float]) -> bool:
    """Tell starts and lengths of runs: each begins where the one before has ended, or later.

    Corners whose x grow by y and more each time would be those of a line.
    """
    starts, lengths = values[::2], values[1::2]
    if len(starts) != len(lengths) or len(starts) < LEAST_POINTS:
        return False
    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    follows = all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    return follows and min(lengths) > 0 and all(float(x).is_integer() for x in values)


def _are_pixels(outline: list[float]) -> bool:
    """Tell points that fill an area: one has all four neighbours among them, and none is twice."""
    points = list(zip(outline[::2], outline[1::2], strict=False))
    found = set(points)
    if len(found) < len(points) or len(points) < 5:
        return False
    beside = ((0, 1), (0, -1), (1, 0), (-1, 0))
    return any(all((x + dx, y + dy) in found for dx, dy in beside) for x, y in points)


def _refuse_fractions(outlines: list[list[float]], size: tuple[int, int]) -> None:
    """Raise for coordinates that are shares of the image's sides, as YOLO's are."""
    flat = [x for outline in outlines for x in outline]
    if min(size) > 2 and min(flat) >= 0 and max(flat) <= 1 and not all(x in (0, 1) for x in flat):
        raise RLEError(
            "its coordinates lie in 0..1, as shares of the image's sides: multiply them by width "
            "and height"
        )


def _numbers(value: list[Any], tally: Tally) -> list[Any]:
    """Return lists of numbers as text with numbers for them."""
    flat = all(isinstance(part, list) and part and all(map(_is_text, part)) for part in value)
    if not flat:
        return value
    tally.add("{n}: the numbers of the mask are text, read as numbers.")
    return [[float(x) for x in part] for part in value]


def _is_text(value: Any) -> bool:
    """Tell a text that is a plain number."""
    return isinstance(value, str) and COORDINATE.fullmatch(value) is not None


def _outlines(value: list[Any], depth: int = 0) -> Iterator[list[float]]:
    """Flatten lists of points, as deep as they may stand, into one list of numbers an outline."""
    if depth > MOST_NESTED:
        raise RLEError("its polygons are nested too deeply")
    points = [_point(part) for part in value]
    if all(point is not None for point in points):
        yield [x for point in points if point for x in point]
        return
    for part in value:
        if not isinstance(part, list) or not part:
            raise RLEError(f"{POLYGON}, not {part!r:.40}")
        if _is_numbers(part):
            yield part
        else:
            yield from _outlines(part, depth + 1)


def _point(value: Any) -> list[float] | None:
    """Return a point, which may stand in a list of its own as OpenCV writes it, else None."""
    if isinstance(value, dict) and _is_point(value):
        return [value["x"], value["y"]]
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    return value if isinstance(value, list) and len(value) == 2 and _is_numbers(value) else None


def _is_point(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"x", "y"} and _is_numbers([*value.values()])


def _is_numbers(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    kinds = (isinstance(x, int | float) and not isinstance(x, bool) for x in value)
    return all(kinds) and all(math.isfinite(x) for x in value)
