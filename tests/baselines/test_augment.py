"""Framings against the original's mappers and Pillow, and against their own promises."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from baselines.augment import (
    CANVAS_GREY,
    Framing,
    frame_image,
    frame_masks,
    jitter_colour,
    plan_framings,
)
from baselines.crops import corner_boxes_xyxy
from baselines.train_config import AugmentConfig


def golden_framing(text, height, width):
    """Read the decisions of the original's large-scale jitter off its list of transforms."""
    flip, resize, crop, _ = re.findall(r'"([^"]*)"', text)

    def number(part, key):
        return int(re.search(rf"'{key}': (?:np\.int64\()?(\d+)", part)[1])

    size = number(resize, "new_h"), number(resize, "new_w")
    x0, y0 = number(crop, "x0"), number(crop, "y0")
    window = (x0, y0, min(x0 + 128, size[1]), min(y0 + 128, size[0]))
    return Framing("HFlip" in flip, (0, 0, width, height), size, window, (128, 128))


def padded(array, value=0):
    """Pad the last two sides to 128."""
    sides = [(0, 0)] * (array.ndim - 2) + [(0, 128 - side) for side in array.shape[-2:]]
    return np.pad(array, sides, constant_values=value)


@pytest.mark.parametrize("case", range(6))
def test_large_scale_jitter_equals_the_originals(shared, case):
    original = np.load(shared / "golden/train/lsj_mapper.npz")
    # The same with the padding left out of the masks; the original's own covers it in each.
    expected = np.load(shared / "golden/train/lsj_mapper_segpad0.npz")
    image, labels = original[f"{case}.orig"], original[f"{case}.lab"]
    framing = golden_framing(original[f"{case}.transforms"].item(), *labels.shape)

    found = padded(frame_image(image, framing).transpose(2, 0, 1), CANVAS_GREY)
    np.testing.assert_array_equal(found, expected[f"{case}.image"])

    masks = np.stack([labels == label for label in range(labels.max() + 1)])
    framed = padded(frame_masks(masks, framing))
    shown = [label for label in np.flatnonzero(framed.any((1, 2))) if label != 4]  # 4: a crowd
    assert shown == expected[f"{case}.gt_classes"].tolist()
    np.testing.assert_array_equal(
        framed[shown], np.unpackbits(expected[f"{case}.gt_masks"], axis=2)
    )


@pytest.mark.parametrize(("case", "mirror"), [(0, False), (1, True)])
def test_full_view_and_corner_crop_equal_the_originals(shared, case, mirror):
    golden = np.load(shared / "golden/train/cropformer_swin_fixedpts.npz")
    image = golden[f"orig{case}.image"]
    height, width = image.shape[:2]
    masks = np.unpackbits(golden[f"orig{case}.masks"], axis=2)[:, :, :width] > 0
    masks = masks[golden[f"orig{case}.iscrowd"] == 0]
    corner = corner_boxes_xyxy(height, width, 0.7)[golden[f"in{case}.crop_indexes"][0]]
    assert list(corner) == golden[f"in{case}.crop_region"][0].tolist()
    views = {
        "instances": ((0, 0, width, height), golden[f"in{case}.image"]),
        "instances_crop0": (corner, golden[f"in{case}.image_crop"][0]),
    }
    for key, (box, expected) in views.items():
        size = expected.shape[1:]
        framing = Framing(mirror, box, size, (0, 0, size[1], size[0]), size)
        found = frame_image(image, framing).transpose(2, 0, 1)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(
            frame_masks(masks, framing), golden[f"in{case}.{key}.gt_masks"]
        )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 120),
    st.integers(1, 120),
    st.booleans(),
    st.integers(0, 2**16),
)
def test_masks_are_resized_as_pillow_does(height, width, new_height, new_width, mirror, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    whole = (0, 0, new_width, new_height)
    framing = Framing(mirror, (0, 0, width, height), (new_height, new_width), whole, (0, 0))
    picture = Image.fromarray((mask[:, ::-1] if mirror else mask).astype(np.uint8))
    resized = picture.resize((new_width, new_height), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(frame_masks(mask[None], framing)[0], np.asarray(resized) > 0)


def test_image_and_masks_stay_together():
    # A scene of vertical bars, each an entity of its own grey: wherever the image is purely of a
    # bar's grey, its mask must be, and nowhere else.
    labels = np.repeat(np.arange(8), 16)[None].repeat(96, 0)
    image = (labels * 30)[..., None].repeat(3, 2).astype(np.uint8)
    masks = labels[None] == np.arange(8)[:, None, None]
    recipes = (
        AugmentConfig(canvas=64, scale_range=(0.5, 3.0)),
        AugmentConfig(short_sides=(50, 120), max_side=400, corner_crops=2),
        AugmentConfig(short_sides=(50, 120), max_side=400, window=48),
    )
    for recipe in recipes:
        for seed in range(5):
            framings = plan_framings(96, 128, recipe, np.random.default_rng(seed))
            assert len(framings) == 1 + recipe.corner_crops
            for framing in framings:
                seen = frame_image(image, framing)[..., 0] / 30
                framed = frame_masks(masks, framing)
                assert seen.shape == framed.shape[1:]
                assert (framed.sum(0) == 1).all()
                # Between two bars the image is a mixture, at most one pixel away from either.
                assert np.abs(seen - framed.argmax(0)).max() <= 1


def test_jitter_fits_the_image_into_a_square_of_random_size():
    recipe = AugmentConfig(canvas=100, scale_range=(0.5, 2.0))
    longest, offsets = [], set()
    for seed in range(300):
        (framing,) = plan_framings(60, 120, recipe, np.random.default_rng(seed))
        x0, y0, x1, y1 = framing.window_xyxy
        height, width = framing.size
        assert width == pytest.approx(2 * height, abs=2)
        assert 0 <= x0 <= x1 <= width
        assert 0 <= y0 <= y1 <= height
        assert x1 - x0 == min(width, 100)
        assert framing.padded_size == (100, 100)
        longest.append(width)
        offsets.add(x0)
    assert 50 <= min(longest) < 60
    assert 190 < max(longest) <= 200
    assert len(offsets) > 20


def test_corner_crops_differ_and_follow_the_mirrored_image():
    recipe = AugmentConfig(short_sides=(30,), max_side=100, corner_crops=3, flip=1.0)
    framings = plan_framings(40, 60, recipe, np.random.default_rng(0))
    assert framings[0].box_xyxy == (0, 0, 60, 40)
    crops = [framing.box_xyxy for framing in framings[1:]]
    assert len(set(crops)) == 3
    assert set(crops) <= set(corner_boxes_xyxy(40, 60, 0.7))
    assert all(framing.mirror for framing in framings)
    image = np.arange(40 * 60, dtype=np.uint8).reshape(40, 60, 1).repeat(3, 2)
    x0, y0, x1, y1 = crops[0]
    same_size = Framing(True, crops[0], (y1 - y0, x1 - x0), (0, 0, x1 - x0, y1 - y0), (0, 0))
    np.testing.assert_array_equal(frame_image(image, same_size), image[:, ::-1][y0:y1, x0:x1])


def test_colours_change_with_the_seed_and_pixels_stay_in_place():
    image = np.full((20, 30, 3), 120, np.uint8)
    image[:, 15:] = (200, 40, 40)
    changed = [jitter_colour(image, np.random.default_rng(seed)) for seed in range(20)]
    again = jitter_colour(image, np.random.default_rng(3))
    np.testing.assert_array_equal(changed[3], again)
    assert len({result.tobytes() for result in changed}) > 10
    for result in changed:
        assert result.shape == image.shape
        assert result.dtype == np.uint8
        # Two flat halves stay two flat halves.
        assert (result[:, :15] == result[0, 0]).all()
        assert (result[:, 15:] == result[0, -1]).all()
