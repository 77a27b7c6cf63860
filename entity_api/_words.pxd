"""Words of 64 pixels, a bit each: what `_cover` does with them, in C for the sake of processors.

`take_run` of `_cover` says what `take_mask_by_fours` computes; the tests compare the two.
"""

from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    #define FULL (~0ULL)
    #if defined(__GNUC__)
    static inline int lowest_bit(uint64_t x) { return __builtin_ctzll(x); }
    static inline int count_bits(uint64_t x) { return __builtin_popcountll(x); }
    #else
    /* Sums of 2, of 4, then of 8 bits side by side; the product adds up the bytes. */
    static int count_bits(uint64_t x) {
        x -= (x >> 1) & 0x5555555555555555ULL;
        x = (x & 0x3333333333333333ULL) + ((x >> 2) & 0x3333333333333333ULL);
        return (int)(((x + (x >> 4)) & 0x0F0F0F0F0F0F0F0FULL) * 0x0101010101010101ULL >> 56);
    }
    static int lowest_bit(uint64_t x) { return count_bits((x & (0 - x)) - 1); }
    #endif

    /* Append a run to those from `first` on, or lengthen the last; return the end. */
    static inline ptrdiff_t put_run(
        uint32_t* bounds, ptrdiff_t first, ptrdiff_t m, uint32_t start, uint32_t end
    ) {
        if (m > first && bounds[m - 1] == start) m -= 2;
        else bounds[m] = start;
        bounds[m + 1] = end;
        return m + 2;
    }

    /* Append the bits of a word that begins at a pixel, as runs; return the end. */
    static inline ptrdiff_t put_word(
        uint32_t* bounds, ptrdiff_t first, ptrdiff_t m, uint32_t at, uint64_t left
    ) {
        while (left) {
            const int skip = lowest_bit(left);
            /* Up to the first 0 above the piece; adding its lowest bit carries through it. */
            const uint64_t above = ~(left >> skip);
            const int length = above ? lowest_bit(above) : 64;
            m = put_run(bounds, first, m, at + skip, at + skip + length);
            left &= left + (1ULL << skip);
        }
        return m;
    }

    /* Not on Windows, where gcc keeps such registers on a stack that is not aligned. */
    #if defined(__GNUC__) && defined(__x86_64__) && !defined(_WIN32)
    #include <immintrin.h>
    #define WITH_FOURS __attribute__((target("avx2,bmi")))
    static int has_fours(void) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi");
    }

    /* Take a run as `take_run` does, four words at once. */
    WITH_FOURS static inline ptrdiff_t take_fours(
        uint64_t* taken, uint64_t* twice, uint32_t start, uint32_t end, uint32_t* bounds,
        ptrdiff_t first, ptrdiff_t m
    ) {
        const __m256i none = _mm256_setzero_si256(), every = _mm256_set1_epi64x(-1);
        const __m256i begins = _mm256_set_epi64x(192, 128, 64, 0);
        const __m256i ends = _mm256_set_epi64x(256, 192, 128, 64);
        /* From the byte that the run begins in, and not the word, most runs take one step. */
        for (uint32_t at = start & ~7u; at < end; at += 256) {
            __m256i* const some = (__m256i*)((uint8_t*)taken + (at >> 3));
            __m256i* const several = (__m256i*)((uint8_t*)twice + (at >> 3));
            /* How many bits of each word lie before the run, and behind it. */
            const __m256i before = _mm256_max_epi32(
                _mm256_sub_epi64(_mm256_set1_epi64x((int32_t)(start - at)), begins), none);
            const __m256i behind = _mm256_max_epi32(
                _mm256_sub_epi64(ends, _mm256_set1_epi64x((int32_t)(end - at))), none);
            const __m256i own = _mm256_and_si256(
                _mm256_sllv_epi64(every, before), _mm256_srlv_epi64(every, behind));
            const __m256i old = _mm256_loadu_si256(some);
            const __m256i left = _mm256_andnot_si256(old, own);
            _mm256_storeu_si256(several, _mm256_or_si256(
                _mm256_loadu_si256(several), _mm256_and_si256(old, own)));
            _mm256_storeu_si256(some, _mm256_or_si256(old, own));
            if (!_mm256_testz_si256(left, left)) {
                if (_mm256_testc_si256(left, own)) {
                    m = put_run(
                        bounds, first, m, start > at ? start : at, end < at + 256 ? end : at + 256);
                } else {
                    uint64_t words[4];
                    _mm256_storeu_si256((__m256i*)words, left);
                    for (int k = 0; k < 4; k++)
                        m = put_word(bounds, first, m, at + 64 * k, words[k]);
                }
            }
        }
        return m;
    }

    WITH_FOURS static ptrdiff_t take_mask_by_fours(
        uint64_t* taken, uint64_t* twice, const uint32_t* runs, ptrdiff_t n, uint32_t* bounds,
        ptrdiff_t m
    ) {
        const ptrdiff_t first = m;
        for (ptrdiff_t k = 0; k < n; k += 2)
            if (runs[k] < runs[k + 1])
                m = take_fours(taken, twice, runs[k], runs[k + 1], bounds, first, m);
        return m;
    }
    #else
    static int has_fours(void) { return 0; }
    static ptrdiff_t take_mask_by_fours(
        uint64_t* taken, uint64_t* twice, const uint32_t* runs, ptrdiff_t n, uint32_t* bounds,
        ptrdiff_t m
    ) { return m; }
    #endif
    """
    const uint64_t FULL
    int lowest_bit(uint64_t x) noexcept nogil
    int count_bits(uint64_t x) noexcept nogil
    Py_ssize_t put_word(
        uint32_t* bounds, Py_ssize_t first, Py_ssize_t m, uint32_t at, uint64_t left
    ) noexcept nogil
    bint has_fours() noexcept nogil
    # Of images of less than 2**31 pixels: differences of positions are numbers of 32 bits.
    Py_ssize_t take_mask_by_fours(
        uint64_t* taken, uint64_t* twice, const uint32_t* runs, Py_ssize_t n, uint32_t* bounds,
        Py_ssize_t m
    ) noexcept nogil
