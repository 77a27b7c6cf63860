"""Boundary regions against a literal, an iterated erosion and the paper's own recipe."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from entity_api import boundary, rle


def eroded(mask: np.ndarray, times: int) -> np.ndarray:
    """Erode by a 3 x 3 square again and again, after the paper's frame of one background pixel."""
    for _ in range(times):
        framed = np.pad(mask, 1)
        height, width = mask.shape
        mask = np.all(
            [framed[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0
        )
    return mask


def test_border_of_a_square_is_its_frame():
    mask = np.zeros((6, 7), bool)
    mask[1:6, 1:6] = True
    drawn = rle.decode(boundary.inner_border(rle.encode(mask), 1)).astype(int)
    assert drawn.tolist() == [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 0],
        [0, 1, 0, 0, 0, 1, 0],
        [0, 1, 0, 0, 0, 1, 0],
        [0, 1, 0, 0, 0, 1, 0],
        [0, 1, 1, 1, 1, 1, 0],
    ]


def test_the_edge_of_the_image_is_an_outline():
    full = rle.encode(np.ones((5, 4), bool))
    drawn = rle.decode(boundary.inner_border(full, 1)).astype(int)
    assert drawn.tolist() == [[1, 1, 1, 1]] + 3 * [[1, 0, 0, 1]] + [[1, 1, 1, 1]]


@settings(max_examples=200, deadline=None)
@given(
    mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)),
    blocks=st.integers(1, 5),
    reach=st.integers(1, 6),
)
def test_equals_iterated_erosion(mask, blocks, reach):
    mask = np.kron(mask, np.ones((blocks, blocks), bool))
    expected = mask & ~eroded(mask, reach)
    assert np.array_equal(rle.decode(boundary.inner_border(rle.encode(mask), reach)), expected)


@pytest.mark.parametrize(("size", "reach"), [((1, 1), 1), ((480, 640), 16), ((30, 40), 1)])
def test_reach_is_two_percent_of_the_diagonal(size, reach):
    assert boundary.reach_of(*size) == reach


def test_empty_masks_have_no_boundary():
    empty = rle.encode(np.zeros((5, 6), bool))
    assert rle.area(boundary.boundary(empty)) == 0
    assert boundary.boundary_iou([empty], [empty]).tolist() == [[0.0]]


def test_boundary_iou_of_shifted_squares():
    masks = np.zeros((2, 20, 20), bool)
    masks[0, 2:12, 2:12] = True
    masks[1, 2:12, 3:13] = True
    first, second = (rle.encode(mask) for mask in masks)
    # Frames of 36 pixels; the shift by one column leaves 2 x 9 in the top and bottom rows, and
    # columns 2, 11 of one meet columns 3, 12 of the other only there.
    assert boundary.boundary_iou([first], [second], ratio=0.01) == pytest.approx(18 / 54)


def test_a_crowd_is_measured_by_the_prediction():
    masks = np.zeros((2, 20, 20), bool)
    masks[0, 2:8, 2:8] = True
    masks[1, 2:18, 2:18] = True
    dt, gt = (rle.encode(mask) for mask in masks)
    plain = boundary.boundary_iou([dt], [gt], ratio=0.01)
    crowd = boundary.boundary_iou([dt], [gt], iscrowd=[True], ratio=0.01)
    # The dt frame has 20 pixels, the gt frame 60; they share the top and left sides, 11 pixels.
    assert plain == pytest.approx(11 / 69)
    assert crowd == pytest.approx(11 / 20)


def test_real_annotations(shared):
    import msgspec

    content = msgspec.json.decode(
        (shared / "realdata/panoptic/panoptic_coco_detection_format.json").read_bytes()
    )
    for annotation in content["annotations"][:12]:
        segmentation = annotation["segmentation"]
        mask = rle.decode(segmentation)
        reach = boundary.reach_of(*mask.shape)
        expected = mask & ~eroded(mask, reach)
        assert np.array_equal(rle.decode(boundary.boundary(segmentation)), expected)


def test_rejects_a_border_of_no_width():
    with pytest.raises(ValueError, match="at least 1 pixel"):
        boundary.inner_border(rle.encode(np.ones((3, 3), bool)), 0)


def test_runs_are_cut_at_the_ends_of_columns():
    mask = np.array([[0, 1, 1], [1, 1, 0]], bool)
    # Column by column: 0 1 | 1 1 | 1 0, one run of four pixels over three columns.
    assert boundary.column_runs(rle.encode(mask)).tolist() == [[1, 2], [2, 4], [4, 5]]
    assert boundary.column_runs(rle.encode(np.zeros((2, 3), bool))).shape == (0, 2)
