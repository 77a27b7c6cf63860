# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels of small outlines: masks on a coarse grid, traced and straightened.

Their readable definition is `entityseg_bench.report.plain_outlines`.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport abs as size_of_int
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from entity_api._rle cimport Runs

import numpy as np

# Of a grid's sides: products of two differences are then whole numbers of 32 bits.
LONGEST_SIDE = 20_000


def sample(
    Runs masks, const int64_t[::1] order, int64_t height, int64_t[::1] column_of,
    int64_t[::1] row_from, int32_t[:, ::1] owner,
):
    """Lay masks over each other, later over earlier, on a grid whose cells are single pixels.

    Args:
        masks: Of an image of that height.
        order: (N,) positions of the masks, the lowest first.
        height: In pixels.
        column_of: (width,) grid column of each column of pixels, -1 of those between.
        row_from: (height + 1,) of each row of pixels the first grid row that is not above it.
        owner: (grid width, grid height) written: position in ``masks`` where one is.
    """
    cdef Py_ssize_t i, k, m
    cdef int64_t start, end, x, y, top, bottom
    cdef int32_t* cells
    if order.shape[0] and not 0 <= np.min(order) <= np.max(order) < masks.n:
        raise IndexError("there is no such mask")
    if height * column_of.shape[0] != <int64_t>masks.pixels:
        raise ValueError("the grid is of an image of another size")
    with nogil:
        for i in range(order.shape[0]):
            m = order[i]
            for k in range(masks.offsets[m], masks.offsets[m + 1], 2):
                start, end = masks.bounds[k], masks.bounds[k + 1]
                while start < end:
                    x = start // height
                    top, bottom = start - x * height, min(end - x * height, height)
                    start = (x + 1) * height
                    if column_of[x] < 0:
                        continue
                    cells = &owner[column_of[x], 0]
                    for y in range(row_from[top], row_from[bottom]):
                        cells[y] = <int32_t>m


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
    const int32_t* cells, uint8_t* done, Py_ssize_t row, Py_ssize_t first, Work* work
) noexcept nogil:
    """Gather the corners of the outline through the upper edge of a cell.

    Args:
        cells: Owners, with a margin of one cell that is nobody's.
        done: Cells whose upper edge has been followed.
        row: Length of a row of cells.
        first: The cell.
        work: Its points are written.

    Returns:
        How many corners there are; -1 without memory.
    """
    # Right along the top, down the right side, left along the bottom, up the left side.
    cdef Py_ssize_t[4] steps = [1, row, -1, -row]
    cdef int32_t[4] below = [0, 0, 1, 1]
    cdef int32_t[4] right = [0, 1, 1, 0]
    cdef Py_ssize_t at = first, ahead, n = 0
    cdef int direction = 0, outward, turned = -1
    cdef int32_t own = cells[first]
    while True:
        if direction == 0:
            if done[at]:
                return n
            done[at] = 1
        if direction != turned:
            turned = direction
            if n + 2 > work.room and not make_room(work, n + 2):
                return -1
            # Without the margin.
            work.points[n] = Point(
                <int32_t>(at // row) - 1 + below[direction],
                <int32_t>(at % row) - 1 + right[direction],
            )
            n += 1
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


def trace(const int32_t[:, ::1] owner, Py_ssize_t n, double tolerance):
    """Trace outlines as `plain_outlines.trace` does."""
    cdef Py_ssize_t height = owner.shape[0], width = owner.shape[1], row = width + 2, k, at, length
    cdef double limit = tolerance * tolerance
    cdef Work work = Work(NULL, NULL, NULL, 0, NULL)
    if max(height, width) > LONGEST_SIDE:
        raise ValueError(f"a grid of {height} x {width} cells is too fine to trace")
    if height and width and not -1 <= np.min(owner) <= np.max(owner) < n:
        raise IndexError("a cell belongs to no mask")
    wide = np.full((height + 2, row), -1, np.int32)
    wide[1:-1, 1:-1] = owner
    followed = np.zeros((height + 2) * row, np.uint8)
    # Every outline has an upper edge.
    lower = wide[1:]
    edges = np.flatnonzero((lower != wide[: height + 1]) & (lower >= 0)).astype(np.int64)
    cdef const int64_t[::1] edges_view = edges
    cdef const int32_t[:, ::1] wide_view = wide
    cdef uint8_t[::1] done_view = followed
    cdef const int32_t* cells = &wide_view[0, 0]
    cdef uint8_t* done = &done_view[0]
    paths = [[] for _ in range(n)]
    try:
        for k in range(edges_view.shape[0]):
            at = edges_view[k] + row
            if done[at]:
                continue
            with nogil:
                length = follow(cells, done, row, at, &work)
                if length > 0:
                    length = write_path(&work, straighten(&work, length, limit))
            if length < 0:
                raise MemoryError
            paths[cells[at]].append(work.text[:length].decode("ascii"))
    finally:
        free(work.points)
        free(work.kept)
        free(work.stack)
        free(work.text)
    return ["".join(parts) for parts in paths]
