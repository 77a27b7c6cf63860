# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Where the counts strings of many masks lie in memory: found once, read without Python after."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp

import numpy as np

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL


cdef class Codes:
    """Hold the places of N compressed counts strings; an index gives a copy of one, as bytes.

    Args:
        counts: One a mask: bytes, str, or any buffer. A JSON string literal, with its quotes, is
            taken as it stands.
    """

    def __cinit__(self, list counts):
        self.owners = []
        self.make_room(len(counts))
        for idx in range(self.n):
            self.put(idx, counts[idx])

    cdef int make_room(self, Py_ssize_t n) except -1:
        free(self.texts)
        free(self.lengths)
        self.n = n
        self.texts = <const uint8_t**>calloc(n + 1, sizeof(uint8_t*))
        self.lengths = <Py_ssize_t*>calloc(n + 1, sizeof(Py_ssize_t))
        if self.texts == NULL or self.lengths == NULL:
            raise MemoryError
        return 0

    cdef int resize(self, Py_ssize_t n) except -1:
        """Hold the places of n strings, of which those that are known stay."""
        cdef void* texts = realloc(self.texts, (n + 1) * sizeof(uint8_t*))
        if texts != NULL:
            self.texts = <const uint8_t**>texts
        cdef void* lengths = realloc(self.lengths, (n + 1) * sizeof(Py_ssize_t))
        if lengths != NULL:
            self.lengths = <Py_ssize_t*>lengths
        if texts == NULL or lengths == NULL:
            raise MemoryError
        self.n = n
        return 0

    def __dealloc__(self):
        free(self.texts)
        free(self.lengths)

    cpdef put(self, Py_ssize_t idx, counts):
        """Set the counts of one mask."""
        cdef Py_buffer view
        if isinstance(counts, str):
            try:
                text = PyUnicode_AsUTF8AndSize(counts, &self.lengths[idx])
                self.texts[idx] = <const uint8_t*>text
                self.owners.append(counts)
                return
            except UnicodeEncodeError:
                counts = counts.encode("utf-8", "surrogatepass")
        # A memory view keeps what it looks at from moving; bytes never do.
        try:
            owner = counts if isinstance(counts, bytes) else memoryview(counts)
            PyObject_GetBuffer(owner, &view, PyBUF_SIMPLE)
        except (TypeError, BufferError):
            what = f"counts are text or bytes, not {type(counts).__name__}"
            raise ValueError(f"mask {idx}: {what}") from None
        self.texts[idx] = <const uint8_t*>view.buf
        self.lengths[idx] = view.len
        PyBuffer_Release(&view)
        self.owners.append(owner)

    def __len__(self):
        return self.n

    def __getitem__(self, Py_ssize_t idx):
        if not 0 <= idx < self.n:
            raise IndexError(idx)
        return (<const char*>self.texts[idx])[:self.lengths[idx]]


def split_segmentations(list raws, const int64_t[:] slots, parse):
    """Find the counts strings in JSON segmentations, ``{"size": [...], "counts": "..."}``.

    The masks of an image are written alike: where the text before and behind a string equals that
    of another mask of the image, JSON need not be parsed again. (A string that ended earlier would
    hold a quote, which is no run-length code.)

    Args:
        raws: N JSON values, as buffers.
        slots: (N,) image of each, at least 0.
        parse: Takes a buffer; returns an object with ``size``, two numbers, and ``counts``, the
            buffer of a JSON value that lies in the one given; None for a segmentation without them.

    Returns:
        The places, `Codes`, empty where counts are no string; sizes (N, 2), -1 where none is given;
        the positions of those without a string.
    """
    cdef Py_ssize_t n = len(raws), k, like, head, tail
    cdef const uint8_t* text
    cdef const uint8_t* inner
    cdef Py_ssize_t length, inner_length
    cdef Codes codes = Codes([])
    sizes = np.full((n, 2), -1, np.int64)
    cdef int64_t[:, ::1] size = sizes
    # The last mask of each image that was parsed, and how much stands before and behind its string.
    cdef int64_t[::1] example = np.full(np.max(slots, initial=0) + 1, -1, np.int64)
    cdef int64_t[:, ::1] around = np.zeros((len(example), 2), np.int64)
    odd = []
    codes.make_room(n)
    codes.owners.append(raws)
    for k in range(n):
        text = bytes_of(raws[k], &length)
        like = example[slots[k]]
        head, tail = around[slots[k], 0], around[slots[k], 1]
        # Compared are the quotes, too.
        if (
            like >= 0 and length >= head + tail + 2
            and memcmp(text, codes.texts[like] - head, head + 1) == 0
            and memcmp(
                text + length - tail - 1, codes.texts[like] + codes.lengths[like] - 1, tail + 1
            ) == 0
        ):
            codes.texts[k] = text + head
            codes.lengths[k] = length - head - tail
            size[k, 0], size[k, 1] = size[like, 0], size[like, 1]
            continue
        found = parse(raws[k])
        if found is not None:
            size[k, 0], size[k, 1] = found.size
            inner = bytes_of(found.counts, &inner_length)
            if inner_length and inner[0] == c'"' and text <= inner < text + length:
                codes.texts[k] = inner
                codes.lengths[k] = inner_length
                around[slots[k], 0] = inner - text
                around[slots[k], 1] = length - inner_length - (inner - text)
                example[slots[k]] = k
                continue
        odd.append(k)
    return codes, sizes, odd


cdef const uint8_t* bytes_of(buffer, Py_ssize_t* length) except NULL:
    """Return where a buffer lies; it must stay as it is while the place is used."""
    cdef Py_buffer view
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    length[0] = view.len
    PyBuffer_Release(&view)
    return <const uint8_t*>view.buf
