"""The air for tensors is the air for arrays."""

import numpy as np
import pytest
import torch

from baselines.turbulence import Air, distort
from entityseg_bench import turbulence


@pytest.mark.parametrize("size", [(96, 120), (81, 50), (9, 70)])
def test_tensors_and_arrays_are_seen_alike(size):
    """96 x 120 with its margins needs no further padding; the others differ in it at the border."""
    air = Air(200.0, correlation_angle=3e-4, visibility=1000.0)
    image = np.random.default_rng(0).uniform(size=(*size, 3)).astype(np.float32)
    ours = distort(torch.from_numpy(image).permute(2, 0, 1), air, 5).permute(1, 2, 0).numpy()
    theirs = turbulence.distort(image, air, 5)
    assert np.abs(ours - theirs).max() < (1e-4 if size == (96, 120) else 2e-3)


def test_no_distance_is_the_identity():
    image = torch.rand(3, 20, 30, dtype=torch.float64)
    assert torch.equal(distort(image, Air(0.0)), image)
