"""Outlines of masks on a coarse grid: the kernel against its definition and the masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from svg_paths import filled

from entity_api import rle
from entityseg_bench.report import plain_outlines
from entityseg_bench.report.outlines import grid_size, outlines_of
from entityseg_bench.report.plain_outlines import straighten

MAPS = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-1, 3)
)


def trace(owner: np.ndarray, n: int, tolerance: float) -> list[str]:
    """Trace the masks whose owners the pixels name, on a grid of all pixels."""
    masks = rle.runs_of([rle.encode(owner == k) for k in range(n)], owner.shape)
    return outlines_of(masks, owner.shape, owner.shape, np.arange(n), tolerance)


@settings(max_examples=60, deadline=None)
@given(MAPS)
def test_an_outline_that_is_not_straightened_is_the_mask(owner):
    paths = trace(owner, 4, 0)
    for k, path in enumerate(paths):
        assert np.array_equal(filled(path, *owner.shape), owner == k)
        assert bool(path) == bool((owner == k).any())


@settings(max_examples=200, deadline=None)
@given(MAPS, st.sampled_from([0, 0.5, 0.8, 1.4, 3.0]))
def test_outlines_are_those_of_the_definition(owner, tolerance):
    assert trace(owner, 4, tolerance) == plain_outlines.trace(owner, 4, tolerance)


def test_long_outlines_are_those_of_the_definition():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:90, :110] + rng.normal(scale=0.6, size=(2, 90, 110))
    owner = (np.hypot(y - 45, x - 50) // 9).astype(np.int32) - 1
    for tolerance in (0, 0.8, 1.5):
        expected = plain_outlines.trace(owner, 9, tolerance)
        assert trace(owner, 9, tolerance) == expected
        assert max(map(len, expected)) > 100


def test_a_grid_that_does_not_fit_its_masks_is_refused():
    with pytest.raises(IndexError, match="no such mask"):
        outlines_of(rle.runs_of([], (4, 6)), (4, 6), (2, 3), np.arange(1))
    with pytest.raises(ValueError, match="another size"):
        outlines_of(rle.runs_of([], (4, 6)), (6, 6), (2, 3), np.arange(0))
    for size in ((1, 20_001), (20_001, 1)):
        with pytest.raises(ValueError, match="too fine"):
            outlines_of(rle.runs_of([], size), size, size, np.arange(0))


def test_a_straightened_outline_stays_near():
    y, x = np.mgrid[:80, :90]
    owner = np.where(np.hypot(y - 40, x - 45) < 30, 0, -1).astype(np.int32)
    (rough,), (fine,) = trace(owner, 1, 2.0), trace(owner, 1, 0)
    assert len(rough) < len(fine) / 4
    changed = filled(rough, 80, 90) != (owner == 0)
    from_circle = np.abs(np.hypot(y - 40, x - 45) - 30)
    assert from_circle[changed].max() < 3


def test_a_line_of_pixels_is_not_straightened_away():
    corners = [(0, 0), (0, 9), (1, 9), (1, 0)]
    assert straighten(corners, 5.0) == corners


def test_masks_are_sampled_at_the_middles_of_cells():
    rng = np.random.default_rng(5)
    whole = [rng.random((37, 53)) < 0.4 for _ in range(3)]
    grid = grid_size(37, 53, 20)
    assert grid == (14, 20)
    rows = ((np.arange(14) + 0.5) * 37 / 14).astype(int)
    columns = ((np.arange(20) + 0.5) * 53 / 20).astype(int)
    expected = np.full(grid, -1)
    for k, mask in enumerate(whole):
        expected[mask[rows][:, columns]] = k
    masks = [rle.encode(mask) for mask in whole]
    assert np.array_equal(plain_outlines.sample(masks, grid), expected)
    order = np.array([2, 0, 1])
    for chosen in (np.arange(3), order, order[:2]):
        owner = plain_outlines.sample([masks[k] for k in chosen], grid)
        owner = np.where(owner >= 0, chosen[owner], -1).astype(np.int32)
        found = outlines_of(rle.runs_of(masks), (37, 53), grid, chosen, 0.8)
        assert found == plain_outlines.trace(owner, 3, 0.8)
    assert outlines_of(rle.runs_of([], (4, 6)), (4, 6), (2, 3), np.arange(0)) == []
    assert grid_size(4, 6, 100) == (4, 6)
