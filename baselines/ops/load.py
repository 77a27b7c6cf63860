"""The driver that loads kernels, and the first of four paths to them that works on a card.

    cubin       compiled for this architecture, shipped with the package
    ptx         shipped too, compiled by the driver: for architectures newer than the cubins
    nvrtc       compiled here by the compiler among PyTorch's own packages, kept in the user's cache
    definition  no kernel: the operator in PyTorch

The environment variable ``ENTITYSEG_OPS`` names the one to take. It is an error if that one does
not work.

The driver's library is called through ctypes. Every machine with a working card has it, and PyTorch
has opened it before. Kernels are loaded once for all devices and start in PyTorch's current stream.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from baselines.ops.find import OPTIONS, SOURCE, CompilerError, find_compiler, read_kernels
from baselines.ops.launch import Arguments, Grid
from entityseg_bench.io import atomic_path, trusted_cache

__all__ = [
    "ENVIRONMENT",
    "PATHS",
    "Card",
    "Choice",
    "Driver",
    "DriverError",
    "choose",
    "forced_path",
]

ENVIRONMENT = "ENTITYSEG_OPS"
PATHS = ("cubin", "ptx", "nvrtc", "definition")
_PROBE = "forward_float32_32"

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


class Card(NamedTuple):
    """A device as PyTorch counts it."""

    index: int
    name: str
    major: int
    minor: int


@dataclass(frozen=True)
class Choice:
    """Which path serves a card.

    Attributes:
        path: one of PATHS.
        detail: what exactly is loaded.
        reasons: why other paths do not serve, by path.
        driver: what starts kernels; None: the definition.
        library: the driver's handle of the kernels.
    """

    path: str
    detail: str = ""
    reasons: dict[str, str] = field(default_factory=dict)
    driver: Driver | None = None
    library: object = None


class _UnavailableError(RuntimeError):
    """A path does not work here; the message says why."""


def forced_path() -> str | None:
    """Return the path that the environment asks for, if it does.

    Raises:
        ValueError: it asks for one that does not exist.
    """
    wanted = os.environ.get(ENVIRONMENT)
    if not wanted:
        return None
    if wanted not in PATHS:
        raise ValueError(f"{ENVIRONMENT}={wanted} is unknown; choose one of {', '.join(PATHS)}")
    return wanted


def choose(card: Card, forced: str | None = None) -> Choice:
    """Load the kernels for a card by the first path that works.

    Args:
        card: the device.
        forced: the one path to take, see :func:`forced_path`.

    Raises:
        RuntimeError: the forced path does not work here.
    """
    reasons: dict[str, str] = {}
    for path, load in _LOADERS.items():
        if forced not in (None, path):
            reasons[path] = f"{ENVIRONMENT}={forced}"
            continue
        try:
            driver = _driver()
            detail, library = load(card, driver)
            driver.kernel(library, _PROBE, card.index)
        except (_UnavailableError, DriverError) as error:
            reasons[path] = str(error)
            continue
        later = PATHS[PATHS.index(path) + 1 :]
        reasons |= dict.fromkeys(later, f"not tried: {path} works")
        return Choice(path, detail, reasons, driver, library)
    if forced not in (None, "definition"):
        raise RuntimeError(
            f"{ENVIRONMENT}={forced} does not work on {card.name} (cuda:{card.index}): "
            f"{reasons[forced]}"
        )
    return Choice("definition", "PyTorch", reasons)


@functools.lru_cache(maxsize=1)
def _driver() -> Driver:
    if torch.version.hip is not None:
        raise _UnavailableError("the kernels are NVIDIA's; this PyTorch is built for ROCm")
    return Driver()


def _load_cubin(card: Card, driver: Driver) -> tuple[str, object]:
    found = _shipped().cubin(card.major, card.minor)
    if found is None:
        raise _UnavailableError(f"none was built for sm_{card.major}{card.minor}")
    return found[0], driver.load(found[1])


def _load_ptx(card: Card, driver: Driver) -> tuple[str, object]:
    found = _shipped().ptx(card.major, card.minor)
    if found is None:
        raise _UnavailableError(f"none is old enough for sm_{card.major}{card.minor}")
    return found[0], driver.load(found[1])


def _shipped():
    try:
        return read_kernels()
    except (OSError, ValueError, ImportError) as error:
        raise _UnavailableError(f"the shipped kernels cannot be used: {error}") from error


def _load_nvrtc(card: Card, driver: Driver) -> tuple[str, object]:
    target = f"sm_{card.major}{card.minor}"
    try:
        compiler = find_compiler(torch.version.cuda)
        source, version = SOURCE.read_bytes(), compiler.version()
        key = b"\0".join([source, target.encode(), version.encode(), *map(str.encode, OPTIONS)])
        kept = _kept(key)
        if kept is not None and kept.is_file():
            return f"{target}, NVRTC {version}, kept in {kept}", driver.load(kept.read_bytes())
        if card.major * 10 + card.minor not in compiler.architectures():
            raise _UnavailableError(f"NVRTC {version} does not know {target}")
        cubin = compiler.compile(source, target)
    except (CompilerError, OSError) as error:
        raise _UnavailableError(str(error)) from error
    # The cache only saves time: a read-only home or a full disk must not stop the work.
    if kept is not None:
        with contextlib.suppress(OSError), atomic_path(kept) as temporary:
            temporary.write_bytes(cubin)
    return f"{target}, NVRTC {version}", driver.load(cubin)


def _kept(key: bytes) -> Path | None:
    """Return where compiled kernels are kept, None where nobody may be trusted to keep them."""
    try:
        folder = trusted_cache()
    except OSError:
        return None
    return folder and folder / f"kernels-{hashlib.sha256(key).hexdigest()[:32]}.cubin"


_LOADERS: dict[str, Callable[[Card, Driver], tuple[str, object]]] = {
    "cubin": _load_cubin,
    "ptx": _load_ptx,
    "nvrtc": _load_nvrtc,
}
