// Runs a kernel of deformable_attention.cu over a grid, one warp after another.

#include "emulation.h"

#include KERNEL_SOURCE

namespace {

void (*kernel_to_run)(const Arguments);
const Arguments* its_arguments;

void run() { kernel_to_run(*its_arguments); }

emulation::Range range(const void* first, long long bytes)
{
    return {(const char*)first, (const char*)first + (first ? bytes : 0)};
}

}  // namespace

// Returns 0, or what went wrong (emulation::Fault). `bytes` are those of a number of the value.
extern "C" int emulate(void (*kernel)(const Arguments), const Arguments* arguments, int blocks_x,
                       int blocks_y, int threads, int channels, int bytes, int backwards)
{
    using namespace emulation;
    const Arguments& a = *arguments;
    const long long pairs = (long long)a.batch * a.queries * a.heads;
    const long long samples = pairs * a.levels * a.points;
    const long long pixels = (long long)a.batch * a.positions * a.heads * channels;
    const int each = a.form == OFFSETS_AS_VALUE ? bytes : 4;
    const int* strides = a.reference_strides;
    const long long references = (a.batch - 1) * strides[0] + (a.queries - 1) * strides[1] +
                                 (a.heads - 1) * strides[2] + (a.levels - 1) * strides[3] +
                                 (a.points - 1) * strides[4] + 2;
    readable[0] = range(a.value, pixels * bytes);
    readable[1] = range(a.places, samples * 2 * each);
    readable[2] = range(a.weights, samples * each);
    readable[3] = range(a.reference, references * 4);
    readable[4] = range(a.grad, pairs * channels * bytes);
    addable = range(a.grad_value, pixels * 4);
    fault = NONE;
    emulation::backwards = backwards;
    kernel_to_run = kernel;
    its_arguments = arguments;
    body = run;
    emulation::blocks = {(unsigned int)blocks_x, (unsigned int)blocks_y, 1};
    emulation::threads = {(unsigned int)threads, 1, 1};
    for (int y = 0; y < blocks_y; ++y)
        for (int x = 0; x < blocks_x; ++x) {
            emulation::block = {(unsigned int)x, (unsigned int)y, 0};
            for (int warp = 0; warp < threads / LANES && !fault; ++warp) run_warp(warp);
        }
    return fault;
}

extern "C" int size_of_arguments() { return sizeof(Arguments); }
