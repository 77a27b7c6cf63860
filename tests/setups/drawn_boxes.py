"""Masks that are boxes, drawn at random."""

import numpy as np

__all__ = ["draw_box"]


def draw_box(rng, side, most):
    """Draw a box of up to ``most`` pixels a side, cut at the edges, into (side, side) bool."""
    mask = np.zeros((side, side), bool)
    y, x, height, width = *rng.integers(0, side - 3, 2), *rng.integers(3, most, 2)
    mask[y : y + height, x : x + width] = True
    return mask
