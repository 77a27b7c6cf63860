"""Build the kernels and the long description; everything else stands in pyproject.toml."""

import re
import sysconfig
import tomllib
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
KERNELS = [
    "_codes", "_decode", "_rle", "_events", "_pairs", "_near", "_sweep", "_cover", "_match",
    "_images", "_records", "_resample", "_borders",
]  # fmt: skip
MODULES = [
    *(f"entity_api.{name}" for name in KERNELS),
    "entityseg_bench.report._outlines",
    "baselines.ops._deformable",
]
# CPython without the global lock has no stable ABI: each of its versions has a wheel of its own.
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
# Elsewhere one wheel serves every CPython from 3.11 on.
STABLE_ABI = [] if FREE_THREADED else [("Py_LIMITED_API", "0x030B0000")]
FLAGS = {"msvc": ["/O2"]}
# Whether an IoU meets a threshold hangs on its last bit: no product is added without being rounded,
# as ARM, POWER and IBM Z can, and nothing is held in the 80-bit registers of 32-bit x86.
X86_32 = re.match("i[3-6]86-", sysconfig.get_config_var("HOST_GNU_TYPE") or "")
ROUNDED = ["-ffp-contract=off", *(["-msse2", "-mfpmath=sse"] if X86_32 else [])]
FLAGS_OF_OTHERS = ["-O3", "-g0", *ROUNDED]


class BuildKernels(build_ext):
    """Compile with the flags that the platform's compiler knows."""

    def build_extensions(self) -> None:
        """Set the flags, now that the compiler is known."""
        for extension in self.extensions:
            extension.extra_compile_args = FLAGS.get(self.compiler.compiler_type, FLAGS_OF_OTHERS)
        super().build_extensions()


def version() -> str:
    """Read the version from the one place where it stands."""
    text = (ROOT / "entityseg_bench" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]


def long_description() -> str:
    """Give README with whole addresses in place of paths, which a package index cannot follow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source, tag = project["urls"]["Source"], f"v{version()}"

    def address(link: re.Match[str]) -> str:
        kind = "raw" if link["picture"] else "blob"
        return f"{link['picture']}[{link['text']}]({source}/{kind}/{tag}/{link['path']})"

    relative = r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?!\w+:|#)(?P<path>[^)]+)\)"
    return re.sub(relative, address, (ROOT / "README.md").read_text(encoding="utf-8"))


setup(
    version=version(),
    long_description=long_description(),
    long_description_content_type="text/markdown",
    cmdclass={"build_ext": BuildKernels},
    ext_modules=cythonize(
        [
            Extension(
                name,
                [f"{name.replace('.', '/')}.pyx"],
                define_macros=STABLE_ABI,
                py_limited_api=not FREE_THREADED,
            )
            for name in MODULES
        ],
        language_level=3,
        # The kernels hold without the lock: no module of theirs keeps anything that changes.
        compiler_directives={"freethreading_compatible": True},
    ),
    options={} if FREE_THREADED else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
