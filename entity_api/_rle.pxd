from libc.stdint cimport int64_t, uint32_t, uint64_t

from entity_api._codes cimport Codes


cdef class Runs:
    cdef uint32_t* bounds        # all masks' bounds, one after the other
    cdef Py_ssize_t* offsets     # (N + 1,) mask i has bounds[offsets[i]:offsets[i + 1]]
    cdef int64_t* areas_px       # (N,)
    cdef readonly Py_ssize_t n
    cdef readonly uint64_t pixels

    cdef int make_room(self, Py_ssize_t n, uint64_t pixels, Py_ssize_t n_bounds) except -1
    cdef int decode(self, Codes codes, const int64_t[:] rows) except -1
