"""The classical baseline: it covers an image, and finds what is plain to see."""

import numpy as np
import pytest

from entity_api import rle
from entityseg_bench.demo import classical


def three_patches() -> tuple[np.ndarray, np.ndarray]:
    """Draw two discs on a ground, with some noise, and their id map."""
    y, x = np.mgrid[:80, :110]
    ids = np.zeros((80, 110), np.int64)
    ids[np.hypot(y - 35, x - 30) < 20] = 1
    ids[np.hypot(y - 45, x - 80) < 18] = 2
    colours = np.array([[90, 140, 60], [200, 60, 50], [60, 80, 200]], float)
    noise = np.random.default_rng(0).normal(0, 4, (80, 110, 3))
    return np.clip(colours[ids] + noise, 0, 255).astype(np.uint8), ids


def test_finds_discs_on_a_ground():
    image, ids = three_patches()
    found = classical.segment(image)
    _, truth = rle.encode_id_map(ids)
    iou = rle.iou([mask for mask, _ in found], truth)
    assert len(found) == 3
    assert iou.max(axis=0) == pytest.approx([1, 1, 1], abs=0.05)


def test_masks_part_the_image_and_scores_fall():
    image = np.random.default_rng(1).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    image[10:30, 15:45] //= 4
    found = classical.segment(image)
    masks, scores = [mask for mask, _ in found], [score for _, score in found]
    assert sum(rle.area(mask) for mask in masks) == 40 * 60 == rle.area(rle.merge(masks))
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_plain_contrast_scores_above_faint():
    image, _ = three_patches()
    clear = classical.segment(image)[0][1]
    noise = np.random.default_rng(2).normal(120, 25, image.shape)
    faint = classical.segment(np.clip(noise, 0, 255).astype(np.uint8))[0][1]
    assert clear > faint


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2)])
def test_tiny_images_are_one_or_few_regions(size):
    found = classical.segment(np.full((*size, 3), 100, np.uint8))
    assert [rle.area(mask) for mask, _ in found] == [size[0] * size[1]]


def test_a_lower_limit_keeps_more_regions():
    image = np.repeat(np.arange(0, 240, 2, np.uint8), 20)[None].repeat(30, 0)
    image = np.stack([image[:, ::8]] * 3, axis=-1)
    assert len(classical.segment(image, 1.0)) >= len(classical.segment(image, 40.0)) >= 1


def test_levels_are_the_segmentations_one_by_one():
    image, _ = three_patches()
    levels = classical.segment_levels(image, [5.0, 16.0])
    assert levels == [classical.segment(image, 5.0), classical.segment(image, 16.0)]


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_rejects_what_is_no_image(image):
    with pytest.raises(ValueError, match="an image is"):
        classical.segment(image)
