"""The kernels of run-length codes against what they compute, said in plain Python."""

import msgspec
import numpy as np
import pytest
from flat_masks import SETTINGS, bounds_of, counts_of, flat_masks, runs_of, write_counts
from hypothesis import example, given
from hypothesis import strategies as st

from entity_api import _codes, _rle
from entityseg_bench.formats.coco import masks as coco_masks


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ([], b""),
        ([6], b"6"),
        ([0, 6], b"06"),
        ([2, 3, 1], b"231"),
        ([15], b"?"),
        ([16], b"`0"),
        ([2, 3, 1, 4], b"2311"),
        ([5, 9, 5, 2, 1], b"595IL"),
        ([2**32 - 1], b"oooooo3"),
    ],
)
def test_literal_codes(counts, text):
    assert write_counts(counts) == text
    assert _rle.compress_counts(np.array(counts, np.int64)) == text


@SETTINGS
@given(st.lists(st.integers(0, 2**32 - 1), max_size=30))
def test_compress_counts(counts):
    assert _rle.compress_counts(np.array(counts, np.int64)) == write_counts(counts)


@SETTINGS
@given(flat_masks(least=1, most=1))
def test_compress(masks):
    """Bounds become counts; a run that begins where one ends, or is empty, vanishes."""
    bounds = bounds_of(masks[0])
    expected = write_counts(counts_of(masks[0]))
    assert _rle.compress(np.array(bounds, np.uint32), masks.shape[1]) == expected
    split = []
    for start, end in zip(bounds[::2], bounds[1::2], strict=True):
        middle = (start + end) // 2
        split += [start, middle, middle, middle, middle, end]
    assert _rle.compress(np.array(split, np.uint32), masks.shape[1]) == expected


@SETTINGS
@given(flat_masks())
def test_runs(masks):
    runs = runs_of(masks)
    assert (runs.n, runs.pixels) == (len(masks), masks.shape[1])
    assert runs.areas().tolist() == masks.sum(axis=1).tolist()
    for idx, flat in enumerate(masks):
        assert runs.bounds_of(idx).tolist() == bounds_of(flat)


def rows_of(flat, height):
    """Return the rows of a mask; all where a run goes on in the next column."""
    columns = flat.reshape(-1, height)
    if (columns[:-1, -1] & columns[1:, 0]).any():
        return [0, height]
    rows = np.flatnonzero(columns.any(axis=0))
    return [rows[0], rows[-1] + 1] if len(rows) else [height, 0]


@SETTINGS
@given(flat_masks(), st.sampled_from([1, 2, 7, 50, 300]))
@example(np.array([[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]], bool), 3)
def test_rows_of_masks(masks, height):
    masks = np.pad(masks, [(0, 0), (0, -masks.shape[1] % height)])
    assert runs_of(masks).row_ranges() is None
    found = runs_of(masks, height).row_ranges()
    assert found.tolist() == [rows_of(flat, height) for flat in masks]


@SETTINGS
@given(flat_masks(least=1), st.data())
def test_runs_of_some_rows(masks, data):
    rows = data.draw(st.lists(st.integers(0, len(masks) - 1)))
    texts = [write_counts(counts_of(flat)) for flat in masks.tolist()]
    runs = _rle.Runs(texts, masks.shape[1], np.array(rows, np.int64))
    assert runs.areas().tolist() == masks[rows].sum(axis=1).tolist()


def test_runs_take_every_kind_of_text():
    array = np.frombuffer(b"231", np.uint8)
    texts = [b"231", "231", bytearray(b"231"), memoryview(b"231"), b'"231"', array]
    runs = _rle.Runs(texts, 6)
    assert runs.areas().tolist() == [3] * len(texts)
    codes = _codes.Codes([*texts, "\ud800"])
    assert [codes[idx] for idx in range(len(codes))] == [
        *[b"231"] * 4, b'"231"', b"231", "\ud800".encode("utf-8", "surrogatepass"),
    ]  # fmt: skip
    with pytest.raises(IndexError):
        codes[len(codes)]
    with pytest.raises(IndexError):
        _rle.Runs(codes, 6, np.array([len(codes)], np.int64))
    # In a JSON literal the one character that JSON escapes stands doubled; it codes 32 + 12.
    counts = [12 + 32 * 3]
    assert write_counts(counts) == b"\\3"
    assert _rle.Runs([b'"\\\\3"', b"\\3"], counts[0]).areas().tolist() == [0, 0]


def test_runs_keep_empty_runs_where_the_counts_have_them():
    runs = _rle.Runs([write_counts([0, 2, 0, 3, 1, 0, 0])], 6)
    assert runs.bounds_of(0).tolist() == [0, 2, 2, 5, 6, 6]
    assert runs.areas().tolist() == [5]


def parse(text):
    """Read a segmentation as `coco_masks` does."""
    found = coco_masks.SEGMENTATION.decode(text)
    return None if isinstance(found, list) else found


def test_segmentations_are_split():
    """Of two images by turns: as one writer has it, as another, with lists, and as polygons."""
    texts = [
        b'{"size": [2, 3], "counts": "231"}',
        b'{"size":[7,8],"counts":"h1"}',
        b'{"size": [2, 3], "counts": "6"}',
        b'{"counts":"h1","size":[7,8]}',
        b'{"size": [2, 3], "counts": ""}',
        b'{"counts":"","size":[7,8]}',
        b'{"size": [2, 3], "counts": [6]}',
        b'[[1, 2, 3, 4, 5, 6]]',
        b'{"size": [3, 2], "counts": "231"}',
        b'{"size": [3, 2], "counts": "2", "size": [2, 3]}',
        b'{"size": [2, 3], "counts": "231"}',
    ]  # fmt: skip
    slots = np.array([0, 1] * 3 + [0] * 5, np.int64)
    raws = [msgspec.Raw(text) for text in texts]
    codes, sizes, odd = _codes.split_segmentations(raws, slots, parse)
    assert odd == [6, 7]
    assert [codes[idx] for idx in range(len(codes))] == [
        b'"231"', b'"h1"', b'"6"', b'"h1"', b'""', b'""', b"", b"", b'"231"', b'"2"', b'"231"',
    ]  # fmt: skip
    assert sizes.tolist() == [
        [2, 3], [7, 8], [2, 3], [7, 8], [2, 3], [7, 8], [2, 3], [-1, -1], [3, 2], [2, 3], [2, 3],
    ]  # fmt: skip


def test_masks_written_alike_are_parsed_once():
    calls = []
    texts = [b'{"size": [2, 3], "counts": "%d"}' % n for n in range(9)]
    raws, slots = [msgspec.Raw(text) for text in texts], np.zeros(9, np.int64)
    codes, _, _ = _codes.split_segmentations(raws, slots, lambda raw: calls.append(1) or parse(raw))
    assert [codes[idx] for idx in range(9)] == [b'"%d"' % n for n in range(9)]
    assert len(calls) == 1


def test_a_broken_segmentation_is_an_error():
    with pytest.raises(msgspec.ValidationError, match="size"):
        _codes.split_segmentations([msgspec.Raw(b'{"counts": ""}')], np.zeros(1, np.int64), parse)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
@pytest.mark.parametrize("layout", ["C", "F", "strided"])
@SETTINGS
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(0, 0), (0, 4), (5, 0), (1, 1), (7, 70), (70, 7), (9, 33), (1, 300)]),
    st.sampled_from([1, 2, 200]),
)
def test_map_runs(dtype, layout, seed, shape, n_values):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, n_values, shape).repeat(rng.integers(1, 3), axis=0).astype(dtype)
    if dtype == np.int32:
        values = values - 5 * (values % 3)
    laid = {"C": values, "F": np.asfortranarray(values), "strided": np.empty((9, 9), dtype)}[layout]
    if layout == "strided":
        laid = np.repeat(np.repeat(values, 2, axis=0), 3, axis=1)[::2, ::3]
    found, starts = _rle.map_runs(laid)
    flat = values.T.reshape(-1).tolist()
    expected = [i for i in range(len(flat)) if i == 0 or flat[i] != flat[i - 1]]
    assert starts.tolist() == expected
    assert found.tolist() == [flat[i] for i in expected]


def test_map_runs_that_outgrow_their_first_room():
    values = (np.arange(3000 * 5).reshape(5, 3000) % 2).astype(np.uint8)
    found, starts = _rle.map_runs(values)
    flat = values.T.reshape(-1)
    np.testing.assert_array_equal(starts, np.flatnonzero(np.diff(flat, prepend=9)))
    np.testing.assert_array_equal(found, flat[starts])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
@SETTINGS
@given(flat_masks())
def test_paint(dtype, masks):
    values = np.arange(len(masks), dtype=np.int32) + 1
    canvas = np.zeros(masks.shape[1], dtype)
    expected = canvas.copy()
    for value, flat in zip(values, masks, strict=True):
        expected[flat] = value
    _rle.paint(runs_of(masks), values, canvas)
    assert canvas.tolist() == expected.tolist()


def test_paint_refuses_what_does_not_fit():
    runs = _rle.Runs([b"231"], 6)
    for n_values, n_pixels in ((2, 6), (1, 5)):
        with pytest.raises(ValueError, match="must fit"):
            _rle.paint(runs, np.ones(n_values, np.int32), np.zeros(n_pixels, np.uint8))
