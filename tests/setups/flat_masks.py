"""Masks as rows of pixels, and their run-length codes said in plain Python."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from plain_codes import write_counts

from entity_api import _rle

SETTINGS = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def counts_of(flat):
    """Return run lengths of background and foreground in turn."""
    counts, value = [0], False
    for pixel in flat:
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


def bounds_of(flat):
    """Return start, end of each foreground run in turn."""
    steps = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flat, int), [0]])))
    return steps.tolist()


def runs_of(masks, height=0):
    """Make Runs of flat masks (N, P), with their rows if the height is given."""
    counts = [write_counts(counts_of(flat)) for flat in masks.tolist()]
    return _rle.Runs(counts, masks.shape[1], None, height)


@st.composite
def flat_masks(draw, least=0, most=8, pixels=None):
    """Draw flat masks (N, P) of long and short runs, some empty, some full."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pixels = draw(st.integers(1, 200)) if pixels is None else pixels
    n = draw(st.integers(least, most))
    switch = rng.choice([0.0, 0.03, 0.2, 0.6], (n, 1))
    flips = np.cumsum(rng.random((n, pixels)) < switch, axis=1)
    return (flips + rng.integers(0, 2, (n, 1))) % 2 == 1
