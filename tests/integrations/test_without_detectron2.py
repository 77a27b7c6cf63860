"""What holds where detectron2 is not installed, which is nearly everywhere."""

import subprocess
import sys

import pytest

# A finder that hides detectron2, put before all others.
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "detectron2" or name.startswith("detectron2."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "detectron2" else real(name, *rest)
"""


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def bridges():
    """Name the packages, that of the models only where there is torch."""
    import importlib.util

    names = ["entityseg_bench.integrations.detectron2"]
    if importlib.util.find_spec("torch"):
        names.append("baselines.integrations.detectron2")
    return names


@pytest.mark.parametrize("name", bridges())
def test_one_clear_error_with_the_commands(name):
    done = run(f"{HIDE}\nimport {name}")
    assert done.returncode == 1
    last = done.stderr[done.stderr.index("ImportError: ") :]
    assert last.startswith("ImportError: detectron2 is not installed")
    assert "git clone https://github.com/facebookresearch/detectron2" in last
    assert "pip install --no-build-isolation ./detectron2" in last


def test_nothing_else_asks_for_it():
    pytest.importorskip("torch")
    code = """
import baselines, baselines.original, baselines.predict, baselines.train
import entityseg_bench, entityseg_bench.cli, entityseg_bench.integrations.dataset_names
from entityseg_bench.commands import evaluate
"""
    done = run(f"{HIDE}{code}\nassert not any(n.startswith('detectron2') for n in sys.modules)")
    assert done.returncode == 0, done.stderr
