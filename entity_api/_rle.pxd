from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef class Runs:
    cdef uint32_t* bounds        # all masks' bounds, one after the other
    cdef Py_ssize_t* offsets     # (N + 1,) mask i has bounds[offsets[i]:offsets[i + 1]]
    cdef int64_t* areas_px       # (N,)
    cdef readonly Py_ssize_t n
    cdef readonly uint64_t pixels

    cdef int decode(self, Py_buffer* views) except -1
