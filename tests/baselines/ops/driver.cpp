// A driver's library for a machine without a card: the calls of baselines/ops/load.py with their
// C signatures, and launches that run under emulation.

#include "emulation.cpp"

#include <dlfcn.h>

namespace {

struct Kernel {
    void (*function)(const Arguments);
    int channels, bytes;
};

int context = 1, current = 0;
Dl_info self;

}  // namespace

extern "C" {

int cuInit(unsigned int) { return dladdr((void*)&cuInit, &self) ? 0 : 3; }

int cuDriverGetVersion(int* version)
{
    *version = 12080;
    return 0;
}

int cuGetErrorName(int code, const char** text)
{
    *text = code == 719 ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR_NOT_FOUND";
    return 0;
}

int cuGetErrorString(int, const char** text)
{
    *text = "emulated";
    return 0;
}

int cuDeviceGet(int* device, int index)
{
    *device = index;
    return 0;
}

int cuDevicePrimaryCtxRetain(void** to, int)
{
    *to = &context;
    return 0;
}

int cuCtxGetCurrent(void** to)
{
    *to = current ? &context : nullptr;
    return 0;
}

int cuCtxPushCurrent_v2(void* it)
{
    current = it == &context;
    return 0;
}

int cuCtxPopCurrent_v2(void** to)
{
    *to = &context;
    current = 0;
    return 0;
}

int cuThreadExchangeStreamCaptureMode(int* mode)
{
    static int now = 0;
    const int before = now;
    now = *mode;
    *mode = before;
    return 0;
}

int cuLibraryLoadData(void** library, const void* code, int*, void**, unsigned int options, int*,
                      void**, unsigned int library_options)
{
    if (std::strcmp((const char*)code, "image") || options || library_options) return 209;
    *library = dlopen(self.dli_fname, RTLD_NOW);
    return *library ? 0 : 209;
}

int cuLibraryGetKernel(void** kernel, void* library, const char* name)
{
    void* function = dlsym(library, name);
    if (!function) return 500;
    const int bytes = std::strstr(name, "float32") ? 4 : 2;
    const int channels = std::atoi(std::strrchr(name, '_') + 1);
    *kernel = new Kernel{(void (*)(const Arguments))function, channels, bytes};
    return 0;
}

int cuKernelGetFunction(void** function, void* kernel)
{
    *function = kernel;
    return current ? 0 : 201;
}

int cuLaunchKernel(void* it, unsigned int x, unsigned int y, unsigned int z, unsigned int threads,
                   unsigned int threads_y, unsigned int threads_z, unsigned int shared_bytes,
                   void* stream, void** parameters, void** extra)
{
    if (!current) return 201;
    if (z != 1 || threads_y != 1 || threads_z != 1 || shared_bytes || extra) return 1;
    if ((long long)stream != 0x700000007) return 400;
    const Kernel& kernel = *(Kernel*)it;
    return emulate(kernel.function, (const Arguments*)parameters[0], x, y, threads,
                   kernel.channels, kernel.bytes, 0)
               ? 719
               : 0;
}
}
