# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernel of resampling: precision at recall of sets that hold each image some number of times.

Its readable definition is `entityseg_bench.resampling.weighted.Evidence.precision_by_definition`.
Sixteen sets are swept side by side, which processors compute several at a time. Images by
themselves are swept one by one, as `entityseg_bench.resampling.weighted.precision_at_recall` says.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

import numpy as np

cdef extern from *:
    """
    /* C loops: Cython cannot say that arrays lie apart, without which compilers use no vectors. */
    #if defined(_MSC_VER)
    #define APART __restrict
    #define AS_LOOP
    #else
    #define APART __restrict__
    /* Inlined, the loops are unrolled before they are turned to vectors, and then are not. */
    #define AS_LOOP __attribute__((noinline))
    #endif
    enum { LANES = 16 };

    AS_LOOP static void take_lanes(int32_t* APART counts, const int32_t* APART weights, int n) {
        for (int b = 0; b < n; b++) counts[b] -= weights[b];
    }

    AS_LOOP static int any_lane_below(
        const int32_t* APART found, const int32_t* APART needed, int n
    ) {
        int32_t below = 0;
        for (int b = 0; b < n; b++) below |= found[b] - needed[b];
        return below < 0;
    }

    /* numpy.spacing(1): cocoapi adds it to the denominator. */
    static const double TINY = 2.220446049250313e-16;

    AS_LOOP static void raise_lanes(
        double* APART best, const int32_t* APART found,
        const int32_t* APART total, const int32_t* APART skipped, int n
    ) {
        for (int b = 0; b < n; b++) {
            double precision = (double)found[b] / ((double)(total[b] - skipped[b]) + TINY);
            best[b] = precision > best[b] ? precision : best[b];
        }
    }
    """
    enum:
        LANES
    double TINY
    void take_lanes(int32_t* counts, const int32_t* weights, int n) noexcept nogil
    bint any_lane_below(const int32_t* found, const int32_t* needed, int n) noexcept nogil
    void raise_lanes(
        double* best, const int32_t* found, const int32_t* total, const int32_t* skipped, int n
    ) noexcept nogil

# What happens at a detection at a threshold (see `Evidence.events`).
cdef enum:
    HIT = 1
    IGNORED = 2
    LOWEST = 4
    HIGHEST = 8

N_LANES = LANES


cdef struct Sweep:
    int32_t* total           # (LANES,) weights of the detections from here on up
    int32_t* found           # (T, LANES) of them true positives
    int32_t* skipped         # (T, LANES) ignored
    int32_t* needed          # (T, LANES) true positives at the recall that is looked for
    double* best             # (T, LANES) highest precision so far
    Py_ssize_t* at           # (T, LANES) which recall that is; -1 after the last


cdef inline void settle(
    Sweep* sweep, Py_ssize_t t, Py_ssize_t b, const int64_t* needed, double* precision
) noexcept nogil:
    """Give the best precision so far to every recall that what is left does not reach."""
    cdef Py_ssize_t k = t * LANES + b, r = sweep.at[k]
    while r >= 0 and needed[r] > sweep.found[k]:
        precision[r] = sweep.best[k]
        r -= 1
    sweep.at[k] = r
    sweep.needed[k] = <int32_t>needed[r] if r >= 0 else 0


cdef void sweep_copies(
    Sweep* sweep, Py_ssize_t t, Py_ssize_t b, int32_t n_copies,
    const uint8_t[:, ::1] outcome, Py_ssize_t first, Py_ssize_t last,
    const int64_t* needed, double* precision,
) noexcept nogil:
    """Sweep an image's detections of one score: all of a copy, then all of the one before."""
    cdef Py_ssize_t i, k = t * LANES + b
    cdef int32_t _copy
    cdef int32_t counted = sweep.total[b] - sweep.skipped[k]
    cdef double value
    for _copy in range(n_copies):
        for i in range(last, first - 1, -1):
            if outcome[i, t] == IGNORED:
                sweep.skipped[k] -= 1
                continue
            if outcome[i, t] == HIT:
                value = <double>sweep.found[k] / (<double>counted + TINY)
                sweep.best[k] = max(sweep.best[k], value)
                sweep.found[k] -= 1
                settle(sweep, t, b, needed, precision)
            counted -= 1


def weighted_precision(
    const int32_t[:, ::1] weights,
    const int32_t[::1] source,
    const int64_t[::1] event_start,
    const int32_t[::1] event_thr,
    const uint8_t[::1] event_kind,
    const int64_t[:, ::1] ties,
    const uint8_t[:, ::1] outcome,
    const int64_t[::1] n_all,
    const int64_t[:, ::1] n_hits,
    const int64_t[:, ::1] n_ignored,
    const int64_t[:, ::1] needed,
    double[:, :, ::1] precision,
):
    """Interpolate precision at each recall threshold for each of up to 16 weighted sets.

    One sweep from the lowest score to the highest keeps the best precision so far, which is what
    every recall threshold passed on the way gets.

    Args:
        weights: (S, 16) at least 0; those of all detections of a set sum to less than 2**31.
        source: (n,) which weight each detection has, sorted by score, descending.
        event_start: (n + 1,) where each detection's events begin.
        event_thr: Thresholds at which a detection is a true positive or ignored.
        event_kind: Which of the two, and whether it begins or ends a stretch of true positives.
        ties: (K, 3) threshold, first and last detection of those that need one copy of their image
            after the other; last ones descending. They have no events there.
        outcome: (n, T) as in `Matches`.
        n_all: (B,) sums of the weights of all detections.
        n_hits: (B, T) the same of the true positives.
        n_ignored: (B, T) of the ignored.
        needed: (B, R) rising: true positives at which each recall is reached.
        precision: (B, T, R) written, 0 where a recall is not reached.
    """
    cdef Py_ssize_t n = source.shape[0], n_thrs = precision.shape[1], n_recs = precision.shape[2]
    cdef Py_ssize_t n_sets = precision.shape[0], i, b, t, e, k, tie = 0
    cdef const int32_t* own
    cdef Sweep sweep
    cdef Py_ssize_t n_lanes = n_thrs * LANES
    cdef int lanes = weights.shape[1]
    if not n_sets or not n_thrs or not n_recs:
        return
    if weights.shape[1] != LANES or n_sets > LANES:
        raise ValueError(f"{weights.shape[1]} weights and {n_sets} sets do not fit {LANES} lanes")
    sweep.total = <int32_t*>malloc((3 * n_lanes + LANES) * sizeof(int32_t))
    sweep.best = <double*>malloc(n_lanes * sizeof(double))
    sweep.at = <Py_ssize_t*>malloc(n_lanes * sizeof(Py_ssize_t))
    try:
        if sweep.total == NULL or sweep.best == NULL or sweep.at == NULL:
            raise MemoryError
        sweep.found = sweep.total + LANES
        sweep.skipped = sweep.found + n_lanes
        sweep.needed = sweep.skipped + n_lanes
        with nogil:
            for b in range(LANES):
                sweep.total[b] = <int32_t>n_all[b] if b < n_sets else 0
            for t in range(n_thrs):
                for b in range(LANES):
                    k = t * LANES + b
                    sweep.found[k] = <int32_t>n_hits[b, t] if b < n_sets else 0
                    sweep.skipped[k] = <int32_t>n_ignored[b, t] if b < n_sets else 0
                    sweep.best[k] = 0.0
                    sweep.at[k] = n_recs - 1 if b < n_sets else -1
                    sweep.needed[k] = 0
                    if b < n_sets:
                        settle(&sweep, t, b, &needed[b, 0], &precision[b, t, 0])
            for i in range(n - 1, -1, -1):
                while tie < ties.shape[0] and ties[tie, 2] == i:
                    t = ties[tie, 0]
                    for b in range(n_sets):
                        sweep_copies(
                            &sweep, t, b, weights[source[i], b], outcome, ties[tie, 1], i,
                            &needed[b, 0], &precision[b, t, 0],
                        )
                    tie += 1
                own = &weights[source[i], 0]
                for e in range(event_start[i], event_start[i + 1]):
                    t = event_thr[e]
                    k = t * LANES
                    if event_kind[e] & IGNORED:
                        take_lanes(sweep.skipped + k, own, lanes)
                        continue
                    if event_kind[e] & LOWEST:
                        raise_lanes(
                            sweep.best + k, sweep.found + k, sweep.total, sweep.skipped + k, lanes
                        )
                    take_lanes(sweep.found + k, own, lanes)
                    if event_kind[e] & HIGHEST and any_lane_below(
                        sweep.found + k, sweep.needed + k, lanes
                    ):
                        for b in range(n_sets):
                            settle(&sweep, t, b, &needed[b, 0], &precision[b, t, 0])
                take_lanes(sweep.total, own, lanes)
            for t in range(n_thrs):
                for b in range(n_sets):
                    # A recall of 0 is reached before any true positive.
                    k = t * LANES + b
                    for i in range(sweep.at[k] + 1):
                        precision[b, t, i] = sweep.best[k]
    finally:
        free(sweep.total)
        free(sweep.best)
        free(sweep.at)


def image_precision(
    const int64_t[::1] images,
    const int64_t[::1] start,
    const int64_t[::1] hits,
    const uint8_t[::1] wrong,
    const int64_t[:, ::1] needed,
    double[:, :] precision,
):
    """Interpolate precision at each recall threshold for images by themselves.

    Args:
        images: (M,) positions of the images wanted.
        start: (I + 1,) where each image's detections begin, which are sorted by score, descending.
        hits: (n,) how many true positives each detection stands for.
        wrong: (n,) whether it is a false positive.
        needed: (M, R) rising: true positives at which each recall is reached.
        precision: (M, R) written, 0 where a recall is not reached.
    """
    cdef Py_ssize_t m, i, d, r, n_recs = needed.shape[1]
    cdef int64_t found, counted
    cdef double best
    if images.shape[0] and not 0 <= np.min(images) <= np.max(images) < start.shape[0] - 1:
        raise IndexError("there is no such image")
    with nogil:
        for m in range(images.shape[0]):
            i = images[m]
            found = counted = 0
            for d in range(start[i], start[i + 1]):
                found += hits[d]
                counted += hits[d] + wrong[d]
            best = 0.0
            r = n_recs - 1
            while r >= 0 and needed[m, r] > found:
                precision[m, r] = 0.0
                r -= 1
            for d in range(start[i + 1] - 1, start[i] - 1, -1):
                if hits[d]:
                    while r >= 0 and needed[m, r] > found:
                        precision[m, r] = best
                        r -= 1
                    best = max(best, <double>found / (<double>counted + TINY))
                found -= hits[d]
                counted -= hits[d] + wrong[d]
            for r in range(r + 1):
                precision[m, r] = best
