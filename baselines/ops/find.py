"""Where the kernels can be had: an archive that ships with the package, and NVRTC.

``kernels/deformable_attention.tar.xz`` holds a cubin for each architecture, PTX for architectures
that come after them, and ``build.json`` with the sha256 of the source. ``python -m
baselines.ops.build_kernels`` writes it. NVRTC is the compiler that comes with PyTorch's own CUDA
packages; it is called through ctypes.
"""

import ctypes
import hashlib
import importlib.util
import io
import json
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from entityseg_bench.io import atomic_path

__all__ = [
    "ARCHIVE",
    "CUBINS",
    "OPTIONS",
    "PTX",
    "SOURCE",
    "Compiler",
    "CompilerError",
    "Shipped",
    "find_compiler",
    "read_kernels",
    "write_kernels",
]

SOURCE = Path(__file__).parent / "kernels" / "deformable_attention.cu"
ARCHIVE = SOURCE.with_suffix(".tar.xz")
CUBINS = (75, 80, 86, 89, 90, 100, 120)
# The oldest, and the first with atomic additions of four floats, for the architectures to come.
PTX = (75, 90)
# Of the compiler.
OPTIONS = ("--std=c++17",)


class Shipped:
    """What the archive holds.

    Attributes:
        build: who compiled what: "nvrtc" its version, "source" the sha256 of the source.
    """

    def __init__(self, files: dict[str, bytes]):
        self._files = files
        self.build: dict[str, Any] = json.loads(files["build.json"])

    def cubin(self, major: int, minor: int) -> tuple[str, bytes] | None:
        """Give name and content of the best cubin for a compute capability; None: there is none.

        A cubin runs on its own and on later minor versions of its architecture.
        """
        fit = [n for n in self._targets("sm_", "cubin") if n // 10 == major and n % 10 <= minor]
        return self._entry(f"sm_{max(fit)}.cubin") if fit else None

    def ptx(self, major: int, minor: int) -> tuple[str, bytes] | None:
        """Give name and content of the newest PTX that a compute capability understands."""
        fit = [n for n in self._targets("compute_", "ptx") if n <= major * 10 + minor]
        return self._entry(f"compute_{max(fit)}.ptx") if fit else None

    def _targets(self, prefix: str, suffix: str) -> list[int]:
        names = (re.fullmatch(rf"{prefix}(\d+)\.{suffix}", name) for name in self._files)
        return [int(match[1]) for match in names if match]

    def _entry(self, name: str) -> tuple[str, bytes]:
        return name, self._files[name]


def read_kernels(path: Path = ARCHIVE, source: Path = SOURCE) -> Shipped:
    """Read the archive.

    Raises:
        OSError: it cannot be read.
        ValueError: it is broken, or was built from another source.
        ImportError: this Python was built without lzma.
    """
    import lzma  # not every Python has it, and importing the operators must not need it

    files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(lzma.decompress(path.read_bytes()))) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    files[member.name] = content.read()
        shipped = Shipped(files)
    except (lzma.LZMAError, tarfile.TarError, KeyError) as error:
        raise ValueError(f"{path.name} is broken: {error!r}") from error
    if shipped.build["source"] != hashlib.sha256(source.read_bytes()).hexdigest():
        raise ValueError(
            f"{path.name} was built from another {source.name}; "
            "build it again with: python -m baselines.ops.build_kernels"
        )
    return shipped


def write_kernels(files: dict[str, bytes], path: Path = ARCHIVE) -> None:
    """Write the archive: the same files give the same bytes."""
    import lzma

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(files[name]), 0o644
            archive.addfile(entry, io.BytesIO(files[name]))
    packed = lzma.compress(buffer.getvalue(), preset=9 | lzma.PRESET_EXTREME)
    with atomic_path(path) as temporary:
        temporary.write_bytes(packed)


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
