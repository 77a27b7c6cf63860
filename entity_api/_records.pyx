# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Reading the records of COCO JSON straight into columns, where they are written as is usual.

`scan` knows a part of JSON. It answers a list of records that is all within that part, and nothing
else, however slightly it differs: a decoder that knows all of JSON then reads the list, and says
what is wrong with it. The tests hold what is answered against such a decoder.
"""

from libc.math cimport NAN, isfinite
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memchr, memcmp, memcpy

from entity_api._codes cimport Codes

import numpy as np

cdef extern from "Python.h":
    double PyOS_string_to_double(const char* text, char** end, void* overflow) except? -1.0

ctypedef const uint8_t* Place

# Values within values; records have three levels at most.
cdef enum:
    MAX_DEPTH = 16

# Fields that a record has, as bits.
cdef enum:
    IMAGE_ID = 1
    SEGMENTATION = 2
    SCORE = 4
    ID = 8
    CATEGORY_ID = 16
    AREA = 32
    ISCROWD = 64
    OTHER = 128

cdef double[23] TENS
for _k in range(23):
    TENS[_k] = float(10 ** _k)


cdef inline Place blanks(Place p, Place end) noexcept nogil:
    """Pass white space."""
    while p < end and (p[0] == 32 or p[0] == 10 or p[0] == 13 or p[0] == 9):
        p += 1
    return p


cdef inline Place after(Place p, Place end, uint8_t sign) noexcept nogil:
    """Pass a sign and the white space before and behind it; NULL where it is another."""
    if p == NULL:
        return NULL
    p = blanks(p, end)
    return blanks(p + 1, end) if p < end and p[0] == sign else NULL


cdef Place string_end(Place p, Place end) noexcept nogil:
    """Return the closing quote of a string; NULL where there is an escape but two backslashes."""
    cdef Place close = <Place>memchr(p, c'"', end - p)
    cdef Place slash
    cdef Py_ssize_t k
    cdef uint8_t control = 0
    if close == NULL:
        return NULL
    for k in range(close - p):
        control |= p[k] < 32
    if control:
        return NULL
    slash = <Place>memchr(p, c'\\', close - p)
    while slash != NULL:
        if slash + 1 >= close or slash[1] != c'\\':
            return NULL
        slash = <Place>memchr(slash + 2, c'\\', close - slash - 2)
    return close


cdef inline bint is_digit(Place p, Place end) noexcept nogil:
    return p < end and 48 <= p[0] <= 57


cdef Place number_end(Place p, Place end) noexcept nogil:
    """Return where a number of JSON ends; NULL where there is none."""
    if p < end and p[0] == c'-':
        p += 1
    if not is_digit(p, end):
        return NULL
    if p[0] == 48:
        p += 1
    else:
        while is_digit(p, end):
            p += 1
    if p < end and p[0] == c'.':
        p += 1
        if not is_digit(p, end):
            return NULL
        while is_digit(p, end):
            p += 1
    if p < end and (p[0] == c'e' or p[0] == c'E'):
        p += 1
        if p < end and (p[0] == c'+' or p[0] == c'-'):
            p += 1
        if not is_digit(p, end):
            return NULL
        while is_digit(p, end):
            p += 1
    return p


cdef Place whole_number(Place p, Place end, int64_t* value) noexcept nogil:
    """Read a whole number of at most 18 digits."""
    cdef Place stop
    cdef bint negative
    if p == NULL:
        return NULL
    stop = number_end(p, end)
    if stop == NULL:
        return NULL
    negative = p[0] == c'-'
    p += negative
    if stop - p > 18:
        return NULL
    value[0] = 0
    while p < stop:
        if not is_digit(p, stop):
            return NULL
        value[0] = 10 * value[0] + (p[0] - 48)
        p += 1
    if negative:
        value[0] = -value[0]
    return stop


cdef Place any_number(Place p, Place end, double* value) except? NULL:
    """Read a number to the nearest double."""
    cdef Place stop = NULL
    cdef Place k
    cdef int64_t digits = 0
    cdef int n = 0, n_after = 0
    cdef bint dot = False
    cdef char[48] text
    if p != NULL:
        stop = number_end(p, end)
    if stop == NULL or stop - p >= 48:
        return NULL
    k = p + (p[0] == c'-')
    while k < stop and n <= 15:
        if k[0] == c'.':
            dot = True
        elif is_digit(k, stop):
            digits = 10 * digits + (k[0] - 48)
            # Zeros in front need no room.
            n += digits > 0
            n_after += dot
        else:
            break
        k += 1
    if k == stop and n <= 15 and n_after <= 22:
        # Both are exact, so that their quotient is rounded once.
        value[0] = <double>digits / TENS[n_after]
        if p[0] == c'-':
            value[0] = -value[0]
        return stop
    memcpy(text, p, stop - p)
    text[stop - p] = 0
    value[0] = PyOS_string_to_double(text, NULL, NULL)
    return stop if isfinite(value[0]) else NULL


cdef Place word_end(Place p, Place end, const char* word, Py_ssize_t n) noexcept nogil:
    return p + n if end - p >= n and memcmp(p, word, n) == 0 else NULL


cdef Place value_end(Place p, Place end, int depth) noexcept nogil:
    """Return where any value ends; NULL where it is not known to be one."""
    cdef uint8_t close
    if p == NULL or p >= end or depth > MAX_DEPTH:
        return NULL
    if p[0] == c'"':
        p = string_end(p + 1, end)
        return p + 1 if p != NULL else NULL
    if p[0] == c't':
        return word_end(p, end, b"true", 4)
    if p[0] == c'f':
        return word_end(p, end, b"false", 5)
    if p[0] == c'n':
        return word_end(p, end, b"null", 4)
    if p[0] != c'[' and p[0] != c'{':
        return number_end(p, end)
    close = c']' if p[0] == c'[' else c'}'
    p = blanks(p + 1, end)
    if p < end and p[0] == close:
        return p + 1
    while True:
        if close == c'}':
            p = key_end(p, end)
        p = value_end(p, end, depth + 1)
        if p == NULL:
            return NULL
        p = blanks(p, end)
        if p < end and p[0] == close:
            return p + 1
        p = after(p, end, c',')
        if p == NULL:
            return NULL


cdef Place key_end(Place p, Place end) noexcept nogil:
    """Pass a name and its colon."""
    if p == NULL or p >= end or p[0] != c'"':
        return NULL
    p = string_end(p + 1, end)
    return after(p + 1, end, c':') if p != NULL else NULL


cdef struct Row:
    int fields
    int64_t image_id
    int64_t category_id
    int64_t id
    double score
    double area
    bint iscrowd
    Place segmentation
    Place segmentation_end
    Place counts        # with the quotes
    Place counts_end
    int64_t height
    int64_t width


cdef inline bint is_named(
    Place name, Py_ssize_t n, const char* word, Py_ssize_t n_word
) noexcept nogil:
    return n == n_word and memcmp(name, word, n) == 0


cdef int field_of(Place name, Py_ssize_t n, bint predictions) noexcept nogil:
    """Tell a field by its name; 0 for a name that is written oddly."""
    cdef Py_ssize_t k
    if is_named(name, n, b"image_id", 8):
        return IMAGE_ID
    if is_named(name, n, b"segmentation", 12):
        return SEGMENTATION
    if is_named(name, n, b"id", 2):
        return ID
    if is_named(name, n, b"category_id", 11):
        return CATEGORY_ID
    if predictions and is_named(name, n, b"score", 5):
        return SCORE
    if not predictions and is_named(name, n, b"area", 4):
        return AREA
    if not predictions and is_named(name, n, b"iscrowd", 7):
        return ISCROWD
    for k in range(n):
        if name[k] == c'\\' or name[k] > 126:
            return 0
    return OTHER


cdef Place mask_end(Place p, Place end, Row* row) noexcept nogil:
    """Read a run-length code with its size and its string, and nothing beside."""
    cdef Place name
    cdef int seen = 0
    row.segmentation = p
    p = after(p, end, c'{')
    while p != NULL:
        name = p
        p = key_end(p, end)
        if p == NULL or p >= end:
            return NULL
        if word_end(name, end, b'"counts"', 8) != NULL and (seen & 1) == 0 and p[0] == c'"':
            seen |= 1
            row.counts = p
            p = string_end(p + 1, end)
            if p == NULL:
                return NULL
            p += 1
            row.counts_end = p
        elif word_end(name, end, b'"size"', 6) != NULL and (seen & 2) == 0:
            seen |= 2
            p = whole_number(after(p, end, c'['), end, &row.height)
            p = whole_number(after(p, end, c','), end, &row.width)
            p = after(p, end, c']')
            # Of 32 bits each, neither below 0.
            if p == NULL or (row.height | row.width) >> 32 != 0:
                return NULL
        else:
            return NULL
        p = blanks(p, end)
        if p < end and p[0] == c'}':
            row.segmentation_end = p + 1
            return p + 1 if seen == 3 else NULL
        p = after(p, end, c',')
    return NULL


cdef Place nothing_or_number(Place p, Place end, double* value) except? NULL:
    """Read a number, or null, which is nan."""
    if p < end and p[0] == c'n':
        value[0] = NAN
        return word_end(p, end, b"null", 4)
    return any_number(p, end, value)


cdef Place crowd_end(Place p, Place end, bint* iscrowd) noexcept nogil:
    """Read a flag: a whole number, true or false."""
    cdef int64_t value
    if p < end and (p[0] == c't' or p[0] == c'f'):
        iscrowd[0] = p[0] == c't'
        return value_end(p, end, 0)
    p = whole_number(p, end, &value)
    iscrowd[0] = p != NULL and value != 0
    # Another number is read by who can say so.
    if value != 0 and value != 1:
        return NULL
    return p


cdef Place record_end(Place p, Place end, bint predictions, Row* row) except? NULL:
    """Read a record; NULL where it is unusual in any way."""
    cdef Place name
    cdef int field
    row.fields = 0
    row.category_id, row.id, row.area, row.iscrowd = -1, -1, NAN, False
    p = after(p, end, c'{')
    while p != NULL:
        name = p
        p = key_end(p, end)
        if p == NULL or p >= end:
            return NULL
        name += 1
        field = field_of(name, <Place>memchr(name, c'"', end - name) - name, predictions)
        # Of a name that stands twice the decoder takes the last.
        if field == 0 or (field != OTHER and row.fields & field):
            return NULL
        row.fields |= field
        if field == IMAGE_ID:
            p = whole_number(p, end, &row.image_id)
        elif field == SEGMENTATION:
            p = mask_end(p, end, row)
        elif field == SCORE:
            p = any_number(p, end, &row.score)
        elif field == ID:
            p = whole_number(p, end, &row.id)
        elif field == CATEGORY_ID:
            p = whole_number(p, end, &row.category_id)
        elif field == AREA:
            p = nothing_or_number(p, end, &row.area)
        elif field == ISCROWD:
            p = crowd_end(p, end, &row.iscrowd)
        else:
            p = value_end(p, end, 1)
        if p == NULL:
            return NULL
        p = blanks(p, end)
        if p < end and p[0] == c'}':
            field = IMAGE_ID | SEGMENTATION | (SCORE if predictions else 0)
            return p + 1 if row.fields & field == field else NULL
        p = after(p, end, c',')
    return NULL


cdef class Records:
    """Hold N records as columns.

    Attributes:
        n: Number of records.
        codes: Their counts strings, JSON literals where they lie in the text.
        image_ids: (N,).
        category_ids: (N,) -1 where none is given.
        ids: (N,), or None where no record has any.
        scores: (N,) of predictions.
        areas: (N,) of annotations, nan where none is given.
        iscrowd: (N,) uint8 of annotations.
        sizes: (N, 2) height and width that the masks state.
        places: (N, 2) where each segmentation starts and ends in the text.
        end: Where the list ends in the text, of one that was read whole.
    """

    cdef readonly Codes codes
    cdef readonly object image_ids, category_ids, ids, scores, areas, iscrowd, sizes, places
    cdef int64_t[::1] _image_ids, _category_ids, _ids
    cdef double[::1] _numbers
    cdef uint8_t[::1] _iscrowd
    cdef int64_t[:, ::1] _sizes, _places
    cdef Py_ssize_t room
    cdef bint predictions
    cdef readonly Py_ssize_t n, end

    def __cinit__(self, bint predictions, Py_ssize_t room):
        self.predictions = predictions
        self.codes = Codes([])
        self.resize(room)

    cdef int resize(self, Py_ssize_t n) except -1:
        """Make room for n records; those that are there stay."""
        self._image_ids = self._category_ids = self._ids = None
        self._sizes = self._places = self._numbers = self._iscrowd = None
        self._image_ids = self.image_ids = resized(self.image_ids, (n,), np.int64)
        self._category_ids = self.category_ids = resized(self.category_ids, (n,), np.int64)
        self._ids = self.ids = resized(self.ids, (n,), np.int64)
        self._sizes = self.sizes = resized(self.sizes, (n, 2), np.int64)
        self._places = self.places = resized(self.places, (n, 2), np.int64)
        if self.predictions:
            self._numbers = self.scores = resized(self.scores, (n,), np.float64)
        else:
            self._numbers = self.areas = resized(self.areas, (n,), np.float64)
            self._iscrowd = self.iscrowd = resized(self.iscrowd, (n,), np.uint8)
        self.codes.resize(n)
        self.room = n
        return 0

    cdef int add(self, const Row* row, Place text) except -1:
        """Add a record."""
        cdef Py_ssize_t k = self.n
        if k == self.room:
            self.resize(2 * self.room + 16)
        self._image_ids[k] = row.image_id
        self._category_ids[k] = row.category_id
        self._ids[k] = row.id
        self._sizes[k, 0], self._sizes[k, 1] = row.height, row.width
        self._places[k, 0] = row.segmentation - text
        self._places[k, 1] = row.segmentation_end - text
        if self.predictions:
            self._numbers[k] = row.score
        else:
            self._numbers[k] = row.area
            self._iscrowd[k] = row.iscrowd
        self.codes.texts[k] = row.counts
        self.codes.lengths[k] = row.counts_end - row.counts
        self.n += 1
        return 0


cdef object resized(array, tuple shape, dtype):
    """Return a column with more rows, or fewer, in the same memory where that can be."""
    if array is None:
        return np.empty(shape, dtype)
    # Nobody else holds it: the view on it was let go.
    array.resize(shape, refcheck=False)
    return array


def scan(bytes data, Py_ssize_t start, bint predictions):
    """Read a JSON list of records.

    Args:
        data: The text of a file.
        start: Where the list begins, or white space before it.
        predictions: Whether a record must have a ``score``; else it may have an ``area`` and
            ``iscrowd``.

    Returns:
        `Records`, or None for text of another form.
    """
    if not 0 <= start <= len(data):
        raise ValueError("the list lies in the text")
    cdef Place text = <const uint8_t*><const char*>data
    cdef Place end = text + len(data)
    cdef Place p = after(text + start, end, c'[')
    cdef Row row
    cdef Records found
    cdef int with_id = -1
    if p == NULL or p >= end:
        return None
    found = Records(predictions, 256)
    found.codes.owners.append(data)
    if p[0] == c']':
        found.end = p + 1 - text
        return finished(found, 0)
    while True:
        p = record_end(p, end, predictions, &row)
        # All have an id, or none.
        if p == NULL or with_id == (not row.fields & ID):
            return None
        with_id = (row.fields & ID) != 0
        found.add(&row, text)
        p = blanks(p, end)
        if p < end and p[0] == c']':
            found.end = p + 1 - text
            return finished(found, with_id)
        p = after(p, end, c',')
        if p == NULL:
            return None


def index(bytes data, Py_ssize_t start):
    """Read records of a JSON list of predictions, of which the text may break off.

    Args:
        data: Some of the text of a file.
        start: Where a record begins, or the list ends.

    Returns:
        `Records` up to the first that is not whole or not of the usual form, with the places of
        whole records; where that one begins; and whether the list ends, in place of it.
    """
    if not 0 <= start <= len(data):
        raise ValueError("the record lies in the text")
    cdef Place text = <const uint8_t*><const char*>data
    cdef Place end = text + len(data)
    cdef Place p = blanks(text + start, end)
    cdef Place stop
    cdef Row row
    cdef Records found = Records(True, 256)
    cdef Py_ssize_t k
    found.codes.owners.append(data)
    while p < end:
        if p[0] == c']':
            # An empty list; behind a comma there has to be a record.
            return finished(found, True), p - text, found.n == 0
        stop = record_end(p, end, True, &row)
        if stop == NULL:
            break
        k = found.n
        found.add(&row, text)
        found._places[k, 0], found._places[k, 1] = p - text, stop - text
        stop = blanks(stop, end)
        if stop < end and stop[0] == c']':
            return finished(found, True), stop - text, True
        stop = after(stop, end, c',')
        if stop == NULL:
            # Whether it goes on as a list does is not known yet.
            found.n -= 1
            break
        p = stop
    return finished(found, True), p - text, False


cdef Records finished(Records found, bint with_id):
    """Cut the columns to the records that there are."""
    found.resize(found.n)
    if not with_id:
        found.ids = None
    return found
