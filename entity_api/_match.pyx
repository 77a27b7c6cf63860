# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels of the protocol: greedy matching of one group, and precision over all of them.

`match_group` and `precision_at_recall` imitate cocoapi's `evaluateImg` and `accumulate` operation
by operation, so that results equal pycocotools' to the last bit; the tests hold both against it.
"""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import numpy as np

# What became of a detection at one area range and threshold.
cdef enum:
    FALSE_POSITIVE = 0
    TRUE_POSITIVE = 1
    IGNORED = 2


def ious(
    const int64_t[:, ::1] common,
    const int64_t[::1] dt_area,
    const int64_t[::1] gt_area,
    const uint8_t[::1] gt_crowd,
):
    """Divide intersections by unions: the kernel of `rle.iou_of_counts`, (D, G) in [0, 1]."""
    cdef Py_ssize_t d, g, n_dt = dt_area.shape[0], n_gt = gt_area.shape[0]
    cdef int64_t union_px
    out = np.zeros((n_dt, n_gt))
    cdef double[:, ::1] view = out
    for d in range(n_dt):
        for g in range(n_gt):
            if common[d, g]:
                union_px = dt_area[d] if gt_crowd[g] else dt_area[d] + gt_area[g] - common[d, g]
                view[d, g] = <double>common[d, g] / <double>union_px
    return out


cdef inline int64_t best_free(
    const double* iou, const int64_t* near, Py_ssize_t n_near, double thr,
    const uint8_t* ignored, const int32_t* taken,
    const int64_t[:] gt_records, const uint8_t[::1] gt_crowd,
) noexcept nogil:
    """Return the column of the gt that one detection matches, or -1."""
    cdef int64_t g, best = -1
    cdef double best_iou = min(thr, 1 - 1e-10)
    cdef Py_ssize_t k
    cdef int ignoring
    # cocoapi puts ignored gt last and stops there once a counted one matches.
    for ignoring in range(2):
        for k in range(n_near):
            g = near[k]
            if ignored[gt_records[g]] != ignoring or iou[g] < best_iou:
                continue
            if taken[gt_records[g]] >= 0 and not gt_crowd[g]:
                continue
            best_iou = iou[g]
            best = g
        if best >= 0:
            break
    return best


def match_group(
    const double[:, ::1] iou,
    const double[::1] iou_thrs,
    const double[:, ::1] area_ranges,
    const int64_t[::1] rows,
    const int64_t[::1] columns,
    const int64_t[:] dt_records,
    const int64_t[:] gt_records,
    const double[::1] dt_area,
    const double[::1] gt_area,
    const uint8_t[::1] gt_crowd,
    Py_ssize_t start,
    int8_t[:, :, ::1] outcome,
    int32_t[:, :, ::1] dt_gt,
    int32_t[:, :, ::1] gt_dt,
    uint8_t[:, ::1] gt_ignored,
):
    """Match the detections of one group, best score first, each to its best free gt.

    A gt that is a crowd or outside the area range is *ignored*: a match to it counts neither way.
    A detection outside the range is ignored where it is unmatched.

    Args:
        iou: (D, G) of the group's image, in [0, 1].
        iou_thrs: (T,) in [0, 1].
        area_ranges: (A, 2) least and greatest area in pixels, both included.
        rows: The group's detections by falling score, as rows of ``iou``.
        columns: The group's ground truth, as columns of ``iou``.
        dt_records: (D,) record of each row.
        gt_records: (G,) record of each column.
        dt_area: (D,) in pixels.
        gt_area: (G,) in pixels.
        gt_crowd: (G,) gt that may be matched any number of times.
        start: Column of the group's first detection in the arrays that are written:
        outcome: (A, T, N) 0 false positive, 1 true positive, 2 ignored.
        dt_gt: (A, T, N) record of the matched gt, or -1; (A, T, 0) is left alone.
        gt_dt: (A, T, gt records) record of the last matched detection, untouched without one.
        gt_ignored: (A, gt records).
    """
    cdef Py_ssize_t n_dt = rows.shape[0], n_gt = columns.shape[0], n_thrs = iou_thrs.shape[0]
    cdef Py_ssize_t a, t, d, k, i, n = 0, n_near_any = 0
    cdef int64_t g
    cdef double lowest = 1 - 1e-10
    cdef bint keep = dt_gt.shape[2] > 0
    # Of detection d: its near gt begin at first[d]; few have any.
    cdef int64_t* near = <int64_t*>malloc((n_dt * n_gt + 1) * sizeof(int64_t))
    cdef Py_ssize_t* first = <Py_ssize_t*>malloc((n_dt + 1) * sizeof(Py_ssize_t))
    cdef Py_ssize_t* with_near = <Py_ssize_t*>malloc((n_dt + 1) * sizeof(Py_ssize_t))
    cdef int8_t* unmatched = <int8_t*>malloc(n_dt + 1)
    if near == NULL or first == NULL or with_near == NULL or unmatched == NULL:
        free(near)
        free(first)
        free(with_near)
        free(unmatched)
        raise MemoryError
    with nogil:
        for t in range(n_thrs):
            lowest = min(lowest, iou_thrs[t])
        # Only pairs that reach the lowest threshold can match at any.
        for d in range(n_dt):
            first[d] = n
            for k in range(n_gt):
                if iou[rows[d], columns[k]] >= lowest:
                    near[n] = columns[k]
                    n += 1
            if n > first[d]:
                with_near[n_near_any] = d
                n_near_any += 1
        first[n_dt] = n
        for a in range(area_ranges.shape[0]):
            for k in range(n_gt):
                g = columns[k]
                gt_ignored[a, gt_records[g]] = (
                    gt_crowd[g] or gt_area[g] < area_ranges[a, 0] or gt_area[g] > area_ranges[a, 1]
                )
            for d in range(n_dt):
                unmatched[d] = (
                    IGNORED if dt_area[rows[d]] < area_ranges[a, 0]
                    or dt_area[rows[d]] > area_ranges[a, 1] else FALSE_POSITIVE
                )
            for t in range(n_thrs if n_dt else 0):
                memcpy(&outcome[a, t, start], unmatched, n_dt)
                if keep:
                    # Every byte of -1 is 0xFF.
                    memset(&dt_gt[a, t, start], 0xFF, n_dt * sizeof(int32_t))
                for i in range(n_near_any):
                    d = with_near[i]
                    g = best_free(
                        &iou[rows[d], 0], near + first[d], first[d + 1] - first[d], iou_thrs[t],
                        &gt_ignored[a, 0], &gt_dt[a, t, 0], gt_records, gt_crowd,
                    )
                    if g < 0:
                        continue
                    gt_dt[a, t, gt_records[g]] = <int32_t>dt_records[rows[d]]
                    outcome[a, t, start + d] = (
                        IGNORED if gt_ignored[a, gt_records[g]] else TRUE_POSITIVE
                    )
                    if keep:
                        dt_gt[a, t, start + d] = <int32_t>gt_records[g]
    free(near)
    free(first)
    free(with_near)
    free(unmatched)


def precision_at_recall(
    const int8_t[::1] outcome,
    const int64_t[::1] order,
    const double[::1] score,
    int64_t n_gt,
    const double[::1] rec_thrs,
    double[:] precision,
    double[:] score_at,
):
    """Interpolate precision at each recall threshold from outcomes by falling score.

    Args:
        outcome: As `match_group` writes them.
        order: (N,) positions in ``outcome`` by falling score.
        score: (N,) falling.
        n_gt: Counted ground truth, above 0.
        rec_thrs: (R,) rising, in [0, 1].
        precision: (R,) written: the highest precision at that recall or a higher one, else 0.
        score_at: (R,) written: the score at which that recall is first reached, else 0.

    Returns:
        The recall of all detections, in [0, 1].
    """
    cdef Py_ssize_t n = order.shape[0], i, r
    cdef int64_t tp = 0, fp = 0, k
    cdef int8_t found
    # numpy.spacing(1): cocoapi adds it to the denominator.
    cdef double tiny = 2.220446049250313e-16
    # Recall rises at true positives alone, and precision is highest there.
    cdef double* precisions = <double*>malloc((n + 1) * sizeof(double))
    cdef Py_ssize_t* places = <Py_ssize_t*>malloc((n + 1) * sizeof(Py_ssize_t))
    if precisions == NULL or places == NULL:
        free(precisions)
        free(places)
        raise MemoryError
    with nogil:
        for i in range(n):
            # Ignored ones change no sum.
            found = outcome[order[i]]
            fp += found == FALSE_POSITIVE
            if found == TRUE_POSITIVE:
                places[tp] = i
                tp += 1
                precisions[tp - 1] = <double>tp / (<double>(fp + tp) + tiny)
        for k in range(tp - 2, -1, -1):
            if precisions[k + 1] > precisions[k]:
                precisions[k] = precisions[k + 1]
        k = 0
        for r in range(rec_thrs.shape[0]):
            while k < tp and <double>(k + 1) / <double>n_gt < rec_thrs[r]:
                k += 1
            precision[r] = precisions[k] if k < tp else 0.0
            score_at[r] = score[places[k]] if k < tp else 0.0
            if n and rec_thrs[r] <= 0:
                # The first detection reaches a recall of 0, whatever it is.
                score_at[r] = score[0]
    free(precisions)
    free(places)
    return <double>tp / <double>n_gt
