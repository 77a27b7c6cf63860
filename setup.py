"""Build the evaluator's Cython kernels; everything else stands in pyproject.toml."""

from Cython.Build import cythonize
from setuptools import Extension, setup

KERNELS = [
    "_codes", "_decode", "_rle", "_events", "_reach", "_sweep", "_cover", "_match", "_resample",
]  # fmt: skip
extensions = [
    Extension(
        f"entity_api.{name}",
        [f"entity_api/{name}.pyx"],
        extra_compile_args=["-O3", "-g0"],
        # The stable ABI: one wheel serves every CPython from 3.11 on.
        define_macros=[("Py_LIMITED_API", "0x030B0000")],
        py_limited_api=True,
    )
    for name in KERNELS
]

setup(
    ext_modules=cythonize(extensions, language_level=3),
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
