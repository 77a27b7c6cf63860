"""Fixtures shared by all tests."""

import os
import signal
import sys
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


@pytest.fixture(scope="module")
def cluster():
    """Start a cluster of two nodes of one core each.

    It ends with its module: Ray tells of lost nodes on standard error, which other tests look at.
    """
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra ray)")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    # A worker imports a test file by its name, and what it imports from tests/setups.
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
    quiet = {"log_to_driver": False, "configure_logging": False}
    ray.init(address=cluster.address, runtime_env=environment, **quiet)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def on_ray(cluster):
    """Give the engine of the cluster."""
    from entityseg_bench.scale.ray_engine import OnRay

    return OnRay()
