"""The low resolution: sizes, masks, images."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entity_api import rle
from entityseg_bench.layout import ImageFiles
from entityseg_bench.resolution import low_size, resize_mask, to_low, write_low_images

from .conftest import dataset_of, from_map, save_image


@pytest.mark.parametrize(
    ("high", "low"),
    [
        ((800, 1333), (800, 1333)),
        ((2000, 3000), (800, 1200)),
        ((3000, 2000), (1200, 800)),
        ((1000, 4000), (333, 1333)),
        ((4000, 1000), (1333, 333)),
        ((480, 640), (800, 1067)),
        ((1500, 1500), (800, 800)),
    ],
)
def test_sizes(high: tuple[int, int], low: tuple[int, int]) -> None:
    assert low_size(*high) == low


@given(st.integers(1, 9000), st.integers(1, 9000))
def test_sizes_keep_to_the_limits(height: int, width: int) -> None:
    low = low_size(height, width)
    assert max(low) <= 1333
    assert min(low) <= 800
    assert min(low) == 800 or max(low) == 1333


def test_sizes_are_those_of_the_original_code(shared: Path) -> None:
    golden = json.loads((shared / "golden/crop_infer/crop_regions.json").read_text())
    rows = [row for row in golden["sizes"] if "full_resized_hw_test" in row]
    assert len(rows) > 10
    for row in rows:
        assert low_size(*row["hw"]) == tuple(row["full_resized_hw_test"])


def test_masks_take_the_nearest_pixel() -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for height, width, to in [(7, 5, (3, 4)), (5, 8, (10, 16)), (9, 9, (2, 9))]:
        mask = rng.integers(0, 2, (height, width), np.uint8)
        resized = Image.fromarray(mask).resize(to[::-1], Image.Resampling.NEAREST)
        found = rle.decode(resize_mask(rle.encode(mask), *to))
        assert (found == np.asarray(resized).astype(bool)).all()


def test_small_masks_go_and_others_keep_their_fields(tmp_path: Path) -> None:
    pixels = np.ones((3200, 3200), int)
    pixels[5:3000, 7:2000] = 2
    pixels[0, 0] = 3
    dataset = dataset_of(
        from_map(pixels, first_id=4, extra={"a": 1}), image_files=ImageFiles(tmp_path)
    )
    low = to_low(dataset)
    assert (low.images[0].height, low.images[0].width) == (800, 800)
    assert low.resolution == "low"
    found = low.annotations(0)
    assert [(a.id, a.extra) for a in found] == [(4, {"a": 1}), (5, {"a": 1})]
    assert sum(a.area for a in found) == 800 * 800
    assert found[1].bbox == tuple(rle.bbox(found[1].segmentation))
    assert len(low.records) == 2


def test_images_are_written_once_and_checked(tmp_path: Path) -> None:
    from PIL import Image

    save_image(tmp_path / "src/images/deep/a.png", 1600, 1700)
    pairs = [from_map(np.ones((1600, 1700), int), name="deep/a.png")]
    dataset = dataset_of(*pairs, image_files=ImageFiles(tmp_path / "src"))
    assert write_low_images(dataset, tmp_path / "images_lr") == 1
    with Image.open(tmp_path / "images_lr/deep/a.png") as image:
        assert image.size == (850, 800)
    done = {tmp_path / "images_lr" / dataset.images[0].file_name}
    assert write_low_images(dataset, tmp_path / "images_lr", done=done) == 0
