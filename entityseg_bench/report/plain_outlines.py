"""What the kernel `_outlines` computes, in readable Python, for the tests to compare it with."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api.boundary import column_runs

__all__ = ["sample", "straighten", "trace"]

Ints = NDArray[np.int64]

# Directions of an edge that runs with its pixel on the right: right along the top, down the right
# side, left along the bottom, up the left side; as steps in (y, x).
STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
# Where the edge of each direction starts and ends, from its pixel's upper left corner.
STARTS = ((0, 0), (0, 1), (1, 1), (1, 0))


def sample(masks: Sequence[Mapping[str, Any]], grid: tuple[int, int]) -> NDArray[np.int32]:
    """Lay masks over each other, later over earlier, as seen at the middles of a grid's cells.

    Args:
        masks: RLE of one size.
        grid: (height, width).

    Returns:
        (height, width) position of the mask on top, -1 where none is.
    """
    owner = np.full(grid[::-1], -1, np.int32)
    if not masks:
        return np.ascontiguousarray(owner.T)
    height, width = masks[0]["size"]
    column_of = np.full(width, -1, np.int64)
    at = ((np.arange(grid[1]) + 0.5) * width / grid[1]).astype(np.int64)
    column_of[at] = np.arange(grid[1])
    # Of each pixel of a column the first row of the grid whose middle is not above it.
    middles = ((np.arange(grid[0]) + 0.5) * height / grid[0]).astype(np.int64)
    row_from = np.searchsorted(middles, np.arange(height + 1))
    steps = np.zeros((grid[1], grid[0] + 1), np.int32)
    for k, mask in enumerate(masks):
        runs = column_runs(mask)
        column = column_of[runs[:, 0] // height]
        kept = column >= 0
        top = row_from[runs[kept, 0] % height]
        bottom = row_from[(runs[kept, 1] - 1) % height + 1]
        steps[:] = 0
        np.add.at(steps, (column[kept], top), 1)
        np.add.at(steps, (column[kept], bottom), -1)
        owner[np.cumsum(steps, axis=1)[:, :-1] > 0] = k
    return np.ascontiguousarray(owner.T)


def trace(owner: NDArray[np.int32], n: int, tolerance: float = 0.75) -> list[str]:
    """Trace the outline of each of n masks in a grid as SVG path data in units of its cells.

    Holes are outlines too: fill them by the even-odd rule.

    Args:
        owner: (height, width) position of the mask that each cell belongs to, -1 for none.
        n: Number of masks.
        tolerance: How far, in cells, an outline may be straightened.

    Returns:
        (n,) path data, "" of a mask that no cell belongs to.
    """
    follow, starts = _successors(owner)
    n_cells = owner.size
    paths: list[list[str]] = [[] for _ in range(n)]
    width = owner.shape[1] + 1
    label = np.tile(owner.reshape(-1), 4).tolist()
    done = bytearray(len(follow))
    after = follow.tolist()
    for first in np.flatnonzero(follow >= 0).tolist():
        if done[first]:
            continue
        corners, edge, direction = [], first, -1
        while not done[edge]:
            done[edge] = 1
            if edge // n_cells != direction:
                direction = edge // n_cells
                corners.append(divmod(starts[edge], width))
            edge = after[edge]
        paths[label[first]].append(_path(straighten(corners, tolerance)))
    return ["".join(parts) for parts in paths]


def _successors(owner: NDArray[np.int32]) -> tuple[Ints, list[int]]:
    """Chain the edges of all cells.

    Returns:
        (4 height width,) next edge of each, by direction and cell; -1 where there is no edge. And
        the lattice point at which each starts, y (width + 1) + x.
    """
    height, width = owner.shape
    wide = np.pad(owner, 1, constant_values=-1)
    inside = owner >= 0

    def beside(y: int, x: int) -> NDArray[np.bool_]:
        own: NDArray[np.bool_] = wide[1 + y : 1 + y + height, 1 + x : 1 + x + width] == owner
        return own

    cell = np.arange(height * width).reshape(height, width)
    n, follow = height * width, np.full((4, height, width), -1, np.int64)
    for d, (ahead_y, ahead_x) in enumerate(STEPS):
        out_y, out_x = STEPS[(d + 3) % 4]
        there = inside & ~beside(out_y, out_x)
        straight = beside(ahead_y, ahead_x)
        # Right of the edge's end the cell ahead, left of it the one ahead and outward. Where only
        # corners touch, the outline turns right, so that each part stays apart.
        left = beside(ahead_y + out_y, ahead_x + out_x) & straight
        turn = (d + 1) % 4 * n + cell
        go_on = d * n + cell + ahead_y * width + ahead_x
        back = (d + 3) % 4 * n + cell + (ahead_y + out_y) * width + ahead_x + out_x
        follow[d] = np.where(there, np.where(left, back, np.where(straight, go_on, turn)), -1)
    y, x = np.divmod(cell, width)
    starts = [((y + dy) * (width + 1) + x + dx).reshape(-1) for dy, dx in STARTS]
    return follow.reshape(-1), np.concatenate(starts).tolist()


def straighten(corners: Sequence[tuple[int, int]], tolerance: float) -> list[tuple[int, int]]:
    """Leave out the points of a closed outline that lie within a tolerance of the rest.

    The way of Douglas and Peucker (1973), from the first point and the one farthest from it.
    """
    n = len(corners)
    y0, x0 = corners[0]
    far = max(range(n), key=lambda k: (corners[k][0] - y0) ** 2 + (corners[k][1] - x0) ** 2)
    kept = {0, far}
    points = [*corners, corners[0]]
    work = [(0, far), (far, n)]
    limit = tolerance**2
    while work:
        first, last = work.pop()
        if last - first < 2:
            continue
        ay, ax = points[first]
        dy, dx = points[last][0] - ay, points[last][1] - ax
        length = dy * dy + dx * dx
        worst, where = limit * (length or 1), -1
        for k in range(first + 1, last):
            y, x = points[k]
            # From the line, or from the point where an outline comes back to where it was.
            across, away = dx * (y - ay) - dy * (x - ax), (y - ay) ** 2 + (x - ax) ** 2
            off = across**2 if length else away
            if off > worst:
                worst, where = off, k
        if where >= 0:
            kept.add(where)
            work += [(first, where), (where, last)]
    if len(kept) < 3:
        # What is thinner than the tolerance stays as it is, so that it can be seen.
        return list(corners)
    return [corners[k] for k in sorted(kept)]


def _path(corners: Sequence[tuple[int, int]]) -> str:
    """Write a closed outline with its first point absolute and the others relative."""
    (y, x), parts = corners[0], []
    for next_y, next_x in corners[1:]:
        parts.append(f"{next_x - x} {next_y - y}")
        y, x = next_y, next_x
    return f"M{corners[0][1]} {corners[0][0]}l{' '.join(parts)}z".replace(" -", "-")
