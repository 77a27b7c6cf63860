from libc.stdint cimport int64_t

from entity_api._rle cimport Runs

cdef int64_t pairs_of(Runs masks) noexcept nogil
