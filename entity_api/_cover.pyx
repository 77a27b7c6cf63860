# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Taking overlaps away: one bit a pixel says what is covered already, or a sweep over the ends.

`overlap.py` and the tests say in plain Python what is computed.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from entity_api._events cimport sorted_events
from entity_api._rle cimport NO_MEMORY, Runs
from entity_api._words cimport FULL, count_bits, has_fours, lowest_bit, put_word, take_mask_by_fours

# A bit a pixel of 4 megapixels: what is cleared in less time than anything is sorted.
cdef enum:
    FEW_WORDS = 65536
    ROOM_OF_FOUR = 4  # words behind the last, which are read and written with it

# How overlaps can be taken away here.
WAYS = ("events", "words", "fours") if has_fours() else ("events", "words")


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
        if (masks.pixels >> 6) + 1 > <uint64_t>max(4 * masks.offsets[masks.n], FEW_WORDS):
            # Few runs in many pixels: a bit a pixel would take longer to clear than to set.
            return take_by_events(masks, out)
        return self.take_by_words(masks, out, has_fours())

    cdef int64_t take_by_words(self, Runs masks, Runs out, bint by_fours) noexcept nogil:
        """Do what `take` does with two bits a pixel: some mask has it, and two or more have."""
        cdef Py_ssize_t n_words = <Py_ssize_t>(masks.pixels >> 6) + ROOM_OF_FOUR
        cdef uint64_t* twice
        if 2 * n_words > self.room:
            free(self.taken)
            self.taken = <uint64_t*>malloc(2 * n_words * sizeof(uint64_t))
            self.room = 2 * n_words if self.taken != NULL else 0
            if not self.room:
                return NO_MEMORY
        if disjoint(masks, self.taken, n_words):
            return 0
        # What is visible begins where some mask begins or ends, and no two pieces at one place.
        if not out.make_room(masks.n, masks.pixels, 2 * masks.offsets[masks.n]):
            return NO_MEMORY
        memset(self.taken, 0, 2 * n_words * sizeof(uint64_t))
        twice = self.taken + n_words
        take_all(masks, out, self.taken, twice, by_fours and masks.pixels >> 31 == 0)
        return pixels_of(twice, n_words)


def visible(Runs masks, str way=None):
    """Keep of each mask the pixels that no mask before it covers.

    Args:
        masks: In order.
        way: One of `WAYS`, which come to the same; None for the one that is fastest.

    Returns:
        The masks that are left, in the same order, some of them perhaps empty, and the number of
        pixels that two or more masks cover; where there are none, the masks themselves.
    """
    cdef Runs out = Runs([], masks.pixels)
    cdef Cover cover = Cover()
    cdef int64_t crowded_px
    cdef bint by_events = way == "events", by_fours = way == "fours", by_any = way is None
    if not by_any and way not in WAYS:
        raise ValueError(f"this processor has no way {way!r}")
    with nogil:
        if by_any:
            crowded_px = cover.take(masks, out)
        elif by_events:
            crowded_px = take_by_events(masks, out)
        else:
            crowded_px = cover.take_by_words(masks, out, by_fours)
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
    cdef uint64_t seen
    cdef Py_ssize_t i, k
    for i in range(masks.n):
        total += masks.areas_px[i]
    if <uint64_t>total > masks.pixels:
        return False
    memset(taken, 0, n_words * sizeof(uint64_t))
    for i in range(masks.n):
        seen = 0
        for k in range(masks.offsets[i], masks.offsets[i + 1], 2):
            if masks.bounds[k] < masks.bounds[k + 1]:
                seen |= taken_before(taken, masks.bounds[k], masks.bounds[k + 1])
        if seen:
            return False
    return True


cdef inline uint64_t taken_before(uint64_t* taken, uint32_t start, uint32_t end) noexcept nogil:
    """Take the pixels of a run; return bits that were taken already, of any of its words."""
    cdef uint32_t head_word = start >> 6, tail_word = (end - 1) >> 6, word
    cdef uint64_t head = FULL << (start & 63), tail = FULL >> (63 - ((end - 1) & 63)), seen
    # Most runs are in one word or two, which cannot be guessed: both are looked at, though they
    # may be the same.
    cdef uint64_t apart = 0 - <uint64_t>(head_word != tail_word)
    head &= tail | apart
    tail &= apart
    seen = taken[head_word] & head
    taken[head_word] |= head
    seen |= taken[tail_word] & tail
    taken[tail_word] |= tail
    for word in range(head_word + 1, tail_word):
        seen |= taken[word]
        taken[word] = FULL
    return seen


cdef void take_all(
    Runs masks, Runs out, uint64_t* taken, uint64_t* twice, bint by_fours
) noexcept nogil:
    """Write into ``out`` what each mask finds free, mask by mask."""
    cdef Py_ssize_t i, k, m = 0, first
    for i in range(masks.n):
        first = m
        if by_fours:
            m = take_mask_by_fours(
                taken, twice, &masks.bounds[masks.offsets[i]],
                masks.offsets[i + 1] - masks.offsets[i], out.bounds, m,
            )
        else:
            for k in range(masks.offsets[i], masks.offsets[i + 1], 2):
                if masks.bounds[k] < masks.bounds[k + 1]:
                    m = take_run(
                        taken, twice, masks.bounds[k], masks.bounds[k + 1], out.bounds, first, m
                    )
        out.offsets[i + 1] = m
        for k in range(first, m, 2):
            out.areas_px[i] += out.bounds[k + 1] - out.bounds[k]


cdef inline Py_ssize_t take_run(
    uint64_t* taken, uint64_t* twice, uint32_t start, uint32_t end, uint32_t* bounds,
    Py_ssize_t first, Py_ssize_t m,
) noexcept nogil:
    """Take a run and write its pieces that were free; return the end of what is written."""
    cdef uint32_t word, last = (end - 1) >> 6
    cdef uint64_t own = FULL << (start & 63), left
    for word in range(start >> 6, last + 1):
        if word == last:
            own &= FULL >> (63 - ((end - 1) & 63))
        left = own & ~taken[word]
        twice[word] |= own & taken[word]
        taken[word] |= own
        if left:
            m = put_word(bounds, first, m, word << 6, left)
        own = FULL
    return m
