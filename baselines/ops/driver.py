"""The few calls of NVIDIA's driver that load a kernel and start it, through ctypes.

Every machine with a working card has this library; PyTorch has opened it before we do. A library
of kernels is loaded once for all devices; a kernel starts in the stream that PyTorch is in.
"""

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from typing import Any

from baselines.ops.launch import Arguments, Grid

__all__ = ["Driver", "DriverError"]

_NAME = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED
_SIGNATURES = {
    "cuInit": [ctypes.c_uint],
    "cuDriverGetVersion": [ctypes.c_void_p],
    "cuGetErrorName": [ctypes.c_int, ctypes.c_void_p],
    "cuGetErrorString": [ctypes.c_int, ctypes.c_void_p],
    "cuDeviceGet": [ctypes.c_void_p, ctypes.c_int],
    "cuDevicePrimaryCtxRetain": [ctypes.c_void_p, ctypes.c_int],
    "cuCtxGetCurrent": [ctypes.c_void_p],
    "cuCtxPushCurrent_v2": [ctypes.c_void_p],
    "cuCtxPopCurrent_v2": [ctypes.c_void_p],
    "cuThreadExchangeStreamCaptureMode": [ctypes.c_void_p],
    "cuLibraryLoadData": [
        *[ctypes.c_void_p] * 4,
        ctypes.c_uint,
        *[ctypes.c_void_p] * 2,
        ctypes.c_uint,
    ],
    "cuLibraryGetKernel": [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p],
    "cuKernelGetFunction": [ctypes.c_void_p, ctypes.c_void_p],
    "cuLaunchKernel": [
        ctypes.c_void_p,
        *[ctypes.c_uint] * 7,
        *[ctypes.c_void_p] * 3,
    ],
}


class DriverError(RuntimeError):
    """The driver refused a call; the message has its own name for why."""


class Driver:
    """Calls of the driver, with errors as exceptions.

    Args:
        library: what stands for the driver's library in tests; None: the machine's own.

    Raises:
        DriverError: there is no driver here, or one older than CUDA 12.
    """

    def __init__(self, library: Any = None):
        try:
            self._cuda = ctypes.CDLL(_NAME) if library is None else library
        except OSError as error:
            raise DriverError(f"{_NAME} cannot be opened: {error}") from error
        for name, signature in _SIGNATURES.items():
            try:
                getattr(self._cuda, name).argtypes = signature
            except AttributeError as error:
                raise DriverError(f"the driver is older than CUDA 12: no {name}") from error
        self._contexts: dict[int, ctypes.c_void_p] = {}
        self._call("cuInit", 0)

    def version(self) -> tuple[int, int]:
        """Return the newest CUDA version (major, minor) that the driver knows."""
        version = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        return version.value // 1000, version.value % 1000 // 10

    def load(self, image: bytes) -> ctypes.c_void_p:
        """Load a cubin or PTX (which ends in a zero byte)."""
        library = ctypes.c_void_p()
        no_options = (None, None, 0, None, None, 0)
        self._call("cuLibraryLoadData", ctypes.byref(library), image, *no_options)
        return library

    def kernel(self, library: ctypes.c_void_p, name: str, index: int) -> ctypes.c_void_p:
        """Get a kernel by name, brought onto a device at once.

        The driver would load it at its first launch, and not at all while a graph is captured.
        """
        kernel, function = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuLibraryGetKernel", ctypes.byref(kernel), library, name.encode())
        mode = ctypes.c_int(_RELAXED)
        with self._on(index):
            self._call("cuThreadExchangeStreamCaptureMode", ctypes.byref(mode))
            try:
                self._call("cuKernelGetFunction", ctypes.byref(function), kernel)
            finally:
                self._call("cuThreadExchangeStreamCaptureMode", ctypes.byref(mode))
        return kernel

    def launch(
        self, kernel: ctypes.c_void_p, grid: Grid, arguments: Arguments, index: int, stream: int
    ) -> None:
        """Start a kernel in a stream of a device; returns at once."""
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        size = (grid.across, grid.down, 1, grid.threads, 1, 1, 0)
        with self._on(index):
            self._call("cuLaunchKernel", kernel, *size, stream, pointers, None)

    @contextlib.contextmanager
    def _on(self, index: int) -> Iterator[None]:
        """Make the context that PyTorch has on a device the thread's own.

        It is nearly always. A thread of autograd that has called nothing yet has none.
        """
        context = self._contexts.get(index)
        if context is None:
            context, device = ctypes.c_void_p(), ctypes.c_int()
            self._call("cuDeviceGet", ctypes.byref(device), index)
            self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
            self._contexts[index] = context
        current = ctypes.c_void_p()
        self._call("cuCtxGetCurrent", ctypes.byref(current))
        if current.value == context.value:
            yield
            return
        self._call("cuCtxPushCurrent_v2", context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(current))

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code:
            word, text = ctypes.c_char_p(), ctypes.c_char_p()
            self._cuda.cuGetErrorName(code, ctypes.byref(word))
            self._cuda.cuGetErrorString(code, ctypes.byref(text))
            said = b": ".join(part.value for part in (word, text) if part.value)
            raise DriverError(f"{name}: {said.decode() or f'error {code}'}")
