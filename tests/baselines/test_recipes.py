"""Presets that are recipes: the 1x schedules, and persons seen through the air."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import TINY, build

import baselines
from baselines.config import ModelConfig
from baselines.data import TrainingSamples
from baselines.guess import guess_presets
from baselines.presets import PRESETS, get_preset
from baselines.ranks import Ranks
from baselines.train import _only
from baselines.train_config import AugmentConfig, TrainConfig
from baselines.train_eval import evaluate_model
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.demo import write_demo
from entityseg_bench.io import InputError

RECIPES = [name for name, preset in PRESETS.items() if preset.is_recipe]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = write_demo(tmp_path_factory.mktemp("recipes") / "demo", 8, 0, (60, 90))
    return EntityDataset.open(root, "instance", "train")


@pytest.mark.parametrize("name", [name for name in RECIPES if name.endswith("_1x")])
def test_a_third_of_the_steps(name):
    """103,125 steps of 16 images are the published 3x schedule."""
    train = get_preset(name).train
    assert (3 * train.steps, train.batch_size) == (103_125, 16)
    assert train.augment == get_preset(f"{name.partition('_')[0]}_swin_tiny_3x").train.augment


def test_the_person_models():
    names = [name for name in RECIPES if "person" in name]
    assert len(names) == 8
    for name in names:
        preset = get_preset(name)
        assert (preset.model.task, preset.model.num_classes) == ("instance", 1)
        is_noisy = name.endswith("_noise_000_100_200")
        assert preset.train.distances == ((0, 100, 200) if is_noisy else ())


@pytest.mark.parametrize("name", ["cropformer_swin_tiny_3x", "mask2former_swin_large_3x"])
def test_weights_are_taken_for_published_ones_first(name):
    with torch.device("meta"):
        weights = baselines.build_model(name).state_dict()
    likely = guess_presets(weights)
    assert likely[0] == name and len(likely) > 1


def test_a_distance_is_drawn_for_each_image_and_masks_stay(dataset):
    plain = TrainConfig(augment=AugmentConfig(short_sides=(60,), flip=0.0))
    model = ModelConfig(task="instance", num_classes=len(dataset.categories))
    far = TrainingSamples(dataset, replace(plain, distances=(200.0,)), model)
    near = TrainingSamples(dataset, replace(plain, distances=(0.0,)), model)
    for position in range(3):
        seen, clear = far[position], near[position]
        assert np.array_equal(seen.masks[0], clear.masks[0])
        assert not np.array_equal(seen.views[0], clear.views[0])
        assert np.array_equal(far[position].views[0], seen.views[0])
    with pytest.raises(ValueError, match=r"train\.distances must be 0 m or more"):
        replace(plain, distances=(-1.0,))


def test_one_category_keeps_every_image(dataset):
    used = dataset.records.category_ids[0]
    name = next(category.name for category in dataset.categories if category.id == used)
    kept = _only(dataset, [name])
    assert len(kept) == len(dataset)
    assert {category.name for category in kept.categories} == {name}
    assert 0 < len(kept.records) < len(dataset.records)
    assert _only(None, [name]) is None
    with pytest.raises(InputError, match="there is none called unicorn"):
        _only(dataset, ["unicorn"])


def test_a_person_has_the_id_of_cocos_person():
    model = build(replace(TINY, task="instance", num_classes=1))
    predictor = baselines.Predictor(model=model)
    assert [(row.id, row.name) for row in predictor.categories] == [(1, "person")]


def test_an_evaluation_at_each_distance(dataset):
    """The clean numbers stay; each distance adds its own, and the same air gives the same again."""
    model = build(replace(TINY, task="instance", num_classes=len(dataset.categories)))
    plain = evaluate_model(model, dataset, Ranks())
    far = [evaluate_model(model, dataset, Ranks(), distances=(0.0, 150.0)) for _ in range(2)]
    assert far[0].keys() - plain.keys() == {"APe_150m", "class_AP_150m"}
    np.testing.assert_equal(far[0], far[1])
    np.testing.assert_equal({name: far[0][name] for name in plain}, plain)
    assert model.training
