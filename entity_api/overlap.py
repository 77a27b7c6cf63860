"""Overlap between the predictions of an image: how much there is, and taking it away."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import _overlap, _rle
from entity_api.rle import from_bounds, intersections, runs_of, size_of

__all__ = ["Overlap", "overlapping_pairs", "remove_overlaps"]


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Count the overlap of a prediction file, image by image.

    Attributes:
        pixels: (I,) pixels that two or more predictions cover.
        covered: (I,) pixels that any prediction covers.
        pairs: (I,) pairs of predictions with a common pixel; -1 where there are too many
            predictions (over 16,384) to count them.
    """

    pixels: NDArray[np.int64]
    covered: NDArray[np.int64]
    pairs: NDArray[np.int64]

    @property
    def share(self) -> float:
        """Pixels covered more than once over pixels covered at all, in [0, 1]."""
        return float(self.pixels.sum() / max(self.covered.sum(), 1))

    @property
    def n_images(self) -> int:
        """Number of images in which predictions overlap."""
        return int(np.count_nonzero(self.pixels))


def remove_overlaps(
    rles: Sequence[Mapping[str, Any]], scores: Sequence[float]
) -> list[dict[str, Any]]:
    """Give each pixel to the mask of the highest score that covers it, ties to the earlier one.

    Masks keep their order; one that nothing is left of becomes empty. This is the rule of AP^e (Qi
    et al., ICCV 2023; the original applies it inside its models, before writing predictions).

    Args:
        rles: N masks of one image.
        scores: (N,).
    """
    if not rles:
        return []
    size = size_of(rles[0])
    runs = runs_of(rles, size)
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable").astype(np.int32)
    return codes_of(_overlap.Visible(runs, order), size)


def codes_of(masks: _rle.Runs | _overlap.Visible, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Write decoded masks, or what is visible of them, as RLEs of one size."""
    if isinstance(masks, _rle.Runs):
        return [from_bounds(masks.bounds_of(idx), size) for idx in range(masks.n)]
    bounds, owners = masks.segments()
    by_owner = bounds[np.argsort(owners, kind="stable")]
    cuts = np.cumsum(np.bincount(owners, minlength=masks.n))[:-1]
    return [from_bounds(part.reshape(-1), size) for part in np.split(by_owner, cuts)]


def overlapping_pairs(rles: Sequence[Mapping[str, Any]]) -> list[tuple[int, int, int]]:
    """List the pairs of masks that overlap as (position, position, common pixels), most first."""
    common = np.triu(intersections(rles, rles), k=1)
    first, second = np.nonzero(common)
    order = np.argsort(-common[first, second], kind="stable")
    return [(int(first[k]), int(second[k]), int(common[first[k], second[k]])) for k in order]
