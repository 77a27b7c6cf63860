"""Samples and batches: the same whatever loads them, and true to the files."""

import json

import numpy as np
import pytest
import torch
from datasets_read import read_coco
from PIL import Image

from baselines.config import ModelConfig
from baselines.crops import stack_views
from baselines.data import PartPositions, TrainingSamples, collate, make_loader
from baselines.ranks import Ranks
from baselines.train_config import AugmentConfig, TrainConfig
from entity_api import rle
from entityseg_bench.io import InputError
from entityseg_bench.layout import ImageFiles

PLAIN = AugmentConfig(short_sides=(40,), max_side=1000, flip=0.0)
PLAIN_TRAINING = TrainConfig(augment=PLAIN)
ENTITY_MODEL = ModelConfig()


def box_mask(y0, y1, x0, x1):
    mask = np.zeros((40, 60), bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.fixture
def folder(tmp_path):
    """Write three images of 40 x 60: masks of all kinds and a crowd; no entities; one entity."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for k in range(3):
        pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{k}.png")
    polygon = [[0, 0, 20, 0, 20, 10, 0, 10]]
    plain_counts = {"size": [40, 60], "counts": [20 * 40, 10 * 40, 30 * 40]}
    packed = rle.encode(box_mask(20, 40, 30, 60))
    crowd = rle.encode(box_mask(10, 20, 30, 60))
    masks = [
        (1, 7, polygon, 0),
        (1, 9, plain_counts, 0),
        (1, 7, packed, 0),
        (1, 9, crowd, 1),
        (3, 9, packed, 0),
    ]
    content = {
        "images": [
            {"id": k + 1, "file_name": f"{k}.png", "height": 40, "width": 60} for k in range(3)
        ],
        "categories": [{"id": 7, "name": "a"}, {"id": 9, "name": "b"}],
        "annotations": [
            {
                "id": n + 1,
                "image_id": image,
                "category_id": category,
                "segmentation": segmentation,
                "iscrowd": iscrowd,
                "bbox": [0, 0, 1, 1],
                "area": 1,
            }
            for n, (image, category, segmentation, iscrowd) in enumerate(masks)
        ],
    }
    (tmp_path / "train.json").write_text(json.dumps(content))
    return tmp_path


def samples_of(folder, train=PLAIN_TRAINING, model=ENTITY_MODEL):
    files = ImageFiles(folder)
    dataset = read_coco(folder / "train.json", image_files=files)
    return TrainingSamples(dataset, train, model)


def epoch_of(samples, epoch=0):
    """Give the samples of an epoch by the position of their images in the dataset."""
    positions = range(3 * epoch, 3 * epoch + 3)
    return {samples.image_idx(position): samples[position] for position in positions}


def test_masks_of_every_kind_without_crowds(folder):
    samples = samples_of(folder)
    found = epoch_of(samples)
    expected = [box_mask(0, 10, 0, 20), box_mask(0, 40, 20, 30), box_mask(20, 40, 30, 60)]
    np.testing.assert_array_equal(found[0].masks[0], np.stack(expected))
    assert found[0].labels.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(
        found[0].views[0], np.asarray(Image.open(folder / "images/0.png"))
    )
    assert found[1].masks[0].shape == (0, 40, 60)
    assert len(found[2].labels) == 1


def test_classes_are_positions_of_categories(folder):
    model = ModelConfig(task="instance", num_classes=2)
    assert epoch_of(samples_of(folder, model=model))[0].labels.tolist() == [0, 1, 0]
    with pytest.raises(InputError, match=r"2 categories, the model 206 classes.*num_classes=2"):
        samples_of(folder, model=ModelConfig(task="instance", num_classes=206))


def test_every_image_once_an_epoch_each_time_in_another_order(folder):
    samples = samples_of(folder)
    orders = [tuple(samples.image_idx(3 * epoch + at) for at in range(3)) for epoch in range(20)]
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    assert len(set(orders)) > 3


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_batches_do_not_depend_on_the_number_of_workers(folder):
    augment = AugmentConfig(short_sides=(40, 50, 64), corner_crops=1, colour=True)

    def batches(workers, first_step=0):
        train = TrainConfig(steps=3, batch_size=4, workers=workers, augment=augment, seed=5)
        samples = samples_of(folder, train, ModelConfig(num_views=5))
        return list(make_loader(samples, PartPositions(train, Ranks(), first_step), 32, False))

    alone, helped = batches(0), batches(2)
    assert len(alone) == 6
    for a, b in zip(alone, helped, strict=True):
        assert a.positions == b.positions
        assert torch.equal(a.images, b.images)
        assert all(torch.equal(s.masks, t.masks) for s, t in zip(a.targets, b.targets, strict=True))
    resumed = batches(0, first_step=2)
    assert [b.positions for b in resumed] == [b.positions for b in alone[4:]]
    assert torch.equal(resumed[0].images, alone[4].images)


def test_processes_and_parts_share_a_batch():
    train = TrainConfig(steps=2, batch_size=12, max_device_batch=4)
    shares = [list(PartPositions(train, Ranks(rank, 2))) for rank in range(2)]
    # 6 images each, in two parts.
    assert shares[0] == [[0, 1, 2], [3, 4, 5], [12, 13, 14], [15, 16, 17]]
    assert shares[1] == [[6, 7, 8], [9, 10, 11], [18, 19, 20], [21, 22, 23]]
    with pytest.raises(ValueError, match=r"batch_size=12 cannot be shared by 5"):
        PartPositions(train, Ranks(0, 5))


def test_batches_are_padded_with_nothing(folder):
    train = TrainConfig(augment=AugmentConfig(short_sides=(40, 50), corner_crops=1, flip=1.0))
    samples = samples_of(folder, train, ModelConfig(num_views=5))
    parts = [samples[k] for k in range(3)]
    batch = collate(parts, 32)
    assert batch.images.shape == (3, 2, 3, 64, 96)
    config = ModelConfig()
    images = batch.normalised(config)
    for sample, image, target in zip(parts, images, batch.targets, strict=True):
        expected = stack_views(sample.views, (64, 96), config.pixel_mean, config.pixel_std)
        torch.testing.assert_close(image, expected)
        assert target.masks.shape == (len(sample.labels), 2, 64, 96)
        for v, masks in enumerate(sample.masks):
            height, width = masks.shape[1:]
            assert torch.equal(target.masks[:, v, :height, :width], torch.from_numpy(masks))
            assert not target.masks[:, v, height:].any()
            assert not target.masks[:, v, :, width:].any()


def test_the_canvas_of_jitter_is_grey_and_no_entity(folder):
    augment = AugmentConfig(canvas=64, scale_range=(0.3, 0.3), flip=0.0)
    samples = samples_of(folder, TrainConfig(augment=augment))
    batch = collate([samples[0], samples[1]], 32)
    assert batch.images.shape == (2, 1, 3, 64, 64)
    assert (batch.images[:, :, :, 20:] == 128).all()
    assert (batch.extents == 64).all()
    assert not any(target.masks[..., 20:, :].any() for target in batch.targets)


def test_entities_that_no_view_shows_are_left_out(folder):
    # The window is the upper left corner; only the polygon's entity reaches into it.
    train = TrainConfig(augment=AugmentConfig(short_sides=(40,), window=8, flip=0.0))
    samples = samples_of(folder, train)
    seen = set()
    for position in range(60):
        sample = samples[position]
        assert all(mask.any() for mask in sample.masks[0])
        seen.add(len(sample.labels))
    assert {0, 1} <= seen


def test_a_broken_image_is_a_problem_or_another_image(folder):
    (folder / "images/0.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    sample = epoch_of(samples_of(folder))[0]
    assert sample.views == ()
    assert "0.png" in sample.problems[0]
    batch = collate([sample], 32)
    assert batch.positions == []
    assert batch.problems == list(sample.problems)

    train = TrainConfig(augment=PLAIN, skip_broken=True)
    sample = epoch_of(samples_of(folder, train))[0]
    assert len(sample.views) == 1
    assert "0.png" in sample.problems[0]


def test_an_empty_dataset_is_refused(folder):
    dataset = read_coco(folder / "train.json", image_files=ImageFiles(folder), cache=False)
    with pytest.raises(InputError, match="no images"):
        TrainingSamples(dataset.take([]), TrainConfig(), ModelConfig())
