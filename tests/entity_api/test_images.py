"""The kernel of whole images against the same steps in plain Python."""

import dataclasses

import numpy as np
import pytest
from flat_masks import SETTINGS
from hypothesis import given
from hypothesis import strategies as st

from entity_api import Detections, EvalParams, GroundTruth, evaluate, images, rle
from entity_api.groups import group
from entity_api.plain_images import PlainImages


@st.composite
def sides(draw):
    """Draw both sides of some images: masks like each other, crowds, categories, odd areas."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_images = draw(st.integers(1, 4))
    sizes = rng.integers(1, 24, (n_images, 2))
    columns = {"gt": [], "dt": []}
    for image_idx, (height, width) in enumerate(sizes.tolist()):
        # Low values at the front: masks are parts of some smooth surfaces.
        surface = rng.random((3, height, width)) / 3 + np.linspace(0, 1, width)
        for side, most in (("gt", 6), ("dt", 9)):
            for _ in range(rng.integers(0, most)):
                low = rng.choice([0.0, 0.2, 0.5])
                mask = (surface[rng.integers(3)] > low) & (surface[0] < low + rng.choice([0.3, 1]))
                columns[side].append((image_idx, rle.encode(mask)["counts"]))
    image_idx = {side: np.array([k for k, _ in rows], np.int64) for side, rows in columns.items()}
    counts = {side: [text for _, text in rows] for side, rows in columns.items()}
    n_gt, n_dt = len(counts["gt"]), len(counts["dt"])
    shuffled = rng.permutation(n_dt)
    gt = GroundTruth(
        image_ids=rng.permutation(n_images).tolist(),
        sizes=sizes,
        image_idx=image_idx["gt"],
        counts=counts["gt"],
        category_ids=rng.integers(0, 3, n_gt),
        iscrowd=rng.random(n_gt) < 0.2,
        areas=rng.choice([np.nan, 20.0, 200.0], n_gt),
        ids=list(range(n_gt)),
    )
    dt = Detections(
        image_idx=image_idx["dt"][shuffled],
        counts=[counts["dt"][k] for k in shuffled],
        category_ids=rng.integers(0, 4, n_dt),
        scores=rng.choice([0.1, 0.5, 0.9, 0.95], n_dt),
        areas=rng.choice([20.0, 200.0], n_dt) if rng.random() < 0.2 else None,
    )
    return gt, dt


def found_by(run):
    """Return what a run has written, as it is compared."""
    run.all_images(None)
    passes = {"submitted": run.submitted}
    if run.removes_overlaps:
        passes["disjoint"] = run.disjoint()
    found = {
        f"{name} {field.name}": getattr(matches, field.name)
        for name, matches in passes.items()
        for field in dataclasses.fields(matches)
        if field.name != "groups"
    }
    if run.removes_overlaps:
        found |= {f"overlap {name}": values for name, values in vars(run.overlap).items()}
        found["hidden"] = run.visible.hidden
    return found


@SETTINGS
@given(
    sides(), st.booleans(), st.sampled_from([1, 3, 100]), st.sampled_from(list(images.RULES)),
    st.booleans(),
)  # fmt: skip
def test_images(tables, class_aware, max_det, rule, removes):
    gt, dt = tables
    params = EvalParams(
        class_aware=class_aware,
        category_ids=[0, 2] if class_aware else None,
        max_dets=(max_det,),
        area_ranges={"all": (0, 1e10), "small": (0, 30.0)},
        iou_thrs=(0.3, 0.5, 1.0),
        remove_overlaps=removes,
        overlap_rule=rule,
    )
    # Some were left out before.
    groups = group(gt, dt, params, np.arange(len(dt.scores)) % 7 == 6)
    run = images.Run(gt, dt, params, groups)
    plain = images.Run(gt, dt, params, groups)
    plain.match_plainly()
    assert isinstance(plain._matcher, PlainImages)
    expected = found_by(plain)
    for name, value in found_by(run).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def many_images(n):
    """Make n images of two entities each, of which one is found."""
    masks = np.zeros((2, 4, 5), bool)
    masks[0, :2], masks[1, 1:3] = True, True
    codes = [rle.encode(mask)["counts"] for mask in masks]
    idx = np.arange(n).repeat(2)
    gt = GroundTruth(
        image_ids=list(range(n)),
        sizes=np.tile([4, 5], (n, 1)),
        image_idx=idx,
        counts=codes * n,
        category_ids=np.ones(2 * n, np.int64),
        iscrowd=np.zeros(2 * n, bool),
        areas=np.full(2 * n, np.nan),
        ids=np.arange(2 * n),
    )
    dt = Detections(idx, list(gt.counts), gt.category_ids, np.tile([0.9, 0.5], n))
    return gt, dt


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_result_does_not_depend_on_threads(threads):
    gt, dt = many_images(3000)
    result = evaluate(gt, dt, EvalParams(threads=threads))
    assert result.metrics["AP"] == pytest.approx(1.0)
    # Of the second mask, overlap removal leaves one row of two: an IoU of 1/2.
    assert result.disjoint.matches.outcome[0].sum() == 3000 * (10 + 1)
    assert result.overlap.pixels.tolist() == [5] * 3000


def test_columns_of_several_lengths_are_refused():
    gt, dt = many_images(2)
    for table, changes in (
        (gt, {"counts": gt.counts[1:]}),
        (gt, {"areas": gt.areas[1:]}),
        (gt, {"iscrowd": gt.iscrowd[1:]}),
        (gt, {"sizes": gt.sizes[1:]}),
        (dt, {"counts": dt.counts[1:]}),
        (dt, {"areas": np.ones(3)}),
    ):
        with pytest.raises(ValueError, match=r"shape|counts|sizes"):
            dataclasses.replace(table, **changes)
    # The kernel reads memory by these lengths: a list may have changed since it was checked.
    gt.counts.pop()
    with pytest.raises(ValueError, match="ground truth are not of one length"):
        evaluate(gt, dt)
