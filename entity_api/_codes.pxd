from libc.stdint cimport uint8_t


cdef class Codes:
    cdef const uint8_t** texts
    cdef Py_ssize_t* lengths
    cdef list owners             # what the texts lie in
    cdef readonly Py_ssize_t n

    cdef int make_room(self, Py_ssize_t n) except -1
    cdef int resize(self, Py_ssize_t n) except -1
    cpdef put(self, Py_ssize_t idx, counts)
