# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Images of an evaluation from codes to matches, one after the other without the interpreter.

`evaluator.one_image` says in Python what is done with an image; the tests compare the two.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, qsort

from entity_api._codes cimport Codes
from entity_api._cover cimport Cover
from entity_api._match cimport Image, Target
from entity_api._near cimport Near
from entity_api._pairs cimport pairs_of
from entity_api._rle cimport ALL_FINE, MAX_PIXELS, NO_MEMORY, Runs

# What `Images.match_one` comes to for masks that cannot be read.
cdef enum:
    BROKEN = -3

# Rules of `Removal`.
cdef enum:
    BY_SCORE = 0
    SMALL_FIRST = 1
    LARGE_FIRST = 2
    BY_FILE = 3


cdef class Side:
    """Hold the records of one side, image by image.

    Args:
        codes: Of all records.
        order: Records by image; detections by score descending.
        starts: (I + 1,) where the records of each image, or of each place, start in ``order``.
        groups: (N records,) negative for those that are not scored.
        areas: (N records,) pixels that put each into its area range, nan for those of the mask.
        crowd: (N records,) of ground truth.
    """

    cdef Codes codes
    cdef const int64_t[::1] order, starts, groups
    cdef const double[::1] areas
    cdef const uint8_t[::1] crowd

    def __init__(
        self, Codes codes, const int64_t[::1] order, const int64_t[::1] starts,
        const int64_t[::1] groups, const double[::1] areas=None, const uint8_t[::1] crowd=None,
    ):
        self.codes, self.order, self.starts = codes, order, starts
        self.groups, self.areas, self.crowd = groups, areas, crowd


cdef class Removal:
    """Hold where matches with overlaps removed, and what overlapped, are written.

    Args:
        target: Of that pass; its columns are `columns`.
        columns: (D,) of each detection, whatever its rank; negative for those that do not count.
        max_det: Most detections of a group that count.
        rule: Which mask takes a pixel that several cover: that of the highest score (0), the
            smallest (1), the largest (2), or the first of the file (3); of equal ones the one that
            is first by score.
        hidden: (D,) written: detections of which nothing is visible.
        overlap: (4, I) written: pixels, covered, pairs, hidden, as `Overlap` has them.
        count_pairs: Whether to count the pairs, too.
    """

    cdef Target target
    cdef const int64_t[::1] columns
    cdef Py_ssize_t max_det
    cdef int rule
    cdef uint8_t[::1] hidden
    cdef int64_t[:, ::1] overlap
    cdef bint count_pairs

    def __init__(
        self, Target target, const int64_t[::1] columns, Py_ssize_t max_det, int rule,
        uint8_t[::1] hidden, int64_t[:, ::1] overlap, bint count_pairs,
    ):
        self.target, self.columns, self.max_det, self.rule = target, columns, max_det, rule
        self.hidden, self.overlap, self.count_pairs = hidden, overlap, count_pairs


cdef struct Layer:
    int64_t key
    int64_t at


cdef int by_key(const void* one, const void* other) noexcept nogil:
    """Order by key, equal ones by place."""
    cdef const Layer* a = <const Layer*>one
    cdef const Layer* b = <const Layer*>other
    if a.key != b.key:
        return 1 if a.key > b.key else -1
    return 1 if a.at > b.at else -1


cdef class Work:
    """Hold the masks of the image at work, and what else is known of its records."""

    cdef Runs gt, dt, visible, layers, uncovered
    cdef Near near
    cdef Cover cover
    cdef Py_ssize_t room
    cdef int64_t* columns        # (room,) of detections, as the next two
    cdef int64_t* dt_group
    cdef int64_t* ranks
    cdef int64_t* gt_group
    cdef double* dt_area
    cdef double* gt_area
    cdef uint8_t* gt_crowd
    cdef Layer* layer

    def __cinit__(self):
        self.gt, self.dt, self.visible = Runs([], 0), Runs([], 0), Runs([], 0)
        self.layers, self.uncovered = Runs([], 0), Runs([], 0)
        self.near, self.cover = Near(), Cover()

    cdef void free_all(self) noexcept nogil:
        free(self.columns)
        free(self.dt_area)
        free(self.gt_crowd)
        free(self.layer)

    def __dealloc__(self):
        self.free_all()

    cdef bint make_room(self, Py_ssize_t n) noexcept nogil:
        """Hold n records of each side at least; False: there is no memory."""
        if n < self.room:
            return True
        self.free_all()
        self.room = n + 1
        self.columns = <int64_t*>malloc(4 * self.room * sizeof(int64_t))
        self.dt_area = <double*>malloc(2 * self.room * sizeof(double))
        self.gt_crowd = <uint8_t*>malloc(self.room)
        self.layer = <Layer*>malloc(self.room * sizeof(Layer))
        if (
            self.columns == NULL or self.dt_area == NULL or self.gt_crowd == NULL
            or self.layer == NULL
        ):
            self.room = 0
            return False
        self.dt_group = self.columns + self.room
        self.ranks = self.columns + 2 * self.room
        self.gt_group = self.columns + 3 * self.room
        self.gt_area = self.dt_area + self.room
        return True

    cdef int64_t uncover(self, const Image* image, int rule) noexcept nogil:
        """Set ``visible``; return the pixels of several masks, of which 0 leaves it as it is."""
        cdef int64_t crowded_px
        cdef Py_ssize_t k
        if rule == BY_SCORE:
            return self.cover.take(self.dt, self.visible)
        for k in range(image.n_dt):
            self.layer[k].at = k
            self.layer[k].key = self.dt.areas_px[k]
            if rule == LARGE_FIRST:
                self.layer[k].key = -self.layer[k].key
            elif rule == BY_FILE:
                self.layer[k].key = image.dt_records[k]
        qsort(self.layer, image.n_dt, sizeof(Layer), by_key)
        for k in range(image.n_dt):
            self.ranks[k] = self.layer[k].at
        if not self.layers.pick(self.dt, self.ranks):
            return NO_MEMORY
        crowded_px = self.cover.take(self.layers, self.uncovered)
        # Back to the order of the scores.
        for k in range(image.n_dt):
            self.ranks[self.layer[k].at] = k
        if crowded_px > 0 and not self.visible.pick(self.uncovered, self.ranks):
            return NO_MEMORY
        return crowded_px


cdef class Images:
    """Match images of an evaluation; several threads may, each its own images.

    Args:
        sizes: (I, 2) height and width.
        place: (I,) of each image in the order of the detections.
        gt: By image.
        dt: By place.
        columns: (D,) where each detection is written, negative for those that do not count.
        target: Of the masks as submitted.
        removal: Where what overlap removal leaves is matched into; None to do without.
        least_iou: Lowest IoU that matches at any threshold.
    """

    cdef const int64_t[:, ::1] sizes
    cdef const int64_t[::1] place, columns
    cdef Side gt, dt
    cdef Target target
    cdef Removal removal
    cdef double least_iou

    def __init__(
        self, const int64_t[:, ::1] sizes, const int64_t[::1] place, Side gt, Side dt,
        const int64_t[::1] columns, Target target, Removal removal, double least_iou,
    ):
        self.sizes, self.place, self.gt, self.dt = sizes, place, gt, dt
        self.columns, self.target, self.removal = columns, target, removal
        self.least_iou = least_iou

    def match(self, const int64_t[::1] images):
        """Match some images, in order.

        Returns:
            How many were: less than all where the next one has a mask that is broken, or too many
            pixels.
        """
        cdef Work work = Work()
        cdef Py_ssize_t n = 0
        cdef int state = ALL_FINE
        with nogil:
            while n < images.shape[0]:
                state = self.match_one(images[n], work)
                if state != ALL_FINE:
                    break
                n += 1
        if state == NO_MEMORY:
            raise MemoryError
        return n

    cdef int match_one(self, int64_t image_idx, Work work) noexcept nogil:
        """Match an image; return `ALL_FINE`, `NO_MEMORY` or `BROKEN`."""
        cdef uint64_t height = self.sizes[image_idx, 0]
        cdef uint64_t pixels = height * <uint64_t>self.sizes[image_idx, 1]
        cdef Image image
        cdef Py_ssize_t bad
        if pixels > MAX_PIXELS:
            return BROKEN
        self.describe(image_idx, &image)
        bad = work.gt.decode(self.gt.codes, image.gt_records, image.n_gt, pixels, height)
        if bad == ALL_FINE:
            bad = work.dt.decode(self.dt.codes, image.dt_records, image.n_dt, pixels, height)
        if bad != ALL_FINE:
            return NO_MEMORY if bad == NO_MEMORY else BROKEN
        if not work.make_room(max(image.n_dt, image.n_gt)):
            return NO_MEMORY
        self.fill(&image, work)
        if not (
            work.near.look_at(work.gt, image.gt_crowd, height, self.least_iou)
            and work.near.find(
                work.dt, work.gt, work.dt_group, image.gt_group, image.gt_crowd, height,
                self.least_iou,
            )
            and self.target.match(work.near, &image, work.columns)
        ):
            return NO_MEMORY
        if self.removal is not None:
            return self.match_visible(image_idx, height, &image, work)
        return ALL_FINE

    cdef void describe(self, int64_t image_idx, Image* image) noexcept nogil:
        """Find the records of an image."""
        cdef Py_ssize_t place = self.place[image_idx]
        image.n_dt = self.dt.starts[place + 1] - self.dt.starts[place]
        image.n_gt = self.gt.starts[image_idx + 1] - self.gt.starts[image_idx]
        # Of no records there is no place to look at; nor is it looked at.
        image.dt_records = &self.dt.order[self.dt.starts[place]] if image.n_dt else NULL
        image.gt_records = &self.gt.order[self.gt.starts[image_idx]] if image.n_gt else NULL

    cdef void fill(self, Image* image, Work work) noexcept nogil:
        """Gather what the records of an image say."""
        cdef Py_ssize_t k
        cdef int64_t record
        cdef double area
        for k in range(image.n_dt):
            record = image.dt_records[k]
            work.columns[k] = self.columns[record]
            work.dt_group[k] = self.dt.groups[record] if work.columns[k] >= 0 else -1
            work.dt_area[k] = <double>work.dt.areas_px[k]
            if self.dt.areas is not None:
                work.dt_area[k] = self.dt.areas[record]
        for k in range(image.n_gt):
            record = image.gt_records[k]
            work.gt_group[k] = self.gt.groups[record]
            work.gt_crowd[k] = self.gt.crowd[record]
            area = self.gt.areas[record]
            # An area that the file states goes before the mask's.
            work.gt_area[k] = area if area == area else <double>work.gt.areas_px[k]
        image.dt_area, image.gt_area = work.dt_area, work.gt_area
        image.gt_group, image.gt_crowd = work.gt_group, work.gt_crowd

    cdef int match_visible(
        self, int64_t image_idx, uint64_t height, Image* image, Work work
    ) noexcept nogil:
        """Match what overlap removal leaves of an image, where masks overlap."""
        cdef int64_t crowded_px, pairs = -1, covered_px = 0
        cdef Py_ssize_t k
        crowded_px = work.uncover(image, self.removal.rule)
        if crowded_px == NO_MEMORY:
            return NO_MEMORY
        for k in range(image.n_dt):
            covered_px += work.visible.areas_px[k] if crowded_px else work.dt.areas_px[k]
        self.removal.overlap[1, image_idx] = covered_px
        if not crowded_px:
            return ALL_FINE
        if self.removal.count_pairs:
            pairs = pairs_of(work.dt)
            if pairs == NO_MEMORY:
                return NO_MEMORY
        self.removal.overlap[0, image_idx] = crowded_px
        self.removal.overlap[2, image_idx] = pairs
        self.removal.overlap[3, image_idx] = self.rank_visible(image, work)
        if not (
            work.near.find(
                work.visible, work.gt, work.dt_group, image.gt_group, image.gt_crowd, height,
                self.least_iou,
            )
            and self.removal.target.match(work.near, image, work.columns)
        ):
            return NO_MEMORY
        return ALL_FINE

    cdef Py_ssize_t rank_visible(self, Image* image, Work work) noexcept nogil:
        """Tell which masks count once the hidden ones, which take no rank, are left out.

        An area that a column states stays. Return how many are hidden.
        """
        cdef Py_ssize_t k, n_hidden = 0
        cdef int64_t record
        for k in range(image.n_dt):
            record = image.dt_records[k]
            if self.dt.areas is None:
                work.dt_area[k] = <double>work.visible.areas_px[k]
            work.columns[k] = self.removal.columns[record]
            if work.visible.areas_px[k] == 0 and work.dt.areas_px[k]:
                self.removal.hidden[record] = 1
                n_hidden += 1
                work.columns[k] = -1
            work.dt_group[k] = self.dt.groups[record] if work.columns[k] >= 0 else -1
        count_ranks(work.dt_group, work.ranks, image.n_dt)
        for k in range(image.n_dt):
            if work.ranks[k] >= self.removal.max_det:
                work.columns[k] = work.dt_group[k] = -1
        return n_hidden


cdef void count_ranks(const int64_t* group, int64_t* ranks, Py_ssize_t n) noexcept nogil:
    """Number the members of each group in order; those of none, negative, get 0."""
    cdef Py_ssize_t k, before
    cdef int64_t n_first = 0
    for k in range(n):
        ranks[k] = 0
        if group[k] < 0:
            continue
        # Most images have one group, and of several each has few members.
        if group[k] == 0:
            ranks[k] = n_first
            n_first += 1
            continue
        for before in range(k - 1, -1, -1):
            if group[before] == group[k]:
                ranks[k] = ranks[before] + 1
                break
