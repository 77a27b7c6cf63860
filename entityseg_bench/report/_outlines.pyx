# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels of small outlines: masks on a coarse grid, traced and straightened.

Their readable definition is `entityseg_bench.report.plain_outlines`. A grid lies here column by
column, as runs do, within a margin of one cell that is nobody's.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport abs as size_of_int
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memset

from entity_api._rle cimport Runs

import numpy as np

# Of a grid's sides: products of two differences are then whole numbers of 32 bits.
LONGEST_SIDE = 20_000


cdef void sample(
    Runs masks, Py_ssize_t m, uint32_t height, const int32_t* column_of, const int32_t* row_from,
    int32_t* cells, Py_ssize_t stride
) noexcept nogil:
    """Lay a mask over what is there, on a grid whose cells are single pixels."""
    cdef Py_ssize_t k, y
    cdef uint32_t start, end, x, top, bottom
    cdef int32_t* column
    for k in range(masks.offsets[m], masks.offsets[m + 1], 2):
        start, end = masks.bounds[k], masks.bounds[k + 1]
        while start < end:
            x = start // height
            top = start - x * height
            bottom = min(end - start, height - top) + top
            start += bottom - top
            if column_of[x] < 0:
                continue
            column = cells + (column_of[x] + 1) * stride + 1
            for y in range(row_from[top], row_from[bottom]):
                column[y] = <int32_t>m


# A corner of an outline.
cdef struct Point:
    int32_t y
    int32_t x


# What one outline is worked out in.
cdef struct Work:
    Point* points
    uint8_t* kept            # which points an outline keeps
    Py_ssize_t* stack        # first and last point of the stretches that are still to straighten
    Py_ssize_t room
    char* text               # where its path is written


cdef bint make_room(Work* work, Py_ssize_t n) noexcept nogil:
    """Make room for n points, keeping those that are there; False without memory."""
    cdef void* grown
    if n <= work.room:
        return True
    n += n // 2 + 256
    grown = realloc(work.points, n * sizeof(Point))
    if grown == NULL:
        return False
    work.points = <Point*>grown
    grown = realloc(work.kept, n)
    if grown == NULL:
        return False
    work.kept = <uint8_t*>grown
    grown = realloc(work.stack, 2 * n * sizeof(Py_ssize_t))
    if grown == NULL:
        return False
    work.stack = <Py_ssize_t*>grown
    # Two numbers of at most six characters and their separators.
    grown = realloc(work.text, 14 * n + 16)
    if grown == NULL:
        return False
    work.text = <char*>grown
    work.room = n
    return True


cdef Py_ssize_t follow(
    const int32_t* cells, uint8_t* starts, Py_ssize_t stride, Py_ssize_t first, Work* work
) noexcept nogil:
    """Gather the corners of the outline through the upper edge of a cell.

    Args:
        cells: Owners.
        starts: Where upper edges begin that no outline has gone through; taken out.
        stride: Length of a column of cells.
        first: The cell, at which its upper edge begins.
        work: Its points are written.

    Returns:
        How many corners there are; -1 without memory.
    """
    # Right along the top, down the right side, left along the bottom, up the left side.
    cdef Py_ssize_t[4] steps = [stride, 1, -stride, -1]
    cdef int32_t[4] down = [0, 1, 0, -1]
    cdef int32_t[4] right = [1, 0, -1, 0]
    cdef Py_ssize_t at = first, ahead, n = 0
    cdef int direction = 0, outward, turned = -1
    cdef int32_t own = cells[first]
    # Without the margin.
    cdef Point corner = Point(<int32_t>(first % stride) - 1, <int32_t>(first // stride) - 1)
    while True:
        if direction != turned:
            turned = direction
            if direction == 0:
                if not starts[at]:
                    return n
                starts[at] = 0
            if n + 2 > work.room and not make_room(work, n + 2):
                return -1
            work.points[n] = corner
            n += 1
        corner.y += down[direction]
        corner.x += right[direction]
        ahead = at + steps[direction]
        if cells[ahead] != own:
            # Where only corners touch, the outline turns too, so that each part stays apart.
            direction = (direction + 1) & 3
            continue
        outward = (direction + 3) & 3
        at = ahead
        if cells[ahead + steps[outward]] == own:
            at += steps[outward]
            direction = outward


cdef Py_ssize_t farthest(const Point* points, Py_ssize_t n) noexcept nogil:
    """Find the first of the points that are farthest from the first."""
    cdef Py_ssize_t k, far = 0
    cdef int64_t dy, dx, most = -1
    for k in range(n):
        dy, dx = points[k].y - points[0].y, points[k].x - points[0].x
        if dy * dy + dx * dx > most:
            most, far = dy * dy + dx * dx, k
    return far


cdef Py_ssize_t bend(
    const Point* points, Py_ssize_t first, Py_ssize_t last, double limit
) noexcept nogil:
    """Find the point between two that is farthest from their line; -1 if all are near it."""
    cdef int32_t ay = points[first].y, ax = points[first].x
    cdef int32_t dy = points[last].y - ay, dx = points[last].x - ax, off, most = 0
    cdef int64_t length = <int64_t>dy * dy + <int64_t>dx * dx, away, best
    cdef Py_ssize_t k, where = -1
    if length:
        for k in range(first + 1, last):
            off = size_of_int(dx * (points[k].y - ay) - dy * (points[k].x - ax))
            if off > most:
                most, where = off, k
        return where if <double>most * <double>most > limit * <double>length else -1
    # From the point where an outline comes back to where it was.
    best = 0
    for k in range(first + 1, last):
        dy, dx = points[k].y - ay, points[k].x - ax
        away = <int64_t>dy * dy + <int64_t>dx * dx
        if away > best:
            best, where = away, k
    return where if <double>best > limit else -1


cdef Py_ssize_t straighten(Work* work, Py_ssize_t n, double limit) noexcept nogil:
    """Leave out the points of a closed outline that lie near the rest; return how many stay."""
    cdef Point* points = work.points
    cdef Py_ssize_t far = farthest(points, n), first, last, where, k, depth = 2, n_kept = 0
    # The outline ends where it begins.
    points[n] = points[0]
    memset(work.kept, 0, n)
    work.kept[0] = work.kept[far] = 1
    work.stack[0], work.stack[1], work.stack[2], work.stack[3] = 0, far, far, n
    while depth:
        depth -= 1
        first, last = work.stack[2 * depth], work.stack[2 * depth + 1]
        if last - first < 2:
            continue
        where = bend(points, first, last, limit)
        if where < 0:
            continue
        work.kept[where] = 1
        work.stack[2 * depth], work.stack[2 * depth + 1] = first, where
        work.stack[2 * depth + 2], work.stack[2 * depth + 3] = where, last
        depth += 2
    for k in range(n):
        n_kept += work.kept[k]
    if n_kept < 3:
        # What is thinner than the tolerance stays as it is, so that it can be seen.
        return n
    first = 0
    for k in range(n):
        if work.kept[k]:
            points[first] = points[k]
            first += 1
    return n_kept


cdef inline char* put(char* text, int32_t value) noexcept nogil:
    """Write a whole number; return where the text goes on."""
    cdef char[12] digits
    cdef int n = 0
    cdef uint32_t left = value if value >= 0 else -value
    if value < 0:
        text[0] = b"-"
        text += 1
    while True:
        digits[n] = <char>(48 + left % 10)
        left //= 10
        n += 1
        if not left:
            break
    while n:
        n -= 1
        text[0] = digits[n]
        text += 1
    return text


cdef inline char* put_next(char* text, int32_t value) noexcept nogil:
    """Write a whole number behind another: a minus is separator enough."""
    if value >= 0:
        text[0] = b" "
        text += 1
    return put(text, value)


cdef Py_ssize_t write_path(Work* work, Py_ssize_t n) noexcept nogil:
    """Write a closed outline, its first point absolute and the others relative."""
    cdef char* text = work.text
    cdef Point* points = work.points
    cdef Py_ssize_t k
    text[0] = b"M"
    text = put(text + 1, points[0].x)
    text = put_next(text, points[0].y)
    text[0] = b"l"
    text += 1
    for k in range(1, n):
        if k == 1:
            text = put(text, points[k].x - points[k - 1].x)
        else:
            text = put_next(text, points[k].x - points[k - 1].x)
        text = put_next(text, points[k].y - points[k - 1].y)
    text[0] = b"z"
    return text + 1 - work.text


cdef void find_starts(
    const int32_t* cells, Py_ssize_t n_columns, Py_ssize_t stride, uint8_t* starts,
    int32_t* after, int32_t* ends
) noexcept nogil:
    """Mark where upper edges begin, and chain them row by row from left to right.

    Args:
        cells: Owners.
        n_columns: Of the grid.
        stride: Length of a column of cells.
        starts: (cells,) zero before; written.
        after: (cells,) written: the next start in a row, 0 behind the last.
        ends: (stride, 2) zero before; first and last start in each row.
    """
    cdef Py_ssize_t k, n = (n_columns + 1) * stride
    cdef int32_t own, at, y
    cdef const uint8_t* found
    for k in range(stride + 1, n):
        own = cells[k]
        starts[k] = (own >= 0) & (own != cells[k - 1]) & (
            (own != cells[k - stride]) | (own == cells[k - stride - 1])
        )
    at = 0
    while True:
        found = <const uint8_t*>memchr(starts + at + 1, 1, n - at - 1)
        if found == NULL:
            return
        at = <int32_t>(found - starts)
        y = at % stride
        after[at] = 0
        if ends[2 * y]:
            after[ends[2 * y + 1]] = at
        else:
            ends[2 * y] = at
        ends[2 * y + 1] = at


def trace(
    Runs masks, const int64_t[::1] order, Py_ssize_t height, const int32_t[::1] column_of,
    const int32_t[::1] row_from, Py_ssize_t n_columns, double tolerance,
):
    """Trace the outlines of masks as `plain_outlines` does: `sample`, then `trace`.

    Args:
        masks: Of an image of that height.
        order: (N,) positions of the masks, the lowest first.
        height: In pixels.
        column_of: (width,) grid column of each column of pixels, -1 of those between.
        row_from: (height + 1,) of each row of pixels the first grid row that is not above it.
        n_columns: Of the grid.
        tolerance: How far, in cells, an outline may be straightened.

    Returns:
        Path data of each mask.
    """
    cdef Py_ssize_t n_rows = row_from[height], stride = n_rows + 2, i, y, length
    cdef int32_t at
    cdef double limit = tolerance * tolerance
    cdef Work work = Work(NULL, NULL, NULL, 0, NULL)
    if height * column_of.shape[0] != <int64_t>masks.pixels:
        raise ValueError("the grid is of an image of another size")
    if max(n_rows, n_columns) > LONGEST_SIDE:
        raise ValueError(f"a grid of {n_rows} x {n_columns} cells is too fine to trace")
    for i in range(order.shape[0]):
        if not 0 <= order[i] < masks.n:
            raise IndexError("there is no such mask")
    cdef int32_t[::1] cells = np.full((n_columns + 2) * stride, -1, np.int32)
    cdef int32_t[::1] after = np.empty_like(cells)
    cdef int32_t[::1] ends = np.zeros(2 * stride, np.int32)
    cdef uint8_t[::1] starts = np.zeros(len(cells), np.uint8)
    with nogil:
        for i in range(order.shape[0]):
            sample(masks, order[i], height, &column_of[0], &row_from[0], &cells[0], stride)
        find_starts(&cells[0], n_columns, stride, &starts[0], &after[0], &ends[0])
    paths = [[] for _ in range(masks.n)]
    try:
        for y in range(1, n_rows + 1):
            at = ends[2 * y]
            while at:
                if starts[at]:
                    with nogil:
                        length = follow(&cells[0], &starts[0], stride, at, &work)
                        if length > 0:
                            length = write_path(&work, straighten(&work, length, limit))
                    if length < 0:
                        raise MemoryError
                    paths[cells[at]].append(work.text[:length].decode("ascii"))
                at = after[at]
    finally:
        free(work.points)
        free(work.kept)
        free(work.stack)
        free(work.text)
    return ["".join(parts) for parts in paths]
