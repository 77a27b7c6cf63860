from libc.stdint cimport int64_t, uint32_t, uint64_t

from entity_api._codes cimport Codes
from entity_api._decode cimport Rows

# What decoding and other work without the interpreter lock comes to, where it is no position.
cdef enum:
    ALL_FINE = -1
    NO_MEMORY = -2

# Positions of pixels have 32 bits.
cdef enum:
    MAX_PIXELS = 0xFFFFFFFF


cdef class Runs:
    cdef uint32_t* bounds        # all masks' bounds, one after the other
    cdef Py_ssize_t* offsets     # (N + 1,) mask i has bounds[offsets[i]:offsets[i + 1]]
    cdef int64_t* areas_px       # (N,)
    cdef Rows* rows              # (N,) of the masks, where the height was known
    cdef uint64_t height         # 0: it was not
    cdef readonly Py_ssize_t n
    cdef readonly uint64_t pixels
    cdef Py_ssize_t room         # of offsets and areas
    cdef Py_ssize_t room_bounds

    cdef bint make_room(
        self, Py_ssize_t n, uint64_t pixels, Py_ssize_t n_bounds
    ) noexcept nogil
    cdef Py_ssize_t decode(
        self, Codes codes, const int64_t* chosen, Py_ssize_t n, uint64_t pixels, uint64_t height
    ) noexcept nogil
    cdef bint pick(self, Runs masks, const int64_t* picks) noexcept nogil
