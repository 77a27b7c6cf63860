"""Presets: parameter names, shapes and counts of the published models."""

import json

import pytest
import torch
import yaml

import baselines
from baselines.config import ModelConfig, config_from_dict, config_to_dict
from baselines.original import config_from_detectron2
from baselines.presets import PRESETS, get_preset

# Parameters of the published models, as counted from the original code.
COUNTS = {
    "mask2former_swin_tiny_3x": 47_401_340,
    "mask2former_swin_large_3x": 215_247_446,
    "mask2former_hornet_3x": 220_572_994,
    "mask2former_hornet_3x_lr": 220_572_994,
    "cropformer_swin_tiny_3x": 48_980_092,
    "cropformer_swin_large_3x": 216_826_198,
    "cropformer_hornet_3x": 222_151_746,
    "mask2former_R_50_instance": 44_002_639,
    "mask2former_swin_tiny_instance": 47_454_025,
    "mask2former_swin_large_instance": 215_503_171,
    "mask2former_R_50_semantic": 43_988_247,
    "mask2former_swin_tiny_semantic": 47_439_633,
    "mask2former_swin_large_w7_semantic": 215_285_739,
    "mask2former_swin_large_w12_semantic": 215_539_979,
    "mask2former_R_50_panoptic": 44_039_647,
    "mask2former_swin_tiny_panoptic": 47_491_033,
    "mask2former_swin_large_w7_panoptic": 215_337_139,
    "mask2former_swin_large_w12_panoptic": 215_591_379,
}


def on_meta(name):
    """Build a preset's model without memory for its weights."""
    with torch.device("meta"):
        return baselines.build_model(name)


def test_names():
    names = baselines.list_presets()
    assert set(COUNTS) <= set(names)
    assert names == sorted(names)


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_count(name):
    assert sum(p.numel() for p in on_meta(name).parameters()) == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_names_shapes_and_configuration_are_the_originals(shared, name):
    task = get_preset(name).model.task
    stem = f"{task}_segmentation__{name.removesuffix('_' + task)}"
    folder = shared / "golden/state_dicts"
    original = json.loads((folder / f"{stem}.json").read_text())["state_dict"]
    # The class weights of the loss are no part of the network.
    original = {k: v for k, v in original.items() if not k.startswith("criterion")}
    state = {key: list(value.shape) for key, value in on_meta(name).state_dict().items()}
    assert state == original
    cfg = yaml.unsafe_load((folder / f"{stem}.cfg.yaml").read_text())
    assert config_from_detectron2(cfg) == get_preset(name).model


def test_every_original_file_has_a_preset(shared):
    files = (shared / "golden/state_dicts").glob("*former_*.json")
    stems = [file.stem.split("_segmentation__") for file in files]
    assert {f"{c}_{t}" if t != "entity" else c for t, c in stems} <= set(PRESETS)


@pytest.mark.parametrize("name", COUNTS)
def test_configuration_survives_json(name):
    config = get_preset(name).model
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="no preset 'mask2former'; presets: cropformer_R_50_1x"):
        baselines.build_model("mask2former")
    with pytest.raises(ValueError, match="unknown backbone 'vit'"):
        config_from_dict({"backbone": {"kind": "vit"}})
    with pytest.raises(ValueError, match="unexpected keyword argument 'colour'"):
        config_from_dict({"colour": 1})


def test_other_architectures_are_refused(shared):
    path = shared / "golden/state_dicts/instance_segmentation__mask_rcnn_R_50.cfg.yaml"
    with pytest.raises(ValueError, match="GeneralizedRCNN"):
        config_from_detectron2(yaml.unsafe_load(path.read_text()))


def test_build_model_takes_a_configuration():
    with torch.device("meta"):
        model = baselines.build_model(ModelConfig(num_queries=7))
    assert model.state_dict()["sem_seg_head.predictor.query_feat.weight"].shape == (7, 256)
