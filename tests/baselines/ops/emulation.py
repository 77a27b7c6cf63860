"""The kernels' own source on the CPU: compiled with g++, each warp's threads as fibers."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from baselines.ops import launch

HERE = Path(__file__).resolve().parent
SOURCE = Path(launch.__file__).parent / "kernels" / "deformable_attention.cu"
FAULTS = (
    "",
    "reads outside the arrays",
    "adds outside the gradient",
    "touches an address that is not a multiple of the size",
    "lets the lanes of a warp wait for different things",
)
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def compile_kernels(folder: Path, *options: str, source: str = "emulation.cpp") -> Path:
    """Compile the emulation into a library in the folder; skips the test where there is no g++.

    Args:
        folder: where the library goes.
        options: further ones of the compiler.
        source: "emulation.cpp", or "driver.cpp" for a driver's library around it.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ here: the kernels were not run under emulation")
    library = (folder / source).with_suffix(".so")
    command = [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", "-w"]
    # _FORTIFY_SOURCE takes a jump from one fiber to another for a mistake.
    command += [
        "-U_FORTIFY_SOURCE",
        f'-DKERNEL_SOURCE="{SOURCE}"',
        *options,
    ]
    subprocess.run([*command, str(HERE / source), "-o", str(library)], check=True)
    return library


class Emulator:
    """Kernels that run on CPU tensors; each launch is over when it returns.

    Attributes:
        backwards: the last lane of a warp goes first.
        launched: what ran: names and grids.
    """

    def __init__(self, library: Path):
        self._library = ctypes.CDLL(str(library))
        self.backwards = False
        self.launched: list[tuple[str, launch.Grid]] = []
        assert self._library.size_of_arguments() == ctypes.sizeof(launch.Arguments)

    def launch(self, name, grid, arguments, device):
        _, kind, channels = name.split("_")
        kernel = ctypes.cast(self._library[name], ctypes.c_void_p)
        self.launched.append((name, grid))
        fault = self._library.emulate(
            kernel, ctypes.byref(arguments), *grid, int(channels), BYTES[kind], self.backwards
        )
        assert not fault, f"{name} {FAULTS[fault]}"
