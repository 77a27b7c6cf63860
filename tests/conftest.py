"""Fixtures shared by all tests."""

import signal
from pathlib import Path

import pytest

# A shell that starts the tests in the background has Ctrl-C ignored, and the commands that the
# tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Give the folder of the full golden data, which only the developers' machines have."""
    if not SHARED.is_dir():
        pytest.skip(f"the full golden data is not here ({SHARED.name}/ beside the checkout)")
    return SHARED


@pytest.fixture(scope="session")
def data() -> Path:
    """Give the folder of the small golden files that ship with the tests."""
    return Path(__file__).resolve().parent / "data"
