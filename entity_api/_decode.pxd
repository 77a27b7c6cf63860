from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

# What is wrong with a counts string; `counts.py` turns the code into a sentence.
cdef enum:
    FINE = 0
    BAD_CHARACTER = 1
    CUT_SHORT = 2
    TOO_LONG = 3
    NEGATIVE = 4
    OVERRUN = 5
    UNDERRUN = 6
    ESCAPED = 7


# The rows of a mask: from the first one up to the end.
cdef struct Rows:
    uint32_t first
    uint32_t end


cdef Py_ssize_t decode_counts(
    const uint8_t* text, Py_ssize_t length, uint64_t pixels, uint64_t height,
    uint32_t* bounds, int64_t* area, Rows* rows
) noexcept nogil

cdef int fault(
    const uint8_t* text, Py_ssize_t length, uint64_t pixels, Py_ssize_t* position
) noexcept nogil
