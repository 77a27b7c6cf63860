# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Reading compressed counts strings; `fault` says in plain steps what a sound one is."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

# A 32-bit count and its sign take 7 characters of 5 bits; more never come from an encoder.
cdef int MAX_SHIFT = 35


cdef inline bint is_literal(const uint8_t* text, Py_ssize_t length) noexcept nogil:
    """Tell a JSON string from a bare code, which has no quotes."""
    return length >= 2 and text[0] == c'"' and text[length - 1] == c'"'


cdef struct Number:
    int64_t value
    Py_ssize_t end  # where the next one starts; 0: this one is broken


cdef Number long_number(
    const uint8_t* text, Py_ssize_t length, Py_ssize_t i, bint literal
) noexcept nogil:
    """Read one signed number of several characters."""
    cdef Number number = Number(0, 0)
    cdef int shift = 0
    cdef uint32_t c = 32
    while c & 32:
        if i >= length or shift >= MAX_SHIFT:
            return number
        c = text[i]
        i += 1
        if c == c'\\' and literal:
            if i >= length or text[i] != c'\\':
                return number
            i += 1
        c -= 48
        if c > 63:
            return number
        number.value |= <int64_t>(c & 31) << shift
        shift += 5
    number.value -= <int64_t>(c >> 4 & 1) << shift
    number.end = i
    return number


cdef inline Number next_number(
    const uint8_t* text, Py_ssize_t length, Py_ssize_t i, bint literal
) noexcept nogil:
    """Read one signed number; most are a single character, and those need one comparison."""
    cdef uint32_t c = <uint32_t>text[i] - 48
    if c < 32:
        return Number(<int64_t>(c ^ 16) - 16, i + 1)
    return long_number(text, length, i, literal)


cdef Py_ssize_t decode_counts(
    const uint8_t* text, Py_ssize_t length, uint64_t pixels, uint64_t height,
    uint32_t* bounds, int64_t* area, Rows* rows
) noexcept nogil:
    """Read one compressed string (raw, or a JSON literal with its quotes) into bounds.

    Args:
        text: The string.
        length: Its characters.
        pixels: Of the image.
        height: Of the image; above all pixels if the rows are not wanted.
        bounds: Written.
        area: Written: foreground pixels.
        rows: Written: no row of the mask is outside of them; runs without pixels count as well.

    Returns:
        The number of bounds, or -1 where anything is wrong: `fault` finds out what.
    """
    cdef Py_ssize_t i = 0, m = 0
    cdef bint literal = is_literal(text, length)
    cdef int64_t gap = 0, run = 0, foreground = 0, total = 0, bits = 0
    cdef uint64_t start, top = 0, y0 = height, y1 = 0
    cdef Number number
    if literal:
        i = 1
        length -= 1
    if i < length:
        number = next_number(text, length, i, literal)
        if number.end == 0:
            return -1
        i = number.end
        total = number.value
        bounds[0] = <uint32_t>total
        bits = total
    # A count is coded as its difference to the last but one, from the fourth count on.
    while i < length:
        number = next_number(text, length, i, literal)
        if number.end == 0:
            return -1
        i = number.end
        run += number.value
        bits |= run
        foreground += run
        start = <uint64_t>total
        total += run
        # Most masks have a run in the next column.
        if start - top >= height:
            top += height
            if start - top >= height:
                top = start // height * height
        y0 = min(y0, start - top)
        y1 = max(y1, <uint64_t>total - top)
        bounds[m + 1] = <uint32_t>total
        m += 2
        if i >= length:
            break
        number = next_number(text, length, i, literal)
        if number.end == 0:
            return -1
        i = number.end
        gap += number.value
        bits |= gap
        total += gap
        bounds[m] = <uint32_t>total
    # Counts that all lie in 32 bits, none negative, cannot wrap a 64-bit sum; and a sum that only
    # rises to the number of pixels never was above it.
    if bits >> 32 or <uint64_t>total != pixels:
        return -1
    area[0] = foreground
    # A run that goes on in the next column has all rows, or so many that it counts as having them.
    rows.first = <uint32_t>(y0 if y1 <= height else 0)
    rows.end = <uint32_t>min(y1, height)
    return m


cdef int fault(
    const uint8_t* text, Py_ssize_t length, uint64_t pixels, Py_ssize_t* position
) noexcept nogil:
    """Read a string that `decode_counts` has refused step by step; name the first fault."""
    cdef Py_ssize_t i = 0, m = 0
    cdef bint literal = is_literal(text, length)
    cdef int64_t value, total = 0
    cdef int64_t[2] before = [0, 0]
    cdef int shift
    cdef uint32_t c
    if literal:
        i = 1
        length -= 1
    while i < length:
        value = 0
        shift = 0
        while True:
            if i >= length:
                position[0] = i
                return CUT_SHORT
            c = text[i]
            i += 1
            if c == c'\\' and literal:
                if i >= length or text[i] != c'\\':
                    position[0] = i
                    return ESCAPED
                i += 1
            c -= 48
            if c > 63:
                position[0] = i - 1
                return BAD_CHARACTER
            value |= <int64_t>(c & 31) << shift
            shift += 5
            if not c & 32:
                break
            if shift >= MAX_SHIFT:
                position[0] = i
                return TOO_LONG
        if c & 16:
            value -= <int64_t>1 << shift
        if m > 2:
            value += before[m & 1]
        before[m & 1] = value
        m += 1
        total += value
        position[0] = i
        if value < 0:
            return NEGATIVE
        if <uint64_t>total > pixels:
            return OVERRUN
    position[0] = total
    return UNDERRUN
