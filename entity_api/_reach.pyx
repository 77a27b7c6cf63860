# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Which pairs of masks can reach an IoU at all: by areas and extents, before runs are compared."""

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc

from entity_api._rle cimport Runs

import numpy as np

# More pixels than any image has.
cdef int64_t NEVER = 1 << 40


cdef struct Extent:
    int64_t start
    int64_t end
    int64_t px
    double share  # of the pixels of both, or of a crowd's dt, that must be common
    double own    # so much for its own pixels


def within_reach(Runs dt, Runs gt, const uint8_t[::1] gt_crowd, double least_iou):
    """Count the pixels that masks need to have in common for an IoU of ``least_iou``.

    They cannot have more than the smaller one has, nor more than lie, column by column, between
    where the later one begins and where the earlier one ends.

    Args:
        dt: D masks.
        gt: G masks.
        gt_crowd: (G,) gt by which a dt mask is measured alone (`rle.iou`).
        least_iou: In [0, 1].

    Returns:
        Pixels (D, G) int64, 2**40 or more where they cannot have as many; and flags (G,) uint8, 0
        for gt that no dt can reach.
    """
    cdef Py_ssize_t d, g
    cdef Extent* others = <Extent*>malloc((gt.n + 1) * sizeof(Extent))
    cdef Extent one, other
    cdef int64_t least, most
    needed_px, flags = np.empty((dt.n, gt.n), np.int64), np.zeros(gt.n, np.uint8)
    cdef int64_t[:, ::1] needed = needed_px
    cdef uint8_t[::1] wanted = flags
    if others == NULL:
        raise MemoryError
    with nogil:
        for g in range(gt.n):
            others[g] = extent_of(gt, g)
            # I / (A + B - I) >= t where I >= t / (1 + t) (A + B); a crowd's is I / A. A little
            # less, so that rounding loses no pair.
            others[g].share = (1 - 1e-9) * least_iou / (1 if gt_crowd[g] else 1 + least_iou)
            others[g].own = 0 if gt_crowd[g] else others[g].share * others[g].px
        for d in range(dt.n):
            one = extent_of(dt, d)
            for g in range(gt.n):
                other = others[g]
                least = <int64_t>(other.share * one.px + other.own)
                most = max(min(one.end, other.end) - max(one.start, other.start), 0)
                most = min(most, min(one.px, other.px))
                # No branch: half of the pairs here and half there cannot be guessed.
                needed[d, g] = least + NEVER * (most < least)
                wanted[g] |= most >= least
    free(others)
    return needed_px, flags


cdef inline Extent extent_of(Runs masks, Py_ssize_t idx) noexcept nogil:
    """Return where a mask begins and ends, column by column, and its area."""
    if masks.areas_px[idx] == 0:
        return Extent(0, 0, 0, 0, 0)
    return Extent(
        masks.bounds[masks.offsets[idx]],
        masks.bounds[masks.offsets[idx + 1] - 1],
        masks.areas_px[idx], 0, 0,
    )
