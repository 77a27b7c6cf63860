"""NVRTC, the compiler that comes with PyTorch's own CUDA packages, through ctypes."""

import ctypes
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Compiler", "CompilerError", "find_compiler"]

OPTIONS = ("--std=c++17",)


class CompilerError(RuntimeError):
    """There is no compiler here, or it refused the source."""


class Compiler:
    """One NVRTC library.

    Args:
        library: its path, or a name that the loader finds.

    Raises:
        CompilerError: it cannot be opened.
    """

    def __init__(self, library: Path | str):
        self.path = str(library)
        try:
            self._nvrtc = ctypes.CDLL(self.path)
        except OSError as error:
            raise CompilerError(f"{self.path} cannot be opened: {error}") from error
        self._nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p

    def version(self) -> str:
        """Return the version as "major.minor"."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        return f"{major.value}.{minor.value}"

    def architectures(self) -> list[int]:
        """Return what it compiles for, as 75, 80, ..."""
        count = ctypes.c_int()
        self._check(self._nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
        found = (ctypes.c_int * count.value)()
        self._check(self._nvrtc.nvrtcGetSupportedArchs(found))
        return list(found)

    def compile(self, source: bytes, target: str) -> bytes:
        """Compile CUDA C++ for "sm_NN" to a cubin, or for "compute_NN" to PTX.

        Raises:
            CompilerError: with the compiler's own messages.
        """
        program = ctypes.c_void_p()
        name = b"deformable_attention.cu"
        create = self._nvrtc.nvrtcCreateProgram
        self._check(create(ctypes.byref(program), source, name, 0, None, None))
        try:
            options = [f"--gpu-architecture={target}".encode(), *map(str.encode, OPTIONS)]
            array = (ctypes.c_char_p * len(options))(*options)
            if self._nvrtc.nvrtcCompileProgram(program, len(options), array):
                log = self._get(program, "ProgramLog").rstrip(b"\0").decode()
                raise CompilerError(f"{self.path}, {target}: {log}")
            return self._get(program, "CUBIN" if target.startswith("sm_") else "PTX")
        finally:
            self._nvrtc.nvrtcDestroyProgram(ctypes.byref(program))

    def _get(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self._nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._nvrtc, f"nvrtcGet{what}")(program, buffer))
        return buffer.raw

    def _check(self, code: int) -> None:
        if code:
            raise CompilerError(f"NVRTC: {self._nvrtc.nvrtcGetErrorString(code).decode()}")


def find_compiler(cuda: str | None = None) -> Compiler:
    """Open the NVRTC of PyTorch's packages, or one that the system's loader finds.

    Args:
        cuda: the CUDA version that PyTorch was built with, such as "12.8"; that major version
            goes first. None: the newest that is found.

    Raises:
        CompilerError: none can be opened; names what was tried.
    """
    tried = []
    for candidate in _candidates(cuda):
        try:
            return Compiler(candidate)
        except CompilerError as error:
            tried.append(str(error))
    raise CompilerError("NVRTC was not found; tried: " + ("; ".join(tried) or "nothing"))


def _candidates(cuda: str | None) -> Iterator[Any]:
    major = (cuda or "").partition(".")[0]
    found = sorted({path for folder in _folders() for path in _libraries_in(folder)}, reverse=True)
    yield from sorted(found, key=lambda path: _major(path) != major)
    for version in dict.fromkeys([major, "13", "12"]):
        if version:
            yield (
                f"nvrtc64_{version}0_0.dll" if sys.platform == "win32" else f"libnvrtc.so.{version}"
            )


def _folders() -> Iterator[Path]:
    """Where the wheels of NVIDIA and PyTorch put libraries."""
    for package, below in (("nvidia", ("*/lib", "*/bin", "*/bin/x86_64")), ("torch", ("lib",))):
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            for pattern in below:
                yield from sorted(Path(root).glob(pattern))


def _libraries_in(folder: Path) -> list[Path]:
    if sys.platform == "win32":
        return [p for p in folder.glob("nvrtc64_*_0.dll") if ".alt" not in p.name]
    return [*folder.glob("libnvrtc.so.[0-9]*"), *folder.glob("libnvrtc-*.so.[0-9]*")]


def _major(path: Path) -> str:
    digits = path.name.replace("nvrtc64_", "so.").rpartition("so.")[2]
    return digits[:2]
