"""The reference models need torch, an extra: without it their tests are left out."""

import importlib.util

HAS_TORCH = importlib.util.find_spec("torch") is not None
collect_ignore_glob = [] if HAS_TORCH else ["test_*.py"]


def pytest_report_header() -> str | None:
    """Say so where the tests of the reference models do not run."""
    return None if HAS_TORCH else "torch is not installed: tests/baselines are not run"
