# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What masks of two sides have in common, by one sweep of each mask over the other side's spans.

The cost grows with the runs, not with the pixels or with pairs of masks. The tests say in plain
Python what is computed.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from entity_api._events cimport new_keys, sorted_events
from entity_api._rle cimport Runs

import numpy as np

from entity_api._rle import compress

# A mask is looked at this often, whether it can still reach what is needed.
cdef enum:
    RUNS_BETWEEN_LOOKS = 32


cdef struct Span:
    uint32_t start
    uint32_t end


cdef inline Py_ssize_t add_run(
    const Span* spans, const int32_t* regions, Py_ssize_t s, Span run, int64_t* pixels_in
) noexcept nogil:
    """Add the pixels that a run shares with spans to their regions; none before s meets it.

    Returns:
        The first span that may meet a later run.
    """
    while spans[s].end <= run.start:
        s += 1
    if spans[s].start < run.start:
        pixels_in[regions[s]] += min(spans[s].end, run.end) - run.start
        s += 1
    while spans[s].start < run.end:
        pixels_in[regions[s]] += min(spans[s].end, run.end) - spans[s].start
        s += 1
    return s - 1


cdef inline bint in_reach(
    const int64_t* needed_px, const int64_t* pixels_in, int64_t left_px, Py_ssize_t n
) noexcept nogil:
    """Tell whether what is left of a mask can make one of its counts as high as it needs to be."""
    cdef Py_ssize_t g
    for g in range(n):
        if pixels_in[g] + left_px >= needed_px[g]:
            return True
    return False


cdef class Regions:
    """Cut what masks cover into spans, each of one region: the *set* of masks that cover it.

    Disjoint masks give one region a mask; overlapping ones a region for each set that occurs, so
    one sweep over the spans counts the intersections with all of them. Where masks overlap like
    noise there are too many sets; then each mask is a part of its own, swept after the other.

    Args:
        masks: G masks.
        wanted: (G,) 0 for masks that nobody asks for: they may be left out.
    """

    cdef Span* spans             # (S + 2,) ascending; the first and the last are empty
    cdef int32_t* regions        # (S + 2,) of each span
    cdef int32_t* near           # the last span that starts before the pixel block p >> shift
    cdef int shift
    cdef Py_ssize_t n_spans
    cdef Py_ssize_t n_masks
    cdef bint of_sets            # whether a region may belong to several masks
    cdef readonly list members   # members[r]: positions of the masks that cover region r
    cdef list parts              # Regions of one mask each, where there are too many sets

    def __cinit__(self, Runs masks, wanted=None):
        cdef Py_ssize_t n_bounds = masks.offsets[masks.n], n_blocks
        cdef const uint8_t[::1] flags = np.ones(masks.n, np.uint8) if wanted is None else wanted
        self.n_masks = masks.n
        self.members = [(), *((g,) for g in range(masks.n))]
        while (masks.pixels >> self.shift) > <uint64_t>n_bounds:
            self.shift += 1
        n_blocks = <Py_ssize_t>(masks.pixels >> self.shift) + 1
        self.spans = <Span*>malloc((n_bounds + 2) * sizeof(Span))
        self.regions = <int32_t*>malloc((n_bounds + 2) * sizeof(int32_t))
        self.near = <int32_t*>malloc((n_blocks + 1) * sizeof(int32_t))
        if self.spans == NULL or self.regions == NULL or self.near == NULL:
            raise MemoryError
        self.put(0, Span(0, 0), 0)
        with nogil:
            self.of_sets = not self.label_disjoint(masks, flags, n_blocks)
        if self.of_sets:
            if self.label_sets(masks):
                self.count_blocks(n_blocks)
            else:
                self.parts = [
                    Regions(Runs([compress(masks.bounds_of(g), masks.pixels)], masks.pixels))
                    for g in range(masks.n)
                ]
        self.put(self.n_spans + 1, Span(0xFFFFFFFFu, 0xFFFFFFFFu), 0)

    cdef inline void put(self, Py_ssize_t s, Span span, int32_t region) noexcept nogil:
        self.spans[s] = span
        self.regions[s] = region

    cdef bint label_disjoint(
        self, Runs masks, const uint8_t[::1] wanted, Py_ssize_t n_blocks
    ) noexcept nogil:
        """Sort the runs into spans, those of mask g as region g + 1; False where masks overlap."""
        cdef Py_ssize_t g, k
        cdef int32_t n = 0, n_here
        # The last span of each block so far: in the end that of the block before the next.
        cdef int32_t* last = self.near + 1
        cdef const uint32_t* bounds = masks.bounds
        cdef uint32_t block
        cdef int shift = self.shift
        self.near[0] = 0
        memset(last, 0, n_blocks * sizeof(int32_t))
        for g in range(masks.n):
            if wanted[g]:
                for k in range(masks.offsets[g], masks.offsets[g + 1], 2):
                    last[bounds[k] >> shift] += bounds[k] < bounds[k + 1]
        for k in range(n_blocks):
            n_here = last[k]
            last[k] = n
            n += n_here
        self.n_spans = n
        for g in range(masks.n):
            if wanted[g]:
                for k in range(masks.offsets[g], masks.offsets[g + 1], 2):
                    if bounds[k] < bounds[k + 1]:
                        block = bounds[k] >> shift
                        last[block] += 1
                        self.put(last[block], Span(bounds[k], bounds[k + 1]), <int32_t>g + 1)
        for k in range(1, n + 1):
            if self.spans[k].start < self.spans[k - 1].end and not self.insert(k):
                return False
        return True

    cdef bint insert(self, Py_ssize_t s) noexcept nogil:
        """Move a span to its place among those before it, which are sorted; False: it meets one."""
        cdef Span span = self.spans[s]
        cdef int32_t region = self.regions[s]
        while span.start < self.spans[s - 1].start:
            if span.end > self.spans[s - 1].start:
                return False
            self.put(s, self.spans[s - 1], self.regions[s - 1])
            s -= 1
        self.put(s, span, region)
        return self.spans[s - 1].end <= span.start

    cdef bint label_sets(self, Runs masks) except *:
        """Cut spans event by event, sets of masks after single ones; False: too many sets."""
        cdef Py_ssize_t i = 0, m = masks.offsets[masks.n], n_active = 0, active_sum = 0
        cdef uint32_t start = 0, at, mask
        cdef int32_t region = 0
        cdef dict known = {}
        cdef uint64_t* keys = new_keys(m)
        cdef uint64_t* events
        cdef uint8_t* active = <uint8_t*>calloc(masks.n + 1, 1)
        self.n_spans = 0
        try:
            if active == NULL:
                raise MemoryError
            with nogil:
                events = sorted_events(masks, keys)
                while i < m:
                    at = <uint32_t>(events[i] >> 32)
                    if region:
                        self.n_spans += 1
                        self.put(self.n_spans, Span(start, at), region)
                    start = at
                    while i < m and <uint32_t>(events[i] >> 32) == at:
                        mask = <uint32_t>events[i]
                        active[mask] ^= 1
                        n_active += 1 if active[mask] else -1
                        active_sum += mask if active[mask] else -<Py_ssize_t>mask
                        i += 1
                    if n_active < 2:
                        region = <int32_t>(active_sum + 1) if n_active else 0
                        continue
                    with gil:
                        region = self.region_of((<char*>active)[:masks.n], known)
                        if region > 16 * masks.n + 4096:
                            self.n_spans = 0
                            return False
        finally:
            free(keys)
            free(active)
        return True

    cdef int32_t region_of(self, bytes active, dict known) except -1:
        if active not in known:
            known[active] = len(self.members)
            self.members.append(tuple(g for g, on in enumerate(active) if on))
        return known[active]

    cdef void count_blocks(self, Py_ssize_t n_blocks) noexcept:
        """Note near which span each block of pixels begins."""
        cdef Py_ssize_t k
        memset(self.near, 0, (n_blocks + 1) * sizeof(int32_t))
        for k in range(1, self.n_spans + 1):
            self.near[(self.spans[k].start >> self.shift) + 1] += 1
        for k in range(n_blocks):
            self.near[k + 1] += self.near[k]

    def __dealloc__(self):
        free(self.spans)
        free(self.regions)
        free(self.near)

    def intersections(self, Runs masks, const int64_t[:, ::1] needed_px=None):
        """Count the common pixels of D masks and each mask here, (D, G).

        Args:
            masks: D masks.
            needed_px: (D, G) lower counts matter to nobody: where a mask cannot reach any that
                does, its counts may be lower than they are.
        """
        if self.parts is not None:
            return np.hstack([(<Regions>part).intersections(masks) for part in self.parts])
        counted = np.zeros((masks.n, len(self.members)), np.int64)
        if masks.n:
            self.count(masks, needed_px, counted)
        return self.expand(counted)

    cdef void count(self, Runs masks, const int64_t[:, ::1] needed_px, int64_t[:, ::1] counted):
        cdef Py_ssize_t d
        cdef const int64_t* needed = NULL
        with nogil:
            for d in range(masks.n):
                if needed_px is not None:
                    needed = &needed_px[d, 0]
                self.count_one(masks, d, needed, &counted[d, 0])

    cdef void count_one(
        self, Runs masks, Py_ssize_t d, const int64_t* needed_px, int64_t* pixels_in
    ) noexcept nogil:
        """Count the pixels of a mask in each region, as long as it can reach what is needed."""
        cdef Py_ssize_t k = masks.offsets[d], last = masks.offsets[d + 1], stop, s = 0
        cdef int64_t left_px = masks.areas_px[d]
        cdef const uint32_t* bounds = masks.bounds
        cdef const Span* spans = self.spans
        cdef const int32_t* regions = self.regions
        cdef const int32_t* near = self.near
        cdef int shift = self.shift
        while k < last:
            if needed_px != NULL:
                if not in_reach(needed_px, pixels_in + 1, left_px, self.n_masks):
                    return
                if self.of_sets:
                    # What is in sets of masks is added to each of them in the end only.
                    needed_px = NULL
            stop = min(k + 2 * RUNS_BETWEEN_LOOKS, last)
            for k in range(k, stop, 2):
                if bounds[k] < bounds[k + 1]:
                    # From the last run on, or many spans in one block would be passed by each.
                    s = max(s, near[bounds[k] >> shift])
                    s = add_run(
                        spans, regions, s, Span(bounds[k], bounds[k + 1]), pixels_in
                    )
                    left_px -= bounds[k + 1] - bounds[k]
            k = stop

    cdef object expand(self, const int64_t[:, ::1] counted):
        """Sum the regions' pixels into those of their masks: (D, R) -> (D, G)."""
        out = np.array(counted[:, 1:self.n_masks + 1])
        cdef int64_t[:, ::1] view = out
        cdef Py_ssize_t d, r, g
        for r in range(self.n_masks + 1, len(self.members)):
            for g in self.members[r]:
                for d in range(counted.shape[0]):
                    view[d, g] += counted[d, r]
        return out
