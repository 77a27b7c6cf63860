"""Views against the original's boxes, sizes and pixels, and at sizes where the original fails."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from baselines.crops import (
    corner_boxes_xyxy,
    cut_views,
    plan_views,
    resize_image,
    resized_size,
    stack_views,
)

# (short side, longest side) of the golden file's columns.
SETTINGS = {"test": (800, 1333), "test512": (512, 2048), "tr640": (640, 1333), "tr736": (736, 1333)}
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def test_resized_size_by_hand():
    assert resized_size(400, 600, 800, 1333) == (800, 1200)
    assert resized_size(600, 400, 800, 1333) == (1200, 800)
    assert resized_size(1000, 2000, 800, 1333) == (667, 1333)
    assert resized_size(427, 640, 800, 1333) == (800, 1199)


def test_corner_boxes_by_hand():
    assert corner_boxes_xyxy(10, 20, 0.7) == (
        (0, 0, 14, 7),
        (6, 0, 20, 7),
        (0, 3, 14, 10),
        (6, 3, 20, 10),
    )


def test_boxes_and_sizes_agree_with_the_original(shared):
    rows = json.loads((shared / "golden/crop_infer/crop_regions.json").read_text())["sizes"]
    checked = 0
    for row in rows:
        height, width = row["hw"]
        boxes = corner_boxes_xyxy(height, width, 0.7)
        if "test_boxes_xyxy" in row:
            assert [list(box) for box in boxes] == row["test_boxes_xyxy"]
        else:
            # At 3 x 3 the original stops; its training boxes repeat our four.
            assert {tuple(box) for box in row["all_train_boxes_xyxy"]} == set(boxes)
        for name, (short_side, max_side) in SETTINGS.items():
            if f"padded_views_hw_{name}" not in row:
                continue
            layout = plan_views(
                height, width, short_side=short_side, max_side=max_side, crop_boxes_xyxy=boxes
            )
            assert list(layout.view_sizes[0]) == row[f"full_resized_hw_{name}"]
            assert list(layout.view_sizes[1]) == row[f"crop_resized_hw_{name}"]
            assert list(layout.padded_size) == row[f"padded_views_hw_{name}"]
            checked += 1
    assert len(rows) == 38
    assert checked > 130


@pytest.mark.parametrize("case", ["A", "B"])
def test_view_pixels_agree_with_the_original(shared, case):
    golden = np.load(shared / f"golden/tiny/cropformer_swin/case_{case}.npz")
    image = golden["image_orig_rgb"]
    boxes = corner_boxes_xyxy(*image.shape[:2], 0.7)
    layout = plan_views(*image.shape[:2], short_side=128, max_side=213, crop_boxes_xyxy=boxes)
    assert [list(box) for box in boxes] == golden["crop_region"].tolist()
    assert [list(size) for size in layout.view_sizes] == golden["image_sizes"].tolist()
    views = cut_views(image, layout)
    np.testing.assert_array_equal(views[0].transpose(2, 0, 1), golden["image"])
    for view, expected in zip(views[1:], golden["image_crop"], strict=True):
        np.testing.assert_array_equal(view.transpose(2, 0, 1), expected)
    stack = stack_views(views, layout.padded_size, MEAN, STD)
    np.testing.assert_allclose(stack.numpy(), golden["backbone_in"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 10_000), (10_000, 1), (2, 7)])
def test_views_of_extreme_sizes(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    boxes = corner_boxes_xyxy(*size, 0.7)
    layout = plan_views(*size, short_side=64, max_side=100, crop_boxes_xyxy=boxes)
    for x0, y0, x1, y1 in layout.boxes_xyxy:
        assert 0 <= x0 < x1 <= size[1]
        assert 0 <= y0 < y1 <= size[0]
    stack = stack_views(cut_views(image, layout), layout.padded_size, MEAN, STD)
    assert stack.shape == (5, 3, *layout.padded_size)
    assert all(side % 32 == 0 and side <= 128 for side in layout.padded_size)


def test_crops_see_no_pixel_outside_themselves():
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, 70:] = 255
    layout = plan_views(100, 100, short_side=32, max_side=32, crop_boxes_xyxy=[(0, 0, 70, 70)])
    assert cut_views(image, layout)[1].max() == 0


def test_padding_is_zero_after_normalisation_and_the_image_unchanged():
    image = np.full((4, 6, 3), 200, np.uint8)
    before = image.copy()
    layout = plan_views(4, 6, short_side=4, max_side=8)
    stack = stack_views(cut_views(image, layout), layout.padded_size, MEAN, STD)
    expected = torch.tensor([(200 - m) / s for m, s in zip(MEAN, STD, strict=True)])
    torch.testing.assert_close(stack[0, :, 3, 5], expected)
    assert stack[0, :, 4:].abs().max() == 0
    assert stack[0, :, :, 6:].abs().max() == 0
    np.testing.assert_array_equal(image, before)


def test_resize_is_pillows_antialiased_bilinear():
    image = np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    expected = Image.fromarray(image).resize((10, 20), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resize_image(image, (20, 10)), np.asarray(expected))
