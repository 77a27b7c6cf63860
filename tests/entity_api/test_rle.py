"""Masks as run-length codes, against dense masks and pycocotools."""

import copy

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from entity_api import RLEError, rle

SETTINGS = settings(max_examples=120, deadline=None, derandomize=True, database=None)

# Two columns of three pixels: the lower two of the first, the upper two of the second.
MASK = np.array([[0, 1], [1, 1], [1, 0]], bool)
RLE = {"size": [3, 2], "counts": "141"}


@st.composite
def masks(draw, n=1):
    """Draw n masks of one size, (n, H, W) bool: noise, blobs, empty, full."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    density = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0], (n, 1, 1))
    out = rng.random((n, height, width)) < density
    y, x = np.sort(rng.integers(0, height + 1, 2)), np.sort(rng.integers(0, width + 1, 2))
    out[0, y[0] : y[1], x[0] : x[1]] = True
    return out


def coco_rle(mask):
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(code["size"]), "counts": code["counts"].decode()}


def test_a_mask_a_reader_can_check():
    assert rle.encode(MASK) == RLE
    assert rle.decode(RLE).tolist() == MASK.tolist()
    assert rle.area(RLE) == 4
    assert rle.bbox(RLE) == [0.0, 0.0, 2.0, 3.0]


def test_counts_as_text_bytes_list_and_array():
    for counts in ("141", b"141", [1, 4, 1], (1, 4, 1), np.array([1, 4, 1], np.uint16)):
        assert rle.area({"size": (3, 2), "counts": counts}) == 4
        assert rle.to_rle({"size": [3, 2], "counts": counts}, 3, 2) == RLE


@SETTINGS
@given(masks())
def test_encode_equals_pycocotools(drawn):
    mask = drawn[0]
    expected = coco_rle(mask)
    for dtype in (bool, np.uint8, np.int64):
        for layout in (np.ascontiguousarray, np.asfortranarray):
            assert rle.encode(layout(mask.astype(dtype))) == expected
    assert rle.encode(mask[::-1, ::-1]) == coco_rle(mask[::-1, ::-1])


@SETTINGS
@given(masks())
def test_round_trip_area_and_box(drawn):
    mask = drawn[0]
    code = rle.encode(mask)
    decoded = rle.decode(code)
    assert decoded.dtype == bool
    np.testing.assert_array_equal(decoded, mask)
    assert rle.area(code) == mask.sum()
    assert rle.bbox(code) == coco_mask.toBbox(coco_rle(mask)).tolist()


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_a_mask_of_no_pixels(shape):
    code = rle.encode(np.zeros(shape, bool))
    assert rle.decode(code).shape == shape
    assert rle.area(code) == 0
    assert rle.bbox(code) == [0.0] * 4


def test_every_value_but_zero_is_foreground():
    values = np.array([[0, -1, 256, 1]])
    assert rle.decode(rle.encode(values)).tolist() == [[False, True, True, True]]


def test_a_large_image():
    """Positions beyond 2**31 pixels, runs of more than 2**31."""
    size = [65535, 65537]
    code = {"size": size, "counts": [2**31 + 5, 10, 2**32 - 1 - 2**31 - 15]}
    assert rle.area(code) == 10
    column, row = divmod(2**31 + 5, 65535)
    assert rle.bbox(code) == [float(column), float(row), 1.0, 10.0]
    full = {"size": size, "counts": [0, 2**32 - 1]}
    assert rle.area(full) == 2**32 - 1
    assert rle.intersections([code], [full, code]).tolist() == [[10, 10]]
    assert rle.area(rle.merge([full, code])) == 2**32 - 1


@SETTINGS
@given(masks(n=4))
def test_merge(drawn):
    codes = [rle.encode(mask) for mask in drawn]
    np.testing.assert_array_equal(rle.decode(rle.merge(codes)), drawn.any(axis=0))
    both = rle.merge(codes, intersect=True)
    np.testing.assert_array_equal(rle.decode(both), drawn.all(axis=0))
    assert both == coco_rle(drawn.all(axis=0))
    assert rle.merge(codes[:1]) == codes[0]


@SETTINGS
@given(masks(n=7), st.lists(st.booleans(), min_size=4, max_size=4))
def test_iou_equals_pycocotools(drawn, crowd):
    codes = [rle.encode(mask) for mask in drawn]
    dt, gt = codes[:3], codes[3:]
    theirs = [coco_rle(mask) for mask in drawn]
    expected = coco_mask.iou(theirs[:3], theirs[3:], [int(flag) for flag in crowd])
    np.testing.assert_array_equal(rle.iou(dt, gt, crowd), expected)
    flat = drawn.reshape(7, -1).astype(int)
    assert rle.intersections(dt, gt).tolist() == (flat[:3] @ flat[3:].T).tolist()


def test_iou_with_nothing():
    assert rle.iou([], [RLE]).shape == rle.intersections([], [RLE]).shape == (0, 1)
    assert rle.iou([RLE], []).shape == rle.intersections([RLE], []).shape == (1, 0)
    empty = {"size": [3, 2], "counts": "6"}
    assert rle.iou([empty], [empty]).tolist() == [[0.0]]


@SETTINGS
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_polygons_equal_pycocotools(seed, n):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 40, 2).tolist()
    polygons = [
        (rng.random((rng.integers(3, 9), 2)) * [1.5 * width, 1.5 * height] - 3).reshape(-1).tolist()
        for _ in range(n)
    ]
    ours = rle.from_polygons(polygons, height, width)
    theirs = coco_mask.merge(coco_mask.frPyObjects(copy.deepcopy(polygons), height, width))
    assert ours == {"size": [height, width], "counts": theirs["counts"].decode()}
    assert rle.to_rle(polygons, height, width) == ours


@SETTINGS
@given(masks(n=3), st.sampled_from([np.uint8, np.int8, np.uint16, np.int32, np.int64, np.uint64]))
@example(np.zeros((3, 1, 1), bool), np.uint8)
def test_id_maps(drawn, dtype):
    id_map = (drawn * np.array([1, 40, 80])[:, None, None]).sum(axis=0).astype(dtype)
    ids, codes = rle.encode_id_map(id_map)
    assert ids.tolist() == np.unique(id_map).tolist()
    for segment_id, code in zip(ids, codes, strict=True):
        assert code == coco_rle(id_map == segment_id)
    painted = rle.paint_id_map(codes, ids, *id_map.shape, background=-1)
    np.testing.assert_array_equal(painted, id_map)


def test_ids_of_a_map_beyond_255_and_below_0():
    id_map = np.array([[-(2**31), 300], [2**31 - 1, 300]])
    ids, codes = rle.encode_id_map(id_map)
    assert ids.tolist() == [-(2**31), 300, 2**31 - 1]
    assert rle.paint_id_map(codes, ids, 2, 2).tolist() == id_map.tolist()
    assert rle.encode_id_map(np.zeros((0, 4), int))[1] == []


def test_paint_lets_the_later_mask_win():
    whole = {"size": [3, 2], "counts": "06"}
    assert rle.paint_id_map([whole, RLE], [1, 2], 3, 2).tolist() == [[1, 2], [2, 2], [2, 1]]
    assert rle.paint_id_map([RLE, whole], [1, 2], 3, 2).tolist() == [[2, 2]] * 3
    assert rle.paint_id_map([], [], 1, 2, background=7).tolist() == [[7, 7]]


def test_arguments_stay_as_they_were():
    code = {"size": [3, 2], "counts": [1, 4, 1]}
    polygons = [[0, 0, 2, 0, 2, 2]]
    before = copy.deepcopy((code, polygons, MASK))
    rle.to_rle(code, 3, 2)
    rle.merge([code, code])
    rle.from_polygons(polygons, 3, 2)
    rle.encode(MASK)
    assert (code, polygons) == before[:2]
    np.testing.assert_array_equal(MASK, before[2])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("14 ", "character that is no run-length code at position 2"),
        ("14q", "character that is no run-length code at position 2"),
        ("14\u20ac", "character that is no run-length code at position 2"),
        ("14\ud800", "character that is no run-length code at position 2"),
        ('"141"', "character that is no run-length code at position 0"),
        ('"141', "character that is no run-length code at position 0"),
        ("14Q", "ends in the middle of a number"),
        ("ooooooo0", "more than 32 bits"),
        ("O", "negative length at position 1"),
        ("142", "more than the 6 pixels"),
        ("14", "covers 5 of the 6 pixels"),
        ("", "covers 0 of the 6 pixels"),
        ([1, 4], "covers 5 of the 6 pixels"),
        ([1, 4, 1, 2**31], "more than the 6 pixels"),
        ([1, 4, 1, 2**32 - 1], "more than the 6 pixels"),
        ([1, 4, 2**32], r"must lie in 0..2\*\*32 - 1"),
        ([1, 4, 2**32 + 1], r"must lie in 0..2\*\*32 - 1"),
        ([7, -1], r"must lie in 0..2\*\*32 - 1"),
        ([1, 4, 2**80], "flat list of whole numbers"),
        ([1, 4.0, 1], "flat list of whole numbers"),
        ([1, None, 1], "flat list of whole numbers"),
        ([1, "4", 1], "flat list of whole numbers"),
        ([[1], [4, 1]], "flat list of whole numbers"),
        ([[1, 4, 1]], "flat list of whole numbers"),
        ([True, True], "flat list of whole numbers"),
        (None, "counts of type NoneType"),
        (141, "counts of type int"),
    ],
    ids=repr,
)
def test_broken_counts(counts, message):
    code = {"size": [3, 2], "counts": counts}
    for use in (rle.decode, rle.area, rle.bbox, lambda c: rle.to_rle(c, 3, 2)):
        with pytest.raises(RLEError, match=message):
            use(code)
    with pytest.raises(RLEError, match=message):
        rle.iou([RLE], [code])


@pytest.mark.parametrize(
    "code",
    [
        None, 3, "141", [], {"size": [3, 2]}, {"counts": "141"}, {"size": [6], "counts": "6"},
        {"size": [3, 2, 1], "counts": "6"}, {"size": 6, "counts": "6"},
        {"size": [3.5, 2], "counts": "6"}, {"size": ["3", "2"], "counts": "6"},
        {"size": [-3, -2], "counts": "6"}, {"size": [True, 6], "counts": "6"},
        {"size": [None, 6], "counts": "6"}, {"size": "32", "counts": "6"},
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_rle(code):
    for use in (rle.area, rle.decode):
        with pytest.raises(RLEError):
            use(code)


def test_sizes_that_differ():
    other = {"size": [2, 3], "counts": "141"}
    for use in (lambda: rle.iou([other], [RLE]), lambda: rle.merge([RLE, other])):
        with pytest.raises(RLEError, match=r"size \[2, 3\], not \[3, 2\]"):
            use()
    with pytest.raises(
        RLEError, match=r"size \[2, 3\] is not the image's \[height, width\] \[3, 2\]"
    ):
        rle.to_rle(other, 3, 2)


@pytest.mark.parametrize("size", [[2**16, 2**16], [2**31, 2**31], [2**40, 2**40], [10**30, 1]])
def test_images_that_are_too_large(size):
    with pytest.raises(RLEError, match="too large"):
        rle.area({"size": size, "counts": "6"})


@pytest.mark.parametrize(
    "polygons",
    [
        [], [[]], [[0, 0, 1, 1]], [[0, 0, 1, 1, 2]], [[0, 0, 1, 1, float("nan"), 2]],
        [[0, 0, 1, 1, float("inf"), 2]], [[0, 0, 1, 1, 1e9, 2]], [[0, 0, 4, 0, 4, 4], [1, 1]],
        [[0, 0, "a", 1, 2, 2]], [3, 4, 5, 6, 7, 8], [None], [[0, 0, None, 1, 2, 2]],
    ],
    ids=repr,
)  # fmt: skip
def test_broken_polygons(polygons):
    with pytest.raises(RLEError):
        rle.from_polygons(polygons, 4, 5)


def test_polygons_on_an_image_that_is_too_large():
    with pytest.raises(RLEError, match="too large"):
        rle.from_polygons([[0, 0, 4, 0, 4, 4]], 2**16, 2**16)


def test_polygons_that_would_take_all_memory():
    zigzag = [coordinate for k in range(1000) for coordinate in (39999 * (k % 2), k)]
    with pytest.raises(RLEError, match=r"outline of .* pixels is too long"):
        rle.from_polygons([zigzag], 3000, 4000)
    # Fifths of a pixel beyond 32 bits.
    with pytest.raises(RLEError, match="reaches further"):
        rle.from_polygons([[0, 2e9, 1, 2e9, 0, 2e9 + 1]], 2**31, 1)


def test_other_errors():
    with pytest.raises(RLEError, match="no mask to merge"):
        rle.merge([])
    with pytest.raises(RLEError, match="two axes"):
        rle.encode(np.zeros((2, 3, 1), bool))
    for id_map in (np.zeros((2, 3)), np.zeros(4, int), np.array([[2**31]]), np.array([[-(2**40)]])):
        with pytest.raises(RLEError):
            rle.encode_id_map(id_map)


def test_an_error_knows_the_mask_of_its_batch():
    with pytest.raises(RLEError) as caught:
        rle.iou([RLE, RLE, {"size": [3, 2], "counts": "14"}], [RLE])
    assert caught.value.idx == 2
