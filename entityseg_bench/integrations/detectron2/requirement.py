"""Whether detectron2 is there, and how to get it."""

from importlib.util import find_spec

__all__ = ["check_installed"]

# What the tests of the bridge were run with is said in docs/detectron2.md.
MISSING = """\
detectron2 is not installed, and only those who work in it need it. It is not on PyPI; with PyTorch
and the torchvision that belongs to it in place, it is built from its source, without a GPU too:
    pip install torch torchvision "setuptools<81" wheel ninja
    git clone https://github.com/facebookresearch/detectron2
    pip install --no-build-isolation ./detectron2
See docs/detectron2.md. Scoring, reading the original's YAML files (baselines.original) and the
models themselves do not need it."""


def check_installed() -> None:
    """Raise one clear error where detectron2 is missing.

    Raises:
        ImportError: With the commands that install it.
    """
    if find_spec("detectron2") is None:
        raise ImportError(MISSING, name="detectron2")
