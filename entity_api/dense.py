"""Masks as programs hold them: arrays and tensors of pixels, coded as soon as they are seen.

Arrays of any library are taken as they come: PyTorch's tensors by their methods, so that this
package does without the library itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entity_api.counts import RLEError

__all__ = ["array_of", "code_mask", "code_masks", "scores_of"]

# Rows of 0 and 1 that are no image's shape are taken for a mask's if there are more than these.
MOST_TINY_POLYGONS = 8


def array_of(value: Any) -> NDArray[Any] | None:
    """Return an array or a tensor as a NumPy array, None for what is neither.

    >>> array_of(np.zeros(2)).shape
    (2,)
    >>> array_of([0, 0])
    """
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # NumPy has no bfloat16.
        return np.asarray((value.float() if "bfloat16" in str(value.dtype) else value).numpy())
    return np.asarray(value) if hasattr(value, "__array__") else None


def code_mask(mask: Any, size: tuple[int, int] | None = None) -> dict[str, Any]:
    """Code one mask: an array or tensor of pixels, a run-length code, or polygons.

    Args:
        mask: (H, W) or (1, H, W) of bool, or of numbers that are 0 and one other, as an array, a
            tensor, or lists of 0 and 1; or what COCO writes as ``segmentation``.
        size: (height, width) in pixels that it must have; polygons need it.

    Raises:
        RLEError: It is of another size or kind, or holds more values than two.
    """
    pixels = array_of(mask)
    if pixels is None and size is not None and isinstance(mask, list | tuple):
        pixels = _rows_of_pixels(mask, size)
    if pixels is not None:
        coded = rle_codes.encode(_two_valued(_flat(pixels)))
        if size is not None and tuple(coded["size"]) != tuple(size):
            raise RLEError(f"its shape {coded['size']} is not the image's (height, width) {size}")
        return coded
    if isinstance(mask, Mapping) and size is None:
        size = rle_codes.size_of(mask)
    if size is None:
        raise RLEError(f"a mask is an array of pixels or a run-length code, not {_kind(mask)}")
    return rle_codes.to_rle(mask, *size)


def _is_bit(value: Any) -> bool:
    return isinstance(value, int | float) and value in (0, 1)


def _rows_of_pixels(rows: Sequence[Any], size: tuple[int, int]) -> NDArray[Any] | None:
    """Return lists of numbers, a row of pixels each, as an array; None for what may be polygons.

    A polygon whose corners all lie on 0 and 1 covers a pixel at most; many of them are a mask. So
    are as many lists of as many numbers as the image has rows and columns.
    """
    first = rows[0] if rows else None
    if not isinstance(first, list | tuple):
        return None
    fits = (len(rows), len(first)) == tuple(size) and min(size) > MOST_TINY_POLYGONS
    if not fits and not all(map(_is_bit, first[:64])):
        return None
    if len({len(row) if isinstance(row, list | tuple) else -1 for row in rows}) != 1:
        return None
    pixels = np.asarray(rows)
    if pixels.ndim != 2 or pixels.dtype.kind not in "biuf":
        return None
    if fits:
        return pixels
    if not np.isin(pixels, (0, 1)).all():
        return None
    fits = pixels.shape in (tuple(size), tuple(size)[::-1])
    return pixels if fits or min(pixels.shape) > MOST_TINY_POLYGONS else None


def _flat(pixels: NDArray[Any]) -> NDArray[Any]:
    """Take the axis of one mask away that models leave before or behind its pixels."""
    if pixels.ndim == 3 and 1 in (pixels.shape[0], pixels.shape[2]):
        return pixels[0] if pixels.shape[0] == 1 else pixels[:, :, 0]
    return pixels


def _two_valued(mask: NDArray[Any]) -> NDArray[Any]:
    """Check that a mask says of each pixel whether it is in, and nothing more."""
    if isinstance(mask, np.ma.MaskedArray):
        raise RLEError("it is a masked array: say with filled() what its masked pixels are")
    if mask.dtype.kind not in "biuf":
        raise RLEError(f"a mask's pixels are bool or numbers, not {mask.dtype}")
    if mask.dtype.kind == "b" or not mask.size:
        return mask
    foreground = 1 if mask.dtype.kind == "f" else mask.max()
    if not ((mask == 0) | (mask == foreground)).all():
        raise RLEError(
            "its pixels are no yes or no: compare probabilities or logits with a threshold first"
            if mask.dtype.kind == "f"
            else "its pixels have more than one value beside 0: an id map is not one mask"
        )
    return mask


def code_masks(masks: Any, size: tuple[int, int] | None = None) -> list[dict[str, Any]]:
    """Code the masks of one image, one after the other.

    Args:
        masks: An array or tensor (N, H, W) or (N, 1, H, W), or N masks as `code_mask` takes them.
        size: (height, width) in pixels that they must have.

    Raises:
        RLEError: As `code_mask`, with the position of the mask.
    """
    stack = array_of(masks)
    if stack is not None and stack.ndim == 4 and stack.shape[1] == 1:
        stack = stack[:, 0]
    if stack is not None and stack.ndim != 3:
        raise RLEError(f"the masks of an image are (N, height, width), not {stack.shape}")
    if stack is None and (isinstance(masks, Mapping | str) or not isinstance(masks, Iterable)):
        raise RLEError(f"the masks of an image are an array or a list, not {_kind(masks)}")
    found = []
    for idx, mask in enumerate(masks if stack is None else stack):
        try:
            found.append(code_mask(mask, size))
        except RLEError as error:
            raise RLEError(str(error), idx) from None
    return found


def scores_of(scores: Any, n: int) -> NDArray[np.float64]:
    """Return the scores of N masks as an array (N,).

    Raises:
        ValueError: They are not N numbers.
    """
    listed = array_of(scores)
    if listed is None:
        try:
            if any(isinstance(score, bool) for score in scores):
                raise TypeError
            listed = np.array([float(score) for score in scores], np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"scores are a list of numbers, not {_kind(scores)}") from None
    if listed.dtype.kind not in "iuf":
        raise ValueError(f"scores are numbers, not {listed.dtype}")
    if listed.ndim != 1 or len(listed) != n:
        raise ValueError(f"there are {n} masks and scores of shape {listed.shape}")
    return listed.astype(np.float64)


def _kind(value: Any) -> str:
    return type(value).__name__
