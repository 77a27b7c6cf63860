"""The kernels' source, compiled for the CPU once a session."""

import importlib.util
import sys
from pathlib import Path

import pytest

# As in the folder above: without torch there is nothing to test here.
collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]


def _load_emulation():
    path = Path(__file__).with_name("emulation.py")
    spec = importlib.util.spec_from_file_location("emulation", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def emulation(tmp_path_factory):
    """Give the compiled emulation as a library's path, with the class that runs it."""
    module = _load_emulation()
    library = module.compile_kernels(tmp_path_factory.mktemp("emulation"))
    return module, library


@pytest.fixture
def emulator(emulation):
    """Give kernels that run on CPU tensors."""
    module, library = emulation
    return module.Emulator(library)
