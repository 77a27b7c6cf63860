// What deformable_attention.cu needs of a GPU, for g++: the kernel itself runs on the CPU.
//
// The 32 threads of a warp are fibers. Each runs up to its next shuffle or __syncwarp, then the
// next one does, round and round: so a lane that reads what another has not written yet, for want
// of a __syncwarp, reads something old, and the test that runs the lanes in both orders sees it.
// Warps run one after another; the kernels have no barrier of a whole block.
//
// Reads and atomic additions are checked against the arrays that the arguments name.

#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>

#define ENTITYSEG_EMULATION
#define DEVICE inline
#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)

struct alignas(8) uint2 { unsigned int x, y; };
struct alignas(16) uint4 { unsigned int x, y, z, w; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
inline uint4 make_uint4(unsigned int x, unsigned int y, unsigned int z, unsigned int w)
{
    return {x, y, z, w};
}
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
template <typename T> T min(T a, T b) { return a < b ? a : b; }
inline float __fdividef(float a, float b) { return a / b; }

template <typename To, typename From> To same_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From), "");
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}
inline float __uint_as_float(unsigned int x) { return same_bits<float>(x); }
inline float __int_as_float(int x) { return same_bits<float>(x); }
inline unsigned int __float_as_uint(float x) { return same_bits<unsigned int>(x); }

namespace emulation {

constexpr int LANES = 32;
constexpr size_t STACK = 64 * 1024;
enum Fault { NONE, READ_OUTSIDE, ADD_OUTSIDE, MISALIGNED, DIVERGENT };

struct Index { unsigned int x, y, z; };
struct Range { const char* first; const char* end; };

Index block, blocks, threads;
Range readable[5];
Range addable;
int fault;

ucontext_t home, fibers[LANES];
jmp_buf places[LANES];
char* stacks;
bool started[LANES], finished[LANES], backwards;
// How often each lane has waited, and a digest of what it waited for.
unsigned int waits[LANES], trace[LANES];
unsigned int slots[2][LANES];
int lane, first_thread;
void (*body)();

inline Index thread() { return {(unsigned int)(first_thread + lane), 0, 0}; }

inline bool within(const Range& range, const void* at, size_t bytes)
{
    return range.first <= (const char*)at && (const char*)at + bytes <= range.end;
}

inline bool may_read(const void* at, size_t bytes)
{
    if ((uintptr_t)at % bytes) fault = MISALIGNED;
    for (const Range& range : readable)
        if (within(range, at, bytes)) return !fault;
    fault = READ_OUTSIDE;
    return false;
}

// Go on in a lane. Only the first entry is a change of context, which is a call of the system.
[[noreturn]] inline void enter(int next)
{
    lane = next;
    if (started[next]) _longjmp(places[next], 1);
    started[next] = true;
    setcontext(&fibers[next]);
    std::abort();
}

// Let the other lanes run up to here.
inline void wait(unsigned int what)
{
    const int self = lane;
    ++waits[self];
    trace[self] = trace[self] * 31 + what;
    int next = self;
    do next = (next + (backwards ? LANES - 1 : 1)) % LANES;
    while (finished[next] && next != self);
    if (next != self && !_setjmp(places[self])) enter(next);
}

inline void fiber()
{
    body();
    const int self = lane;
    finished[self] = true;
    for (int step = 1; step < LANES; ++step) {
        const int next = (self + (backwards ? LANES - step : step)) % LANES;
        if (!finished[next]) enter(next);
    }
    setcontext(&home);
}

inline void run_warp(int warp)
{
    first_thread = warp * LANES;
    if (!stacks) stacks = (char*)std::malloc(LANES * STACK);
    for (int i = 0; i < LANES; ++i) {
        started[i] = finished[i] = false;
        waits[i] = trace[i] = 0;
        getcontext(&fibers[i]);
        fibers[i].uc_stack.ss_sp = stacks + i * STACK;
        fibers[i].uc_stack.ss_size = STACK;
        fibers[i].uc_link = nullptr;
        makecontext(&fibers[i], fiber, 0);
    }
    lane = backwards ? LANES - 1 : 0;
    started[lane] = true;
    swapcontext(&home, &fibers[lane]);
    for (int i = 1; i < LANES; ++i)
        if (waits[i] != waits[0] || trace[i] != trace[0]) fault = DIVERGENT;
}

}  // namespace emulation

#define threadIdx (emulation::thread())
#define blockIdx (emulation::block)
#define blockDim (emulation::threads)
#define gridDim (emulation::blocks)

inline void __syncwarp() { emulation::wait(1); }

inline float __shfl_xor_sync(unsigned int, float x, int mask)
{
    // Two slots in turn: a lane may be one shuffle ahead of those that still read the last one.
    const int turn = emulation::waits[emulation::lane] % 2, self = emulation::lane;
    emulation::slots[turn][self] = __float_as_uint(x);
    emulation::wait(2 + mask);
    return __uint_as_float(emulation::slots[turn][self ^ mask]);
}

template <typename T> T __ldg(const T* from)
{
    return emulation::may_read(from, sizeof(T)) ? *from : T();
}

inline uint4 read_16(const char* base, int pixel, int pitch)
{
    return pixel < 0 ? uint4() : __ldg((const uint4*)(base + (long long)pixel * pitch));
}

inline uint2 read_8(const char* base, int pixel, int pitch)
{
    return pixel < 0 ? uint2() : __ldg((const uint2*)(base + (long long)pixel * pitch));
}

inline void add_16(float* base, int pixel, int pitch, float4 terms)
{
    if (pixel < 0) return;
    float* to = (float*)((char*)base + (long long)pixel * pitch);
    if ((uintptr_t)to % 16) emulation::fault = emulation::MISALIGNED;
    if (!emulation::within(emulation::addable, to, 16)) emulation::fault = emulation::ADD_OUTSIDE;
    if (emulation::fault) return;
    to[0] += terms.x;
    to[1] += terms.y;
    to[2] += terms.z;
    to[3] += terms.w;
}

inline float float_of_half(unsigned int bits)
{
    const unsigned int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const int power = exponent ? (int)exponent - 25 : -24;
    float size = std::ldexp((float)(exponent ? fraction + 1024 : fraction), power);
    if (exponent == 31) size = fraction ? NAN : INFINITY;
    return bits & 0x8000 ? -size : size;
}

inline float2 floats_of_halves(unsigned int word)
{
    return {float_of_half(word & 0xffff), float_of_half(word >> 16)};
}

inline unsigned int half_bits(float x)
{
    const unsigned int sign = std::signbit(x) ? 0x8000 : 0;
    const float size = std::fabs(x);
    if (size != size) return 0x7fff;
    if (size == 0) return sign;
    if (size >= 65520) return sign | 0x7c00;
    int exponent;
    std::frexp(size, &exponent);  // size in [2^(exponent - 1), 2^exponent)
    exponent = exponent < -13 ? -13 : exponent;
    // In steps of the last place, to the nearest, ties to even.
    const unsigned int steps = (unsigned int)std::nearbyint(std::ldexp(size, 11 - exponent));
    return sign | (steps + ((unsigned int)(exponent + 13) << 10));
}
