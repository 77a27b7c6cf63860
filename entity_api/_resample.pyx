# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernel of resampling: precision at recall of sets that hold each image some number of times.

Its readable definition is `entityseg_bench.weighted.Evidence.precision_by_definition`.
"""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc


def weighted_precision(
    const int32_t[:, ::1] weights,
    const int32_t[::1] source,
    const int32_t[::1] hits,
    const int64_t[::1] hits_start,
    const int64_t[:, ::1] n_hits,
    const int32_t[::1] ignored,
    const int64_t[::1] ignored_start,
    const int64_t[:, ::1] n_ignored,
    const int64_t[:, ::1] needed,
    double[:, :, ::1] precision,
):
    """Interpolate precision at each recall threshold for each weighted set.

    One sweep from the lowest true positive to the highest keeps the best precision so far, which is
    what every recall threshold passed on the way gets.

    Args:
        weights: (B, S) at least 0; those of all detections of a set sum to less than 2**31.
        source: (n,) which weight each detection has, by falling score.
        hits: Positions of the true positives, rising, threshold by threshold.
        hits_start: (T + 1,) where each threshold's begin.
        n_hits: (B, T) their weights' sums.
        ignored: Positions of the detections that count neither way, the same.
        ignored_start: (T + 1,).
        n_ignored: (B, T).
        needed: (B, R) rising: true positives at which each recall is reached.
        precision: (B, T, R) written, 0 where a recall is not reached; untouched without weights.
    """
    cdef Py_ssize_t n_sets = weights.shape[0], n = source.shape[0]
    cdef Py_ssize_t n_thrs = precision.shape[1], n_recs = precision.shape[2]
    cdef Py_ssize_t b, t, i, k, r
    cdef int32_t found, skipped
    cdef const int32_t* own
    cdef const int64_t* need
    cdef double best, value
    # numpy.spacing(1): cocoapi adds it to the denominator.
    cdef double tiny = 2.220446049250313e-16
    cdef int32_t* total = <int32_t*>malloc((n + 1) * sizeof(int32_t))
    if total == NULL:
        raise MemoryError
    with nogil:
        for b in range(n_sets if n_recs and weights.shape[1] else 0):
            own = &weights[b, 0]
            need = &needed[b, 0]
            found = 0
            for i in range(n):
                found += own[source[i]]
                total[i] = found
            for t in range(n_thrs):
                found = <int32_t>n_hits[b, t]
                skipped = <int32_t>n_ignored[b, t]
                k = ignored_start[t + 1] - 1
                r = n_recs - 1
                while r >= 0 and need[r] > found:
                    precision[b, t, r] = 0.0
                    r -= 1
                best = 0.0
                for i in range(hits_start[t + 1] - 1, hits_start[t] - 1, -1):
                    while k >= ignored_start[t] and ignored[k] > hits[i]:
                        skipped -= own[source[ignored[k]]]
                        k -= 1
                    value = <double>found / (<double>(total[hits[i]] - skipped) + tiny)
                    # Without branches that chance decides: a weight of 0 changes nothing.
                    best = value if value > best else best
                    found -= own[source[hits[i]]]
                    while r >= 0 and need[r] > found:
                        precision[b, t, r] = best
                        r -= 1
                # A recall of 0 is reached before any true positive.
                while r >= 0:
                    precision[b, t, r] = best
                    r -= 1
    free(total)
