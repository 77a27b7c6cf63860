# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What masks of two sides have in common, by one sweep of each mask over the other side's spans.

The cost grows with the runs, not with the pixels or with pairs of masks. Where the other side's
masks overlap one another, pairs are compared whose boxes meet. The tests say in plain Python what
is computed.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from entity_api._rle cimport Runs

import numpy as np

from entity_api._near import common


cdef struct Span:
    uint32_t start
    uint32_t end


cdef inline Py_ssize_t add_run(
    const Span* spans, const int32_t* owners, Py_ssize_t s, Span run, int64_t* pixels_in
) noexcept nogil:
    """Add the pixels that a run shares with spans to their owners; none before s meets it.

    Returns:
        The first span that may meet a later run.
    """
    while spans[s].end <= run.start:
        s += 1
    if spans[s].start < run.start:
        pixels_in[owners[s]] += min(spans[s].end, run.end) - run.start
        s += 1
    while spans[s].start < run.end:
        pixels_in[owners[s]] += min(spans[s].end, run.end) - spans[s].start
        s += 1
    return s - 1


cdef class Spans:
    """Hold the runs of G masks, sorted, to be swept by others.

    Args:
        masks: G masks of one image.
        height: Of the image in pixels, by which masks that overlap are told apart sooner.
    """

    cdef Span* spans             # (S + 2,) ascending; the first and the last are empty
    cdef int32_t* owners         # (S + 2,) mask of each
    cdef int32_t* near           # the last span that starts before the pixel block p >> shift
    cdef int shift
    cdef Py_ssize_t n_spans
    cdef Runs masks
    cdef uint64_t height
    cdef readonly bint apart     # whether no two masks overlap; else the spans are not used

    def __cinit__(self, Runs masks, uint64_t height=1):
        cdef Py_ssize_t n_bounds = masks.offsets[masks.n], n_blocks
        self.masks, self.height = masks, height
        while (masks.pixels >> self.shift) > <uint64_t>n_bounds:
            self.shift += 1
        n_blocks = <Py_ssize_t>(masks.pixels >> self.shift) + 1
        self.spans = <Span*>malloc((n_bounds + 2) * sizeof(Span))
        self.owners = <int32_t*>malloc((n_bounds + 2) * sizeof(int32_t))
        self.near = <int32_t*>malloc((n_blocks + 1) * sizeof(int32_t))
        if self.spans == NULL or self.owners == NULL or self.near == NULL:
            raise MemoryError
        self.put(0, Span(0, 0), 0)
        with nogil:
            self.apart = self.sort(masks, n_blocks)
        self.put(self.n_spans + 1, Span(0xFFFFFFFFu, 0xFFFFFFFFu), 0)

    cdef inline void put(self, Py_ssize_t s, Span span, int32_t owner) noexcept nogil:
        self.spans[s] = span
        self.owners[s] = owner

    cdef bint sort(self, Runs masks, Py_ssize_t n_blocks) noexcept nogil:
        """Sort the runs into spans; False where masks overlap."""
        cdef Py_ssize_t g, k
        cdef int32_t n = 0, n_here
        # The last span of each block so far: in the end that of the block before the next.
        cdef int32_t* last = self.near + 1
        cdef const uint32_t* bounds = masks.bounds
        cdef uint32_t block
        cdef int shift = self.shift
        self.near[0] = 0
        memset(last, 0, n_blocks * sizeof(int32_t))
        for k in range(0, masks.offsets[masks.n], 2):
            last[bounds[k] >> shift] += bounds[k] < bounds[k + 1]
        for k in range(n_blocks):
            n_here = last[k]
            last[k] = n
            n += n_here
        self.n_spans = n
        for g in range(masks.n):
            for k in range(masks.offsets[g], masks.offsets[g + 1], 2):
                if bounds[k] < bounds[k + 1]:
                    block = bounds[k] >> shift
                    last[block] += 1
                    self.put(last[block], Span(bounds[k], bounds[k + 1]), <int32_t>g)
        for k in range(1, n + 1):
            if self.spans[k].start < self.spans[k - 1].end and not self.insert(k):
                return False
        return True

    cdef bint insert(self, Py_ssize_t s) noexcept nogil:
        """Move a span to its place among those before it, which are sorted; False: it meets one."""
        cdef Span span = self.spans[s]
        cdef int32_t owner = self.owners[s]
        while span.start < self.spans[s - 1].start:
            if span.end > self.spans[s - 1].start:
                return False
            self.put(s, self.spans[s - 1], self.owners[s - 1])
            s -= 1
        self.put(s, span, owner)
        return self.spans[s - 1].end <= span.start

    def __dealloc__(self):
        free(self.spans)
        free(self.owners)
        free(self.near)

    def intersections(self, Runs masks):
        """Count the common pixels of D masks and each mask here, (D, G)."""
        if not self.apart:
            return common(masks, self.masks, self.height)
        counted = np.zeros((masks.n, self.masks.n), np.int64)
        cdef int64_t[:, ::1] view = counted
        cdef Py_ssize_t d
        if masks.n and self.masks.n:
            with nogil:
                for d in range(masks.n):
                    self.count(masks, d, &view[d, 0])
        return counted

    cdef void count(self, Runs masks, Py_ssize_t d, int64_t* pixels_in) noexcept nogil:
        """Count the pixels of a mask in each mask here."""
        cdef Py_ssize_t k, s = 0
        cdef const uint32_t* bounds = masks.bounds
        for k in range(masks.offsets[d], masks.offsets[d + 1], 2):
            if bounds[k] < bounds[k + 1]:
                # From the last run on, or many spans in one block would be passed by each.
                s = max(s, self.near[bounds[k] >> self.shift])
                s = add_run(
                    self.spans, self.owners, s, Span(bounds[k], bounds[k + 1]), pixels_in
                )
