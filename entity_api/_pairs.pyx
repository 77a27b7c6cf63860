# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Counting the pairs of masks that have a pixel in common.

`overlap.overlapping_pairs` and the tests say in plain Python what is counted.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort

from entity_api._events cimport sorted_events
from entity_api._rle cimport NO_MEMORY, Runs

cdef enum:
    # The table of pairs by events holds a bit for each two masks of an image: 32 MB at this many.
    MAX_PAIRED = 16384
    RUNS_A_PART = 8
    # What looking at pairs may take, in steps a bound, before sorting all of them takes less.
    MOST_STEPS = 10
    TOO_LONG = -4


def count_pairs(Runs masks, bint by_events=False):
    """Count the pairs of masks with a common pixel; -1 above `MAX_PAIRED` masks.

    Args:
        masks: Of one image.
        by_events: Sort where masks begin and end, instead of looking at pairs.
    """
    cdef int64_t total
    with nogil:
        total = pairs_by_events(masks) if by_events else pairs_of(masks)
    if total == NO_MEMORY:
        raise MemoryError
    return total


cdef int64_t pairs_of(Runs masks) noexcept nogil:
    """Count as `count_pairs` does, or return `NO_MEMORY`."""
    cdef int64_t total = -1
    if masks.n <= MAX_PAIRED:
        total = pairs_by_parts(masks)
        if total == TOO_LONG:
            total = pairs_by_events(masks)
    return total


# The runs of a mask in a strip of columns, and the rows that they lie in.
cdef struct Part:
    Py_ssize_t first  # bounds of the runs, up to last
    Py_ssize_t last
    uint64_t top      # rows, up to bottom; none lower, and all of a run that goes on in a column
    uint64_t bottom


cdef struct Parted:
    Part* parts       # of the strips from ``first`` to ``last``
    uint64_t first
    uint64_t last


cdef int by_first_strip(const void* one, const void* other) noexcept nogil:
    cdef uint64_t a = (<const Parted*>one).first, b = (<const Parted*>other).first
    return (a > b) - (a < b)


cdef int64_t pairs_by_parts(Runs masks) noexcept nogil:
    """Look for a common pixel of every two masks whose boxes meet, strip by strip.

    Returns:
        How many pairs have any; `TOO_LONG`, `NO_MEMORY`.
    """
    # Where the height is not known, all is one column, which has a pixel at least.
    cdef uint64_t height = max(masks.height if masks.height else masks.pixels, <uint64_t>1)
    cdef uint64_t n_runs = masks.offsets[masks.n] // 2, strip_px
    cdef Py_ssize_t n = 0, n_parts = 0, i, k
    cdef int64_t total = 0, steps = MOST_STEPS * masks.offsets[masks.n]
    cdef Parted* parted = <Parted*>malloc((masks.n + 1) * sizeof(Parted))
    cdef Part* parts = NULL
    # As many columns as hold so many runs of a mask, were they all over the image.
    strip_px = RUNS_A_PART * <uint64_t>masks.n * (masks.pixels // height)
    strip_px = height * max(strip_px // max(n_runs, <uint64_t>1), <uint64_t>1)
    if parted == NULL:
        return NO_MEMORY
    for i in range(masks.n):
        if masks.areas_px[i]:
            n_parts += strips_of(masks, i, strip_px, &parted[n])
            n += 1
    parts = <Part*>malloc((n_parts + 1) * sizeof(Part))
    if parts == NULL:
        free(parted)
        return NO_MEMORY
    n = n_parts = 0
    for i in range(masks.n):
        if masks.areas_px[i]:
            parted[n].parts = parts + n_parts
            n_parts += parted[n].last - parted[n].first + 1
            fill(masks, i, height, strip_px, &parted[n])
            n += 1
    qsort(parted, n, sizeof(Parted), by_first_strip)
    for i in range(n):
        for k in range(i + 1, n):
            if parted[k].first > parted[i].last or steps < 0:
                break
            total += meet(masks.bounds, &parted[i], &parted[k], &steps)
    free(parts)
    free(parted)
    return total if steps >= 0 else TOO_LONG


cdef Py_ssize_t strips_of(
    Runs masks, Py_ssize_t i, uint64_t strip_px, Parted* out
) noexcept nogil:
    """Find the first and last strip of a mask that is not empty; return how many they are."""
    cdef Py_ssize_t k = masks.offsets[i], last = masks.offsets[i + 1] - 2
    while masks.bounds[k] == masks.bounds[k + 1]:
        k += 2
    while masks.bounds[last] == masks.bounds[last + 1]:
        last -= 2
    out.first = masks.bounds[k] // strip_px
    out.last = (masks.bounds[last + 1] - 1) // strip_px
    return <Py_ssize_t>(out.last - out.first) + 1


cdef void fill(
    Runs masks, Py_ssize_t i, uint64_t height, uint64_t strip_px, const Parted* mask
) noexcept nogil:
    """Write the parts of a mask."""
    cdef Py_ssize_t k
    cdef uint64_t start, end, strip_end = (mask.first + 1) * strip_px
    cdef uint64_t column = mask.first * strip_px
    cdef Part* part = mask.parts
    for k in range(<Py_ssize_t>(mask.last - mask.first) + 1):
        part[k] = Part(0, 0, height, 0)
    for k in range(masks.offsets[i], masks.offsets[i + 1], 2):
        start, end = masks.bounds[k], masks.bounds[k + 1]
        if start == end:
            continue
        while start >= strip_end:
            strip_end += strip_px
            part += 1
        # Most masks have a run in the next column.
        if start - column >= height:
            column += height
            if start - column >= height:
                column = start // height * height
        add(part, k, start - column, min(end - column, height))
        if end - column > height:
            add(part, k, 0, height)
        while end > strip_end:
            strip_end += strip_px
            part += 1
            add(part, k, 0, height)


cdef inline void add(Part* part, Py_ssize_t k, uint64_t top, uint64_t bottom) noexcept nogil:
    """Add a run to a part."""
    if part.last == 0:
        part.first = k
    part.last = k + 2
    part.top = min(part.top, top)
    part.bottom = max(part.bottom, bottom)


cdef bint meet(
    const uint32_t* bounds, const Parted* one, const Parted* other, int64_t* steps
) noexcept nogil:
    """Tell whether two masks have a pixel in common; what it takes is taken off ``steps``."""
    cdef uint64_t first = max(one.first, other.first), last = min(one.last, other.last), strip
    cdef uint64_t middle = first + (last - first) // 2
    if first > last:
        return False
    # From the middle on: where masks meet, they do so there more often than at their ends.
    for strip in range(middle, last + 1):
        if parts_meet(bounds, one, other, strip, steps):
            return True
    for strip in range(first, middle):
        if parts_meet(bounds, one, other, strip, steps):
            return True
    return False


cdef inline bint parts_meet(
    const uint32_t* bounds, const Parted* one, const Parted* other, uint64_t strip, int64_t* steps
) noexcept nogil:
    """Do what `meet` does in one strip."""
    cdef const Part* a = &one.parts[strip - one.first]
    cdef const Part* b = &other.parts[strip - other.first]
    cdef Py_ssize_t i, k
    steps[0] -= 1
    if a.top >= b.bottom or b.top >= a.bottom:
        return False
    i, k = a.first, b.first
    while i < a.last and k < b.last:
        steps[0] -= 1
        if max(bounds[i], bounds[k]) < min(bounds[i + 1], bounds[k + 1]):
            return True
        if bounds[i + 1] < bounds[k + 1]:
            i += 2
        else:
            k += 2
    return False


cdef int64_t pairs_by_events(Runs masks) noexcept nogil:
    """Note at every place where masks begin which others are there; count as `pairs_of` does."""
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
