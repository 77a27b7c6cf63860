# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Where masks begin and end, sorted over all masks of an image."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memset

from entity_api._rle cimport Runs


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
