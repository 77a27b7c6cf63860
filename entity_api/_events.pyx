# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Where masks begin and end, sorted over all masks of an image; the pairs that meet there.

`overlap.overlapping_pairs` and the tests say in plain Python what is counted.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from entity_api._rle cimport NO_MEMORY, Runs

# The pair table holds a bit for each two masks of an image: 32 MB at this many.
cdef enum:
    MAX_PAIRED = 16384


cdef uint64_t* sorted_keys(uint64_t* keys, Py_ssize_t n, uint64_t pixels) noexcept nogil:
    """Sort keys by the position in their high half, by radix.

    ``keys`` has room for 2 n; what is returned lies in it.
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


def count_pairs(Runs masks):
    """Count the pairs of masks with a common pixel; -1 above `MAX_PAIRED` masks."""
    cdef int64_t total
    with nogil:
        total = pairs_of(masks)
    if total == NO_MEMORY:
        raise MemoryError
    return total


cdef int64_t pairs_of(Runs masks) noexcept nogil:
    """Count as `count_pairs` does, or return `NO_MEMORY`."""
    cdef Py_ssize_t n = masks.n, n_words = (n >> 6) + 1, m = masks.offsets[n], a, b
    cdef int64_t total = 0
    if n > MAX_PAIRED:
        return -1
    cdef uint64_t* keys = <uint64_t*>malloc((2 * m + 1) * sizeof(uint64_t))
    cdef uint64_t* active = <uint64_t*>calloc(n_words, sizeof(uint64_t))
    cdef uint64_t* pairs = <uint64_t*>calloc(n * n_words + 1, sizeof(uint64_t))
    if keys == NULL or active == NULL or pairs == NULL:
        total = NO_MEMORY
    else:
        note_pairs(sorted_events(masks, keys), m, active, pairs, n_words)
        for a in range(n):
            for b in range(a):
                if (pairs[a * n_words + (b >> 6)] >> (b & 63) & 1) or (
                    pairs[b * n_words + (a >> 6)] >> (a & 63) & 1
                ):
                    total += 1
    free(keys)
    free(active)
    free(pairs)
    return total


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
