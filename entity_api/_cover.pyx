# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Taking overlaps away: one bit a pixel says what is covered already, or a sweep over the ends.

`overlap.py` and the tests say in plain Python what is computed.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from entity_api._events cimport sorted_events
from entity_api._rle cimport NO_MEMORY, Runs

cdef extern from *:
    """
    #define FULL (~0ULL)
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
    const unsigned long long FULL
    int lowest_bit(unsigned long long x) noexcept nogil
    int count_bits(unsigned long long x) noexcept nogil


# A bit a pixel of 4 megapixels: what is cleared in less time than anything is sorted.
cdef enum:
    FEW_WORDS = 65536


cdef struct Bits:
    uint64_t* taken  # a bit a pixel, set once a mask has it
    uint64_t* twice  # a bit a pixel, set once two masks have it
    uint64_t* done   # a bit a word of ``twice``, set once that is full


cdef class Cover:
    """Take overlaps away in one image after the other; what it works on is kept for the next."""

    def __dealloc__(self):
        free(self.taken)

    cdef int64_t take(self, Runs masks, Runs out) noexcept nogil:
        """Write into ``out`` what of each mask no mask before it covers.

        Returns:
            The pixels that two or more masks cover; where there are none, ``out`` is not written.
            `NO_MEMORY`: there is no memory.
        """
        cdef Py_ssize_t n_words = <Py_ssize_t>(masks.pixels >> 6) + 1, m = masks.offsets[masks.n]
        cdef Py_ssize_t n_done = (n_words >> 6) + 1
        cdef Bits bits
        if n_words > max(4 * m, FEW_WORDS):
            # Few runs in many pixels: a bit a pixel would take longer to clear than to set.
            return take_by_events(masks, out)
        if 2 * n_words + n_done > self.room:
            free(self.taken)
            self.taken = <uint64_t*>malloc((2 * n_words + n_done) * sizeof(uint64_t))
            self.room = 2 * n_words + n_done if self.taken != NULL else 0
            if not self.room:
                return NO_MEMORY
        bits.taken = self.taken
        bits.twice = self.taken + n_words
        bits.done = bits.twice + n_words
        if disjoint(masks, self.taken, n_words):
            return 0
        # What is visible begins where some mask begins or ends, and no two pieces at one place.
        if not out.make_room(masks.n, masks.pixels, 2 * m):
            return NO_MEMORY
        memset(self.taken, 0, (2 * n_words + n_done) * sizeof(uint64_t))
        take_all(masks, out, bits)
        return pixels_of(bits.twice, n_words)


def visible(Runs masks, bint by_events=False):
    """Keep of each mask the pixels that no mask before it covers.

    Args:
        masks: In order.
        by_events: Sort where masks begin and end, instead of marking pixels.

    Returns:
        The masks that are left, in the same order, some of them perhaps empty, and the number of
        pixels that two or more masks cover; where there are none, the masks themselves.
    """
    cdef Runs out = Runs([], masks.pixels)
    cdef Cover cover = Cover()
    cdef int64_t crowded_px
    with nogil:
        crowded_px = take_by_events(masks, out) if by_events else cover.take(masks, out)
    if crowded_px == NO_MEMORY:
        raise MemoryError
    return (out, crowded_px) if crowded_px else (masks, 0)


cdef int64_t pixels_of(const uint64_t* words, Py_ssize_t n) noexcept nogil:
    """Count the bits of many words, most of them without any or full."""
    cdef int64_t total = 0
    cdef Py_ssize_t word
    for word in range(n):
        if words[word] == FULL:
            total += 64
        elif words[word]:
            total += count_bits(words[word])
    return total


cdef struct Piece:
    uint32_t mask
    uint32_t start
    uint32_t end


cdef int64_t take_by_events(Runs masks, Runs out) noexcept nogil:
    """Do what `Cover.take` does, going from where masks begin and end to the next such place."""
    cdef Py_ssize_t m = masks.offsets[masks.n], n_words = (masks.n >> 6) + 1, i = 0, n_pieces = 0
    cdef int64_t crowded_px = 0, n_active = 0, owner = -1, before = -1
    cdef uint32_t at = 0, start = 0, mask
    cdef uint64_t* keys = <uint64_t*>malloc((2 * m + 1) * sizeof(uint64_t))
    cdef uint64_t* active = <uint64_t*>calloc(n_words, sizeof(uint64_t))
    cdef Piece* pieces = <Piece*>malloc((m + 1) * sizeof(Piece))
    cdef const uint64_t* events
    if keys == NULL or active == NULL or pieces == NULL:
        crowded_px = NO_MEMORY
    else:
        events = sorted_events(masks, keys)
        while i < m:
            at = <uint32_t>(events[i] >> 32)
            if n_active > 1:
                crowded_px += at - start
            before = owner
            while i < m and <uint32_t>(events[i] >> 32) == at:
                mask = <uint32_t>events[i]
                active[mask >> 6] ^= <uint64_t>1 << (mask & 63)
                n_active += 1 if active[mask >> 6] >> (mask & 63) & 1 else -1
                i += 1
            owner = first_of(active, n_words) if n_active else -1
            start = at
            if owner == before:
                continue
            if before >= 0:
                pieces[n_pieces].end = at
                n_pieces += 1
            if owner >= 0:
                pieces[n_pieces] = Piece(<uint32_t>owner, at, at)
        if crowded_px and not gather(pieces, n_pieces, masks, out):
            crowded_px = NO_MEMORY
    free(keys)
    free(active)
    free(pieces)
    return crowded_px


cdef int64_t first_of(const uint64_t* active, Py_ssize_t n_words) noexcept nogil:
    """Return the first bit that is set, or -1."""
    cdef Py_ssize_t word
    for word in range(n_words):
        if active[word]:
            return 64 * word + lowest_bit(active[word])
    return -1


cdef bint gather(
    const Piece* pieces, Py_ssize_t n_pieces, Runs masks, Runs out
) noexcept nogil:
    """Write pieces, which ascend, as the runs of their masks; False: there is no memory."""
    cdef Py_ssize_t i, n, total = 0
    cdef uint32_t mask
    if not out.make_room(masks.n, masks.pixels, 2 * n_pieces):
        return False
    for i in range(n_pieces):
        out.offsets[pieces[i].mask + 1] += 2
        out.areas_px[pieces[i].mask] += pieces[i].end - pieces[i].start
    # Where each mask begins; written, where it ends.
    for i in range(masks.n + 1):
        n = out.offsets[i]
        if i:
            out.offsets[i] = total
        total += n
    for i in range(n_pieces):
        mask = pieces[i].mask
        n = out.offsets[mask + 1]
        out.bounds[n] = pieces[i].start
        out.bounds[n + 1] = pieces[i].end
        out.offsets[mask + 1] += 2
    return True


cdef bint disjoint(Runs masks, uint64_t* taken, Py_ssize_t n_words) noexcept nogil:
    """Tell whether no pixel lies in two masks, setting bits until one is found."""
    cdef int64_t total = 0
    cdef Py_ssize_t i, k
    for i in range(masks.n):
        total += masks.areas_px[i]
    if <uint64_t>total > masks.pixels:
        return False
    memset(taken, 0, n_words * sizeof(uint64_t))
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


cdef void take_all(Runs masks, Runs out, Bits bits) noexcept nogil:
    """Write into ``out`` what each mask finds free, mask by mask."""
    cdef Py_ssize_t i, k, m = 0, first
    for i in range(masks.n):
        first = m
        for k in range(masks.offsets[i], masks.offsets[i + 1], 2):
            if masks.bounds[k] < masks.bounds[k + 1]:
                m = take_run(bits, masks.bounds[k], masks.bounds[k + 1], out.bounds, first, m)
        out.offsets[i + 1] = m
        for k in range(first, m, 2):
            out.areas_px[i] += out.bounds[k + 1] - out.bounds[k]


cdef inline Py_ssize_t take_run(
    Bits bits, uint32_t start, uint32_t end, uint32_t* bounds, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    """Take a run and write its pieces that were free; return the end of what is written."""
    cdef uint32_t head_word = start >> 6, tail_word = (end - 1) >> 6, word
    cdef uint32_t block = head_word >> 6, last_block = tail_word >> 6
    cdef uint64_t head = FULL << (start & 63), tail = FULL >> (63 - ((end - 1) & 63)), own
    # Words that are covered twice already, under many masks most, are passed by without a look.
    cdef uint64_t left = ~bits.done[block] & (FULL << (head_word & 63))
    while True:
        if block == last_block:
            left &= FULL >> (63 - (tail_word & 63))
        while left:
            word = (block << 6) + lowest_bit(left)
            left &= left - 1
            own = head if word == head_word else FULL
            if word == tail_word:
                own &= tail
            m = take_word(bits, word, own, bounds, first, m)
        if block == last_block:
            return m
        block += 1
        left = ~bits.done[block]


cdef inline Py_ssize_t take_word(
    Bits bits, uint32_t word, uint64_t own, uint32_t* bounds, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    """Take some bits of a word; those that were taken before are covered twice."""
    cdef uint64_t taken = bits.taken[word], twice = bits.twice[word] | (own & taken)
    cdef uint64_t left = own & ~taken
    cdef uint32_t at = word << 6
    cdef int skip, length
    bits.twice[word] = twice
    if twice == FULL:
        bits.done[word >> 6] |= <uint64_t>1 << (word & 63)
    if left == 0:
        return m
    bits.taken[word] = taken | own
    if left == FULL:
        return put_run(bounds, first, m, at, at + 64)
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
