"""The reference models need torch, an extra: without it their tests are left out."""

import importlib.util

import pytest

HAS_TORCH = importlib.util.find_spec("torch") is not None
collect_ignore_glob = [] if HAS_TORCH else ["test_*.py"]


@pytest.fixture(scope="module")
def one_thread():
    """Run on one thread: small models gain nothing from more, and results repeat to the bit."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytest_report_header() -> str | None:
    """Say so where the tests of the reference models do not run."""
    return None if HAS_TORCH else "torch is not installed: tests/baselines are not run"
