"""Outlines of a report, read back."""

import re

import numpy as np


def points_of(path: str) -> list[list[tuple[int, int]]]:
    """Read path data back: the corners (x, y) of each outline."""
    outlines = []
    for part in path.split("M")[1:]:
        first, _, rest = part.partition("l")
        numbers = [int(n) for n in re.findall(r"-?\d+", rest)]
        corners = [tuple(int(n) for n in re.findall(r"-?\d+", first))]
        for dx, dy in zip(numbers[::2], numbers[1::2], strict=True):
            corners.append((corners[-1][0] + dx, corners[-1][1] + dy))
        outlines.append(corners)
    return outlines


def filled(path: str, height: int, width: int) -> np.ndarray:
    """Fill path data by the even-odd rule, one ray a row of cells."""
    crossings = np.zeros((height, width), int)
    middles = np.arange(width) + 0.5
    for corners in points_of(path):
        for (xa, ya), (xb, yb) in zip(corners, [*corners[1:], corners[0]], strict=True):
            for y in range(height):
                if (ya <= y + 0.5) != (yb <= y + 0.5):
                    crossings[y] += xa + (y + 0.5 - ya) * (xb - xa) / (yb - ya) <= middles
    return crossings % 2 == 1
