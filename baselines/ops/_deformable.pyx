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

    /* A bfloat16 is the upper half of a float. */
    static float widened(uint16_t half) {
        uint32_t bits = (uint32_t)half << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }

    /* Sums of 32 channels stay in registers while all rows are added, N to a register. A compiler
       that has no such type leaves all channels to the loop below. */
    #if defined(__GNUC__)
    #define LANES(N) \
        typedef float floats_##N __attribute__((vector_size(4 * N))); \
        typedef uint32_t words_##N __attribute__((vector_size(4 * N))); \
        typedef uint16_t halves_##N __attribute__((vector_size(2 * N)));
    LANES(4)
    LANES(16)
    #define ADD_32_CHANNELS(N, LOAD) \
        for (; c + 32 <= channels; c += 32) { \
            floats_##N totals[32 / N], got; \
            memset(totals, 0, sizeof totals); \
            for (int k = 0; k < n; k++) \
                for (int j = 0; j < 32 / N; j++) { \
                    LOAD(N, got, values + rows[k] + c + N * j); \
                    totals[j] += weights[k] * got; \
                } \
            memcpy(sums + c, totals, sizeof totals); \
        }
    #define LOAD_FLOATS(N, got, from) memcpy(&got, from, sizeof got)
    #define LOAD_HALVES(N, got, from) do { \
            halves_##N some; \
            memcpy(&some, from, sizeof some); \
            got = (floats_##N)(__builtin_convertvector(some, words_##N) << 16); \
        } while (0)
    #else
    #define ADD_32_CHANNELS(N, LOAD)
    #endif
    #define AS_IT_IS(value) (value)

    /* Sum n rows of channels, which begin at ``rows``, by weights. */
    #define ADD_ROWS(name, type, N, LOAD, ONE, target) \
        target static void name( \
            const type* values, const uint64_t* rows, const float* weights, int n, int channels, \
            float* sums \
        ) { \
            int c = 0; \
            ADD_32_CHANNELS(N, LOAD) \
            for (; c < channels; c++) { \
                sums[c] = 0; \
                for (int k = 0; k < n; k++) \
                    sums[c] += weights[k] * ONE(values[rows[k] + c]); \
            } \
        }
    ADD_ROWS(add_floats_by_4, float, 4, LOAD_FLOATS, AS_IT_IS,)
    ADD_ROWS(add_halves_by_4, uint16_t, 4, LOAD_HALVES, widened,)

    /* Compilers make poor code of registers that a processor has not: 16 only where it has them. On
       Windows gcc keeps them at places of the stack that are not aligned. */
    #if defined(__GNUC__) && defined(__x86_64__) && !defined(_WIN32)
    #define WITH_16 __attribute__((target("avx512f")))
    ADD_ROWS(add_floats_by_16, float, 16, LOAD_FLOATS, AS_IT_IS, WITH_16)
    ADD_ROWS(add_halves_by_16, uint16_t, 16, LOAD_HALVES, widened, WITH_16)
    static int has_16(void) { return __builtin_cpu_supports("avx512f"); }
    #else
    #define add_floats_by_16 add_floats_by_4
    #define add_halves_by_16 add_halves_by_4
    static int has_16(void) { return 0; }
    #endif
    """
    float widened(uint16_t half) noexcept nogil
    bint has_16() noexcept nogil
    void add_floats_by_4(
        const float* values, const uint64_t* rows, const float* weights, int n, int channels,
        float* sums
    ) noexcept nogil
    void add_floats_by_16(
        const float* values, const uint64_t* rows, const float* weights, int n, int channels,
        float* sums
    ) noexcept nogil
    void add_halves_by_4(
        const uint16_t* values, const uint64_t* rows, const float* weights, int n, int channels,
        float* sums
    ) noexcept nogil
    void add_halves_by_16(
        const uint16_t* values, const uint64_t* rows, const float* weights, int n, int channels,
        float* sums
    ) noexcept nogil


HAS_16 = bool(has_16())


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
    if row >= 0 and column >= 0 and row + 1 < height and column + 1 < width:
        for right in range(2):
            rows.starts[rows.n + right] = first + right * pitch
            rows.starts[rows.n + 2 + right] = first + (<uint64_t>width + right) * pitch
        memcpy(rows.weights + rows.n, parts, sizeof(parts))
        rows.n += 4
        return
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
    bint by_16=HAS_16,
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
        by_16: Whether to add 16 channels at once, as `HAS_16` says is possible, or four.

    Raises:
        MemoryError: There is no memory.
        ValueError: The processor does not add 16 channels at once.
    """
    cdef Py_ssize_t n_heads = value.shape[2], n_levels = shapes.shape[0], at, b, q, h, level, _p
    cdef Py_ssize_t n_points = weights.shape[4], n_samples = n_levels * n_points, k, height, width
    cdef int channels = <int>value.shape[3], c
    cdef bint moved = offsets.shape[1] > 0
    cdef uint64_t pitch = <uint64_t>(n_heads * channels), start
    cdef const char* places
    cdef float x, y
    cdef float* sums
    cdef Rows rows
    if by_16 and not HAS_16:
        raise ValueError("this processor does not add 16 channels at once")
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
            for k in range(n_samples):
                shares[k] = number((&weights[b, q, h, 0, 0])[k])
            if with_softmax:
                to_shares(shares, n_samples)
            rows.n = 0
            start, k = 0, 0
            for level in range(n_levels):
                height, width = shapes[level, 0], shapes[level, 1]
                places = <const char*>&reference[b, q, h, level, 0, 0]
                for _p in range(n_points):
                    x = (<const float*>places)[0] * width - 0.5
                    y = (<const float*>(places + reference.strides[5]))[0] * height - 0.5
                    places += reference.strides[4]
                    if moved:
                        x += number((&offsets[b, q, h, 0, 0, 0])[2 * k])
                        y += number((&offsets[b, q, h, 0, 0, 0])[2 * k + 1])
                    add_sample(&rows, x, y, shares[k], height, width, start, pitch)
                    k += 1
                start += <uint64_t>(height * width) * pitch
            if Value is float:
                (add_floats_by_16 if by_16 else add_floats_by_4)(
                    &value[b, 0, h, 0], rows.starts, rows.weights, rows.n, channels, sums
                )
            else:
                (add_halves_by_16 if by_16 else add_halves_by_4)(
                    &value[b, 0, h, 0], rows.starts, rows.weights, rows.n, channels, sums
                )
            for c in range(channels):
                if Value is float:
                    out[b, q, h, c] = sums[c]
                else:
                    out[b, q, h, c] = narrowed(sums[c])
    free(block)
