# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What lies along the outlines of masks, on their runs: the cost grows with runs, not with pixels.

A pixel is off the outline by more than ``reach`` where the square of ``2 reach + 1`` pixels around
it is all in the mask. The rows of the square are tested by shortening each column's runs, its
columns by intersecting the runs of neighbours; windows of columns double, so that a square of n
columns takes about log2(n) intersections. The tests erode dense masks pixel by pixel instead.
"""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from entity_api._rle cimport Runs

import numpy as np


# The runs of neighbouring columns, each between two rows of its column.
cdef struct Columns:
    int64_t* rows           # first row of a run and the one after its last, run after run
    Py_ssize_t* starts      # (n + 1,) where each column's begin in rows
    Py_ssize_t n
    Py_ssize_t room_rows
    Py_ssize_t room_columns


cdef bint make_room(Columns* columns, Py_ssize_t n_columns, Py_ssize_t n_rows) noexcept nogil:
    """Make room for so many columns and bounds, keeping what is there; False without memory."""
    cdef int64_t* rows
    cdef Py_ssize_t* starts
    if columns.starts == NULL or n_columns > columns.room_columns:
        starts = <Py_ssize_t*>realloc(columns.starts, (n_columns + 1) * sizeof(Py_ssize_t))
        if starts == NULL:
            return False
        columns.starts = starts
        columns.room_columns = n_columns
    if columns.rows == NULL or n_rows > columns.room_rows:
        n_rows += n_rows // 2
        rows = <int64_t*>realloc(columns.rows, (n_rows + 1) * sizeof(int64_t))
        if rows == NULL:
            return False
        columns.rows = rows
        columns.room_rows = n_rows
    return True


cdef void release(Columns* columns) noexcept nogil:
    free(columns.rows)
    free(columns.starts)


cdef Py_ssize_t next_run(
    const uint32_t* bounds, Py_ssize_t k, Py_ssize_t last, int64_t* start, int64_t* end
) noexcept nogil:
    """Read the run at k, those that touch it included; return what follows, -1 at the end."""
    while k < last and bounds[k] == bounds[k + 1]:
        k += 2
    if k >= last:
        return -1
    start[0] = bounds[k]
    end[0] = bounds[k + 1]
    k += 2
    while k < last and (bounds[k] == bounds[k + 1] or bounds[k] == end[0]):
        end[0] = max(end[0], <int64_t>bounds[k + 1])
        k += 2
    return k


cdef int64_t cut(Runs masks, Py_ssize_t i, int64_t height, Columns* out) noexcept nogil:
    """Cut the runs of mask i at the ends of columns.

    Returns:
        The first column that the mask is in; -1 of an empty mask, -2 without memory.
    """
    cdef const uint32_t* bounds = masks.bounds
    cdef Py_ssize_t k = masks.offsets[i], last = masks.offsets[i + 1], m = 0
    cdef int64_t start = 0, end = 0, x = 0, x0 = -1, top = 0, stop
    out.n = 0
    while True:
        k = next_run(bounds, k, last, &start, &end)
        if k < 0:
            break
        # Most masks have a run in the next column.
        if start - top >= height:
            x, top = x + 1, top + height
            if start - top >= height:
                x = start // height
                top = x * height
        if x0 < 0:
            x0 = x
        while start < end:
            stop = min(end, top + height)
            if (x - x0 >= out.room_columns or m + 2 > out.room_rows) and not make_room(
                out, 2 * (x - x0) + 64, m + 2
            ):
                return -2
            while out.n <= x - x0:
                out.starts[out.n] = m
                out.n += 1
            out.rows[m] = start - top
            out.rows[m + 1] = stop - top
            m += 2
            start = stop
            if start < end:
                x, top = x + 1, top + height
    if out.n:
        out.starts[out.n] = m
    return x0


cdef bint shorten(const Columns* columns, int64_t reach, Columns* out) noexcept nogil:
    """Take ``reach`` pixels off both ends of each run; False without memory."""
    cdef Py_ssize_t x, k, m = 0
    if not make_room(out, columns.n, columns.starts[columns.n]):
        return False
    out.n = columns.n
    for x in range(columns.n):
        out.starts[x] = m
        for k in range(columns.starts[x], columns.starts[x + 1], 2):
            if columns.rows[k + 1] - columns.rows[k] > 2 * reach:
                out.rows[m] = columns.rows[k] + reach
                out.rows[m + 1] = columns.rows[k + 1] - reach
                m += 2
    out.starts[columns.n] = m
    return True


cdef bint intersect(const Columns* columns, Py_ssize_t step, Columns* out) noexcept nogil:
    """Intersect each column with the one ``step`` further right; False without memory."""
    cdef Py_ssize_t x, i, j, i_last, j_last, m = 0
    cdef const int64_t* rows = columns.rows
    cdef const Py_ssize_t* starts = columns.starts
    cdef int64_t low, high
    cdef int64_t* out_rows
    cdef Py_ssize_t* out_starts
    # Each run of two columns ends one of what they share at most.
    if not make_room(out, columns.n - step, 2 * starts[columns.n]):
        return False
    out.n = columns.n - step
    out_rows, out_starts = out.rows, out.starts
    for x in range(out.n):
        out_starts[x] = m
        i, i_last = starts[x], starts[x + 1]
        j, j_last = starts[x + step], starts[x + step + 1]
        while i < i_last and j < j_last:
            low, high = max(rows[i], rows[j]), min(rows[i + 1], rows[j + 1])
            if low < high:
                out_rows[m] = low
                out_rows[m + 1] = high
                m += 2
            if rows[i + 1] < rows[j + 1]:
                i += 2
            else:
                j += 2
    out_starts[out.n] = m
    return True


# Bounds of masks that are being written, one mask after the other.
cdef struct Written:
    uint32_t* bounds
    Py_ssize_t n
    Py_ssize_t room
    int64_t area


cdef inline bint put(Written* out, Py_ssize_t first, int64_t start, int64_t end) noexcept nogil:
    """Append a run to the mask that begins at ``first``, or lengthen its last one."""
    cdef uint32_t* bounds
    if start >= end:
        return True
    out.area += end - start
    if out.n > first and out.bounds[out.n - 1] == start:
        out.bounds[out.n - 1] = <uint32_t>end
        return True
    if out.n + 2 > out.room:
        out.room += out.room // 2 + 1024
        bounds = <uint32_t*>realloc(out.bounds, out.room * sizeof(uint32_t))
        if bounds == NULL:
            return False
        out.bounds = bounds
    out.bounds[out.n] = <uint32_t>start
    out.bounds[out.n + 1] = <uint32_t>end
    out.n += 2
    return True


cdef bint put_rest(
    const Columns* whole, const Columns* deep, int64_t reach, int64_t x0, int64_t height,
    Written* out,
) noexcept nogil:
    """Write the mask without its deep pixels; column x of ``deep`` is x + reach of the mask."""
    cdef Py_ssize_t x, k, d, d_last, first = out.n
    cdef int64_t top, at
    for x in range(whole.n):
        top = (x0 + x) * height
        d = d_last = 0
        if reach <= x < deep.n + reach:
            d, d_last = deep.starts[x - reach], deep.starts[x - reach + 1]
        for k in range(whole.starts[x], whole.starts[x + 1], 2):
            at = whole.rows[k]
            while d < d_last and deep.rows[d] < whole.rows[k + 1]:
                if not put(out, first, top + at, top + deep.rows[d]):
                    return False
                at = deep.rows[d + 1]
                d += 2
            if not put(out, first, top + at, top + whole.rows[k + 1]):
                return False
    return True


cdef bint put_border(
    Runs masks, Py_ssize_t i, int64_t height, int64_t reach, Columns* parts, Written* out
) noexcept nogil:
    """Write the border of one mask; False without memory.

    Args:
        parts: Three to work in.
    """
    cdef Columns* whole = parts
    cdef Columns* deep = parts + 1
    cdef Columns* next_deep = parts + 2
    cdef int64_t x0 = cut(masks, i, height, whole), width = 1, step, n_columns = 2 * reach + 1
    out.area = 0
    if x0 < 0:
        return x0 == -1
    deep.n = 0
    if whole.n >= n_columns:
        if not shorten(whole, reach, deep):
            return False
        while width < n_columns:
            step = min(width, n_columns - width)
            if not intersect(deep, step, next_deep):
                return False
            deep, next_deep = next_deep, deep
            width += step
    return put_rest(whole, deep, reach, x0, height, out)


def inner_borders(Runs masks, int64_t height, int64_t reach, const int64_t[::1] rows=None):
    """Keep of each mask the pixels whose square of ``2 reach + 1`` is not all in the mask.

    Args:
        masks: Of one image.
        height: Of the image.
        reach: At least 1; outside the image is background.
        rows: (N,) positions of the masks wanted; all of them when None.

    Returns:
        Runs of N masks.
    """
    cdef Py_ssize_t i, k, n = masks.n if rows is None else rows.shape[0]
    cdef Columns[3] parts
    cdef Written out = Written(NULL, 0, 0, 0)
    cdef Runs borders = Runs([], masks.pixels)
    areas, offsets = np.zeros(n, np.int64), np.zeros(n + 1, np.int64)
    cdef int64_t[::1] area = areas, offset = offsets
    cdef bint fine = True
    for k in range(3):
        parts[k] = Columns(NULL, NULL, 0, 0, 0)
    if rows is not None and n and not 0 <= np.min(rows) <= np.max(rows) < masks.n:
        raise IndexError("there is no such mask")
    try:
        with nogil:
            for i in range(n):
                k = i if rows is None else rows[i]
                fine = put_border(masks, k, height, reach, parts, &out)
                if not fine:
                    break
                area[i], offset[i + 1] = out.area, out.n
        if not fine:
            raise MemoryError
        borders.make_room(n, masks.pixels, out.n)
        for i in range(n):
            borders.areas_px[i], borders.offsets[i + 1] = area[i], offset[i + 1]
        if out.n:
            memcpy(borders.bounds, out.bounds, out.n * sizeof(uint32_t))
        return borders
    finally:
        free(out.bounds)
        for k in range(3):
            release(&parts[k])


def common_pixels(
    Runs first, const int64_t[::1] first_rows, Runs second, const int64_t[::1] second_rows
):
    """Count the pixels that pairs of masks share, (P,) int64.

    Args:
        first: Masks of an image.
        first_rows: (P,) positions among them.
        second: Masks of the same image.
        second_rows: (P,) positions among them.
    """
    cdef Py_ssize_t p, n = first_rows.shape[0]
    counts = np.zeros(n, np.int64)
    cdef int64_t[::1] count = counts
    if second_rows.shape[0] != n:
        raise ValueError("pairs of masks need as many of the one side as of the other")
    for rows, masks in ((first_rows, first), (second_rows, second)):
        if n and not 0 <= np.min(rows) <= np.max(rows) < masks.n:
            raise IndexError("there is no such mask")
    with nogil:
        for p in range(n):
            count[p] = common(first, first_rows[p], second, second_rows[p])
    return counts


cdef int64_t common(Runs first, Py_ssize_t i, Runs second, Py_ssize_t j) noexcept nogil:
    """Count the pixels of two masks' runs, both ascending."""
    cdef Py_ssize_t k = first.offsets[i], k_last = first.offsets[i + 1]
    cdef Py_ssize_t m = second.offsets[j], m_last = second.offsets[j + 1]
    cdef const uint32_t* one = first.bounds
    cdef const uint32_t* other = second.bounds
    cdef uint32_t low, high
    cdef int64_t n = 0
    while k < k_last and m < m_last:
        low, high = max(one[k], other[m]), min(one[k + 1], other[m + 1])
        if low < high:
            n += high - low
        if one[k + 1] < other[m + 1]:
            k += 2
        else:
            m += 2
    return n
