"""Where the kernels come from: the first of four paths that works on a card.

    cubin       compiled for this architecture, shipped with the package
    ptx         shipped too, compiled by the driver: for architectures newer than the cubins
    nvrtc       compiled here by the compiler among PyTorch's own packages, kept in the user's cache
    definition  no kernel: the operator in PyTorch

``ENTITYSEG_OPS`` names the one to take; if that one does not work, this is an error.
"""

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from baselines.ops.driver import Driver, DriverError
from baselines.ops.nvrtc import OPTIONS, CompilerError, find_compiler
from baselines.ops.shipped import SOURCE, read_kernels
from entityseg_bench.io import atomic_path, cache_folder

__all__ = ["ENVIRONMENT", "PATHS", "Card", "Choice", "choose", "forced_path"]

ENVIRONMENT = "ENTITYSEG_OPS"
PATHS = ("cubin", "ptx", "nvrtc", "definition")
_PROBE = "forward_float32_32"


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
        kept = cache_folder() / f"kernels-{hashlib.sha256(key).hexdigest()[:32]}.cubin"
        if kept.is_file():
            return f"{target}, NVRTC {version}, kept in {kept}", driver.load(kept.read_bytes())
        if card.major * 10 + card.minor not in compiler.architectures():
            raise _UnavailableError(f"NVRTC {version} does not know {target}")
        cubin = compiler.compile(source, target)
    except (CompilerError, OSError) as error:
        raise _UnavailableError(str(error)) from error
    # The cache only saves time: a read-only home or a full disk must not stop the work.
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(kept) as temporary:
            temporary.write_bytes(cubin)
    return f"{target}, NVRTC {version}", driver.load(cubin)


_LOADERS: dict[str, Callable[[Card, Driver], tuple[str, object]]] = {
    "cubin": _load_cubin,
    "ptx": _load_ptx,
    "nvrtc": _load_nvrtc,
}
