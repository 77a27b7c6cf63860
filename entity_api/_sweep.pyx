# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels on all masks of an image at once, by sweeps over their sorted bounds.

The cost grows with the runs, not with the pixels or with pairs of masks. `rle.py`, `overlap.py` and
the tests say in plain Python what they compute.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from entity_api._rle cimport Runs

import numpy as np

from entity_api._rle import compress


# The pair table holds a bit for each two masks of an image: 32 MB at this many.
cdef enum:
    MAX_PAIRED = 16384


cdef uint64_t* sorted_keys(uint64_t* keys, Py_ssize_t n, uint64_t pixels) noexcept nogil:
    """Sort keys by the position in their high half, by radix.

    ``keys`` has room for 2 n; what is returned lies in it. Position and payload (which mask, which
    run) travel in one word.
    """
    cdef uint64_t* other = keys + n
    cdef uint32_t[2048] buckets
    cdef uint32_t total, counted
    cdef Py_ssize_t i, k
    cdef int shift = 32, width = 0, digit
    while pixels >> width:
        width += 1
    # As few passes of at most 11 bits as there can be, each as narrow as it can be.
    digit = (width + (width + 10) // 11 - 1) // ((width + 10) // 11) if width else 1
    while shift < 32 + width:
        memset(buckets, 0, sizeof(uint32_t) << digit)
        for i in range(n):
            buckets[(keys[i] >> shift) & ((1 << digit) - 1)] += 1
        total = 0
        for i in range(1 << digit):
            counted = buckets[i]
            buckets[i] = total
            total += counted
        for i in range(n):
            k = (keys[i] >> shift) & ((1 << digit) - 1)
            other[buckets[k]] = keys[i]
            buckets[k] += 1
        keys, other = other, keys
        shift += digit
    return keys


cdef uint64_t* new_keys(Py_ssize_t n) except NULL:
    cdef uint64_t* keys = <uint64_t*>malloc((2 * n + 1) * sizeof(uint64_t))
    if keys == NULL:
        raise MemoryError
    return keys


cdef uint64_t* sorted_events(Runs masks, uint64_t* keys) noexcept nogil:
    """Sort the changes of all masks; the low half of each key is the mask."""
    cdef Py_ssize_t mask, b
    for mask in range(masks.n):
        for b in range(masks.offsets[mask], masks.offsets[mask + 1]):
            keys[b] = (<uint64_t>masks.bounds[b] << 32) | <uint64_t>mask
    return sorted_keys(keys, masks.offsets[masks.n], masks.pixels)


cdef inline void add_run(
    const uint32_t* starts, const int32_t* labels, Py_ssize_t s, uint32_t start, uint32_t end,
    int64_t* pixels_in,
) noexcept nogil:
    """Add the pixels of one run to the count of each region it crosses, from segment s on."""
    while starts[s + 1] <= start:
        s += 1
    while starts[s + 1] < end:
        pixels_in[labels[s]] += starts[s + 1] - start
        start = starts[s + 1]
        s += 1
    pixels_in[labels[s]] += end - start


cdef class Regions:
    """Cut an image into segments labelled by the *set* of masks that cover them.

    Disjoint masks give one region a mask; overlapping ones a region for each set that occurs, so
    one sweep over the segments counts the intersections with all of them. Where masks overlap like
    noise there are too many sets; then each mask is a part of its own, swept after the other.
    """

    cdef uint32_t* starts        # (S + 1,) ascending, starts[S] = pixels
    cdef int32_t* labels         # (S,) region of each segment; 0 = covered by none
    cdef int32_t* jump           # first segment at or before the pixel block p >> shift
    cdef int shift
    cdef Py_ssize_t n_segments
    cdef Py_ssize_t n_masks
    cdef readonly list members   # members[r]: positions of the masks that cover region r
    cdef list parts              # Regions of one mask each, where there are too many sets

    def __cinit__(self, Runs masks):
        cdef Py_ssize_t n_bounds = masks.offsets[masks.n]
        cdef uint64_t* keys = new_keys(n_bounds)
        cdef int32_t* owners = <int32_t*>malloc((n_bounds // 2 + 1) * sizeof(int32_t))
        cdef bint disjoint
        self.n_masks = masks.n
        self.members = [(), *((g,) for g in range(masks.n))]
        self.starts = <uint32_t*>malloc((n_bounds + 2) * sizeof(uint32_t))
        self.labels = <int32_t*>malloc((n_bounds + 2) * sizeof(int32_t))
        try:
            if owners == NULL or self.starts == NULL or self.labels == NULL:
                raise MemoryError
            with nogil:
                disjoint = self.label_disjoint(masks, keys, owners)
            if not disjoint and not self.label_sets(masks, keys):
                self.parts = [
                    Regions(Runs([compress(masks.bounds_of(g), masks.pixels)], masks.pixels))
                    for g in range(masks.n)
                ]
        finally:
            free(keys)
            free(owners)
        self.starts[self.n_segments] = <uint32_t>masks.pixels
        self.build_jump(masks.pixels)

    cdef bint label_disjoint(self, Runs masks, uint64_t* keys, int32_t* owners) noexcept nogil:
        """Label segments run by run, mask g as region g + 1; False where masks overlap."""
        cdef Py_ssize_t n = 0, s = 0, g, k
        cdef uint32_t at = 0, start, run
        for g in range(masks.n):
            for k in range(masks.offsets[g] // 2, masks.offsets[g + 1] // 2):
                owners[k] = <int32_t>g
                if masks.bounds[2 * k] < masks.bounds[2 * k + 1]:
                    keys[n] = (<uint64_t>masks.bounds[2 * k] << 32) | <uint64_t>k
                    n += 1
        keys = sorted_keys(keys, n, masks.pixels)
        for k in range(n):
            start = <uint32_t>(keys[k] >> 32)
            run = <uint32_t>keys[k]
            if start < at:
                return False
            if start > at:
                self.starts[s] = at
                self.labels[s] = 0
                s += 1
            self.starts[s] = start
            self.labels[s] = owners[run] + 1
            s += 1
            at = masks.bounds[2 * run + 1]
        if at < masks.pixels or s == 0:
            self.starts[s] = at
            self.labels[s] = 0
            s += 1
        self.n_segments = s
        return True

    cdef bint label_sets(self, Runs masks, uint64_t* keys) except *:
        """Label segments event by event, sets of masks after single ones; False: too many sets."""
        cdef Py_ssize_t i, m = masks.offsets[masks.n], s = 1, n_active = 0, active_sum = 0
        cdef uint32_t at, mask
        cdef int32_t region
        cdef dict known = {}
        cdef uint8_t* active = <uint8_t*>calloc(masks.n + 1, 1)
        if active == NULL:
            raise MemoryError
        keys = sorted_events(masks, keys)
        self.starts[0] = 0
        self.labels[0] = 0
        i = 0
        try:
            with nogil:
                while i < m:
                    at = <uint32_t>(keys[i] >> 32)
                    while i < m and <uint32_t>(keys[i] >> 32) == at:
                        mask = <uint32_t>keys[i]
                        active[mask] ^= 1
                        n_active += 1 if active[mask] else -1
                        active_sum += mask if active[mask] else -<Py_ssize_t>mask
                        i += 1
                    if at >= masks.pixels:
                        break
                    if n_active < 2:
                        region = <int32_t>(active_sum + 1) if n_active else 0
                    else:
                        with gil:
                            region = self.region_of((<char*>active)[:masks.n], known)
                            if region > 16 * masks.n + 4096:
                                return False
                    if self.starts[s - 1] == at:
                        s -= 1
                    self.starts[s] = at
                    self.labels[s] = region
                    s += 1
        finally:
            free(active)
        self.n_segments = s
        return True

    cdef int32_t region_of(self, bytes active, dict known) except -1:
        if active not in known:
            known[active] = len(self.members)
            self.members.append(tuple(g for g, on in enumerate(active) if on))
        return known[active]

    cdef int build_jump(self, uint64_t pixels) except -1:
        cdef Py_ssize_t block, n_blocks, s = 0
        self.shift = 0
        while (pixels >> self.shift) > <uint64_t>self.n_segments:
            self.shift += 1
        n_blocks = <Py_ssize_t>(pixels >> self.shift) + 1
        self.jump = <int32_t*>malloc(n_blocks * sizeof(int32_t))
        if self.jump == NULL:
            raise MemoryError
        for block in range(n_blocks):
            while s + 1 < self.n_segments and self.starts[s + 1] <= (<uint64_t>block << self.shift):
                s += 1
            self.jump[block] = <int32_t>s
        return 0

    def __dealloc__(self):
        free(self.starts)
        free(self.labels)
        free(self.jump)

    def intersections(self, Runs masks):
        """Count the common pixels of D masks and each mask here, (D, G)."""
        if self.parts is not None:
            return np.hstack([(<Regions>part).intersections(masks) for part in self.parts])
        counted = np.zeros((masks.n, len(self.members)), np.int64)
        if masks.n:
            self.count(masks, counted)
        return self.expand(counted)

    cdef void count(self, Runs masks, int64_t[:, ::1] counted):
        cdef Py_ssize_t d, k
        with nogil:
            for d in range(masks.n):
                for k in range(masks.offsets[d], masks.offsets[d + 1], 2):
                    if masks.bounds[k] < masks.bounds[k + 1]:
                        add_run(
                            self.starts, self.labels, self.jump[masks.bounds[k] >> self.shift],
                            masks.bounds[k], masks.bounds[k + 1], &counted[d, 0],
                        )

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


def count_pairs(Runs masks):
    """Count the pairs of masks with a common pixel; -1 above `MAX_PAIRED` masks."""
    cdef Py_ssize_t n = masks.n, n_words = (n >> 6) + 1, m = masks.offsets[n], a, b
    cdef int64_t total = 0
    if n > MAX_PAIRED:
        return -1
    cdef uint64_t* keys = new_keys(m)
    cdef uint64_t* active = <uint64_t*>calloc(n_words, sizeof(uint64_t))
    cdef uint64_t* pairs = <uint64_t*>calloc(n * n_words + 1, sizeof(uint64_t))
    try:
        if active == NULL or pairs == NULL:
            raise MemoryError
        with nogil:
            note_pairs(sorted_events(masks, keys), m, active, pairs, n_words)
            for a in range(n):
                for b in range(a):
                    if (pairs[a * n_words + (b >> 6)] >> (b & 63) & 1) or (
                        pairs[b * n_words + (a >> 6)] >> (a & 63) & 1
                    ):
                        total += 1
        return total
    finally:
        free(keys)
        free(active)
        free(pairs)


cdef void note_pairs(
    const uint64_t* events, Py_ssize_t m, uint64_t* active, uint64_t* pairs, Py_ssize_t n_words
) noexcept nogil:
    """Pair every mask with the masks that are active where one of its runs starts."""
    cdef Py_ssize_t first, last = 0, i, word
    cdef uint32_t mask
    while last < m:
        first = last
        # All changes at one position at once, so that masks that only touch do not meet.
        while last < m and events[last] >> 32 == events[first] >> 32:
            mask = <uint32_t>events[last]
            active[mask >> 6] ^= <uint64_t>1 << (mask & 63)
            last += 1
        for i in range(first, last):
            mask = <uint32_t>events[i]
            if active[mask >> 6] >> (mask & 63) & 1:
                for word in range(n_words):
                    pairs[mask * n_words + word] |= active[word]
