"""Run-length codes from tensors against those from arrays, and against reading every pixel."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from baselines.modeling.postprocess import SegmentMap
from baselines.modeling.runs import blank_canvas, encode_map, encode_masks
from entity_api import rle

SIDES = st.integers(1, 9)


def lengths_of(mask: np.ndarray) -> list[int]:
    """Count runs of background and foreground in turn, pixel by pixel, column by column."""
    lengths = [len(list(group)) for _, group in itertools.groupby(mask.T.ravel())]
    return [0, *lengths] if mask[0, 0] else lengths


@settings(deadline=None)
@given(st.tuples(SIDES, SIDES).flatmap(lambda s: arrays(np.int32, s, elements=st.integers(0, 3))))
def test_maps(id_map):
    ids, masks = encode_map(torch.from_numpy(id_map))
    want_ids, want = rle.encode_id_map(id_map)
    assert ids.tolist() == want_ids.tolist() == np.unique(id_map).tolist()
    assert masks == want
    for number, mask in zip(ids, masks, strict=True):
        plain = {"size": mask["size"], "counts": lengths_of(id_map == number)}
        assert mask == rle.to_rle(rle.merge([plain]), *id_map.shape)


@settings(deadline=None)
@given(st.tuples(st.integers(0, 3), SIDES, SIDES).flatmap(lambda s: arrays(bool, s)))
def test_masks(masks):
    found = encode_masks(torch.from_numpy(masks))
    assert found == [rle.encode(mask) for mask in masks]


def test_literals():
    masks = torch.tensor([[[0, 1], [0, 1]], [[1, 1], [1, 1]], [[0, 0], [0, 0]], [[1, 0], [0, 1]]])
    counts = [[2, 2], [0, 4], [4], [0, 1, 2, 1]]
    for mask, lengths in zip(encode_masks(masks.bool()), counts, strict=True):
        assert mask == rle.merge([{"size": [2, 2], "counts": lengths}])


def test_a_canvas_lies_column_by_column():
    canvas = blank_canvas((2, 3), torch.int32, torch.device("cpu"), count=4)
    assert canvas.shape == (4, 2, 3)
    assert canvas.stride() == (6, 1, 2)
    # What is drawn on it is coded without a copy of the map.
    assert canvas[0].T.flatten().data_ptr() == canvas.data_ptr()


def test_segments_without_a_pixel_have_no_mask():
    id_map = torch.tensor([[0, 3], [1, 1]], dtype=torch.int32)
    segments = SegmentMap(id_map, np.zeros(3), np.zeros(3, np.int64))
    idxs, masks = segments.encode()
    assert idxs.tolist() == [0, 2]
    assert [rle.decode(mask).tolist() for mask in masks] == [
        [[False, False], [True, True]],
        [[False, True], [False, False]],
    ]


@pytest.mark.parametrize(
    ("starts", "values", "reason"),
    [
        ([], [], "are no runs"),
        ([0, 1], [1], "are no runs"),
        ([1], [1], "ascend from 0"),
        ([0, 3, 2], [1, 2, 1], "ascend from 0"),
        ([0, 6], [1, 2], "end below 6"),
        ([0, 2], [1, 1], "one run"),
    ],
)
def test_what_are_no_runs_is_refused(starts, values, reason):
    with pytest.raises(rle.RLEError, match=reason):
        rle.encode_runs(np.array(starts, int), np.array(values, int), 2, 3)
