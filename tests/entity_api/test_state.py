"""Mergeable states: any split, any order, equal bits, against one evaluation of everything."""

import dataclasses
import errno
import importlib.util
import os

import numpy as np
import pytest
from drawn_boxes import draw_box
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_api import (
    Detections,
    EvalParams,
    GroundTruth,
    evaluate,
    rle,
    state_arrays,
    state_ranges,
)
from entity_api.state import EvalState, _distinct
from entity_api.state_file import StateError

SIDE = 24
# The wheels are also tested where nothing but they and pytest is installed.
FILES = importlib.util.find_spec("pyarrow") is not None
needs_files = pytest.mark.skipif(not FILES, reason="pyarrow is not installed (extra parquet)")


def scene(seed, n_images, ids, overlapping=True):
    """Draw boxes, copies that are shifted, noise, crowds and ties, as columns of both sides."""
    rng = np.random.default_rng(seed)
    gt, dt = [], []
    for idx in range(n_images):
        truth = [draw_box(rng, SIDE, 14) for _ in range(rng.integers(0, 4))]
        guesses = [np.roll(mask, rng.integers(-2, 3, 2), (0, 1)) for mask in truth]
        guesses += [draw_box(rng, SIDE, 14) for _ in range(rng.integers(0, 4))]
        if not overlapping:
            taken = np.zeros((SIDE, SIDE), bool)
            for mask in guesses:
                mask &= ~taken
                taken |= mask
        gt += [(idx, mask, rng.integers(1, 4), rng.random() < 0.1) for mask in truth]
        dt += [(idx, mask, rng.integers(1, 4), round(rng.random(), 1)) for mask in guesses]
    dt = [dt[k] for k in rng.permutation(len(dt))]
    codes = [[rle.encode(row[1])["counts"] for row in side] for side in (gt, dt)]
    truth = GroundTruth(
        image_ids=ids[:n_images],
        sizes=np.full((n_images, 2), SIDE),
        image_idx=np.array([row[0] for row in gt], np.int64),
        counts=codes[0],
        category_ids=np.array([row[2] for row in gt], np.int64),
        iscrowd=np.array([row[3] for row in gt], bool),
        areas=np.full(len(gt), np.nan),
        ids=list(range(len(gt))),
    )
    predictions = Detections(
        image_idx=np.array([row[0] for row in dt], np.int64),
        counts=codes[1],
        category_ids=np.array([row[2] for row in dt], np.int64),
        scores=np.array([row[3] for row in dt], np.float64),
    )
    return truth, predictions


def part(gt, dt, images):
    """Cut some images out of both sides, in the order given."""
    where = {idx: k for k, idx in enumerate(images)}
    rows = [np.flatnonzero(np.isin(side.image_idx, images)) for side in (gt, dt)]
    moved = [
        np.array([where[idx] for idx in side.image_idx[at].tolist()], np.int64)
        for side, at in zip((gt, dt), rows, strict=True)
    ]
    return (
        dataclasses.replace(
            gt,
            image_ids=[gt.image_ids[idx] for idx in images],
            sizes=gt.sizes[images],
            image_idx=moved[0],
            counts=[gt.counts[k] for k in rows[0]],
            category_ids=gt.category_ids[rows[0]],
            iscrowd=gt.iscrowd[rows[0]],
            areas=gt.areas[rows[0]],
            ids=rows[0].tolist(),
        ),
        dataclasses.replace(
            dt,
            image_idx=moved[1],
            counts=[dt.counts[k] for k in rows[1]],
            category_ids=dt.category_ids[rows[1]],
            scores=dt.scores[rows[1]],
        ),
    )


def assert_equal(one, other):
    """Hold results against each other bit by bit."""
    assert one.metrics.keys() == other.metrics.keys()
    for name, value in one.metrics.items():
        assert np.float64(value).tobytes() == np.float64(other.metrics[name]).tobytes(), name
    for kind in ("submitted", "disjoint"):
        first, second = getattr(one, kind), getattr(other, kind)
        assert (first is None) == (second is None)
        for name in ("precision", "recall", "scores") if first else ():
            assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name
    if one.overlap is not None:
        assert one.overlap.pixels.sum() == other.overlap.pixels.sum()
        assert one.overlap.share == other.overlap.share


IDS = [7, 3, 40, 1, "b", "a", 22, "10", 5, 9]
KINDS = {
    "class-agnostic": {},
    "class-aware": {"class_aware": True, "category_ids": (1, 2, 3)},
    "boundary": {"iou_type": "boundary"},
    "ap-only": {"remove_overlaps": False},
    "few-ranks": {"max_dets": (1, 2, 3), "iou_thrs": (0.5, 0.6)},
}


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    owner=st.lists(st.integers(0, 3), min_size=1, max_size=10),
    kind=st.sampled_from(sorted(KINDS)),
    overlapping=st.booleans(),
    chance=st.randoms(use_true_random=False),
)
def test_any_split_in_any_order_gives_equal_bits(
    tmp_path_factory, seed, owner, kind, overlapping, chance
):
    params = EvalParams(**KINDS[kind])
    gt, dt = scene(seed, len(owner), IDS, overlapping)
    whole = evaluate(gt, dt, params)
    images = list(range(len(owner)))
    chance.shuffle(images)
    states = []
    for shard in range(4):
        own = [idx for idx in images if owner[idx] == shard]
        sides = part(gt, dt, own)
        states.append(EvalState.of(evaluate(*sides, params), sides[0].image_ids))
    chance.shuffle(states)
    merged = EvalState.merge([EvalState.merge(states[:2]), EvalState.merge(states[2:])])
    assert_equal(merged.finish(), whole)
    assert_equal(EvalState.of(whole, gt.image_ids).finish(), whole)
    # The state itself is that of the whole, byte by byte, and a file gives it back.
    states = [merged]
    if FILES:
        path = tmp_path_factory.getbasetemp() / "state.parquet"
        merged.save(path)
        states.append(EvalState.load(path))
    for state in states:
        for name, values in EvalState.of(whole, gt.image_ids).arrays().items():
            own = state.arrays()[name]
            assert values.dtype == own.dtype, name
            assert values.tobytes() == own.tobytes(), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at_once", [1, 5, 30])
def test_ranges_of_scores_give_equal_bits(monkeypatch, kind, at_once):
    monkeypatch.setattr(state_ranges, "AT_ONCE", at_once)
    monkeypatch.setattr(state_ranges, "SAMPLE", 16)
    ids = [*IDS, *(f"more {k}" for k in range(20))]
    for seed in range(4):
        gt, dt = scene(seed, 30, ids)
        if seed == 3:
            # No score but one: its range is cut where there are enough.
            dt = dataclasses.replace(dt, scores=np.full(len(dt.scores), 0.5))
        whole = evaluate(gt, dt, EvalParams(**KINDS[kind]))
        assert_equal(EvalState.of(whole, gt.image_ids).finish(), whole)


def test_a_range_holds_few_detections(monkeypatch):
    monkeypatch.setattr(state_ranges, "AT_ONCE", 20)
    gt, dt = scene(1, 10, IDS)
    rng, n = np.random.default_rng(0), len(dt.scores)
    for scores in (rng.random(n), rng.random(n) ** 9 - 1e6, np.ones(n), rng.integers(0, 2, n) / 2):
        state = EvalState.of(evaluate(gt, dataclasses.replace(dt, scores=scores)), gt.image_ids)
        parts = list(state_ranges.RankedState(state, removed=True).category(0))
        assert len(parts) > 1
        assert max(len(part.order) for part in parts) <= 2 * state_ranges.AT_ONCE
        found = np.concatenate([part.scores for part in parts])
        assert found.tolist() == sorted(state.scores.tolist(), reverse=True)


def test_images_that_are_not_scored_are_no_part_of_a_state():
    gt, dt = scene(4, 6, IDS)
    params = EvalParams(image_ids=[7, 40, "b"])
    state = EvalState.of(evaluate(gt, dt, params), gt.image_ids)
    assert state.image_ids == [7, 40, "b"]
    assert_equal(state.finish(), evaluate(gt, dt, params))


def test_what_cannot_be_merged_is_refused():
    gt, dt = scene(1, 4, IDS)
    one = EvalState.of(evaluate(*part(gt, dt, [0, 1])), [7, 3])
    two = EvalState.of(evaluate(*part(gt, dt, [1, 2])), [3, 40])
    with pytest.raises(StateError, match="image 3 is in two states"):
        EvalState.merge([one, two])
    other = EvalState.of(evaluate(*part(gt, dt, [2]), EvalParams(max_dets=(1, 2))), [40])
    with pytest.raises(StateError, match="differ in max_dets"):
        EvalState.merge([one, other])
    with pytest.raises(StateError, match="no state to merge"):
        EvalState.merge([])
    with pytest.raises(StateError, match="class-aware states need category_ids"):
        EvalState.of(evaluate(gt, dt, EvalParams(class_aware=True)), gt.image_ids)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("codes", lambda v: v + 1000, "a detection of no pattern"),
        ("scores", lambda v: v[:-1], "codes of shape|another number of detections"),
        ("scores", lambda v: v * np.nan, "no number"),
        ("patterns", lambda v: v + 7, "an outcome that is none"),
        ("n_dt", lambda v: v[::-1] - 1, "negative count|another number"),
        ("group_image", lambda v: v + 99, "a group of no image"),
        ("group_image", lambda v: v[::-1], "out of order"),
        ("n_gt", lambda v: v[:, :1], "n_gt of shape"),
        ("n_gt", lambda v: v * 0, "more matches than ground truth"),
        ("image_texts", lambda v: np.frombuffer(b"[null]", np.uint8), "that is no text"),
        ("head", lambda v: v[:-2], "no state"),
        (
            "head",
            lambda v: np.frombuffer(
                v.tobytes().replace(b'"categories": [', b'"categories": [Infinity, '), np.uint8
            ),
            "no state",
        ),
    ],
)
def test_arrays_that_are_no_state_are_refused(name, change, message):
    gt, dt = scene(2, 5, IDS)
    arrays = EvalState.of(evaluate(gt, dt), gt.image_ids).arrays()
    with pytest.raises(StateError, match=message):
        EvalState.of_arrays(arrays | {name: change(arrays[name])})
    with pytest.raises(StateError, match=f"no state: '{name}'"):
        EvalState.of_arrays({key: values for key, values in arrays.items() if key != name})


@needs_files
def test_files_that_hold_no_state_are_refused(tmp_path):
    path = tmp_path / "state.parquet"
    gt, dt = scene(3, 5, IDS)
    EvalState.of(evaluate(gt, dt), gt.image_ids).save(path)
    content = path.read_bytes()
    for broken in (b"", b"{}", content[:200], content[:-30], content[:4] + content[5:]):
        path.write_bytes(broken)
        with pytest.raises(StateError, match=r"state\.parquet"):
            EvalState.load(path)


@needs_files
def test_a_state_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "state"
    gt, dt = scene(3, 5, IDS)
    state = EvalState.of(evaluate(gt, dt), gt.image_ids)
    before = os.umask(0o022)
    try:
        state.save(path)
    finally:
        os.umask(before)
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o644
    content = path.read_bytes()

    def fill_the_disk(path, arrays, about):
        path.write_bytes(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(state_arrays, "write_arrays", fill_the_disk)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        state.save(path)
    assert path.read_bytes() == content
    assert [one.name for one in tmp_path.iterdir()] == ["state"]


def test_patterns_are_told_apart_though_their_keys_are_equal(monkeypatch):
    """With factors of 1 a key is a sum of words, of which many are equal."""
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 4, (500, 17)).astype(np.uint8)
    rows = np.concatenate([rows, np.roll(rows, 8, axis=1), rows])
    draw, seeds = np.random.default_rng, []

    class Ones:
        def integers(self, low, high, size, dtype):
            return np.ones(size, dtype)

    def drawn(seed):
        seeds.append(seed)
        return draw(seed) if seed else Ones()

    monkeypatch.setattr(np.random, "default_rng", drawn)
    table, code = _distinct(rows)
    assert seeds == [0, 1]
    expected, place = np.unique(rows, axis=0, return_inverse=True)
    assert np.array_equal(table, expected)
    assert np.array_equal(code, place.reshape(-1))
