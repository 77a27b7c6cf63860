"""The kernels that compare masks and match them, against what they compute in plain Python."""

import itertools

import numpy as np
import pytest
from flat_masks import SETTINGS, bounds_of, flat_masks, runs_of, write_counts
from hypothesis import example, given
from hypothesis import strategies as st

from entity_api import _cover, _match, _near, _pairs, _rle, _sweep

# --- _sweep, _near, _pairs, _cover ----------------------------------------------------------------


@st.composite
def disjoint_masks(draw, pixels):
    """Cut some pixels in a row into masks (N, P), each of many runs in any order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, of_many = draw(st.integers(0, 8)), draw(st.integers(1, 4))
    ids = rng.integers(-of_many, n + 1, pixels).repeat(rng.integers(1, 4, pixels, np.intp))[:pixels]
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
    expected = common_pixels(dt, gt).tolist()
    spans = _sweep.Spans(runs_of(gt))
    assert spans.apart == (gt.sum(axis=0) < 2).all()
    assert spans.intersections(runs_of(dt)).tolist() == expected
    for height in (1, 7, gt.shape[1]):
        assert _near.common(runs_of(dt), runs_of(gt), height).tolist() == expected


def near_of(dt, gt, crowd, least_iou, dt_group, gt_group):
    """List for each dt mask the gt of its group whose IoU is reached, and that IoU."""
    common = common_pixels(dt, gt)
    union = dt.sum(axis=1)[:, None] + (gt.sum(axis=1) - common) * ~crowd
    iou = common / np.maximum(union, 1)
    return [
        [
            (g, iou[d, g])
            for g in range(len(gt))
            if iou[d, g] >= least_iou and 0 <= dt_group[d] == gt_group[g]
        ]
        for d in range(len(dt))
    ]


@SETTINGS
@given(
    two_sides(), st.sampled_from([1e-9, 0.3, 0.5, 0.75, 1.0]), st.integers(0, 2**32 - 1),
    st.sampled_from([1, 7, 50, 300]),
)  # fmt: skip
@example((np.zeros((1, 1), bool), np.zeros((2, 1), bool)), 0.5, 1, 1)
@example((np.ones((3, 9), bool), np.ones((3, 9), bool)), 1.0, 5, 3)
def test_near(sides, least_iou, seed, height):
    """The pairs, and IoUs to the last bit, of masks that overlap one another as they like."""
    dt, gt = sides
    # Whole columns, as images have them.
    dt, gt = (np.pad(side, [(0, 0), (0, -side.shape[1] % height)]) for side in (dt, gt))
    # Some masks like those of the other side: independent ones hardly ever reach an IoU.
    rng = np.random.default_rng(seed)
    for mask in dt[: len(gt)]:
        mask[:] = gt[rng.integers(len(gt))] ^ (rng.random(gt.shape[1]) < rng.choice([0, 0.05, 0.3]))
    crowd = rng.random(len(gt)) < 0.2
    dt_group, gt_group = (rng.integers(-1, 2, len(side)) for side in (dt, gt))
    if rng.random() < 0.6:
        dt_group[:], gt_group[:] = 0, 0
    expected = near_of(dt, gt, crowd, least_iou, dt_group, gt_group)
    # With the rows that decoding has found, and without.
    for known in (height, 0):
        found = _near.near(
            runs_of(dt, known), runs_of(gt, known), crowd.view(np.uint8), height, least_iou,
            dt_group, gt_group,
        )  # fmt: skip
        assert found.rows() == expected


def test_near_among_many():
    """More masks than a row is made for, in no order of their columns."""
    rng = np.random.default_rng(3)
    at = rng.permutation(200)
    gt = (np.arange(2000) // 10) == at[:, None]
    dt = np.roll(gt, 2, axis=1)[:150]
    no_crowd, groups = np.zeros(200, np.uint8), np.zeros(200, np.int64)
    found = _near.near(runs_of(dt), runs_of(gt), no_crowd, 5, 0.5, groups[:150], groups)
    # Of 10 pixels each, 8 are shared: 8 of 12.
    assert found.rows() == [[(d, 8 / 12)] for d in range(150)]
    every = _near.near(runs_of(dt), runs_of(gt | True), no_crowd, 5, 0.004, groups[:150], groups)
    assert every.rows() == [[(g, 10 / 2000) for g in range(200)]] * 150


def visible_of(masks, order):
    """Take from each mask the pixels of the masks before it in order."""
    taken = np.zeros(masks.shape[1], bool)
    visible = np.zeros_like(masks)
    for idx in order:
        visible[idx] = masks[idx] & ~taken
        taken |= masks[idx]
    return visible


@SETTINGS
@given(masks=st.one_of(flat_masks(most=10), flat_masks(most=5, pixels=1500)))
@example(masks=np.ones((70, 3), bool))
@example(masks=np.ones((2, 130), bool))
@example(masks=np.eye(3, dtype=bool).repeat(64, axis=1))
@example(masks=np.array([[1] * 64 + [0] * 64, [0] * 63 + [1] * 65], bool))
@example(masks=np.eye(130, 200, dtype=bool) | (np.arange(200) > 150))
@pytest.mark.parametrize("way", [None, *_cover.WAYS])
def test_visible(way, masks):
    runs = runs_of(masks)
    visible, crowded_px = _cover.visible(runs, way)
    expected = visible_of(masks, range(len(masks)))
    for idx, flat in enumerate(expected):
        assert visible.bounds_of(idx).tolist() == bounds_of(flat)
    assert visible.areas().tolist() == expected.sum(axis=1).tolist()
    assert (visible.n, visible.pixels) == (len(masks), masks.shape[1])
    assert crowded_px == (masks.sum(axis=0) > 1).sum()
    assert (visible is runs) == (crowded_px == 0)


@SETTINGS
@given(st.one_of(flat_masks(most=10), flat_masks(most=40, pixels=360)))
@example(np.eye(130, 200, dtype=bool) | (np.arange(200) > 150))
@example(np.tile(np.arange(360) % 90 < 30, (2, 1)) ^ np.array([[True], [False]]))
def test_count_pairs(masks):
    expected = np.count_nonzero(np.triu(common_pixels(masks, masks), 1))
    assert _pairs.count_pairs(runs_of(masks), by_events=True) == expected
    for height in (0, 1, 6, 20, masks.shape[1]):
        assert _pairs.count_pairs(runs_of(masks, height)) == expected


def test_pairs_of_masks_that_interlock():
    """So many steps that all ends are sorted instead."""
    comb = np.arange(4000) % 64
    masks = comb == np.arange(64)[:, None]
    assert _pairs.count_pairs(runs_of(masks)) == 0
    masks[3] |= comb == 9
    assert _pairs.count_pairs(runs_of(masks)) == 1


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
    assert _sweep.Spans(runs).intersections(runs).tolist() == expected.tolist()
    visible, crowded_px = _cover.visible(runs)
    assert crowded_px == expected[0, 1]
    assert _pairs.count_pairs(runs) == (expected[0, 1] > 0)
    assert visible.areas().tolist() == [flats[0].sum(), (flats[1] & ~flats[0]).sum()]


def test_pairs_are_not_counted_beyond_their_table():
    runs = _rle.Runs([b"01"] * 16385, 1)
    assert _pairs.count_pairs(runs) == -1
    visible, crowded_px = _cover.visible(runs)
    assert (visible.areas().sum(), crowded_px) == (1, 1)


# --- _match -------------------------------------------------------------------------------------


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
def test_match_image(seed, n_dt, n_gt):
    rng = np.random.default_rng(seed)
    # Few different values: equal IoUs, IoUs equal to thresholds, IoU 1 below the threshold 1.
    iou = rng.choice([0.0, 0.3, 0.5, 0.75, 0.75, 0.9, 1.0], (n_dt, n_gt))
    thrs, ranges = np.array([0.5, 0.75, 1.0, 0.0]), np.array([[0, 1e10], [0, 5], [5, 8]], float)
    dt_area, gt_area = (rng.integers(0, 12, n).astype(float) for n in (n_dt, n_gt))
    crowd = (rng.random(n_gt) < 0.3).astype(np.uint8)
    dt_group, gt_group = (rng.integers(-1, rng.integers(1, 3), n) for n in (n_dt, n_gt))
    dt_records = rng.permutation(np.arange(n_dt + 4, dtype=np.int64))[:n_dt]
    gt_records = rng.permutation(np.arange(n_gt + 3, dtype=np.int64))[:n_gt]
    # By group, or in any order.
    columns = np.full(n_dt, -1, np.int64)
    rows = np.flatnonzero(dt_group >= 0)
    rows = rows[np.argsort(dt_group[rows], kind="stable")] if seed % 2 else rng.permutation(rows)
    columns[rows] = 2 + np.arange(len(rows))
    shape = (len(ranges), len(thrs))
    outcome = np.zeros((*shape, n_dt + 4), np.int8)
    dt_gt = np.full((*shape, n_dt + 4), -1, np.int32)
    gt_dt = np.full((*shape, n_gt + 3), -1, np.int32)
    unmatched = np.full((len(ranges), n_dt + 4), -9, np.int8)
    gt_ignored = np.full((len(ranges), n_gt + 3), 7, np.uint8)
    target = _match.Target(thrs, ranges, outcome, dt_gt, gt_dt, gt_ignored, unmatched)
    _match.match_image(
        _near.of_dense(iou, 0.0, dt_group, gt_group), target,
        columns, dt_records, gt_records, dt_area, gt_area, crowd, gt_group,
    )  # fmt: skip
    target.settle()
    for a, (least, most) in enumerate(ranges):
        # Nothing outside the image's own columns is written.
        expected = [np.full(n_dt + 4, -9), np.full(n_dt + 4, -1), np.full(n_gt + 3, -1)]
        ignored = np.full(n_gt + 3, 7)
        for t, thr in enumerate(thrs):
            for array, value in zip(expected, (-9, -1, -1), strict=True):
                array[:] = value
            for group in (0, 1):
                own = np.flatnonzero(gt_group == group)
                rows = np.flatnonzero(dt_group == group)
                found, taken = match_one(
                    iou, thr, least, most, rows.tolist(), own.tolist(), dt_area, gt_area, crowd
                )
                expected[0][columns[rows]] = [what for what, _ in found]
                matched = [-1 if g is None else gt_records[g] for _, g in found]
                expected[1][columns[rows]] = matched
                for g, d in taken.items():
                    expected[2][gt_records[g]] = dt_records[d]
                for g in own:
                    ignored[gt_records[g]] = bool(crowd[g] or not least <= gt_area[g] <= most)
            for array, written in zip((outcome, dt_gt, gt_dt), expected, strict=True):
                assert array[a, t].tolist() == written.tolist()
        assert gt_ignored[a].tolist() == ignored.tolist()


def test_of_equal_ious_the_later_ground_truth_matches():
    """A quirk of cocoapi that parity rests on."""
    outcome, dt_gt = np.zeros((1, 1, 1), np.int8), np.zeros((1, 1, 1), np.int32)
    gt_dt, one, two = np.full((1, 1, 2), -1, np.int32), np.zeros(1, np.int64), np.zeros(2, np.int64)
    _match.match_image(
        _near.of_dense(np.array([[0.8, 0.8]]), 0.5, one, two),
        _match.Target(
            np.array([0.5]), np.array([[0.0, 99.0]]), outcome, dt_gt, gt_dt,
            np.zeros((1, 2), np.uint8), np.zeros((1, 1), np.int8),
        ),
        one, one, np.array([0, 1], np.int64), np.array([4.0]), np.array([4.0, 4.0]),
        np.zeros(2, np.uint8), two,
    )  # fmt: skip
    assert dt_gt.item() == 1
    assert gt_dt.tolist() == [[[-1, 0]]]


def curve(outcome, order, score, n_gt, thrs, cuts=()):
    """Return interpolated precision, scores and recall of outcomes that are added in parts."""
    counts, precision, score_at = np.zeros(4, np.int64), np.zeros(len(thrs)), np.zeros(len(thrs))
    for start, end in itertools.pairwise([0, *sorted(cuts), len(order)]):
        part = order[start:end].copy(), score[start:end].copy()
        _match.add_to_curve(outcome, *part, n_gt, thrs, counts, precision, score_at)
    return np.maximum.accumulate(precision[::-1])[::-1], score_at, counts[0] / n_gt


def test_precision_of_four_detections():
    """Right, wrong, right, ignored; three entities: recall 1/3 at precision 1, 2/3 at 2/3."""
    precision, score_at, recall = curve(
        np.array([2, 1, 0, 1], np.int8), np.array([1, 2, 3, 0], np.int64),
        np.array([0.9, 0.8, 0.7, 0.1]), 3, np.array([0.0, 0.3, 0.5, 0.9]),
    )  # fmt: skip
    assert recall == 2 / 3
    # cocoapi adds numpy.spacing(1) to the denominator.
    assert precision.tolist() == pytest.approx([1.0, 1.0, 2 / 3, 0.0], abs=1e-15)
    assert score_at.tolist() == [0.9, 0.9, 0.7, 0.0]


@SETTINGS
@given(st.lists(st.integers(0, 2), max_size=30), st.integers(1, 20), st.data())
def test_precision_at_recall(outcome, n_gt, data):
    n_gt = max(n_gt, outcome.count(1))
    score = np.linspace(1, 0, len(outcome)) if outcome else np.zeros(0)
    thrs = np.array([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
    # Stored from the lowest score to the highest; added at once, or in parts.
    order = np.arange(len(outcome), dtype=np.int64)[::-1].copy()
    stored, cuts = np.array(outcome[::-1], np.int8), st.lists(st.integers(0, len(outcome)))
    found = curve(stored, order, score, n_gt, thrs)
    precision, score_at, reached = found
    parts = curve(stored, order, score, n_gt, thrs, data.draw(cuts))
    assert all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(found, parts, strict=True)
    )
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
