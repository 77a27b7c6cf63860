"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

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
