// Multi-scale deformable attention on a GPU: forward and backward, in one file without headers.
//
// What is computed: baselines/ops/deformable_attention.py. How it is laid out here:
//
// A (query, head) pair is worked on by a group of neighbouring lanes of a warp, each with 8 or 16
// bytes of the channels. The addresses and weights of a point do not depend on the channel: each
// lane of a group works out those of one point, and the group reads them back from shared memory
// point by point. Warps never wait for each other: there is no barrier of a whole block.
//
// Blocks take 8 x 8 queries of a level, and one head, where queries are the levels' own pixels
// (`tiled`): neighbours sample the same cache lines. Else they take pairs in memory order. The
// batch is the slowest axis of the grid, so that one item's values stay in the L2 cache.
//
// Locations, weights and sums are float32 whatever the values are. The file compiles with NVRTC
// and nvcc; tests/baselines/ops/emulation.h compiles it with g++ for the CPU, where it brings the
// primitives of the first section itself.

#ifndef ENTITYSEG_EMULATION

#define DEVICE __device__ __forceinline__

// Two float16 in a word, the lower address first.
DEVICE float2 floats_of_halves(unsigned int word)
{
    float2 pair;
    asm("{.reg .b16 low, high; mov.b32 {low, high}, %2;\n"
        " cvt.f32.f16 %0, low; cvt.f32.f16 %1, high;}"
        : "=f"(pair.x), "=f"(pair.y) : "r"(word));
    return pair;
}

DEVICE unsigned int half_bits(float x)
{
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

// Read 16 bytes at base + pixel * pitch; zeros where pixel is negative. The predicate stands in the
// instruction: written as a condition, each load would wait for the one before.
DEVICE uint4 read_16(const char* base, int pixel, int pitch)
{
    uint4 words;
    asm("{.reg .pred inside; .reg .b64 at;\n"
        " setp.ge.s32 inside, %5, 0; mad.wide.s32 at, %5, %6, %4;\n"
        " mov.b32 %0, 0; mov.b32 %1, 0; mov.b32 %2, 0; mov.b32 %3, 0;\n"
        " @inside ld.global.nc.v4.b32 {%0, %1, %2, %3}, [at];}"
        : "=&r"(words.x), "=&r"(words.y), "=&r"(words.z), "=&r"(words.w)
        : "l"(__cvta_generic_to_global(base)), "r"(pixel), "r"(pitch));
    return words;
}

DEVICE uint2 read_8(const char* base, int pixel, int pitch)
{
    uint2 words;
    asm("{.reg .pred inside; .reg .b64 at;\n"
        " setp.ge.s32 inside, %3, 0; mad.wide.s32 at, %3, %4, %2;\n"
        " mov.b32 %0, 0; mov.b32 %1, 0;\n"
        " @inside ld.global.nc.v2.b32 {%0, %1}, [at];}"
        : "=&r"(words.x), "=&r"(words.y)
        : "l"(__cvta_generic_to_global(base)), "r"(pixel), "r"(pitch));
    return words;
}

// Add to the four floats at base + pixel * pitch, unless pixel is negative. Other threads add to
// the same at the same time; nobody reads it.
DEVICE void add_16(float* base, int pixel, int pitch, float4 terms)
{
#if __CUDA_ARCH__ >= 900
    asm volatile(
        "{.reg .pred inside; .reg .b64 at;\n"
        " setp.ge.s32 inside, %1, 0; mad.wide.s32 at, %1, %2, %0;\n"
        " @inside red.global.add.v4.f32 [at], {%3, %4, %5, %6};}"
#else
    if (pixel < 0) return;
    asm volatile(
        "{.reg .b64 at; mad.wide.s32 at, %1, %2, %0;\n"
        " red.global.add.f32 [at], %3; red.global.add.f32 [at + 4], %4;\n"
        " red.global.add.f32 [at + 8], %5; red.global.add.f32 [at + 12], %6;}"
#endif
        ::"l"(__cvta_generic_to_global(base)), "r"(pixel), "r"(pitch),
        "f"(terms.x), "f"(terms.y), "f"(terms.z), "f"(terms.w));
}

#endif

constexpr int WARP = 32;
constexpr int MOST_WARPS = 8;  // of a block; baselines/ops/launch.py knows this and the next two
constexpr int MOST_LEVELS = 8;
constexpr int TILE = 8;
constexpr unsigned int ALL_LANES = 0xffffffffu;

struct Level {
    int height, width;
    int start;       // place of pixel (0, 0) among the S of value
    int first_tile;  // tiles in the levels before this one
};

// What places and weights are: locations and weights as float32, or else offsets in pixels from the
// reference and logits of the weights, as float32 or of the type of the value.
enum Form { LOCATIONS, OFFSETS_FLOAT, OFFSETS_AS_VALUE };

// Mirrored field by field in baselines/ops/launch.py.
struct Arguments {
    const void* value;       // T (B, S, H, C)
    const void* places;      // (B, Q, H, L, P, 2) locations or offsets: see `form`
    const void* weights;     // (B, Q, H, L, P) weights or logits: see `form`
    const float* reference;  // (x, y), where [0, 1] spans a level; broadcast by its strides
    const void* grad;        // T (B, Q, H, C); backward
    void* out;               // T (B, Q, H, C); forward
    float* grad_value;       // (B, S, H, C), zeros on entry; backward
    float* grad_places;      // shaped as places; backward
    float* grad_weights;     // shaped as weights; backward
    int reference_strides[5];  // of B, Q, H, L, P, in floats
    int batch, positions, queries, heads, levels, points;
    int slots;  // (query, head) pairs of a block, a multiple of those at work at a time
    int tiled;
    int form;
    float levels_a_point;  // 1 / points
    Level level[MOST_LEVELS];
};

// Two bfloat16 in a word, the lower address first: a bfloat16 is the upper half of a float32.
DEVICE float2 floats_of_bfloats(unsigned int word)
{
    return make_float2(__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u));
}

DEVICE unsigned int bfloat_bits(float x)
{
    const unsigned int bits = __float_as_uint(x);
    if (x != x) return 0x7fc0u;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // to the nearest, ties to even
}

// Types of a value: how 16 bytes of it become floats, and back.
struct Float {
    static constexpr int BYTES = 4;
    DEVICE static void unpack(unsigned int word, float* to) { to[0] = __uint_as_float(word); }
    DEVICE static unsigned int pack(const float* from) { return __float_as_uint(from[0]); }
};

struct Half {
    static constexpr int BYTES = 2;
    DEVICE static void unpack(unsigned int word, float* to)
    {
        const float2 pair = floats_of_halves(word);
        to[0] = pair.x;
        to[1] = pair.y;
    }
    DEVICE static unsigned int pack(const float* from)
    {
        return half_bits(from[0]) | half_bits(from[1]) << 16;
    }
};

struct Bfloat {
    static constexpr int BYTES = 2;
    DEVICE static void unpack(unsigned int word, float* to)
    {
        const float2 pair = floats_of_bfloats(word);
        to[0] = pair.x;
        to[1] = pair.y;
    }
    DEVICE static unsigned int pack(const float* from)
    {
        return bfloat_bits(from[0]) | bfloat_bits(from[1]) << 16;
    }
};

// What a lane holds of a pixel: N words of 4 bytes.
template <int N> struct Words;

template <> struct Words<4> {
    uint4 all;
    DEVICE static Words at(const char* base, int pixel, int pitch)
    {
        return {read_16(base, pixel, pitch)};
    }
    template <typename T> DEVICE void unpack(float* to) const
    {
        constexpr int EACH = 4 / T::BYTES;
        T::unpack(all.x, to);
        T::unpack(all.y, to + EACH);
        T::unpack(all.z, to + 2 * EACH);
        T::unpack(all.w, to + 3 * EACH);
    }
    template <typename T> DEVICE static Words packed(const float* from)
    {
        constexpr int EACH = 4 / T::BYTES;
        return {make_uint4(T::pack(from), T::pack(from + EACH), T::pack(from + 2 * EACH),
                           T::pack(from + 3 * EACH))};
    }
};

template <> struct Words<2> {
    uint2 all;
    DEVICE static Words at(const char* base, int pixel, int pitch)
    {
        return {read_8(base, pixel, pitch)};
    }
    template <typename T> DEVICE void unpack(float* to) const
    {
        T::unpack(all.x, to);
        T::unpack(all.y, to + 4 / T::BYTES);
    }
};

// One of the (query, head) pairs, or none of them: tiles reach over the edge of a level.
struct Pair {
    bool real;
    int query, head;
    long long index;  // among the B * Q * H
};

DEVICE Pair pair_at(const Arguments& a, int item, unsigned int slot)
{
    Pair pair;
    const unsigned int heads = a.heads, number = a.tiled ? blockIdx.x : blockIdx.x * a.slots + slot;
    const int place = number / heads;  // a query, or a tile of them
    pair.head = number % heads;
    if (a.tiled) {
        int i = a.levels - 1;
#pragma unroll 1
        while (i > 0 && a.level[i].first_tile > place) --i;
        const Level level = a.level[i];
        const unsigned int tiles_a_row = (level.width + TILE - 1u) / TILE;
        const unsigned int tile = place - level.first_tile;
        const int row = tile / tiles_a_row * TILE + slot / TILE;
        const int col = tile % tiles_a_row * TILE + slot % TILE;
        pair.real = row < level.height && col < level.width;
        pair.query = level.start + row * level.width + col;
    } else {
        pair.real = place < a.queries;
        pair.query = place;
    }
    pair.index = ((long long)item * a.queries + pair.query) * a.heads + pair.head;
    return pair;
}

// Number i of weights or logits.
template <typename T> DEVICE float number_at(const Arguments& a, const void* array, long long i)
{
    if constexpr (T::BYTES == 2)
        if (a.form == OFFSETS_AS_VALUE) {
            float pair[2];
            T::unpack(__ldg((const unsigned short*)array + i), pair);
            return pair[0];
        }
    return __ldg((const float*)array + i);
}

// Numbers 2 i and 2 i + 1 of locations or offsets.
template <typename T> DEVICE float2 pair_of_numbers_at(const Arguments& a, long long i)
{
    if constexpr (T::BYTES == 2)
        if (a.form == OFFSETS_AS_VALUE) {
            float pair[2];
            T::unpack(__ldg((const unsigned int*)a.places + i), pair);
            return make_float2(pair[0], pair[1]);
        }
    return __ldg((const float2*)a.places + i);
}

// A point as it stands in memory: read long before it is needed.
struct Point {
    float2 place, reference;
    float weight;
    int level;
};

template <typename T>
DEVICE Point point_at(const Arguments& a, const Pair& pair, int item, int i)
{
    Point point;
    point.place = point.reference = make_float2(0, 0);
    point.weight = 0;
    point.level = -1;
    const int samples = a.levels * a.points;
    if (!pair.real || i >= samples) return point;
    const long long at = pair.index * samples + i;
    point.level = (int)((i + 0.5f) * a.levels_a_point);
    point.place = pair_of_numbers_at<T>(a, at);
    point.weight = number_at<T>(a, a.weights, at);
    if (a.form != LOCATIONS) {
        const int* strides = a.reference_strides;
        const int offset = item * strides[0] + pair.query * strides[1] + pair.head * strides[2] +
                           point.level * strides[3] + (i - point.level * a.points) * strides[4];
        const float* reference = a.reference + offset;
        point.reference = make_float2(__ldg(reference), __ldg(reference + 1));
    }
    return point;
}

template <int LANES> DEVICE float sum_of_group(float x)
{
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

// The softmax of logits over the points of a pair, or weights as they are.
struct Softmax {
    float peak, scale;
    DEVICE float operator()(const Arguments& a, float x) const
    {
        return a.form == LOCATIONS ? x : expf(x - peak) * scale;
    }
};

template <typename T, int LANES>
DEVICE Softmax softmax_of(const Arguments& a, const Pair& pair, int member)
{
    Softmax softmax = {0, 1};
    if (a.form == LOCATIONS) return softmax;
    const int samples = a.levels * a.points, count = pair.real ? samples : 0;
    const long long first = pair.index * samples;
    float peak = -__int_as_float(0x7f800000), total = 0;
#pragma unroll 1
    for (int i = member; i < count; i += LANES)
        peak = fmaxf(peak, number_at<T>(a, a.weights, first + i));
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2)
        peak = fmaxf(peak, __shfl_xor_sync(ALL_LANES, peak, step));
#pragma unroll 1
    for (int i = member; i < count; i += LANES)
        total += expf(number_at<T>(a, a.weights, first + i) - peak);
    softmax.peak = peak;
    softmax.scale = __fdividef(1, sum_of_group<LANES>(total));
    return softmax;
}

// The four pixels around a point, row by row: their places among the S (-1: outside the level,
// nothing to read), their bilinear shares, and what the slopes need.
struct Sample {
    int4 pixel;
    float4 share;
    float right, below;  // distance to the upper left pixel, in [0, 1)
};

DEVICE Sample sample_of(const Arguments& a, const Point& point)
{
    Sample sample;
    sample.pixel = make_int4(-1, -1, -1, -1);
    sample.share = make_float4(0, 0, 0, 0);
    sample.right = sample.below = 0;
    if (point.level < 0) return sample;
    const Level level = a.level[point.level];
    const float width = level.width, height = level.height;
    // In pixels, from the centre of pixel (0, 0).
    const bool fused = a.form != LOCATIONS;
    const float2 from = fused ? point.reference : point.place;
    const float x = from.x * width + (fused ? point.place.x : 0) - 0.5f;
    const float y = from.y * height + (fused ? point.place.y : 0) - 0.5f;
    // False for a location that is not a number, too.
    if (!(x > -1 && y > -1 && x < width && y < height)) return sample;
    const float left = floorf(x), top = floorf(y);
    const int col = (int)left, row = (int)top;
    const bool has_left = col >= 0, has_right = col + 1 < level.width;
    const bool has_top = row >= 0, has_bottom = row + 1 < level.height;
    const int first = level.start + row * level.width + col;
    sample.pixel.x = has_top && has_left ? first : -1;
    sample.pixel.y = has_top && has_right ? first + 1 : -1;
    sample.pixel.z = has_bottom && has_left ? first + level.width : -1;
    sample.pixel.w = has_bottom && has_right ? first + level.width + 1 : -1;
    const float right = x - left, below = y - top;
    sample.right = right;
    sample.below = below;
    sample.share = make_float4((1 - right) * (1 - below), right * (1 - below),
                               (1 - right) * below, right * below);
    return sample;
}

DEVICE float4 times(float4 a, float b)
{
    return make_float4(a.x * b, a.y * b, a.z * b, a.w * b);
}

// What a lane holds of the four pixels of a sample, all read before any is used.
template <int N> struct Corners {
    Words<N> words[4];
    DEVICE Corners(int4 pixel, const char* base, int pitch)
        : words{Words<N>::at(base, pixel.x, pitch), Words<N>::at(base, pixel.y, pitch),
                Words<N>::at(base, pixel.z, pitch), Words<N>::at(base, pixel.w, pitch)}
    {
    }
};

template <typename T, int V> DEVICE void add(float* sums, const Words<4>& words, float share)
{
    float channels[V];
    words.template unpack<T>(channels);
#pragma unroll
    for (int c = 0; c < V; ++c) sums[c] += channels[c] * share;
}

template <typename T, int C> DEVICE void forward(const Arguments& a)
{
    constexpr int V = 16 / T::BYTES;      // channels of a lane
    constexpr int LANES = C / V;          // of a pair, and points worked out at a time
    constexpr int PAIRS = WARP / LANES;   // of a warp
    __shared__ int4 pixels_of[MOST_WARPS][WARP];
    __shared__ float4 shares_of[MOST_WARPS][WARP];
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int member = lane % LANES, group = lane / LANES;
    // Point by point, so that the groups of a warp read neighbouring entries.
    int4* pixels = pixels_of[warp] + group;
    float4* shares = shares_of[warp] + group;
    const int samples = a.levels * a.points;
    const int pitch = a.heads * C * T::BYTES;

    for (int item = blockIdx.y; item < a.batch; item += gridDim.y)
#pragma unroll 1
        for (int slot = threadIdx.x / LANES; slot < a.slots; slot += blockDim.x / LANES) {
            const Pair pair = pair_at(a, item, slot);
            const char* base = (const char*)a.value + member * V * T::BYTES +
                               ((long long)item * a.positions * a.heads + pair.head) * C * T::BYTES;
            Point next = point_at<T>(a, pair, item, member);
            const Softmax softmax = softmax_of<T, LANES>(a, pair, member);
            float sums[V] = {};
#pragma unroll 1
            for (int first = 0; first < samples; first += LANES) {
                const Point point = next;
                next = point_at<T>(a, pair, item, first + LANES + member);
                const Sample sample = sample_of(a, point);
                const float weight = point.level < 0 ? 0 : softmax(a, point.weight);
                __syncwarp();
                pixels[member * PAIRS] = sample.pixel;
                shares[member * PAIRS] = times(sample.share, weight);
                __syncwarp();
                const int count = min(LANES, samples - first);
#pragma unroll 2
                for (int i = 0; i < count; ++i) {
                    const float4 share = shares[i * PAIRS];
                    const Corners<4> corners(pixels[i * PAIRS], base, pitch);
                    add<T, V>(sums, corners.words[0], share.x);
                    add<T, V>(sums, corners.words[1], share.y);
                    add<T, V>(sums, corners.words[2], share.z);
                    add<T, V>(sums, corners.words[3], share.w);
                }
            }
            if (pair.real) {
                const Words<4> words = Words<4>::template packed<T>(sums);
                *(uint4*)((char*)a.out + (pair.index * C + member * V) * T::BYTES) = words.all;
            }
        }
}

// Add the share of one pixel to its gradient, and return its value times the output's gradient.
template <typename T, int N>
DEVICE float back(const Words<N>& words, const float* grad, float* grad_value, int pixel, int pitch,
                  float share)
{
    float channels[4];
    words.template unpack<T>(channels);
    add_16(grad_value, pixel, pitch,
           make_float4(grad[0] * share, grad[1] * share, grad[2] * share, grad[3] * share));
    return channels[0] * grad[0] + channels[1] * grad[1] + channels[2] * grad[2] +
           channels[3] * grad[3];
}

// Sum the four gains of a point over its group, and write the sums. With each step half of a lane's
// numbers go to its partner and half stay, so that 4 lanes or more end with one number each: 4
// shuffles for 8 lanes, where summing each number by itself takes 12.
template <int LANES> DEVICE void write_sums_of_group(float4 gain, int member, float4* to)
{
    constexpr int FAR = LANES / 2, NEAR = LANES / 4;
    const bool lower = member & FAR;  // row of pixels that this lane keeps
    float left = lower ? gain.z : gain.x, right = lower ? gain.w : gain.y;
    left += __shfl_xor_sync(ALL_LANES, lower ? gain.x : gain.z, FAR);
    right += __shfl_xor_sync(ALL_LANES, lower ? gain.y : gain.w, FAR);
    if constexpr (LANES == 2) {
        ((float2*)to)[lower] = make_float2(left, right);
    } else {
        const bool last = member & NEAR;
        float sum = last ? right : left;
        sum += __shfl_xor_sync(ALL_LANES, last ? left : right, NEAR);
        if constexpr (LANES > 4) sum = sum_of_group<NEAR>(sum);
        if (member % NEAR == 0) ((float*)to)[2 * lower + last] = sum;
    }
}

// Gradients of the weight and the place of a point, from its four pixels' gains: how much the
// loss changes with the share of each.
DEVICE float write_point(const Arguments& a, int level, float right, float below, float weight,
                         float4 gain, long long at)
{
    const float above = gain.y - gain.x, beneath = gain.w - gain.z;
    const float top = gain.x + right * above, bottom = gain.z + right * beneath;
    float slope_x = weight * (above + below * (beneath - above));
    float slope_y = weight * (bottom - top);
    if (a.form == LOCATIONS) {
        slope_x *= a.level[level].width;
        slope_y *= a.level[level].height;
    }
    ((float2*)a.grad_places)[at] = make_float2(slope_x, slope_y);
    const float grad_weight = top + below * (bottom - top);
    a.grad_weights[at] = grad_weight;
    return grad_weight;
}

template <typename T, int C> DEVICE void backward(const Arguments& a)
{
    constexpr int V = 4;                  // of a lane: as many as one instruction adds
    constexpr int N = V * T::BYTES / 4;   // words that hold them
    constexpr int LANES = C / V;
    constexpr int PAIRS = WARP / LANES;
    __shared__ int4 pixels_of[MOST_WARPS][WARP];
    __shared__ float4 shares_of[MOST_WARPS][WARP];
    __shared__ float4 gains_of[MOST_WARPS][WARP];
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int member = lane % LANES, group = lane / LANES;
    int4* pixels = pixels_of[warp] + group;
    float4* shares = shares_of[warp] + group;
    float4* gains = gains_of[warp] + group;
    const int samples = a.levels * a.points;
    const int pitch = a.heads * C * 4;  // bytes between pixels of grad_value
    const int value_pitch = a.heads * C * T::BYTES;

    for (int item = blockIdx.y; item < a.batch; item += gridDim.y)
#pragma unroll 1
        for (int slot = threadIdx.x / LANES; slot < a.slots; slot += blockDim.x / LANES) {
            const Pair pair = pair_at(a, item, slot);
            const long long origin =
                ((long long)item * a.positions * a.heads + pair.head) * C + member * V;
            const char* base = (const char*)a.value + origin * T::BYTES;
            float* grad_value = a.grad_value + origin;
            const char* place = (const char*)a.grad + (pair.index * C + member * V) * T::BYTES;
            const Words<N> words = Words<N>::at(place, pair.real ? 0 : -1, 0);
            float grad[V];
            words.template unpack<T>(grad);
            const Softmax softmax = softmax_of<T, LANES>(a, pair, member);
            float through_softmax = 0;
#pragma unroll 1
            for (int first = 0; first < samples; first += LANES) {
                const Point point = point_at<T>(a, pair, item, first + member);
                const Sample sample = sample_of(a, point);
                const float weight = point.level < 0 ? 0 : softmax(a, point.weight);
                pixels[member * PAIRS] = sample.pixel;
                shares[member * PAIRS] = times(sample.share, weight);
                __syncwarp();
                const int count = min(LANES, samples - first);
#pragma unroll 2
                for (int i = 0; i < count; ++i) {
                    const int4 pixel = pixels[i * PAIRS];
                    const float4 share = shares[i * PAIRS];
                    const Corners<N> corners(pixel, base, value_pitch);
                    float4 gain;
                    gain.x = back<T>(corners.words[0], grad, grad_value, pixel.x, pitch, share.x);
                    gain.y = back<T>(corners.words[1], grad, grad_value, pixel.y, pitch, share.y);
                    gain.z = back<T>(corners.words[2], grad, grad_value, pixel.z, pitch, share.z);
                    gain.w = back<T>(corners.words[3], grad, grad_value, pixel.w, pitch, share.w);
                    write_sums_of_group<LANES>(gain, member, gains + i * PAIRS);
                }
                __syncwarp();  // also lets nobody overwrite pixels and shares too early
                if (point.level >= 0) {
                    const long long at = pair.index * samples + first + member;
                    const float4 gain = gains[member * PAIRS];
                    through_softmax += weight * write_point(a, point.level, sample.right,
                                                            sample.below, weight, gain, at);
                }
            }
            if (a.form != LOCATIONS) {
                // Each lane reads back what it wrote itself: the gradients of its own weights.
                through_softmax = sum_of_group<LANES>(through_softmax);
#pragma unroll 1
                for (int i = member; pair.real && i < samples; i += LANES) {
                    const long long at = pair.index * samples + i;
                    const float weight = softmax(a, number_at<T>(a, a.weights, at));
                    a.grad_weights[at] = weight * (a.grad_weights[at] - through_softmax);
                }
            }
        }
}

// Three blocks a multiprocessor leave 80 registers a thread: eight 16-byte reads under way at once.
#define KERNEL(FUNCTION, TYPE, T, C)                                                 \
    extern "C" __global__ void __launch_bounds__(WARP * MOST_WARPS, 3)               \
        FUNCTION##_##TYPE##_##C(const Arguments a)                                   \
    {                                                                                \
        FUNCTION<T, C>(a);                                                           \
    }

#define KERNELS(TYPE, T)                                                             \
    KERNEL(forward, TYPE, T, 8)                                                      \
    KERNEL(forward, TYPE, T, 16)                                                     \
    KERNEL(forward, TYPE, T, 32)                                                     \
    KERNEL(forward, TYPE, T, 64)                                                     \
    KERNEL(backward, TYPE, T, 8)                                                     \
    KERNEL(backward, TYPE, T, 16)                                                    \
    KERNEL(backward, TYPE, T, 32)                                                    \
    KERNEL(backward, TYPE, T, 64)

KERNELS(float32, Float)
KERNELS(float16, Half)
KERNELS(bfloat16, Bfloat)
