from libc.stdint cimport uint64_t

from entity_api._rle cimport Runs


cdef uint64_t* new_keys(Py_ssize_t n) except NULL
cdef uint64_t* sorted_events(Runs masks, uint64_t* keys) noexcept nogil
