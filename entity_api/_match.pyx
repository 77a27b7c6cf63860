# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels of the protocol: greedy matching of one image, and precision over all of them.

`Target.match` and `add_to_curve` imitate cocoapi's `evaluateImg` and `accumulate` operation
by operation, so that results equal pycocotools' to the last bit; the tests hold both against it.
"""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from entity_api._near cimport Near, Pair


cdef inline Py_ssize_t best_free(
    const Pair* pairs, Py_ssize_t n, double thr, const uint8_t* ignored, const uint8_t* taken,
    const uint8_t* gt_crowd,
) noexcept nogil:
    """Return which of its pairs one detection matches by, or -1."""
    cdef int64_t g
    cdef double best_iou = min(thr, 1 - 1e-10)
    cdef Py_ssize_t k, best = -1
    cdef int ignoring
    # cocoapi puts ignored gt last and stops there once a counted one matches.
    for ignoring in range(2):
        for k in range(n):
            g = pairs[k].gt
            if ignored[g] != ignoring or pairs[k].iou < best_iou or (taken[g] and not gt_crowd[g]):
                continue
            best_iou = pairs[k].iou
            best = k
        if best >= 0:
            break
    return best


cdef class Target:
    """Hold the arrays that the images of one pass are matched into, and match one.

    Args:
        iou_thrs: (T,) in [0, 1].
        area_ranges: (A, 2) least and greatest area in pixels, both included.
        outcome: (A, T, N) 0 false positive, 1 true positive, 2 ignored; zeros at first.
        dt_gt: (A, T, N) record of the matched gt, untouched without one; (A, T, 0) is left alone.
        gt_dt: (A, T, gt records) record of the last matched detection, untouched without one;
            left alone as ``dt_gt`` is.
        gt_ignored: (A, gt records).
        unmatched: (A, N) what a detection is without a match, 0 or 2; see `settle`.
    """

    def __init__(
        self, const double[::1] iou_thrs, const double[:, ::1] area_ranges,
        int8_t[:, :, ::1] outcome, int32_t[:, :, ::1] dt_gt, int32_t[:, :, ::1] gt_dt,
        uint8_t[:, ::1] gt_ignored, int8_t[:, ::1] unmatched,
    ):
        self.iou_thrs, self.area_ranges = iou_thrs, area_ranges
        self.outcome, self.dt_gt, self.gt_dt, self.gt_ignored = outcome, dt_gt, gt_dt, gt_ignored
        self.unmatched = unmatched

    cdef bint match(self, Near near, const Image* image, const int64_t* columns) noexcept nogil:
        """Match the detections of an image, best score first, each to its best free gt.

        A gt that is a crowd or outside the area range is *ignored*: a match to it counts neither
        way. A detection outside the range is ignored where it is unmatched. Pairs are of one group
        each, so the groups of an image do not meet.

        Args:
            near: Pairs whose IoU reaches the lowest threshold.
            image: Records, areas and groups of both sides.
            columns: (D,) where each detection is written, negative for those that are left out.

        Returns:
            False: there is no memory.
        """
        cdef Py_ssize_t n_dt = image.n_dt, n_gt = image.n_gt, d, k, i, n_some = 0, a, t
        cdef int64_t g
        cdef bint keep = self.dt_gt.shape[2] > 0
        # Most detections are near nothing.
        cdef Py_ssize_t* some = <Py_ssize_t*>malloc((n_dt + 1) * sizeof(Py_ssize_t))
        cdef uint8_t* ignored = <uint8_t*>malloc(2 * n_gt + 1)
        cdef uint8_t* taken = ignored + n_gt
        if some == NULL or ignored == NULL:
            free(some)
            free(ignored)
            return False
        for d in range(n_dt):
            if near.first[d + 1] > near.first[d] and columns[d] >= 0:
                some[n_some] = d
                n_some += 1
        for a in range(self.area_ranges.shape[0]):
            self.ignore(image, a, columns, ignored)
            for t in range(self.iou_thrs.shape[0] if n_some else 0):
                memset(taken, 0, n_gt)
                for i in range(n_some):
                    d = some[i]
                    k = best_free(
                        near.pairs + near.first[d], near.first[d + 1] - near.first[d],
                        self.iou_thrs[t], ignored, taken, image.gt_crowd,
                    )
                    if k < 0:
                        continue
                    g = near.pairs[near.first[d] + k].gt
                    taken[g] = 1
                    self.outcome[a, t, columns[d]] = IGNORED if ignored[g] else TRUE_POSITIVE
                    if keep:
                        self.gt_dt[a, t, image.gt_records[g]] = <int32_t>image.dt_records[d]
                        self.dt_gt[a, t, columns[d]] = <int32_t>image.gt_records[g]
        free(some)
        free(ignored)
        return True

    cdef void ignore(
        self, const Image* image, Py_ssize_t a, const int64_t* columns, uint8_t* ignored
    ) noexcept nogil:
        """Tell which gt an area range ignores, and what a detection in it is without a match."""
        cdef Py_ssize_t d, g
        cdef double least = self.area_ranges[a, 0], greatest = self.area_ranges[a, 1]
        for g in range(image.n_gt):
            ignored[g] = (
                image.gt_crowd[g] or image.gt_area[g] < least or image.gt_area[g] > greatest
            )
            if image.gt_group[g] >= 0:
                self.gt_ignored[a, image.gt_records[g]] = ignored[g]
        for d in range(image.n_dt):
            if columns[d] >= 0:
                self.unmatched[a, columns[d]] = (
                    IGNORED if image.dt_area[d] < least or image.dt_area[d] > greatest
                    else FALSE_POSITIVE
                )

    def settle(self):
        """Say of all detections without a match, once all images are matched, what they are."""
        cdef Py_ssize_t a, t, n, n_columns = self.outcome.shape[2]
        cdef int8_t* own
        cdef const int8_t* unmatched
        with nogil:
            for a in range(self.outcome.shape[0] if n_columns else 0):
                unmatched = &self.unmatched[a, 0]
                for t in range(self.outcome.shape[1]):
                    own = &self.outcome[a, t, 0]
                    for n in range(n_columns):
                        own[n] = own[n] if own[n] else unmatched[n]


def match_image(
    Near near,
    Target target,
    const int64_t[::1] columns,
    const int64_t[::1] dt_records,
    const int64_t[::1] gt_records,
    const double[::1] dt_area,
    const double[::1] gt_area,
    const uint8_t[::1] gt_crowd,
    const int64_t[::1] gt_group,
):
    """Match one image as `Target.match` does, from arrays of (D,) and (G,)."""
    cdef Image image
    cdef bint done
    cdef int64_t none = 0
    image.n_dt, image.n_gt = dt_records.shape[0], gt_records.shape[0]
    if image.n_dt:
        image.dt_records, image.dt_area = &dt_records[0], &dt_area[0]
    if image.n_gt:
        image.gt_records, image.gt_area = &gt_records[0], &gt_area[0]
        image.gt_crowd, image.gt_group = &gt_crowd[0], &gt_group[0]
    with nogil:
        done = target.match(near, &image, &columns[0] if image.n_dt else &none)
    if not done:
        raise MemoryError


def add_to_curve(
    const int8_t[::1] outcome,
    const int64_t[::1] order,
    const double[::1] score,
    int64_t n_gt,
    const double[::1] rec_thrs,
    int64_t[::1] counts,
    double[:] precision,
    double[:] score_at,
):
    """Go on with precision at each recall threshold through more outcomes, of lower scores.

    Once all are added, the highest of ``precision[r:]`` is the interpolated precision at r.

    Args:
        outcome: As `Target.match` writes them.
        order: (N,) positions in ``outcome``, by score descending.
        score: (N,) descending.
        n_gt: Counted ground truth, above 0.
        rec_thrs: (R,) rising, in [0, 1].
        counts: (4,) true positives, false positives, reached thresholds and all detections so far;
            zeros at first, and added to.
        precision: (R,) zeros at first; raised to the highest precision while r is the last
            threshold that is reached.
        score_at: (R,) zeros at first; written: the score at which that recall is first reached.
    """
    cdef Py_ssize_t n = order.shape[0], n_thrs = rec_thrs.shape[0], i, r
    cdef int64_t tp = counts[0], fp = counts[1]
    cdef Py_ssize_t reached = counts[2]
    cdef int8_t found
    cdef double value
    # numpy.spacing(1): cocoapi adds it to the denominator.
    cdef double tiny = 2.220446049250313e-16
    with nogil:
        for i in range(n):
            # Ignored ones change no sum.
            found = outcome[order[i]]
            fp += found == FALSE_POSITIVE
            if found == TRUE_POSITIVE:
                # Recall rises at true positives alone, and precision is highest there.
                tp += 1
                while reached < n_thrs and <double>tp / <double>n_gt >= rec_thrs[reached]:
                    if rec_thrs[reached] > 0:
                        score_at[reached] = score[i]
                    reached += 1
                value = <double>tp / (<double>(fp + tp) + tiny)
                if reached and value > precision[reached - 1]:
                    precision[reached - 1] = value
        if n and not counts[3]:
            # The first detection reaches a recall of 0, whatever it is.
            for r in range(n_thrs):
                if rec_thrs[r] <= 0:
                    score_at[r] = score[0]
    counts[0], counts[1], counts[2] = tp, fp, reached
    counts[3] += n
