"""Compile the kernels for every architecture and write the archive that ships with the package.

    pip install nvidia-cuda-nvrtc-cu12==12.8.93
    python -m baselines.ops.build_kernels

NVRTC 12.8 is the oldest that knows every architecture. A newer major version would make cubins that
drivers of CUDA 12 refuse.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

from baselines.ops.find import (
    ARCHIVE,
    CUBINS,
    OPTIONS,
    PTX,
    SOURCE,
    Compiler,
    CompilerError,
    find_compiler,
    write_kernels,
)

__all__ = ["build", "main"]


def build(compiler: Compiler, source: bytes) -> dict[str, bytes]:
    """Compile for every architecture; returns the files of the archive by name.

    Every target goes through the assembler: PTX for an old architecture can hold instructions
    that only the assembler refuses.
    """
    files = {f"sm_{n}.cubin": compiler.compile(source, f"sm_{n}") for n in CUBINS}
    files |= {f"compute_{n}.ptx": compiler.compile(source, f"compute_{n}") for n in PTX}
    build_info = {
        "nvrtc": compiler.version(),
        "options": OPTIONS,
        "source": hashlib.sha256(source).hexdigest(),
    }
    files["build.json"] = json.dumps(build_info, indent=1).encode()
    return files


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m baselines.ops.build_kernels", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--nvrtc", type=Path, help="the library, where it is not found by itself")
    parser.add_argument("--out", type=Path, default=ARCHIVE, help="default: %(default)s")
    args = parser.parse_args(arguments)
    try:
        compiler = Compiler(args.nvrtc) if args.nvrtc else find_compiler("12")
        print(f"NVRTC {compiler.version()} ({compiler.path})")
        files = build(compiler, SOURCE.read_bytes())
    except CompilerError as error:
        print(error, file=sys.stderr)
        return 1
    write_kernels(files, args.out)
    for name, content in sorted(files.items()):
        print(f"{name:16}{len(content):10,} bytes")
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
