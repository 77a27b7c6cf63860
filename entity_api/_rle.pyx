# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels on single masks: decode, compress, find the runs of a map, paint.

A mask is held as its *bounds*: strictly read in column-major pixel order, foreground lies in
``[bounds[0], bounds[1])``, ``[bounds[2], bounds[3])`` and so on. `rle.py` says in plain Python what
each kernel computes.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from entity_api._codes cimport Codes
from entity_api._decode cimport Rows, decode_counts, fault

import numpy as np


# Above all positions, so that all of a mask is in the first column.
cdef uint64_t NO_HEIGHT = 1 << 62


class CountsError(ValueError):
    """Say which mask of a batch has broken counts, and how (a code of `_decode`)."""

    def __init__(self, idx, code, position, pixels):
        super().__init__(f"mask {idx}: counts error {code} at character {position}")
        self.idx = idx
        self.code = code
        self.position = position
        self.pixels = pixels


cdef Py_ssize_t put_count(uint8_t* text, Py_ssize_t n, int64_t value) noexcept nogil:
    """Append one signed number in groups of 5 bits, lowest first; return the new length."""
    cdef uint32_t c
    cdef bint more = True
    while more:
        c = value & 31
        value >>= 5
        more = value != -1 if c & 16 else value != 0
        text[n] = <uint8_t>((c | 32 if more else c) + 48)
        n += 1
    return n


def compress(const uint32_t[::1] bounds, uint64_t pixels):
    """Write ascending bounds as a compressed counts string; empty and touching runs vanish."""
    cdef Py_ssize_t i, m = 0, n = 0, n_runs = bounds.shape[0] // 2
    cdef int64_t* counts = <int64_t*>malloc((2 * n_runs + 1) * sizeof(int64_t))
    cdef uint8_t* text = <uint8_t*>malloc((2 * n_runs + 1) * 7)
    cdef int64_t at = 0, start, end
    try:
        if counts == NULL or text == NULL:
            raise MemoryError
        with nogil:
            for i in range(n_runs):
                start = bounds[2 * i]
                end = bounds[2 * i + 1]
                if start == end:
                    continue
                if m and start == at:
                    counts[m - 1] += end - start
                else:
                    counts[m] = start - at
                    counts[m + 1] = end - start
                    m += 2
                at = end
            if <uint64_t>at < pixels:
                counts[m] = <int64_t>pixels - at
                m += 1
            for i in range(m):
                n = put_count(text, n, counts[i] - counts[i - 2] if i > 2 else counts[i])
        return (<char*>text)[:n]
    finally:
        free(counts)
        free(text)


def compress_counts(const int64_t[::1] counts):
    """Write plain counts (uncompressed COCO RLE) as a compressed string, each as it stands."""
    cdef Py_ssize_t i, n = 0
    cdef uint8_t* text = <uint8_t*>malloc(counts.shape[0] * 7 + 1)
    if text == NULL:
        raise MemoryError
    try:
        for i in range(counts.shape[0]):
            n = put_count(text, n, counts[i] - counts[i - 2] if i > 2 else counts[i])
        return (<char*>text)[:n]
    finally:
        free(text)


cdef class Runs:
    """Hold the bounds of all masks of one image, decoded and checked.

    Args:
        counts: One compressed string a mask: `Codes`, or a list of what they are made from.
        rows: (N,) positions in ``counts``; all of them when None.
        pixels: Height x width of the image, at most 2**32 - 1.
        height: Of the image, to find the rows of the masks beside; 0 to do without.

    Raises:
        CountsError: A string that is no run-length code of ``pixels`` pixels.
    """

    def __cinit__(
        self, counts, uint64_t pixels, const int64_t[:] rows=None, uint64_t height=0
    ):
        cdef Codes codes = counts if isinstance(counts, Codes) else Codes(counts)
        cdef Py_ssize_t i, n = codes.n if rows is None else rows.shape[0], bad, position = 0
        cdef int code
        if pixels > MAX_PIXELS:
            raise ValueError("an image of 2**32 pixels or more cannot be held as runs")
        every = np.arange(n, dtype=np.int64) if rows is None else rows
        cdef const int64_t[::1] chosen = np.ascontiguousarray(every)
        for i in range(n):
            if not 0 <= chosen[i] < codes.n:
                raise IndexError(chosen[i])
        with nogil:
            bad = self.decode(codes, &chosen[0] if n else NULL, n, pixels, height)
        if bad == NO_MEMORY:
            raise MemoryError
        if bad >= 0:
            code = fault(codes.texts[chosen[bad]], codes.lengths[chosen[bad]], pixels, &position)
            raise CountsError(bad, code, position, pixels)

    cdef bint make_room(
        self, Py_ssize_t n, uint64_t pixels, Py_ssize_t n_bounds
    ) noexcept nogil:
        """Become n empty masks, with room for some bounds in all; False: there is no memory."""
        if n_bounds >= self.room_bounds:
            free(self.bounds)
            self.bounds = <uint32_t*>malloc((n_bounds + 1) * sizeof(uint32_t))
            self.room_bounds = n_bounds + 1 if self.bounds != NULL else 0
        if n >= self.room:
            free(self.offsets)
            free(self.areas_px)
            free(self.rows)
            self.offsets = <Py_ssize_t*>malloc((n + 1) * sizeof(Py_ssize_t))
            self.areas_px = <int64_t*>malloc((n + 1) * sizeof(int64_t))
            self.rows = <Rows*>malloc((n + 1) * sizeof(Rows))
            self.room = n + 1
            if self.offsets == NULL or self.areas_px == NULL or self.rows == NULL:
                self.room = 0
        self.n = 0
        self.pixels = pixels
        self.height = 0
        if not self.room_bounds or not self.room:
            return False
        self.n = n
        memset(self.offsets, 0, (n + 1) * sizeof(Py_ssize_t))
        memset(self.areas_px, 0, (n + 1) * sizeof(int64_t))
        return True

    cdef Py_ssize_t decode(
        self, Codes codes, const int64_t* chosen, Py_ssize_t n, uint64_t pixels, uint64_t height
    ) noexcept nogil:
        """Become some masks of codes.

        Returns:
            `ALL_FINE`, `NO_MEMORY`, or the position in ``chosen`` of a mask that is broken.
        """
        cdef Py_ssize_t i, m, at = 0, chars = 0
        for i in range(n):
            chars += codes.lengths[chosen[i]]
        if not self.make_room(n, pixels, chars):
            return NO_MEMORY
        for i in range(n):
            m = decode_counts(
                codes.texts[chosen[i]], codes.lengths[chosen[i]], pixels,
                height if height else NO_HEIGHT, self.bounds + at, &self.areas_px[i], &self.rows[i],
            )
            if m < 0:
                return i
            at += m
            self.offsets[i + 1] = at
        self.height = height
        return ALL_FINE

    cdef bint pick(self, Runs masks, const int64_t* picks) noexcept nogil:
        """Become all of the masks, in another order; False: there is no memory."""
        cdef Py_ssize_t i, k, m, at = 0
        if not self.make_room(masks.n, masks.pixels, masks.offsets[masks.n]):
            return False
        for i in range(masks.n):
            k = picks[i]
            m = masks.offsets[k + 1] - masks.offsets[k]
            memcpy(self.bounds + at, masks.bounds + masks.offsets[k], m * sizeof(uint32_t))
            at += m
            self.offsets[i + 1] = at
            self.areas_px[i] = masks.areas_px[k]
        return True

    def __dealloc__(self):
        free(self.bounds)
        free(self.offsets)
        free(self.areas_px)
        free(self.rows)

    def areas(self):
        """Return the foreground pixels of each mask, (N,) int64."""
        out = np.empty(self.n, np.int64)
        cdef int64_t[::1] view = out
        if self.n:
            memcpy(&view[0], self.areas_px, self.n * sizeof(int64_t))
        return out

    def row_ranges(self):
        """Return the first row of each mask and the end of its rows, (N, 2); None if not known.

        Of a mask with a run that goes on in the next column they are all rows.
        """
        if self.height == 0:
            return None
        return np.array(
            [(self.rows[i].first, self.rows[i].end) for i in range(self.n)], np.int64
        ).reshape(self.n, 2)

    def bounds_of(self, Py_ssize_t idx):
        """Return the bounds of one mask, (2R,) uint32 ascending."""
        cdef Py_ssize_t n = self.offsets[idx + 1] - self.offsets[idx]
        out = np.empty(n, np.uint32)
        cdef uint32_t[::1] view = out
        if n:
            memcpy(&view[0], self.bounds + self.offsets[idx], n * sizeof(uint32_t))
        return out


ctypedef fused pixel:
    uint8_t
    int32_t


def map_runs(const pixel[:, :] values):
    """Cut a (H, W) map into its maximal runs of one value in column-major order.

    Returns:
        Values (R,) int32 and first positions (R,) uint32.
    """
    cdef Py_ssize_t height = values.shape[0], width = values.shape[1]
    cdef Py_ssize_t strip = 64 // sizeof(pixel), x0 = 0, x, y, n_columns, n = 0, room = 1024
    cdef pixel* columns = <pixel*>malloc(strip * height * sizeof(pixel) + 1)
    cdef int32_t* found = <int32_t*>malloc(room * sizeof(int32_t))
    cdef uint32_t* starts = <uint32_t*>malloc(room * sizeof(uint32_t))
    cdef pixel value = 0
    cdef pixel* column
    cdef bint failed = columns == NULL or found == NULL or starts == NULL
    with nogil:
        # A cache line of columns at a time, so that row-major maps are read line by line.
        while x0 < width and not failed:
            n_columns = min(strip, width - x0)
            for y in range(height):
                for x in range(n_columns):
                    columns[x * height + y] = values[y, x0 + x]
            for x in range(n_columns):
                if n + height + 1 > room:
                    room = 2 * room + height + 1
                    found = <int32_t*>realloc(found, room * sizeof(int32_t))
                    starts = <uint32_t*>realloc(starts, room * sizeof(uint32_t))
                    if found == NULL or starts == NULL:
                        failed = True
                        break
                column = columns + x * height
                for y in range(height):
                    if column[y] != value or n == 0:
                        value = column[y]
                        found[n] = <int32_t>value
                        starts[n] = <uint32_t>((x0 + x) * height + y)
                        n += 1
            x0 += strip
    try:
        if failed:
            raise MemoryError
        return (
            np.asarray(<int32_t[:n + 1]>found)[:n].copy(),
            np.asarray(<uint32_t[:n + 1]>starts)[:n].copy(),
        )
    finally:
        free(columns)
        free(found)
        free(starts)


def paint(Runs masks, const int32_t[::1] values, pixel[::1] canvas):
    """Write ``values[i]`` into the column-major canvas wherever mask i lies; later masks win."""
    cdef Py_ssize_t i, k
    cdef uint32_t at
    cdef pixel value
    if <uint64_t>canvas.shape[0] != masks.pixels or values.shape[0] != masks.n:
        raise ValueError("the canvas and the values must fit the masks")
    with nogil:
        for i in range(masks.n):
            value = <pixel>values[i]
            for k in range(masks.offsets[i], masks.offsets[i + 1], 2):
                for at in range(masks.bounds[k], masks.bounds[k + 1]):
                    canvas[at] = value
