"""The kernels that ship: every architecture is there, and built from this source."""

import ctypes
import hashlib
import lzma
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from baselines.ops import build_kernels, find, launch
from baselines.ops.find import Compiler, CompilerError, find_compiler

MACHINE_CUDA = 190  # EM_CUDA, of an ELF header
NAMES = {
    f"{way}_{dtype}_{channels}"
    for way in ("forward", "backward")
    for dtype in launch.DTYPES.values()
    for channels in launch.CHANNELS
}


@pytest.fixture(scope="module")
def kernels():
    return find.read_kernels()


def elf_header(cubin):
    """Read (machine, flags) of a 64-bit little-endian ELF file."""
    assert cubin[:6] == b"\x7fELF\x02\x01"
    return struct.unpack_from("<H", cubin, 18)[0], struct.unpack_from("<I", cubin, 48)[0]


@pytest.mark.parametrize("number", find.CUBINS)
def test_cubins(kernels, number):
    name, cubin = kernels.cubin(*divmod(number, 10))
    assert name == f"sm_{number}.cubin"
    machine, flags = elf_header(cubin)
    assert machine == MACHINE_CUDA
    # The architecture: in the lowest byte of the flags, since Blackwell in the one above.
    assert number in (flags & 0xFF, flags >> 8 & 0xFF)
    assert {name.decode() for name in re.findall(rb"\w+", cubin)} >= NAMES


@pytest.mark.parametrize("number", find.PTX)
def test_ptx(kernels, number):
    name, ptx = kernels.ptx(*divmod(number, 10))
    assert name == f"compute_{number}.ptx"
    assert ptx.endswith(b"\0")  # the driver reads up to there
    assert f".target sm_{number}\n".encode() in ptx
    assert {name.decode() for name in re.findall(rb"\.entry (\w+)\(", ptx)} == NAMES
    assert (b"red.global.add.v4.f32" in ptx) == (number >= 90)


def test_built_from_this_source(kernels):
    """If this fails, the kernels were changed: python -m baselines.ops.build_kernels."""
    assert kernels.build["source"] == hashlib.sha256(find.SOURCE.read_bytes()).hexdigest()
    # Cubins of CUDA 12 load with every driver that the loader works with; 12.8 knows sm_120.
    assert kernels.build["nvrtc"] == "12.8"


def test_small_enough():
    assert find.ARCHIVE.stat().st_size < 2**20


def test_the_source_knows_the_same_numbers():
    """What launch.py says twice stands in the source once."""
    numbers = dict(re.findall(r"constexpr int (\w+) = (\d+);", find.SOURCE.read_text()))
    assert int(numbers["MOST_WARPS"]) * int(numbers["WARP"]) == launch._BLOCK
    assert int(numbers["MOST_LEVELS"]) == launch.MOST_LEVELS
    assert int(numbers["TILE"]) == launch._TILE
    assert "#include" not in find.SOURCE.read_text()
    fields = re.search(r"struct Arguments \{(.*?)\n\};", find.SOURCE.read_text(), re.DOTALL)[1]
    fields = re.sub(r"//.*", "", fields)
    declared = re.findall(r"(\w+)(?:\[\w+\])?[,;]", fields)
    assert declared == [name for name, _ in launch.Arguments._fields_]
    assert ctypes.sizeof(launch.Arguments) < 4096  # what a kernel's parameters may take


def test_the_same_files_give_the_same_bytes(tmp_path):
    files = {"b": b"2", "a": b"1", "build.json": b"{}"}
    find.write_kernels(files, tmp_path / "one")
    find.write_kernels(dict(reversed(files.items())), tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_broken_archive_and_a_changed_source(tmp_path):
    with pytest.raises(FileNotFoundError):
        find.read_kernels(tmp_path / "none")
    broken = tmp_path / "broken.tar.xz"
    for content in (b"", b"text", find.ARCHIVE.read_bytes()[:-1000], lzma.compress(b"no tar")):
        broken.write_bytes(content)
        with pytest.raises(ValueError, match="broken"):
            find.read_kernels(broken)
    changed = tmp_path / "changed.cu"
    changed.write_bytes(find.SOURCE.read_bytes() + b"\n")
    with pytest.raises(ValueError, match=r"built from another changed\.cu; build it again with"):
        find.read_kernels(source=changed)


class PlayedCompiler:
    path = "played"

    def __init__(self, path=None):
        pass

    def version(self):
        return "12.8"

    def compile(self, source, target):
        return target.encode()


def test_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build_kernels, "find_compiler", lambda cuda: PlayedCompiler())
    assert build_kernels.main(["--out", str(tmp_path / "made")]) == 0
    made = find.read_kernels(tmp_path / "made")
    assert made.cubin(8, 6) == ("sm_86.cubin", b"sm_86")
    assert made.ptx(7, 5) == ("compute_75.ptx", b"compute_75")
    assert "sm_120.cubin" in capsys.readouterr().out
    assert build_kernels.main(["--nvrtc", str(tmp_path / "none")]) == 1
    assert "cannot be opened" in capsys.readouterr().err


@pytest.fixture(scope="module")
def compiler():
    try:
        return find_compiler()
    except CompilerError as error:
        pytest.skip(f"nothing was compiled: {error}")


def test_nvrtc_compiles_and_says_what_is_wrong(compiler):
    small = b'extern "C" __global__ void one(float* x) { *x = 1; }'
    newest = max(set(compiler.architectures()) & set(find.CUBINS))
    assert elf_header(compiler.compile(small, f"sm_{newest}"))[0] == MACHINE_CUDA
    with pytest.raises(CompilerError, match=r"(?s)sm_\d+: .*one_thing"):
        compiler.compile(b"one_thing", f"sm_{newest}")


def test_nvrtc_builds_what_ships(compiler, kernels):
    if compiler.version() != kernels.build["nvrtc"]:
        pytest.skip(f"NVRTC {compiler.version()} is not the {kernels.build['nvrtc']} that built it")
    assert compiler.compile(find.SOURCE.read_bytes(), "sm_90") == kernels.cubin(9, 0)[1]


@pytest.mark.parametrize("number", find.PTX)
def test_ptx_assembles(kernels, number, tmp_path):
    """What the driver would do with it, for an architecture of its own and for a later one."""
    found = shutil.which("ptxas") or next(
        (str(path) for path in Path("/usr/local").glob("cuda*/bin/ptxas")), None
    )
    if found is None:
        pytest.skip("no ptxas here: the PTX was not assembled")
    (tmp_path / "kernels.ptx").write_bytes(kernels.ptx(*divmod(number, 10))[1].rstrip(b"\0"))
    command = [found, f"--gpu-name=sm_{number}", "--verbose", "-o", "/dev/null"]
    done = subprocess.run(
        [*command, str(tmp_path / "kernels.ptx")], capture_output=True, text=True, check=True
    )
    assert done.stderr.count("Compiling entry function") == len(NAMES)
    assert set(re.findall(r"(\d+) bytes spill", done.stderr)) == {"0"}


def test_a_compiler_that_is_not_there(tmp_path):
    with pytest.raises(CompilerError, match=r"nothing\.so cannot be opened"):
        Compiler(tmp_path / "nothing.so")
