"""The list of models: equal to the presets, to the networks, to the published numbers."""

import json
from pathlib import Path

import pytest
import torch

from baselines.build import build_model
from baselines.presets import PRESETS
from baselines.zoo import MODELS
from entityseg_bench import cli
from entityseg_bench.reproduce import published_numbers, row_name

BOARD = Path(__file__).resolve().parents[2] / "leaderboard"
# Models that share the row of another: the published weights have the other window size, or the row
# is of other images.
OTHERS = {
    ("mask2former_swin_large_w7_panoptic", "high"),
    ("mask2former_swin_large_w7_semantic", "high"),
    ("mask2former_swin_large_w12_semantic", "high"),
    ("mask2former_hornet_3x_lr", "high"),
}


def test_the_list_has_every_preset_once():
    assert sorted(model.preset for model in MODELS) == sorted(PRESETS)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.preset)
def test_parameters_and_task_are_those_of_the_network(model):
    config = PRESETS[model.preset].model
    with torch.device("meta"):
        network = build_model(config)
    assert model.parameters == sum(weight.numel() for weight in network.parameters())
    assert model.task == config.task
    assert model.is_recipe == PRESETS[model.preset].is_recipe


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.preset)
@pytest.mark.parametrize("resolution", ["low", "high"])
def test_numbers_are_those_of_the_board(model, resolution):
    is_row = not PRESETS[model.preset].is_recipe and not model.preset.endswith("former_tiny")
    percent, _ = published_numbers(BOARD, row_name(model.preset), resolution)
    value = model.low if resolution == "low" else model.high
    if not is_row or (model.preset, resolution) in OTHERS:
        assert value is None
        return
    own = {"entity": "APe", "instance": "AP", "semantic": "mIoU", "panoptic": "PQ"}[model.task]
    assert value == percent.get(own)
    assert row_name(model.preset).backbone == model.backbone


def test_the_command(tmp_path, capsys):
    out = tmp_path / "models.json"
    assert cli.main(["models", "--task", "entity", "--json", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "preset", "backbone", "task", "parameters", "low", "high", "weights",
    ]  # fmt: skip
    wanted = "cropformer_swin_tiny_3x Swin-T entity 49.0 M 40.6 43.0 published"
    assert wanted.split() in [line.split() for line in lines]
    assert any(
        " ".join(x.split()) == "mask2former_tiny tiny entity 1.5 M - - package" for x in lines
    )
    rows = json.loads(out.read_text(encoding="utf-8"))
    weights = {row["preset"]: row["weights"] for row in rows}
    assert weights["mask2former_tiny"] == "mask2former_tiny_demo"
    assert weights["mask2former_swin_tiny_3x"] == "mask2former_swin_tiny_3x"
    wanted = {m.preset for m in MODELS if m.task == "entity" and not m.is_recipe}
    assert weights.keys() == wanted
