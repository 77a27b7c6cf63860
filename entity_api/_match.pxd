from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t

from entity_api._near cimport Near

# What became of a detection at one area range and threshold.
cdef enum:
    FALSE_POSITIVE = 0
    TRUE_POSITIVE = 1
    IGNORED = 2


cdef struct Image:
    Py_ssize_t n_dt
    Py_ssize_t n_gt
    const int64_t* dt_records  # (D,) by falling score
    const int64_t* gt_records  # (G,) in file order
    const double* dt_area      # (D,) in pixels
    const double* gt_area
    const uint8_t* gt_crowd    # (G,) gt that may be matched any number of times
    const int64_t* gt_group    # (G,) negative for those that are not scored


cdef class Target:
    cdef const double[::1] iou_thrs
    cdef const double[:, ::1] area_ranges
    cdef int8_t[:, :, ::1] outcome
    cdef int32_t[:, :, ::1] dt_gt
    cdef int32_t[:, :, ::1] gt_dt
    cdef uint8_t[:, ::1] gt_ignored
    cdef int8_t[:, ::1] unmatched

    cdef bint match(self, Near near, const Image* image, const int64_t* columns) noexcept nogil
    cdef void ignore(
        self, const Image* image, Py_ssize_t a, const int64_t* columns, uint8_t* ignored
    ) noexcept nogil
