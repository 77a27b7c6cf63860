"""The kernels that compare masks and match them, against what they compute in plain Python."""

import numpy as np
import pytest
from flat_masks import SETTINGS, bounds_of, flat_masks, runs_of, write_counts
from hypothesis import example, given
from hypothesis import strategies as st

from entity_api import _cover, _events, _match, _reach, _rle, _sweep

# --- _sweep, _reach, _events, _cover --------------------------------------------------------------


@st.composite
def disjoint_masks(draw, pixels):
    """Cut some pixels in a row into masks (N, P), each of many runs in any order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, of_many = draw(st.integers(0, 8)), draw(st.integers(1, 4))
    ids = rng.integers(-of_many, n + 1, pixels).repeat(rng.integers(1, 4, pixels))[:pixels]
    # Nothing in the rest: all runs in few of the blocks that an image is divided into.
    ids[rng.integers(0, pixels + 1) :] = 0
    return np.array([ids == mask for mask in range(1, n + 1)], bool).reshape(n, pixels)


@st.composite
def two_sides(draw):
    pixels = draw(st.integers(1, 300))
    gt = draw(st.one_of(flat_masks(pixels=pixels), disjoint_masks(pixels)))
    return draw(st.one_of(flat_masks(pixels=pixels), disjoint_masks(pixels))), gt


def common_pixels(dt, gt):
    return dt.astype(int) @ gt.astype(int).T


@SETTINGS
@given(two_sides())
@example((np.ones((2, 9), bool), np.ones((3, 9), bool)))
@example((np.zeros((1, 1), bool), np.ones((1, 1), bool)))
def test_intersections(sides):
    """Of every two masks, where masks of either side overlap one another as they like."""
    dt, gt = sides
    regions = _sweep.Regions(runs_of(gt))
    assert regions.intersections(runs_of(dt)).tolist() == common_pixels(dt, gt).tolist()


def ious_of(common, dt, gt, crowd):
    union = dt.sum(axis=1)[:, None] + (gt.sum(axis=1) - common) * ~crowd
    return common / np.maximum(union, 1)


@SETTINGS
@given(two_sides(), st.sampled_from([0.0, 0.3, 0.5, 0.75, 1.0]), st.integers(0, 2**32 - 1))
def test_intersections_that_matter(sides, least_iou, seed):
    """Counts are exact where the IoU is reached, and nowhere too high."""
    dt, gt = sides
    # Some masks like those of the other side: independent ones hardly ever reach an IoU.
    rng = np.random.default_rng(seed)
    for mask in dt[: len(gt)]:
        mask[:] = gt[rng.integers(len(gt))] ^ (rng.random(gt.shape[1]) < rng.choice([0, 0.05, 0.3]))
    crowd = rng.random(len(gt)) < 0.2
    common = common_pixels(dt, gt)
    reached = ious_of(common, dt, gt, crowd) >= least_iou
    dt_runs, gt_runs = runs_of(dt), runs_of(gt)
    needed_px, wanted = _reach.within_reach(dt_runs, gt_runs, crowd.view(np.uint8), least_iou)
    assert (needed_px[reached] <= common[reached]).all()
    assert wanted.tolist() == (needed_px < 2**40).any(axis=0).tolist()
    found = _sweep.Regions(gt_runs, wanted).intersections(dt_runs, needed_px)
    assert found[reached].tolist() == common[reached].tolist()
    assert (found <= common).all()


def test_masks_are_not_compared_in_vain():
    flat = np.arange(400)
    gt = np.array([flat < 100, (flat >= 240) & (flat < 340)])
    dt = np.array([flat < 48, flat < 51, flat >= 300, (flat % 2 == 0) & (flat < 380)])
    runs, no_crowd = [runs_of(dt), runs_of(gt)], np.zeros(2, np.uint8)
    needed_px, wanted = _reach.within_reach(*runs, no_crowd, 0.5)
    # Too small; (51 + 100) / 3 pixels; 40 beside the other gt; (190 + 100) / 3.
    assert (needed_px < 2**40).tolist() == [[0, 0], [1, 0], [0, 0], [1, 1]]
    assert (needed_px[1, 0], needed_px[3, 1]) == (50, 96)
    assert wanted.tolist() == [1, 1]
    found = _sweep.Regions(runs[1], wanted).intersections(runs[0], needed_px)
    # Of the last, 160 runs are counted: the 30 that are left cannot make 96 of 50 or 40.
    assert found.tolist() == [[0, 0], [51, 0], [0, 0], [50, 40]]


def test_regions_are_labelled_by_the_set_of_masks():
    gt = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 0]], bool)
    regions = _sweep.Regions(runs_of(gt))
    assert regions.members == [(), (0,), (1,), (2,), (0, 1), (0, 1, 2), (1, 2)]


def visible_of(masks, order):
    """Take from each mask the pixels of the masks before it in order."""
    taken = np.zeros(masks.shape[1], bool)
    visible = np.zeros_like(masks)
    for idx in order:
        visible[idx] = masks[idx] & ~taken
        taken |= masks[idx]
    return visible


@SETTINGS
@given(flat_masks(most=10))
@example(np.ones((70, 3), bool))
@example(np.ones((2, 130), bool))
@example(np.eye(3, dtype=bool).repeat(64, axis=1))
@example(np.array([[1] * 64 + [0] * 64, [0] * 63 + [1] * 65], bool))
@example(np.eye(130, 200, dtype=bool) | (np.arange(200) > 150))
def test_visible(masks):
    runs = runs_of(masks)
    visible, crowded_px = _cover.visible(runs)
    expected = visible_of(masks, range(len(masks)))
    for idx, flat in enumerate(expected):
        assert visible.bounds_of(idx).tolist() == bounds_of(flat)
    assert visible.areas().tolist() == expected.sum(axis=1).tolist()
    assert (visible.n, visible.pixels) == (len(masks), masks.shape[1])
    assert crowded_px == (masks.sum(axis=0) > 1).sum()
    assert (visible is runs) == (crowded_px == 0)


@SETTINGS
@given(flat_masks(most=10))
@example(np.eye(130, 200, dtype=bool) | (np.arange(200) > 150))
def test_count_pairs(masks):
    expected = np.count_nonzero(np.triu(common_pixels(masks, masks), 1))
    assert _events.count_pairs(runs_of(masks)) == expected


@SETTINGS
@given(st.lists(st.integers(0, 4), max_size=9), st.lists(st.integers(0, 4), max_size=9))
def test_overlap_of_codes_with_empty_runs(first, second):
    """Counts may hold zeros anywhere: runs that are empty, runs that touch."""
    pixels = max(sum(first), sum(second))
    flats = np.zeros((2, pixels), bool)
    texts = []
    for flat, counts in zip(flats, (first, second), strict=True):
        # Background up to the end: one count more, after an empty run of foreground if need be.
        counts = [*counts, *[0] * (len(counts) % 2), pixels - sum(counts)]
        flat[:] = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        texts.append(write_counts(counts))
    runs = _rle.Runs(texts, pixels)
    expected = common_pixels(flats, flats)
    assert _sweep.Regions(runs).intersections(runs).tolist() == expected.tolist()
    visible, crowded_px = _cover.visible(runs)
    assert crowded_px == expected[0, 1]
    assert _events.count_pairs(runs) == (expected[0, 1] > 0)
    assert visible.areas().tolist() == [flats[0].sum(), (flats[1] & ~flats[0]).sum()]


def test_pairs_are_not_counted_beyond_their_table():
    runs = _rle.Runs([b"01"] * 16385, 1)
    assert _events.count_pairs(runs) == -1
    visible, crowded_px = _cover.visible(runs)
    assert (visible.areas().sum(), crowded_px) == (1, 1)


# --- _match -------------------------------------------------------------------------------------


@SETTINGS
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(0, 6))
def test_ious(seed, n_dt, n_gt):
    rng = np.random.default_rng(seed)
    dt_area, gt_area = rng.integers(0, 9, n_dt), rng.integers(0, 9, n_gt)
    common = (rng.random((n_dt, n_gt)) * (np.minimum(dt_area[:, None], gt_area) + 1)).astype(int)
    crowd = rng.integers(0, 2, n_gt).astype(np.uint8)
    ours = _match.ious(common, dt_area, gt_area, crowd)
    assert ours.shape == (n_dt, n_gt)
    for d in range(n_dt):
        for g in range(n_gt):
            union = dt_area[d] if crowd[g] else dt_area[d] + gt_area[g] - common[d, g]
            assert ours[d, g] == (common[d, g] / union if common[d, g] else 0.0)


def match_one(iou, thr, least, most, rows, columns, dt_area, gt_area, crowd):
    """Match as cocoapi does: (outcome, gt) of each row, the last row of each matched gt."""
    ignored = {g: crowd[g] or not least <= gt_area[g] <= most for g in columns}
    # A gt that counts is preferred to an ignored one, whatever the IoUs.
    by_ignored = sorted(columns, key=lambda g: ignored[g])
    taken, found = {}, []
    for d in rows:
        best, best_iou = None, min(thr, 1 - 1e-10)
        for g in by_ignored:
            if g in taken and not crowd[g]:
                continue
            if best is not None and not ignored[best] and ignored[g]:
                break
            if iou[d, g] >= best_iou:
                best, best_iou = g, iou[d, g]
        if best is None:
            found.append((0 if least <= dt_area[d] <= most else 2, None))
        else:
            taken[best] = d
            found.append((2 if ignored[best] else 1, best))
    return found, taken


@SETTINGS
@given(st.integers(0, 2**32 - 1), st.integers(0, 9), st.integers(0, 7))
def test_match_group(seed, n_dt, n_gt):
    rng = np.random.default_rng(seed)
    # Few different values: equal IoUs, IoUs equal to thresholds, IoU 1 below the threshold 1.
    iou = rng.choice([0.0, 0.3, 0.5, 0.75, 0.75, 0.9, 1.0], (n_dt, n_gt))
    thrs, ranges = np.array([0.5, 0.75, 1.0, 0.0]), np.array([[0, 1e10], [0, 5], [5, 8]], float)
    dt_area, gt_area = (rng.integers(0, 12, n).astype(float) for n in (n_dt, n_gt))
    crowd = (rng.random(n_gt) < 0.3).astype(np.uint8)
    rows = np.flatnonzero(rng.random(n_dt) < 0.8)
    columns = np.flatnonzero(rng.random(n_gt) < 0.8)
    dt_records, gt_records = rng.permutation(n_dt + 4)[:n_dt], rng.permutation(n_gt + 3)[:n_gt]
    start, shape = 2, (len(ranges), len(thrs))
    outcome = np.full((*shape, n_dt + 4), -9, np.int8)
    dt_gt = np.full((*shape, n_dt + 4), -9, np.int32)
    gt_dt = np.full((*shape, n_gt + 3), -1, np.int32)
    gt_ignored = np.full((len(ranges), n_gt + 3), 7, np.uint8)
    _match.match_group(
        iou, thrs, ranges, rows, columns, dt_records, gt_records, dt_area, gt_area, crowd, start,
        outcome, dt_gt, gt_dt, gt_ignored,
    )  # fmt: skip
    for a, (least, most) in enumerate(ranges):
        for t, thr in enumerate(thrs):
            found, taken = match_one(
                iou, thr, least, most, rows.tolist(), columns.tolist(), dt_area, gt_area, crowd
            )
            # Nothing outside the group's own columns is written.
            expected = np.full(n_dt + 4, -9)
            expected[start : start + len(rows)] = [what for what, _ in found]
            assert outcome[a, t].tolist() == expected.tolist()
            expected[start : start + len(rows)] = [
                -1 if g is None else gt_records[g] for _, g in found
            ]
            assert dt_gt[a, t].tolist() == expected.tolist()
            expected = np.full(n_gt + 3, -1)
            for g, d in taken.items():
                expected[gt_records[g]] = dt_records[d]
            assert gt_dt[a, t].tolist() == expected.tolist()
        expected = np.full(n_gt + 3, 7)
        for g in columns:
            expected[gt_records[g]] = bool(crowd[g] or not least <= gt_area[g] <= most)
        assert gt_ignored[a].tolist() == expected.tolist()


def test_of_equal_ious_the_later_ground_truth_matches():
    """A quirk of cocoapi that parity rests on."""
    outcome, dt_gt = np.zeros((1, 1, 1), np.int8), np.zeros((1, 1, 1), np.int32)
    gt_dt, one, two = np.full((1, 1, 2), -1, np.int32), np.array([0]), np.array([0, 1])
    _match.match_group(
        np.array([[0.8, 0.8]]), np.array([0.5]), np.array([[0.0, 99.0]]), one, two, one, two,
        np.array([4.0]), np.array([4.0, 4.0]), np.zeros(2, np.uint8), 0,
        outcome, dt_gt, gt_dt, np.zeros((1, 2), np.uint8),
    )  # fmt: skip
    assert dt_gt.item() == 1
    assert gt_dt.tolist() == [[[-1, 0]]]


def test_precision_of_four_detections():
    """Right, wrong, right, ignored; three entities: recall 1/3 at precision 1, 2/3 at 2/3."""
    precision, score_at = np.full(4, -1.0), np.full(4, -1.0)
    recall = _match.precision_at_recall(
        np.array([2, 1, 0, 1], np.int8), np.array([1, 2, 3, 0]),
        np.array([0.9, 0.8, 0.7, 0.1]), 3,
        np.array([0.0, 0.3, 0.5, 0.9]), precision, score_at,
    )  # fmt: skip
    assert recall == 2 / 3
    # cocoapi adds numpy.spacing(1) to the denominator.
    assert precision.tolist() == pytest.approx([1.0, 1.0, 2 / 3, 0.0], abs=1e-15)
    assert score_at.tolist() == [0.9, 0.9, 0.7, 0.0]


@SETTINGS
@given(st.lists(st.integers(0, 2), max_size=30), st.integers(1, 20))
def test_precision_at_recall(outcome, n_gt):
    n_gt = max(n_gt, outcome.count(1))
    score = np.linspace(1, 0, len(outcome)) if outcome else np.zeros(0)
    thrs = np.array([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
    precision, score_at = np.full(6, -1.0), np.full(6, -1.0)
    # Stored from the lowest score to the highest.
    reached = _match.precision_at_recall(
        np.array(outcome[::-1], np.int8), np.arange(len(outcome))[::-1].copy(), score, n_gt, thrs,
        precision, score_at,
    )  # fmt: skip
    points = []
    for i in range(len(outcome)):
        right, wrong = outcome[: i + 1].count(1), outcome[: i + 1].count(0)
        # Above 0 only by cocoapi's numpy.spacing(1) where all so far were ignored.
        points.append((right / n_gt, right / (right + wrong) if right else 0.0, score[i]))
    assert reached == (points[-1][0] if points else 0.0)
    for r, thr in enumerate(thrs):
        later = [point for point in points if point[0] >= thr]
        assert precision[r] == pytest.approx(max((p for _, p, _ in later), default=0.0), abs=1e-12)
        assert score_at[r] == (later[0][2] if later else 0.0)
