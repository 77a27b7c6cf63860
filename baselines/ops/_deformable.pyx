# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Deformable attention on a CPU, query by query.

`baselines.ops.fused` and `baselines.ops.deformable_attention` say in PyTorch what is computed.
"""

from libc.math cimport expf
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* Compiled several times, for what processors have, where the loader can choose. */
    #ifdef __has_attribute
    #if __has_attribute(target_clones) && defined(__x86_64__) && defined(__GLIBC__)
    #define FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
    #endif
    #endif
    #ifndef FOR_EACH_PROCESSOR
    #define FOR_EACH_PROCESSOR
    #endif

    /* A bfloat16 is the upper half of a float. */
    static float widened(uint16_t half) {
        uint32_t bits = (uint32_t)half << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }

    /* Sums of 32 channels stay in registers while all rows are added; the compiler makes of a lane
       what the processor has. Elsewhere the loop below them does all channels. */
    #if defined(__GNUC__)
    typedef float lanes __attribute__((vector_size(64)));
    typedef uint32_t words __attribute__((vector_size(64)));
    typedef uint16_t halves __attribute__((vector_size(32)));
    #define ADD_32_CHANNELS(LOAD) \
        for (; c + 32 <= channels; c += 32) { \
            lanes left = {0}, right = {0}, got; \
            for (int k = 0; k < n; k++) { \
                LOAD(got, values + rows[k] + c); \
                left += weights[k] * got; \
                LOAD(got, values + rows[k] + c + 16); \
                right += weights[k] * got; \
            } \
            memcpy(sums + c, &left, sizeof left); \
            memcpy(sums + c + 16, &right, sizeof right); \
        }
    #define LOAD_FLOATS(got, from) memcpy(&got, from, sizeof got)
    #define LOAD_HALVES(got, from) do { \
            halves sixteen; \
            memcpy(&sixteen, from, sizeof sixteen); \
            got = (lanes)(__builtin_convertvector(sixteen, words) << 16); \
        } while (0)
    #else
    #define ADD_32_CHANNELS(LOAD)
    #endif
    #define AS_IT_IS(value) (value)
    #define ADD_CHANNELS(ONE) \
        for (; c < channels; c++) { \
            sums[c] = 0; \
            for (int k = 0; k < n; k++) \
                sums[c] += weights[k] * ONE(values[rows[k] + c]); \
        }

    /* Sum n rows of channels, which begin at ``rows``, by weights. */
    #define ADD_ROWS(name, type, LOAD, ONE) \
        FOR_EACH_PROCESSOR \
        static void name( \
            const type* values, const uint64_t* rows, const float* weights, int n, int channels, \
            float* sums \
        ) { \
            int c = 0; \
            ADD_32_CHANNELS(LOAD) \
            ADD_CHANNELS(ONE) \
        }
    ADD_ROWS(add_rows_of_floats, float, LOAD_FLOATS, AS_IT_IS)
    ADD_ROWS(add_rows_of_halves, uint16_t, LOAD_HALVES, widened)
    """
    float widened(uint16_t half) noexcept nogil
    void add_rows_of_floats(
        const float* values, const uint64_t* rows, const float* weights, int n, int channels,
        float* sums
    ) noexcept nogil
    void add_rows_of_halves(
        const uint16_t* values, const uint64_t* rows, const float* weights, int n, int channels,
        float* sums
    ) noexcept nogil


# Numbers of 32 bits, or of bfloat16 as their bits.
ctypedef fused Value:
    float
    uint16_t

ctypedef fused Given:
    float
    uint16_t


cdef inline float number(Given value) noexcept nogil:
    if Given is float:
        return value
    else:
        return widened(value)


cdef inline uint16_t narrowed(float value) noexcept nogil:
    """Round to the nearest bfloat16, halves to even; what is no number stays none."""
    cdef uint32_t bits
    memcpy(&bits, &value, 4)
    if value != value:
        return <uint16_t>(bits >> 16 | 64)
    return <uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)


cdef void to_shares(float* weights, Py_ssize_t n) noexcept nogil:
    """Replace logits by their softmax."""
    cdef float most = weights[0], total = 0
    cdef Py_ssize_t k
    for k in range(1, n):
        most = max(most, weights[k])
    for k in range(n):
        weights[k] = expf(weights[k] - most)
        total += weights[k]
    for k in range(n):
        weights[k] /= total


# Rows of pixels with the weights that they are added by.
cdef struct Rows:
    uint64_t* starts
    float* weights
    int n


cdef inline void add_sample(
    Rows* rows, float x, float y, float weight, Py_ssize_t height, Py_ssize_t width,
    uint64_t start, uint64_t pitch
) noexcept nogil:
    """Append those of the four pixels around a place that lie inside of the level.

    Args:
        rows: Appended to.
        x, y: In pixels from the centre of the first one.
        weight: Of the sample.
        height, width: Of the level.
        start: Where its first pixel lies.
        pitch: From one pixel to the next.
    """
    cdef Py_ssize_t column, row, right, below
    cdef float[4] parts
    cdef uint64_t first
    # What is no number is not inside.
    if not (x > -1 and y > -1 and x < width and y < height):
        return
    column, row = <Py_ssize_t>x, <Py_ssize_t>y
    # The conversion rounds towards zero.
    column -= x < column
    row -= y < row
    x -= column
    y -= row
    parts[2] = weight * y
    parts[0] = weight - parts[2]
    parts[1], parts[3] = parts[0] * x, parts[2] * x
    parts[0] -= parts[1]
    parts[2] -= parts[3]
    # Of a pixel outside it may lie anywhere, and is not read.
    first = start + <uint64_t>(row * width + column) * pitch
    for below in range(2):
        if not 0 <= row + below < height:
            continue
        for right in range(2):
            if not 0 <= column + right < width:
                continue
            rows.starts[rows.n] = first + <uint64_t>(below * width + right) * pitch
            rows.weights[rows.n] = parts[2 * below + right]
            rows.n += 1


def attend(
    const Value[:, :, :, ::1] value,
    const float[:, :, :, :, :, :] reference,
    const Given[:, :, :, :, :, ::1] offsets,
    const Given[:, :, :, :, ::1] weights,
    const long long[:, ::1] shapes,
    Value[:, :, :, ::1] out,
    Py_ssize_t first,
    Py_ssize_t end,
    bint with_softmax,
):
    """Compute some queries of the operators.

    Args:
        value: (B, S, H, C), levels one after another, rows first.
        reference: (B, Q, H, L, P, 2) as (x, y), where [0, 1] spans a level; broadcast.
        offsets: (B, Q, H, L, P, 2) in pixels; without any queries for none.
        weights: (B, Q, H, L, P), or their logits.
        shapes: (L, 2) height and width.
        out: (B, Q, H, C) written.
        first, end: The queries, of all B * Q.
        with_softmax: Whether ``weights`` are logits.

    Raises:
        MemoryError: There is no memory.
    """
    cdef Py_ssize_t n_heads = value.shape[2], n_levels = shapes.shape[0], at, b, q, h, level, p, c
    cdef Py_ssize_t n_points = weights.shape[4], n_samples = n_levels * n_points, k
    cdef int channels = <int>value.shape[3]
    cdef bint moved = offsets.shape[1] > 0
    cdef uint64_t pitch = <uint64_t>(n_heads * channels), start
    cdef float x, y
    cdef float* sums
    cdef Rows rows
    # One block: starts, then weights, those of the samples, and sums.
    cdef void* block = malloc(n_samples * 4 * 12 + n_samples * 4 + channels * 4)
    if block == NULL:
        raise MemoryError
    rows.starts = <uint64_t*>block
    rows.weights = <float*>(rows.starts + 4 * n_samples)
    cdef float* shares = rows.weights + 4 * n_samples
    sums = shares + n_samples
    with nogil:
        for at in range(first * n_heads, end * n_heads):
            h = at % n_heads
            q = at // n_heads % weights.shape[1]
            b = at // n_heads // weights.shape[1]
            for level in range(n_levels):
                for p in range(n_points):
                    shares[level * n_points + p] = number(weights[b, q, h, level, p])
            if with_softmax:
                to_shares(shares, n_samples)
            rows.n = 0
            start, k = 0, 0
            for level in range(n_levels):
                for p in range(n_points):
                    x = reference[b, q, h, level, p, 0] * shapes[level, 1] - 0.5
                    y = reference[b, q, h, level, p, 1] * shapes[level, 0] - 0.5
                    if moved:
                        x += number(offsets[b, q, h, level, p, 0])
                        y += number(offsets[b, q, h, level, p, 1])
                    add_sample(
                        &rows, x, y, shares[k], shapes[level, 0], shapes[level, 1], start, pitch
                    )
                    k += 1
                start += <uint64_t>(shapes[level, 0] * shapes[level, 1]) * pitch
            if Value is float:
                add_rows_of_floats(
                    &value[b, 0, h, 0], rows.starts, rows.weights, rows.n, channels, sums
                )
            else:
                add_rows_of_halves(
                    &value[b, 0, h, 0], rows.starts, rows.weights, rows.n, channels, sums
                )
            for c in range(channels):
                if Value is float:
                    out[b, q, h, c] = sums[c]
                else:
                    out[b, q, h, c] = narrowed(sums[c])
    free(block)
