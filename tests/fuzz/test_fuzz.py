"""A minute of fuzzing: every reader gives a right result or the error that it promises.

``python tests/fuzz`` goes on from here for as long as one likes.
"""

import os
import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fuzz_codes
from fuzz_targets import CORPUS, targets

SCALE = 50 if os.environ.get("ENTITYSEG_DEEP") else 1
# Which need more than the package's own libraries.
NEEDS = {
    "arrow": "pyarrow", "parquet": "datasets", "states": "pyarrow", "weights": "torch",
    "yaml": "yaml",
}  # fmt: skip
RUNS = {"arrow": 300, "parquet": 100, "states": 300, "weights": 300, "yaml": 300, "values": 3000}
FINDINGS = sorted(path for path in CORPUS.glob("*/*"))


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Give a target that is ready, made once."""
    ready = {}

    def give(name):
        pytest.importorskip(NEEDS.get(name, "numpy"))
        if name in ("weights", "yaml"):
            pytest.importorskip("torch")
        if name not in ready:
            ready[name] = targets()[name].begin(tmp_path_factory.mktemp(name))
        return ready[name]

    return give


def run(target, data):
    with warnings.catch_warnings():
        # Other libraries warn of what they do not know.
        warnings.simplefilter("ignore")
        return target.run(data)


@pytest.mark.parametrize("name", targets())
def test_whole_files_are_read(begun, name):
    target = begun(name)
    assert run(target, target.contents[0])


@pytest.mark.parametrize("name", targets())
def test_damaged_files(begun, name):
    target = begun(name)
    n = RUNS.get(name, 1000) * SCALE
    refused = 0
    for seed in range(n):
        data = target.one(seed)
        try:
            refused += not run(target, data)
        except Exception as error:
            raise AssertionError(f"run {seed} of {name}") from error
    assert refused > n // 4


def test_codes():
    right, wrong = fuzz_codes.run(0, 200_000 * SCALE)
    assert right > wrong / 4
    assert wrong > right / 4


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_stays_fixed(begun, path):
    run(begun(path.parent.name), path.read_bytes())


def test_the_corpus_is_small():
    assert sum(path.stat().st_size for path in FINDINGS) < 1 << 20
