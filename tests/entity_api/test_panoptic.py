"""Panoptic quality against literals and a loop over pairs of segment masks."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_api import panoptic
from entity_api.maps import map_overlaps
from entity_api.panoptic import PanopticError, Tally


def naive(gt_map, gt_segments, dt_map, dt_segments):
    """Count as panopticapi's rules say, one mask a segment, and matches by category."""
    counts = {}
    void = gt_map == 0
    matched_gt, matched_dt = set(), set()

    def add(category_id, field, amount=1):
        counts.setdefault(category_id, {"tp": 0, "fp": 0, "fn": 0, "iou": 0.0})[field] += amount

    for g in gt_segments:
        for d in dt_segments:
            if g["category_id"] != d["category_id"] or g["iscrowd"]:
                continue
            gt_mask, dt_mask = gt_map == g["id"], dt_map == d["id"]
            common = (gt_mask & dt_mask).sum()
            iou = common / (gt_mask | (dt_mask & ~void)).sum()
            if iou > 0.5:
                add(g["category_id"], "tp")
                add(g["category_id"], "iou", iou)
                matched_gt.add(g["id"])
                matched_dt.add(d["id"])
    crowds = {g["category_id"]: gt_map == g["id"] for g in gt_segments if g["iscrowd"]}
    for g in gt_segments:
        if g["id"] not in matched_gt and not g["iscrowd"]:
            add(g["category_id"], "fn")
    for d in dt_segments:
        dt_mask = dt_map == d["id"]
        excuse = void | crowds.get(d["category_id"], np.zeros_like(void))
        if d["id"] not in matched_dt and (dt_mask & excuse).sum() / dt_mask.sum() <= 0.5:
            add(d["category_id"], "fp")
    return counts


def agrees(found, expected):
    assert found.keys() == expected.keys()
    for category_id, counts in expected.items():
        own = found[category_id]
        assert (own.tp, own.fp, own.fn) == (counts["tp"], counts["fp"], counts["fn"])
        assert own.iou == pytest.approx(counts["iou"], abs=1e-12)


def segment(segment_id, category_id, iscrowd=0):
    return {"id": segment_id, "category_id": category_id, "iscrowd": iscrowd}


def segments_of(rng, id_map, n_categories, crowd_share=0.0):
    """Give each id of a map a category, and at most one crowd to each category."""
    crowds = set()
    found = []
    # By rising id, so that the last crowd is the same one for us and for panopticapi.
    for segment_id in np.unique(id_map[id_map != 0]).tolist():
        category_id = int(rng.integers(n_categories))
        iscrowd = int(rng.random() < crowd_share)
        crowds.add(category_id) if iscrowd else None
        found.append(segment(segment_id, category_id, iscrowd))
    return found


def test_numbers_a_reader_can_check():
    gt_map = np.array([[1, 1, 1, 1, 2, 2, 0, 0]])
    dt_map = np.array([[5, 5, 5, 6, 6, 6, 6, 7]])
    gt = [segment(1, 10), segment(2, 20)]
    dt = [segment(5, 10), segment(6, 20), segment(7, 10)]
    found = panoptic.tally(gt_map, gt, dt_map, dt)
    # 5 matches 1 with IoU 3/4; 6 shares 2 with 2, its void pixel left out of the union: 2/3;
    # 7 lies on void alone and is no error.
    assert found == {10: Tally(tp=1, iou=3 / 4), 20: Tally(tp=1, iou=2 / 3)}
    result = panoptic.summarize([found], {10: True, 20: False})
    assert result.all == pytest.approx(((3 / 4 + 2 / 3) / 2, (3 / 4 + 2 / 3) / 2, 1.0, 2))
    assert result.things == (3 / 4, 3 / 4, 1.0, 1)
    assert result.stuff == pytest.approx((2 / 3, 2 / 3, 1.0, 1))


def test_an_iou_of_one_half_is_no_match():
    gt_map, dt_map = np.array([[1, 1]]), np.array([[1, 0]])
    found = panoptic.tally(gt_map, [segment(1, 3)], dt_map, [segment(1, 3)])
    assert found == {3: Tally(fp=1, fn=1)}
    assert panoptic.summarize([found], {3: True}).all == (0.0, 0.0, 0.0, 1)


def test_another_category_is_no_match_unless_class_agnostic():
    id_map = np.array([[1, 1]])
    sides = (id_map, [segment(1, 3)], id_map, [segment(1, 4)])
    assert panoptic.tally(*sides) == {3: Tally(fn=1), 4: Tally(fp=1)}
    found = panoptic.tally(*sides, class_agnostic=True)
    result = panoptic.summarize([found])
    assert result.all == (1.0, 1.0, 1.0, 1)
    assert math.isnan(result.things.PQ)


def test_only_the_last_crowd_of_a_category_excuses_as_in_panopticapi():
    gt_map = np.array([[1, 1, 1, 2, 2, 2]])
    gt = [segment(1, 3, iscrowd=1), segment(2, 3, iscrowd=1)]
    dt_map = np.array([[1, 1, 1, 2, 2, 2]])
    dt = [segment(1, 3), segment(2, 3)]
    assert panoptic.tally(gt_map, gt, dt_map, dt) == {3: Tally(fp=1)}
    assert panoptic.tally(gt_map, gt, dt_map, dt, every_crowd=True) == {}


def test_the_last_crowd_is_the_last_of_the_list():
    gt_map = np.array([[1, 1, 1, 2, 2, 2]])
    gt = [segment(2, 3, iscrowd=1), segment(1, 3, iscrowd=1)]
    dt_map = np.array([[1, 1, 1, 0, 0, 0]])
    assert panoptic.tally(gt_map, gt, dt_map, [segment(1, 3)]) == {}


def test_images_add_up():
    first, second = {1: Tally(tp=1, iou=0.8)}, {1: Tally(fp=1, fn=1), 2: Tally(fn=1)}
    result = panoptic.summarize([first, second], {1: True, 2: False, 3: False})
    assert result.per_category[1] == (0.4, 0.8, 0.5, 1)
    assert result.per_category[2] == (0, 0, 0, 1)
    assert result.all == (0.2, 0.4, 0.25, 2)


def test_nothing_at_all_gives_nan():
    empty = np.zeros((0, 5), int)
    result = panoptic.summarize([panoptic.tally(empty, [], empty, [])], {1: True})
    assert result.all.n == 0
    assert math.isnan(result.all.PQ)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), agnostic=st.booleans())
def test_equals_the_loop_over_pairs(seed, agnostic):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 7, (5, 6)) * 70_000
    gt_map = np.kron(coarse, np.ones((4, 4), np.int64))
    noise = np.kron(rng.integers(0, 7, (10, 12)) * 300, np.ones((2, 2), np.int64))
    dt_map = np.where(np.kron(rng.random((10, 12)) < 0.3, np.ones((2, 2), bool)), noise, gt_map)
    n_categories = 1 if agnostic else 3
    gt = segments_of(rng, gt_map, n_categories, crowd_share=0.2)
    dt = segments_of(rng, dt_map, n_categories)
    expected = naive(gt_map, gt, dt_map, dt)
    agrees(panoptic.tally(gt_map, gt, dt_map, dt), expected)
    if agnostic:
        found = panoptic.tally(gt_map, gt, dt_map, dt, class_agnostic=True)
        agrees(found, {-1: expected[0]} if expected else {})


def test_equals_the_loop_on_real_maps(shared):
    from PIL import Image

    folder = shared / "realdata/panoptic"
    content = msgspec.json.decode((folder / "panoptic_examples.json").read_bytes())
    for annotation in content["annotations"]:
        path = folder / "panoptic_examples" / annotation["file_name"]
        rgb = np.asarray(Image.open(path).convert("RGB"), np.int64)
        gt_map = rgb @ [1, 256, 65536]
        gt = annotation["segments_info"]
        moved = np.roll(gt_map, (7, -11), axis=(0, 1))
        dt = [s for s in gt if (moved == s["id"]).any()]
        found = panoptic.tally(gt_map, gt, moved, dt)
        agrees(found, naive(gt_map, gt, moved, dt))
        assert sum(counts.tp for counts in found.values()) >= 3
        same = panoptic.tally(gt_map, gt, gt_map, gt)
        assert panoptic.summarize([same], dict.fromkeys(range(300), True)).all.PQ == 1.0


@pytest.mark.parametrize(
    ("gt", "dt", "message"),
    [
        ([], [segment(1, 3)], "ground-truth map has the id 1, which no segment has"),
        ([segment(1, 3)], [], "predicted map has the id 1"),
        ([segment(1, 3), segment(4, 3)], [segment(1, 3)], "segment 4 has no pixel in the map"),
        ([segment(1, 3), segment(1, 3)], [segment(1, 3)], "two ground-truth segments"),
    ],
)
def test_maps_and_segments_must_agree(gt, dt, message):
    id_map = np.array([[0, 1, 1]])
    with pytest.raises(PanopticError, match=message):
        panoptic.tally(id_map, gt, id_map, dt)


def test_maps_of_two_sizes():
    with pytest.raises(PanopticError, match=r"sizes \[1, 2\] and \[2, 1\]"):
        panoptic.tally(np.ones((1, 2), int), [], np.ones((2, 1), int), [])


def test_unknown_category():
    with pytest.raises(PanopticError, match="category 9"):
        panoptic.summarize([{9: Tally(tp=1, iou=1.0)}], {1: True})


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), dtype=st.sampled_from([bool, np.uint8, np.uint16, np.int64]))
def test_map_overlaps_count_every_pixel(seed, dtype):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 12, 2)
    first = rng.integers(0, 4, shape).astype(dtype)
    second = rng.integers(0, 3, shape) * 1000 - 1000
    rows, columns, row_idx, column_idx, pixels = map_overlaps(first, second)
    found = zip(row_idx.tolist(), column_idx.tolist(), pixels.tolist(), strict=True)
    assert list(found) == [
        (i, j, ((first == row) & (second == column)).sum())
        for i, row in enumerate(rows)
        for j, column in enumerate(columns)
        if ((first == row) & (second == column)).any()
    ]
    assert pixels.sum() == first.size


def test_map_overlaps_of_many_labels():
    """More pairs than are counted in a table: every pixel has its own label in one map."""
    rng = np.random.default_rng(3)
    first, second = rng.permutation(30000).reshape(150, 200), rng.integers(0, 900, (150, 200))
    rows, columns, row_idx, column_idx, pixels = map_overlaps(first, second)
    assert (rows.tolist(), columns.tolist()) == (list(range(30000)), list(range(900)))
    assert (row_idx == np.arange(30000)).all()
    assert (column_idx == second.reshape(-1)[np.argsort(first.reshape(-1))]).all()
    assert (pixels == 1).all()


def test_map_overlaps_reject_labels_beyond_32_bits():
    with pytest.raises(ValueError, match="32 bits"):
        map_overlaps(np.array([[2**31]]), np.array([[0]]))
    with pytest.raises(ValueError, match="whole numbers"):
        map_overlaps(np.array([[0.5]]), np.array([[0]]))


def test_equals_panopticapi(data):
    folder = data / "panoptic"
    expected = msgspec.json.decode((folder / "expected.json").read_bytes())
    with np.load(folder / "maps.npz") as maps:
        tallies = [
            panoptic.tally(maps[f"gt{k}"], image["gt"], maps[f"dt{k}"], image["dt"])
            for k, image in enumerate(expected["images"])
        ]
    result = panoptic.summarize(tallies, {k: k % 2 == 1 for k in range(5)})
    for name, quality in expected["expected"].items():
        assert getattr(result, name) == pytest.approx(tuple(quality), abs=1e-12)
    for category_id, counts in expected["counts"].items():
        own = [tally.get(int(category_id), Tally()) for tally in tallies]
        assert [sum(t[k] for t in own) for k in range(3)] == counts
