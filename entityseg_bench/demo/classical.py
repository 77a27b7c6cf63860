"""A baseline without weights: graph segmentation, merged by colour and texture."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import rle

__all__ = ["segment", "segment_levels"]

# Felzenszwalb and Huttenlocher (IJCV 2004): the preference for large regions, and the least share
# of the image a region may have.
SCALE, LEAST_SHARE = 120.0, 0.0008


class Regions(NamedTuple):
    """Hold the statistics that tell regions apart.

    ``area`` is (N,) pixels, ``total`` is (N, F) summed features, ``border`` is (N, N) the pixel
    pairs two regions share and ``step`` (N, N) the summed colour difference across them.
    """

    area: NDArray[np.float64]
    total: NDArray[np.float64]
    border: NDArray[np.float64]
    step: NDArray[np.float64]


def segment(
    image: NDArray[np.uint8], merge_below: float = 16.0
) -> list[tuple[dict[str, Any], float]]:
    """Cut an image into regions that do not overlap and cover it.

    Felzenszwalb's segmentation, whose neighbouring regions are then merged, the most alike first,
    while they differ by less than ``merge_below`` in colour, grain and across their border.

    Args:
        image: (H, W, 3) uint8 RGB.
        merge_below: Difference in units of CIE Lab at which merging stops.

    Returns:
        Masks as RLE with scores in [0, 1], best first. A score grows with the contrast across the
        region's border against the contrast within it, and with its size.
    """
    return segment_levels(image, [merge_below])[0]


def segment_levels(
    image: NDArray[np.uint8], levels: Sequence[float]
) -> list[list[tuple[dict[str, Any], float]]]:
    """Return what `segment` returns at each of several levels of ``merge_below``."""
    from skimage.color import rgb2lab
    from skimage.segmentation import felzenszwalb

    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")
    pixels = image.shape[0] * image.shape[1]
    lab = rgb2lab(image)
    least = max(int(LEAST_SHARE * pixels), 4)
    labels = felzenszwalb(image, scale=SCALE, sigma=0.7, min_size=least)
    regions = measure(labels, lab)
    found = []
    for level in levels:
        merged = merge(regions, level)[labels]
        ids, masks = rle.encode_id_map(merged)
        scores = rate(measure(np.searchsorted(ids, merged), lab), pixels)
        order = np.argsort(-scores, kind="stable")
        found.append([(masks[k], float(scores[k])) for k in order])
    return found


def measure(labels: NDArray[np.integer], lab: NDArray[np.floating]) -> Regions:
    """Sum up regions 0..N-1 of a label map and the borders between them."""
    n = int(labels.max()) + 1
    grain = np.abs(np.diff(lab[..., 0], axis=0, append=lab[-1:, :, 0]))
    grain = grain + np.abs(np.diff(lab[..., 0], axis=1, append=lab[:, -1:, 0]))
    features = [*np.moveaxis(lab, -1, 0), grain]
    total = [np.bincount(labels.ravel(), weights=f.ravel(), minlength=n) for f in features]
    pair_counts, pair_steps = np.zeros(n * n), np.zeros(n * n)
    # Across two pixels: a border in a photograph is never sharper than that.
    for first, second in (
        (np.s_[:-2], np.s_[2:]),
        (np.s_[:, :-2], np.s_[:, 2:]),
    ):
        a, b = labels[first].ravel(), labels[second].ravel()
        step = np.linalg.norm(lab[first] - lab[second], axis=-1).ravel()
        code = a.astype(np.int64) * n + b
        pair_counts += np.bincount(code, minlength=n * n)
        pair_steps += np.bincount(code, weights=step, minlength=n * n)
    border, steps = pair_counts.reshape(n, n), pair_steps.reshape(n, n)
    return Regions(
        np.bincount(labels.ravel(), minlength=n).astype(np.float64),
        np.stack(total, axis=1),
        border + border.T,
        steps + steps.T,
    )


def merge(regions: Regions, merge_below: float) -> NDArray[np.int64]:
    """Join the two most similar neighbours again and again; return each region's root, (N,)."""
    area, total = regions.area.copy(), regions.total.copy()
    border, step = regions.border.copy(), regions.step.copy()
    n = len(area)
    root = np.arange(n)
    cost = np.full((n, n), np.inf)
    for k in range(n):
        cost[k] = difference(k, area, total, border, step)
    while n > 1:
        keep, gone = np.unravel_index(np.argmin(cost), cost.shape)
        if cost[keep, gone] >= merge_below:
            break
        root[root == gone] = keep
        area[keep] += area[gone]
        total[keep] += total[gone]
        for table in (border, step):
            table[keep] += table[gone]
            table[:, keep] = table[keep]
            table[gone] = table[:, gone] = 0
        cost[gone] = cost[:, gone] = np.inf
        cost[keep] = cost[:, keep] = difference(int(keep), area, total, border, step)
    return root


def difference(
    k: int,
    area: NDArray[np.float64],
    total: NDArray[np.float64],
    border: NDArray[np.float64],
    step: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Tell how much region k differs from each other, (N,); infinite where they do not touch."""
    mean = total / area[:, None]
    apart = np.linalg.norm(mean - mean[k], axis=1)
    across = step[k] / np.maximum(border[k], 1)
    # Small regions are grains of their neighbour more often than entities.
    smaller = np.minimum(area, area[k])
    weight = np.minimum(1, (smaller / (0.004 * area.sum())) ** 0.5)
    touches = border[k] > 0
    touches[k] = False
    return np.where(touches, weight * (0.7 * apart + 0.3 * across), np.inf)


def rate(regions: Regions, pixels: int) -> NDArray[np.float64]:
    """Score each region in [0, 1], (N,)."""
    own = np.diag(regions.step) / np.maximum(np.diag(regions.border), 1)
    outer_border = regions.border.sum(axis=1) - np.diag(regions.border)
    outer_step = regions.step.sum(axis=1) - np.diag(regions.step)
    across = outer_step / np.maximum(outer_border, 1)
    contrast = across / np.maximum(across + own, 1e-9)
    size = np.minimum(1, (regions.area / (0.01 * pixels)) ** 0.25)
    return contrast * size
