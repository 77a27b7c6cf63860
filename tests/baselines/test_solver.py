"""Optimizer and schedule against the original's, parameter by parameter."""

import json

import pytest
import torch
import yaml
from torch import nn

from baselines import build_model
from baselines.original import config_from_detectron2
from baselines.presets import get_preset
from baselines.solver import WeightAverage, lr_factor, make_optimizer, parameter_groups
from baselines.train_config import TrainConfig

CASES = (
    "entity_segmentation__cropformer_hornet_3x",
    "entity_segmentation__cropformer_swin_tiny_3x",
    "entity_segmentation__mask2former_swin_tiny_3x",
    "instance_segmentation__mask2former_R_50",
)


def by_name(model, config):
    groups = parameter_groups(model, config)
    return {name: (g["lr"], g["weight_decay"]) for g in groups for name in g["names"]}


@pytest.mark.parametrize("case", CASES)
def test_learning_rate_and_decay_of_every_parameter_equal_the_originals(shared, case):
    expected = json.loads((shared / "golden/optim" / f"{case}.json").read_text())
    settings = (shared / "golden/state_dicts" / f"{case}.cfg.yaml").read_text()
    with torch.device("meta"):
        model = build_model(config_from_detectron2(yaml.safe_load(settings)))
    config = TrainConfig(lr=expected["base_lr"], steps=expected["max_iter"])
    found = by_name(model, config)
    assert found.keys() == expected["groups_lr_wd"].keys()
    for name, values in expected["groups_lr_wd"].items():
        assert found[name] == pytest.approx(values), name
    for step, factor in expected["lr_multiplier_at_iter"].items():
        assert lr_factor(int(step), config) == pytest.approx(factor, rel=1e-9)
    optimizer = make_optimizer(model, config)
    assert list(optimizer.defaults["betas"]) == expected["defaults"]["betas"]
    assert optimizer.defaults["eps"] == expected["defaults"]["eps"]


def test_what_the_original_forgot_need_not_decay():
    config = get_preset("cropformer_hornet_3x").model
    with torch.device("meta"):
        model = build_model(config)
    as_published = by_name(model, TrainConfig(published_decay=True))
    right = by_name(model, TrainConfig(published_decay=False))
    changed = {name for name in right if right[name] != as_published[name]}
    assert all(as_published[n][1] == 0.05 and right[n][1] == 0 for n in changed)
    assert "backbone.stages.0.0.gamma1" in changed
    assert "backbone.stages.0.0.norm1.weight" in changed
    assert "sem_seg_head.pixel_decoder.transformer.level_embed" in changed
    assert "backbone.stages.0.0.pwconv1.weight" not in changed


def test_schedule_by_hand():
    config = TrainConfig(steps=100, power=1.0, warmup_steps=4)
    found = [lr_factor(step, config) for step in (0, 3, 50, 99)]
    assert found == pytest.approx([0.25, 0.97, 0.5, 0.01])


def test_presets_train_as_published():
    swin_l = get_preset("cropformer_swin_large_3x").train
    assert (swin_l.batch_size, swin_l.steps, swin_l.augment.corner_crops) == (8, 206_250, 1)
    swin_t = get_preset("mask2former_swin_tiny_3x").train
    assert (swin_t.batch_size, swin_t.steps, swin_t.augment.canvas) == (16, 103_125, 1024)
    semantic = get_preset("mask2former_R_50_semantic").train
    assert semantic.augment.short_sides[:3] == (256, 307, 358)
    assert semantic.augment.short_sides[-1] == 1024
    assert get_preset("mask2former_swin_tiny_panoptic").train.lr == 5e-4


def test_average_of_weights_by_hand():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = WeightAverage(model, decay=0.9)
    nn.init.ones_(model.weight)
    average.update(model)
    # The first update weighs the average by 1/10, the second by 2/11.
    assert average.state["weight"].item() == pytest.approx(0.9)
    average.update(model)
    assert average.state["weight"].item() == pytest.approx(0.9 + 0.1 * 9 / 11)
    assert model.weight.item() == 1
