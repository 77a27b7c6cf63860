# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Taking overlaps away: one bit a pixel says what is covered already.

`overlap.py` and the tests say in plain Python what is computed.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from entity_api._rle cimport Runs

cdef extern from *:
    """
    #if defined(__GNUC__)
    static int lowest_bit(unsigned long long x) { return __builtin_ctzll(x); }
    static int count_bits(unsigned long long x) { return __builtin_popcountll(x); }
    #else
    /* Sums of 2, of 4, then of 8 bits side by side; the product adds up the bytes. */
    static int count_bits(unsigned long long x) {
        x -= (x >> 1) & 0x5555555555555555ULL;
        x = (x & 0x3333333333333333ULL) + ((x >> 2) & 0x3333333333333333ULL);
        return (int)(((x + (x >> 4)) & 0x0F0F0F0F0F0F0F0FULL) * 0x0101010101010101ULL >> 56);
    }
    static int lowest_bit(unsigned long long x) { return count_bits((x & (0 - x)) - 1); }
    #endif
    """
    int lowest_bit(unsigned long long x) noexcept nogil
    int count_bits(unsigned long long x) noexcept nogil


def visible(Runs masks):
    """Keep of each mask the pixels that no mask before it covers.

    Returns:
        The masks that are left, in the same order, some of them perhaps empty, and the number of
        pixels that two or more masks cover; where there are none, the masks themselves.
    """
    cdef Py_ssize_t n_words = <Py_ssize_t>(masks.pixels >> 6) + 1, m = masks.offsets[masks.n], word
    cdef int64_t crowded_px = 0
    cdef bint apart
    cdef uint64_t* taken = <uint64_t*>calloc(n_words, sizeof(uint64_t))
    cdef uint64_t* twice = NULL
    cdef Runs out = Runs([], masks.pixels)
    try:
        if taken == NULL:
            raise MemoryError
        with nogil:
            apart = disjoint(masks, taken)
        if apart:
            return masks, 0
        # What is visible begins where some mask begins or ends, and no two pieces at one place.
        out.make_room(masks.n, masks.pixels, 2 * m)
        twice = <uint64_t*>calloc(n_words, sizeof(uint64_t))
        if twice == NULL:
            raise MemoryError
        with nogil:
            memset(taken, 0, n_words * sizeof(uint64_t))
            take_all(masks, out, taken, twice)
            for word in range(n_words):
                crowded_px += count_bits(twice[word])
        return out, crowded_px
    finally:
        free(taken)
        free(twice)


cdef bint disjoint(Runs masks, uint64_t* taken) noexcept nogil:
    """Tell whether no pixel lies in two masks, setting bits until one is found."""
    cdef int64_t total = 0
    cdef Py_ssize_t i, k
    for i in range(masks.n):
        total += masks.areas_px[i]
    if <uint64_t>total > masks.pixels:
        return False
    for k in range(0, masks.offsets[masks.n], 2):
        if masks.bounds[k] < masks.bounds[k + 1]:
            if are_taken(taken, masks.bounds[k], masks.bounds[k + 1]):
                return False
    return True


cdef inline bint are_taken(uint64_t* taken, uint32_t start, uint32_t end) noexcept nogil:
    """Take the pixels of a run; tell whether one was taken already."""
    cdef uint32_t head_word = start >> 6, tail_word = (end - 1) >> 6, word
    cdef uint64_t head = ~<uint64_t>0 << (start & 63)
    cdef uint64_t tail = ~<uint64_t>0 >> (63 - ((end - 1) & 63)), seen
    if head_word == tail_word:
        head &= tail
        seen = taken[head_word] & head
        taken[head_word] |= head
        return seen != 0
    seen = (taken[head_word] & head) | (taken[tail_word] & tail)
    taken[head_word] |= head
    taken[tail_word] |= tail
    for word in range(head_word + 1, tail_word):
        seen |= taken[word]
        taken[word] = ~<uint64_t>0
    return seen != 0


cdef void take_all(Runs masks, Runs out, uint64_t* taken, uint64_t* twice) noexcept nogil:
    """Write into ``out`` what each mask finds free, mask by mask."""
    cdef Py_ssize_t i, k, m = 0, first
    for i in range(masks.n):
        first = m
        for k in range(masks.offsets[i], masks.offsets[i + 1], 2):
            if masks.bounds[k] < masks.bounds[k + 1]:
                m = take(
                    taken, twice, masks.bounds[k], masks.bounds[k + 1], out.bounds, first, m
                )
        out.offsets[i + 1] = m
        for k in range(first, m, 2):
            out.areas_px[i] += out.bounds[k + 1] - out.bounds[k]


cdef inline Py_ssize_t take(
    uint64_t* taken, uint64_t* twice, uint32_t start, uint32_t end,
    uint32_t* bounds, Py_ssize_t first, Py_ssize_t m,
) noexcept nogil:
    """Take a run and write its pieces that were free; return the end of what is written."""
    cdef uint32_t head_word = start >> 6, tail_word = (end - 1) >> 6, word
    cdef uint64_t head = ~<uint64_t>0 << (start & 63)
    cdef uint64_t tail = ~<uint64_t>0 >> (63 - ((end - 1) & 63))
    if head_word == tail_word:
        return take_word(taken, twice, head_word, head & tail, bounds, first, m)
    m = take_word(taken, twice, head_word, head, bounds, first, m)
    for word in range(head_word + 1, tail_word):
        m = take_word(taken, twice, word, ~<uint64_t>0, bounds, first, m)
    return take_word(taken, twice, tail_word, tail, bounds, first, m)


cdef inline Py_ssize_t take_word(
    uint64_t* taken, uint64_t* twice, uint32_t word, uint64_t bits,
    uint32_t* bounds, Py_ssize_t first, Py_ssize_t m,
) noexcept nogil:
    """Take some bits of a word; those that were taken before are covered twice."""
    cdef uint64_t left = bits & ~taken[word]
    cdef uint32_t at = word << 6
    cdef int skip, length
    twice[word] |= bits ^ left
    taken[word] |= bits
    while left:
        skip = lowest_bit(left)
        # Up to the first 0 above the piece; adding its lowest bit carries through the piece.
        length = lowest_bit(~(left >> skip)) if ~(left >> skip) else 64
        m = put_run(bounds, first, m, at + skip, at + skip + length)
        left &= left + (<uint64_t>1 << skip)
    return m


cdef inline Py_ssize_t put_run(
    uint32_t* bounds, Py_ssize_t first, Py_ssize_t m, uint32_t start, uint32_t end
) noexcept nogil:
    """Append a run to those of a mask from ``first`` on, or lengthen the last; return the end."""
    if m > first and bounds[m - 1] == start:
        m -= 2
    else:
        bounds[m] = start
    bounds[m + 1] = end
    return m + 2
