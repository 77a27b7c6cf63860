from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from entity_api._rle cimport Runs


cdef struct Extent:
    uint32_t x0  # columns x0 up to x1, rows y0 up to y1
    uint32_t x1
    uint32_t y0
    uint32_t y1
    int64_t px
    double share  # of the pixels of both, or of a crowd's dt, that must be common
    double own    # so much for its own pixels
    int64_t idx


cdef struct Pair:
    int64_t gt
    double iou


cdef class Near:
    cdef Pair* pairs             # those of detection d: pairs[first[d]:first[d + 1]], by rising gt
    cdef Py_ssize_t* first       # (D + 1,)
    cdef readonly Py_ssize_t n   # D
    cdef Py_ssize_t room         # of pairs
    cdef Py_ssize_t room_dt
    cdef Extent* others          # (G,) by rising x0, without empty masks
    cdef uint32_t* reaching      # (G + 1,) the greatest x1 of those before
    cdef Py_ssize_t n_others
    cdef Py_ssize_t room_gt

    cdef bint look_at(
        self, Runs gt, const uint8_t* gt_crowd, uint64_t height, double least_iou
    ) noexcept nogil
    cdef Py_ssize_t first_reaching(self, uint32_t x) noexcept nogil
    cdef bint find(
        self, Runs dt, Runs gt, const int64_t* dt_group, const int64_t* gt_group,
        const uint8_t* gt_crowd, uint64_t height, double least_iou
    ) noexcept nogil
    cdef bint start(self, Py_ssize_t n_dt) noexcept nogil
    cdef bint add(self, int64_t gt, double iou) noexcept nogil
