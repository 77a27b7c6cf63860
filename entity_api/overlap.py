"""Overlap between the predictions of an image: measure it and remove it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import _cover, _near, _rle
from entity_api.counts import from_bounds, pack, runs_of, size_of
from entity_api.dense import code_masks, scores_of
from entity_api.params import OverlapRule
from entity_api.shown import Shown

__all__ = ["Overlap", "overlapping_pairs", "remove_overlaps", "visible_by"]


@dataclasses.dataclass(frozen=True, repr=False)
class Overlap(Shown):
    """Count the overlap of a prediction file, image by image.

    Attributes:
        pixels: (I,) pixels that two or more predictions cover.
        covered: (I,) pixels that any prediction covers.
        pairs: (I,) pairs of predictions that share a pixel. -1 where predictions overlap and the
            pairs were not counted, because `EvalParams.count_pairs` is off or the image has more
            than 16,384 predictions.
        hidden: (I,) predictions whose pixels are all covered by predictions of a higher score. They
            are left out of AP^e, as in the original, which gives them score 0. A mask that is empty
            as submitted is not counted here.

    Examples:
        >>> from entity_api import Overlap
        >>> overlap = Overlap(pixels=np.array([10, 0]), covered=np.array([30, 50]),
        ...                   pairs=np.array([1, 0]), hidden=np.array([0, 0]))
        >>> overlap.share, overlap.n_images
        (0.125, 1)
    """

    pixels: NDArray[np.int64]
    covered: NDArray[np.int64]
    pairs: NDArray[np.int64]
    hidden: NDArray[np.int64]

    @property
    def share(self) -> float:
        """Pixels covered more than once over pixels covered at all, in [0, 1]."""
        return float(self.pixels.sum() / max(self.covered.sum(), 1))

    @property
    def n_images(self) -> int:
        """Number of images in which predictions overlap."""
        return int(np.count_nonzero(self.pixels))


def remove_overlaps(
    masks: Any, scores: Sequence[float], rule: OverlapRule = "score"
) -> list[dict[str, Any]]:
    """Remove overlaps: each pixel goes to the mask with the highest score that covers it.

    Where scores are equal, the earlier mask gets the pixel. This is the rule of AP^e (Qi et al.,
    ICCV 2023; the original applies it inside its models, before it writes predictions).

    Args:
        masks: N masks of one image: run-length codes, or dense arrays and tensors (H, W).
        scores: (N,), higher is surer.
        rule: Another rule than the benchmark's; see `EvalParams.overlap_rule`.

    Returns:
        N run-length codes in the same order. A mask that keeps no pixel is empty.

    Raises:
        RLEError: A broken mask, with its position.
        ValueError: Scores that are not N numbers.

    Examples:
        >>> from entity_api import remove_overlaps
        >>> left = rle.encode(np.array([[1, 0], [1, 0]]))
        >>> top = rle.encode(np.array([[1, 1], [0, 0]]))
        >>> left, top = remove_overlaps([left, top], scores=[0.5, 0.9])
        >>> rle.decode(left).astype(int).tolist(), rle.decode(top).astype(int).tolist()
        ([[0, 0], [1, 0]], [[1, 1], [0, 0]])
    """
    rles = code_masks(masks)
    numbers = scores_of(scores, len(rles))
    if not np.isfinite(numbers).all():
        raise ValueError(f"a score is not finite: {numbers.tolist()!r:.80}")
    if not rles:
        return []
    size = size_of(rles[0])
    order = np.argsort(-numbers, kind="stable")
    # Decoded once in the caller's order, so that an error names the position the caller knows.
    runs_of(rles, size)
    visible, _ = visible_by(rule, runs_of([rles[idx] for idx in order], size), order, size)
    codes = codes_of(visible, size)
    return [codes[rank] for rank in np.argsort(order)]


def visible_by(
    rule: OverlapRule, masks: _rle.Runs, rows: NDArray[np.int64], size: tuple[int, int]
) -> tuple[_rle.Runs, int]:
    """Take overlaps between the masks of an image away.

    Args:
        rule: Which mask keeps a pixel; see `EvalParams.overlap_rule`.
        masks: N masks, sorted by score descending.
        rows: (N,) their positions in the file.
        size: (height, width) of the image in pixels.

    Returns:
        What is left of each mask, in the same order, and the number of pixels that two or more
        cover; where there are none, the masks themselves.
    """
    if rule == "score":
        found: tuple[_rle.Runs, int] = _cover.visible(masks)
        return found
    areas = masks.areas()
    keys = {"small-first": areas, "large-first": -areas, "order": rows}
    order = np.argsort(keys[rule], kind="stable")
    texts = [code["counts"] for code in codes_of(masks, size)]
    visible, crowded_px = _cover.visible(pack([texts[idx] for idx in order], size))
    if not crowded_px:
        return masks, 0
    left = [code["counts"] for code in codes_of(visible, size)]
    return pack([left[idx] for idx in np.argsort(order)], size), crowded_px


def codes_of(masks: _rle.Runs, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Write decoded masks as RLEs of one size."""
    return [from_bounds(masks.bounds_of(idx), size) for idx in range(masks.n)]


def overlapping_pairs(masks: Any) -> list[tuple[int, int, int]]:
    """List the pairs of masks that overlap.

    Args:
        masks: N masks of one image: run-length codes, or dense arrays and tensors (H, W).

    Returns:
        (position, position, number of common pixels) of each pair, the most pixels first.

    Raises:
        RLEError: A broken mask, or one of another size, with its position.

    Examples:
        >>> from entity_api import overlapping_pairs
        >>> left = rle.encode(np.array([[1, 0], [1, 0]]))
        >>> top = rle.encode(np.array([[1, 1], [0, 0]]))
        >>> overlapping_pairs([left, top])
        [(0, 1, 1)]
    """
    runs = runs_of(rles := code_masks(masks))
    if not rles:
        return []
    one_group = np.zeros(runs.n, np.int64)
    # Against a crowd a mask is measured by its own pixels, so that a share tells how many.
    crowd = np.ones(runs.n, np.uint8)
    height, least = size_of(rles[0])[0], np.finfo(np.float64).tiny
    areas = runs.areas().tolist()
    shares = _near.near(runs, runs, crowd, height, least, one_group, one_group).rows()
    pairs = [
        (first, second, round(share * areas[first]))
        for first, row in enumerate(shares)
        for second, share in row
        if second > first
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], *pair[:2]))
