# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The pairs of masks whose IoU is high enough to match: by boxes and areas first, then by runs.

Time and memory grow with the pairs whose boxes meet; nothing is held for the others. The tests say
in plain Python what is found.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc

from entity_api._rle cimport Runs

import numpy as np

# A pair is looked at this often, whether it can still reach what is needed.
cdef enum:
    STEPS_BETWEEN_LOOKS = 48


cdef int by_first_column(const void* one, const void* other) noexcept nogil:
    cdef uint32_t a = (<const Extent*>one).x0, b = (<const Extent*>other).x0
    return (a > b) - (a < b)


cdef bint columns_of(Runs masks, Py_ssize_t idx, uint64_t height, Extent* out) noexcept nogil:
    """Find the columns of a mask; False where it is empty."""
    cdef Py_ssize_t k = masks.offsets[idx], last = masks.offsets[idx + 1] - 2
    out.px = masks.areas_px[idx]
    out.idx = idx
    if out.px == 0:
        return False
    while masks.bounds[k] == masks.bounds[k + 1]:
        k += 2
    while masks.bounds[last] == masks.bounds[last + 1]:
        last -= 2
    out.x0 = <uint32_t>(masks.bounds[k] // height)
    out.x1 = <uint32_t>((masks.bounds[last + 1] - 1) // height) + 1
    return True


cdef void rows_of(Runs masks, uint64_t height, Extent* out) noexcept nogil:
    """Find the rows of a mask whose columns are known."""
    cdef Py_ssize_t k
    cdef uint64_t top = out.x0 * height, start, end, y0 = height, y1 = 0
    if masks.height == height:
        out.y0, out.y1 = masks.rows[out.idx].first, masks.rows[out.idx].end
        return
    for k in range(masks.offsets[out.idx], masks.offsets[out.idx + 1], 2):
        start = masks.bounds[k]
        end = masks.bounds[k + 1]
        # Most masks have a run in the next column.
        top += height if start >= top + height else 0
        if start >= top + height:
            top = start // height * height
        if start < end:
            y0 = min(y0, start - top)
            y1 = max(y1, end - top)
    # A run that goes on in the next column has all rows, or so many that it counts as having them.
    out.y0 = <uint32_t>(y0 if y1 <= height else 0)
    out.y1 = <uint32_t>min(y1, height)


cdef inline Py_ssize_t first_end_above(
    const uint32_t* bounds, Py_ssize_t n, uint32_t position
) noexcept nogil:
    """Return the first of n runs that ends behind a position."""
    cdef Py_ssize_t low = 0, high = n, middle
    while low < high:
        middle = (low + high) // 2
        if bounds[2 * middle + 1] > position:
            high = middle
        else:
            low = middle + 1
    return low


cdef inline int64_t pixels_in(const uint32_t* run, const uint32_t* end) noexcept nogil:
    """Count the pixels of some runs."""
    cdef uint32_t total = 0
    cdef Py_ssize_t k
    for k in range(0, end - run, 2):
        total += run[k + 1] - run[k]
    return total


cdef int64_t common_px(
    const uint32_t* a, const uint32_t* a_end, const uint32_t* b, const uint32_t* b_end,
    int64_t least
) noexcept nogil:
    """Count the pixels that two masks share, neither empty, given as bounds.

    Where it cannot be ``least`` any more, what is returned is less than that.
    """
    cdef int64_t common = 0, a_left, b_left, overlap
    cdef uint32_t a_start = a[0], a_stop = (a_end - 1)[0], start, end
    cdef const uint32_t* a_passed
    cdef const uint32_t* b_passed
    cdef Py_ssize_t steps
    cdef bint a_ends, b_ends
    # Runs that lie before the other mask, or behind it, are not looked at.
    a += 2 * first_end_above(a, (a_end - a) // 2, b[0])
    b += 2 * first_end_above(b, (b_end - b) // 2, a_start)
    a_end = a + 2 * min((a_end - a) // 2, first_end_above(a, (a_end - a) // 2, (b_end - 1)[0]) + 1)
    b_end = b + 2 * min((b_end - b) // 2, first_end_above(b, (b_end - b) // 2, a_stop) + 1)
    a_left, b_left = pixels_in(a, a_end), pixels_in(b, b_end)
    while a < a_end and b < b_end and common + min(a_left, b_left) >= least:
        steps = min(STEPS_BETWEEN_LOOKS, min(a_end - a, b_end - b) // 2)
        a_passed, b_passed = a, b
        while steps:
            steps -= 1
            start = max(a[0], b[0])
            end = min(a[1], b[1])
            overlap = <int64_t>end - <int64_t>start
            common += overlap if overlap > 0 else 0
            # Without branches: which of two runs ends first cannot be guessed.
            a_ends = a[1] <= b[1]
            b_ends = b[1] <= a[1]
            a += 2 * a_ends
            b += 2 * b_ends
        a_left -= pixels_in(a_passed, a)
        b_left -= pixels_in(b_passed, b)
    return common


cdef class Near:
    """Hold, for each detection of an image, the ground truth that it may match, and their IoU."""

    def __dealloc__(self):
        free(self.pairs)
        free(self.first)
        free(self.others)
        free(self.reaching)

    cdef bint look_at(
        self, Runs gt, const uint8_t* gt_crowd, uint64_t height, double least_iou
    ) noexcept nogil:
        """Prepare to `find` pairs with the masks of ``gt``; False: there is no memory."""
        cdef Py_ssize_t g, n = 0
        if gt.n >= self.room_gt:
            free(self.others)
            free(self.reaching)
            self.others = <Extent*>malloc((gt.n + 1) * sizeof(Extent))
            self.reaching = <uint32_t*>malloc((gt.n + 1) * sizeof(uint32_t))
            self.room_gt = gt.n + 1 if self.others != NULL and self.reaching != NULL else 0
        self.n_others = 0
        if not self.room_gt:
            return False
        for g in range(gt.n):
            if columns_of(gt, g, height, &self.others[n]):
                rows_of(gt, height, &self.others[n])
                # I / (A + B - I) >= t where I >= t / (1 + t) (A + B); a crowd's is I / A. A
                # little less, so that rounding loses no pair.
                self.others[n].share = (1 - 1e-9) * least_iou
                if not gt_crowd[g]:
                    self.others[n].share /= 1 + least_iou
                self.others[n].own = 0 if gt_crowd[g] else self.others[n].share * gt.areas_px[g]
                n += 1
        qsort(self.others, n, sizeof(Extent), by_first_column)
        self.reaching[0] = 0
        for g in range(n):
            self.reaching[g + 1] = max(self.reaching[g], self.others[g].x1)
        self.n_others = n
        return True

    cdef bint start(self, Py_ssize_t n_dt) noexcept nogil:
        """Forget all pairs; False: there is no memory for those of so many detections."""
        if n_dt >= self.room_dt:
            free(self.first)
            self.first = <Py_ssize_t*>malloc((n_dt + 1) * sizeof(Py_ssize_t))
            self.room_dt = n_dt + 1 if self.first != NULL else 0
        self.n = 0
        if not self.room_dt:
            return False
        self.first[0] = 0
        return True

    cdef bint add(self, int64_t gt, double iou) noexcept nogil:
        """Add a pair of detection ``n``; False: there is no memory."""
        cdef Pair* more
        cdef Py_ssize_t at = self.first[self.n + 1]
        if at >= self.room:
            more = <Pair*>realloc(self.pairs, (2 * self.room + 64) * sizeof(Pair))
            if more == NULL:
                return False
            self.pairs = more
            self.room = 2 * self.room + 64
        # Found by rising columns, kept by rising position: of equal IoUs the later one matches.
        while at > self.first[self.n] and self.pairs[at - 1].gt > gt:
            self.pairs[at] = self.pairs[at - 1]
            at -= 1
        self.pairs[at] = Pair(gt, iou)
        self.first[self.n + 1] += 1
        return True

    cdef Py_ssize_t first_reaching(self, uint32_t x) noexcept nogil:
        """Return the first of the others that may reach a column; none before it does."""
        cdef Py_ssize_t low = 0, high = self.n_others, middle
        while low < high:
            middle = (low + high) // 2
            if self.reaching[middle + 1] > x:
                high = middle
            else:
                low = middle + 1
        return low

    cdef bint find(
        self, Runs dt, Runs gt, const int64_t* dt_group, const int64_t* gt_group,
        const uint8_t* gt_crowd, uint64_t height, double least_iou
    ) noexcept nogil:
        """Find the pairs of one group each, after `look_at`; False: there is no memory.

        Args:
            dt: D masks.
            gt: G masks.
            dt_group: (D,) negative for those that are left out.
            gt_group: (G,).
            gt_crowd: (G,) gt by which a dt mask is measured alone (`rle.iou`).
            height: Of the image in pixels.
            least_iou: Above 0.
        """
        cdef Py_ssize_t d, k
        cdef Extent one
        cdef const Extent* other
        cdef int64_t least, common, width, rows
        cdef double iou
        cdef bint rows_known
        if not self.start(dt.n):
            return False
        for d in range(dt.n):
            self.n = d
            self.first[d + 1] = self.first[d]
            if dt_group[d] < 0 or not columns_of(dt, d, height, &one):
                continue
            rows_known = False
            for k in range(self.first_reaching(one.x0), self.n_others):
                other = &self.others[k]
                if other.x0 >= one.x1:
                    break
                least = <int64_t>(other.share * one.px + other.own)
                width = <int64_t>min(one.x1, other.x1) - <int64_t>max(one.x0, other.x0)
                if (
                    width <= 0 or min(one.px, other.px) < least
                    or width * <int64_t>height < least or gt_group[other.idx] != dt_group[d]
                ):
                    continue
                if not rows_known:
                    rows_of(dt, height, &one)
                    rows_known = True
                rows = <int64_t>min(one.y1, other.y1) - <int64_t>max(one.y0, other.y0)
                if rows <= 0 or width * rows < least:
                    continue
                common = common_px(
                    dt.bounds + dt.offsets[d], dt.bounds + dt.offsets[d + 1],
                    gt.bounds + gt.offsets[other.idx], gt.bounds + gt.offsets[other.idx + 1],
                    least,
                )
                iou = <double>common / <double>(
                    one.px if gt_crowd[other.idx] else one.px + other.px - common
                )
                if common and iou >= least_iou and not self.add(other.idx, iou):
                    return False
        self.n = dt.n
        return True

    def rows(self):
        """Return the pairs as a list a detection of (position of the ground truth, IoU)."""
        return [
            [(self.pairs[k].gt, self.pairs[k].iou) for k in range(self.first[d], self.first[d + 1])]
            for d in range(self.n)
        ]


def near(
    Runs dt, Runs gt, const uint8_t[::1] gt_crowd, uint64_t height, double least_iou,
    const int64_t[::1] dt_group, const int64_t[::1] gt_group,
):
    """Find pairs of masks as `Near.find` does, on its own."""
    cdef Near found = Near()
    cdef const int64_t* dt_groups = &dt_group[0] if dt.n else NULL
    cdef const int64_t* gt_groups = &gt_group[0] if gt.n else NULL
    cdef const uint8_t* crowd = &gt_crowd[0] if gt.n else NULL
    if dt_group.shape[0] != dt.n or gt_group.shape[0] != gt.n or gt_crowd.shape[0] != gt.n:
        raise ValueError("groups and crowd flags must be as many as masks")
    cdef bint done = False
    with nogil:
        if found.look_at(gt, crowd, height, least_iou):
            done = found.find(dt, gt, dt_groups, gt_groups, crowd, height, least_iou)
    if not done:
        raise MemoryError
    return found


def common(Runs dt, Runs gt, uint64_t height):
    """Count the pixels that each dt mask shares with each gt mask, (D, G): pairs whose boxes meet.

    Args:
        dt: D masks.
        gt: G masks.
        height: Of the image in pixels; of a wrong one the result is the same, but later.
    """
    cdef Near found = Near()
    cdef Py_ssize_t d, k
    cdef Extent one
    cdef const Extent* other
    out = np.zeros((dt.n, gt.n), np.int64)
    cdef int64_t[:, ::1] view = out
    cdef const uint8_t[::1] no_crowd = np.zeros(gt.n + 1, np.uint8)
    if dt.n == 0 or gt.n == 0:
        return out
    if not found.look_at(gt, &no_crowd[0], height, 0):
        raise MemoryError
    with nogil:
        for d in range(dt.n):
            if not columns_of(dt, d, height, &one):
                continue
            rows_of(dt, height, &one)
            for k in range(found.first_reaching(one.x0), found.n_others):
                other = &found.others[k]
                if other.x0 >= one.x1:
                    break
                if other.x1 > one.x0 and other.y0 < one.y1 and one.y0 < other.y1:
                    view[d, other.idx] = common_px(
                        dt.bounds + dt.offsets[d], dt.bounds + dt.offsets[d + 1],
                        gt.bounds + gt.offsets[other.idx], gt.bounds + gt.offsets[other.idx + 1],
                        0,
                    )
    return out


def of_dense(const double[:, ::1] iou, double least_iou, const int64_t[::1] dt_group,
             const int64_t[::1] gt_group):
    """Pick the pairs of one group each from a whole (D, G) array of IoUs."""
    cdef Near found = Near()
    cdef Py_ssize_t d, g
    if not found.start(iou.shape[0]):
        raise MemoryError
    for d in range(iou.shape[0]):
        found.n = d
        found.first[d + 1] = found.first[d]
        for g in range(iou.shape[1]):
            if dt_group[d] >= 0 and dt_group[d] == gt_group[g] and iou[d, g] >= least_iou:
                if not found.add(g, iou[d, g]):
                    raise MemoryError
    found.n = iou.shape[0]
    return found
