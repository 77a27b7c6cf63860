"""The kernels as they ship: source, and one compressed file of what it compiles to.

``kernels/deformable_attention.tar.xz`` holds a cubin for each architecture, PTX for what comes
after them, and ``build.json`` with the sha256 of the source. ``python -m
baselines.ops.build_kernels`` writes it.
"""

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

from entityseg_bench.io import atomic_path

__all__ = ["ARCHIVE", "CUBINS", "PTX", "SOURCE", "Shipped", "read_kernels", "write_kernels"]

SOURCE = Path(__file__).parent / "kernels" / "deformable_attention.cu"
ARCHIVE = SOURCE.with_suffix(".tar.xz")
CUBINS = (75, 80, 86, 89, 90, 100, 120)
# The oldest, and the first with atomic additions of four floats, for the architectures to come.
PTX = (75, 90)


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
