"""Regions of like colour: what the programs of this folder are given as their networks' answer."""

import cv2
import numpy as np

# How far a pixel's colour may be from the point's, for each of the three masks of a point.
TOLERANCES = (12, 24, 48)


def regions_at(image, x, y):
    """Return three masks of the region around a point, and how good each is said to be.

    Args:
        image: (H, W, 3) uint8.
        x: Column of the point.
        y: Row of the point.

    Returns:
        (3, H, W) of -8 outside to 8 within; (3,) in 0.86 to 1, by area.
    """
    height, width = image.shape[:2]
    masks = np.empty((3, height, width), np.float32)
    scores = np.empty(3, np.float32)
    for k, tolerance in enumerate(TOLERANCES):
        found = np.zeros((height + 2, width + 2), np.uint8)
        cv2.floodFill(
            image.copy(), found, (x, y), 0, [tolerance] * 3, [tolerance] * 3,
            cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | 4 | (1 << 8),
        )  # fmt: skip
        inside = found[1:-1, 1:-1]
        # A soft edge, so that stability_score says something.
        soft = 16 * cv2.GaussianBlur(inside.astype(np.float32), (3, 3), 0.6) - 8
        masks[k] = np.where(inside, np.maximum(soft, 0.1), np.minimum(soft, -0.1))
        share = inside.mean()
        scores[k] = 0.86 + 0.13 * np.sqrt(share) - 0.01 * k + 0.0001 * (x % 7) - 0.0001 * (y % 5)
    return masks, scores
