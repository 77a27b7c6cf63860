from libc.stdint cimport int64_t, uint64_t

from entity_api._rle cimport Runs


cdef class Cover:
    cdef uint64_t* taken         # what images are marked in
    cdef Py_ssize_t room         # of words

    cdef int64_t take(self, Runs masks, Runs out) noexcept nogil
    cdef int64_t take_by_words(self, Runs masks, Runs out, bint by_fours) noexcept nogil
