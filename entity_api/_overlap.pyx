# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels on all masks of an image at once: common pixels by one sweep, and what stays visible.

Each works on the sorted bounds of all masks, so its cost grows with the runs and not with the
pixels or with pairs of masks. `overlap.py` and the tests say in plain Python what they compute.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from entity_api._rle cimport Runs

import numpy as np

from entity_api._rle import compress

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #include <intrin.h>
    static int lowest_bit(unsigned long long x) {
        unsigned long i; _BitScanForward64(&i, x); return (int)i;
    }
    #else
    static int lowest_bit(unsigned long long x) { return __builtin_ctzll(x); }
    #endif
    """
    int lowest_bit(unsigned long long x) noexcept nogil


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


cdef int64_t count_pairs(const uint64_t* pairs, Py_ssize_t n, Py_ssize_t n_words) noexcept nogil:
    """Count the pairs noted in either direction."""
    cdef Py_ssize_t a, b
    cdef int64_t total = 0
    for a in range(n):
        for b in range(a):
            if (pairs[a * n_words + (b >> 6)] >> (b & 63) & 1) or (
                pairs[b * n_words + (a >> 6)] >> (a & 63) & 1
            ):
                total += 1
    return total


cdef uint64_t* sorted_events(Runs masks, const int32_t* order, uint64_t* keys) noexcept nogil:
    """Sort the changes of all masks; the low half of each key is the mask's place in ``order``."""
    cdef Py_ssize_t n = 0, rank, mask, b
    for rank in range(masks.n):
        mask = order[rank] if order != NULL else rank
        for b in range(masks.offsets[mask], masks.offsets[mask + 1]):
            keys[n] = (<uint64_t>masks.bounds[b] << 32) | <uint64_t>rank
            n += 1
    return sorted_keys(keys, n, masks.pixels)


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
        keys = sorted_events(masks, NULL, keys)
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

    def intersections(self, masks):
        """Count the common pixels of D masks (Runs or Visible) and each mask here, (D, G)."""
        if self.parts is not None:
            return np.hstack([(<Regions>part).intersections(masks) for part in self.parts])
        counted = np.zeros((masks.n, len(self.members)), np.int64)
        if masks.n and isinstance(masks, Runs):
            self.count(masks, counted)
        elif masks.n:
            self.count_visible(masks, counted)
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

    cdef void count_visible(self, Visible masks, int64_t[:, ::1] counted):
        cdef Py_ssize_t k
        with nogil:
            for k in range(masks.n_segments):
                add_run(
                    self.starts, self.labels, self.jump[masks.starts[k] >> self.shift],
                    masks.starts[k], masks.ends[k], &counted[masks.owners[k], 0],
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


cdef class Visible:
    """Keep of each mask the pixels that no mask before it in ``order`` (as given: None) covers.

    Attributes:
        n: Number of masks, D.
        crowded_px: Pixels that two or more masks cover.
        n_pairs: Pairs of masks with a common pixel; -1 above `MAX_PAIRED` masks.
    """

    cdef uint32_t* starts
    cdef uint32_t* ends
    cdef int32_t* owners
    cdef Py_ssize_t n_segments
    cdef readonly Py_ssize_t n
    cdef readonly int64_t crowded_px
    cdef readonly int64_t n_pairs

    def __cinit__(self, Runs masks, const int32_t[::1] order=None):
        cdef Py_ssize_t m = masks.offsets[masks.n], n_words = (masks.n >> 6) + 1
        cdef uint64_t* keys = new_keys(m)
        cdef uint64_t* active = <uint64_t*>calloc(n_words, sizeof(uint64_t))
        cdef uint64_t* pairs = NULL
        self.n = masks.n
        self.starts = <uint32_t*>malloc((m + 1) * sizeof(uint32_t))
        self.ends = <uint32_t*>malloc((m + 1) * sizeof(uint32_t))
        self.owners = <int32_t*>malloc((m + 1) * sizeof(int32_t))
        if 0 < masks.n <= MAX_PAIRED:
            pairs = <uint64_t*>calloc(masks.n * n_words, sizeof(uint64_t))
        try:
            if order is None:
                order = np.arange(masks.n, dtype=np.int32)
            if order.shape[0] != masks.n:
                raise ValueError("order must name every mask once")
            if active == NULL or self.starts == NULL or self.ends == NULL or self.owners == NULL:
                raise MemoryError
            if masks.n:
                with nogil:
                    self.sweep(
                        sorted_events(masks, &order[0], keys), m, order, active, pairs, n_words
                    )
        finally:
            free(keys)
            free(active)
            free(pairs)

    cdef void sweep(
        self, uint64_t* events, Py_ssize_t m, const int32_t[::1] order,
        uint64_t* active, uint64_t* pairs, Py_ssize_t n_words,
    ) noexcept nogil:
        """Walk the events; the lowest active rank owns the pixels up to the next event."""
        cdef Py_ssize_t i = 0, first, s = 0, word, n_active = 0
        cdef int64_t top = self.n, owner = self.n
        cdef uint32_t at, rank, crowded_from = 0
        cdef bint crowded = False
        while i < m:
            first = i
            at = <uint32_t>(events[i] >> 32)
            while i < m and <uint32_t>(events[i] >> 32) == at:
                rank = <uint32_t>events[i]
                active[rank >> 6] ^= <uint64_t>1 << (rank & 63)
                if active[rank >> 6] >> (rank & 63) & 1:
                    n_active += 1
                    if rank < top:
                        top = rank
                else:
                    n_active -= 1
                i += 1
            if n_active == 0:
                top = self.n
            else:
                word = top >> 6
                while active[word] == 0:
                    word += 1
                # Ranks below top are off, so the lowest set bit of the word is the new top.
                top = 64 * word + lowest_bit(active[word])
            if crowded:
                self.crowded_px += at - crowded_from
            crowded = n_active > 1
            crowded_from = at
            if crowded and pairs != NULL:
                self.note_pairs(events + first, i - first, active, pairs, n_words)
            if top != owner:
                if owner < self.n:
                    self.ends[s] = at
                    s += 1
                if top < self.n:
                    self.starts[s] = at
                    self.owners[s] = order[top]
                owner = top
        self.n_segments = s
        self.n_pairs = count_pairs(pairs, self.n, n_words) if pairs != NULL or not self.n else -1

    cdef void note_pairs(
        self, const uint64_t* events, Py_ssize_t m, const uint64_t* active, uint64_t* pairs,
        Py_ssize_t n_words,
    ) noexcept nogil:
        """Pair every mask that starts at these events with the masks active there."""
        cdef Py_ssize_t i, word
        cdef uint32_t rank
        for i in range(m):
            rank = <uint32_t>events[i]
            if active[rank >> 6] >> (rank & 63) & 1:
                for word in range(n_words):
                    pairs[rank * n_words + word] |= active[word]

    def __dealloc__(self):
        free(self.starts)
        free(self.ends)
        free(self.owners)

    def areas(self):
        """Return the visible pixels of each mask, (D,) int64."""
        out = np.zeros(self.n, np.int64)
        cdef int64_t[::1] view = out
        cdef Py_ssize_t k
        for k in range(self.n_segments):
            view[self.owners[k]] += self.ends[k] - self.starts[k]
        return out

    def segments(self):
        """Return the visible runs by position: bounds (S, 2) uint32 and owners (S,) int32."""
        cdef Py_ssize_t k
        owners = np.empty(self.n_segments, np.int32)
        bounds = np.empty((self.n_segments, 2), np.uint32)
        cdef int32_t[::1] owner_view = owners
        cdef uint32_t[:, ::1] bound_view = bounds
        for k in range(self.n_segments):
            owner_view[k] = self.owners[k]
            bound_view[k, 0] = self.starts[k]
            bound_view[k, 1] = self.ends[k]
        return bounds, owners
