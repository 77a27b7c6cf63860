"""Conversion to and from transformers: the same weights give the same outputs."""

from dataclasses import replace

import pytest
import torch

from baselines import build_model
from baselines.config import ModelConfig, ResNetConfig, SwinConfig
from baselines.huggingface import (
    config_from_transformers,
    config_to_transformers,
    from_transformers,
    to_transformers,
)

transformers = pytest.importorskip("transformers")

CONFIG = ModelConfig(
    backbone=SwinConfig(embed_dim=24, depths=(1, 2, 2, 2), num_heads=(1, 2, 4, 8), window_size=4),
    task="instance",
    num_classes=7,
    num_queries=12,
    hidden_dim=64,
    mask_dim=64,
    encoder_layers=2,
    encoder_ffn_dim=96,
    decoder_layers=4,
    decoder_ffn_dim=128,
)


def theirs_untrained():
    return transformers.Mask2FormerForUniversalSegmentation(config_to_transformers(CONFIG)).eval()


@torch.no_grad()
def assert_equal_outputs(ours, theirs):
    # 160 x 192: the coarsest map, 5 x 6, is larger than a window.
    images = torch.randn(2, 3, 160, 192)
    got, want = ours(images), theirs(pixel_values=images)
    torch.testing.assert_close(got["pred_logits"], want.class_queries_logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        got["pred_masks"].squeeze(2), want.masks_queries_logits, atol=1e-4, rtol=0
    )


def test_to_transformers():
    torch.manual_seed(0)
    ours, theirs = build_model(CONFIG).eval(), theirs_untrained()
    report = theirs.load_state_dict(to_transformers(ours.state_dict()), strict=False)
    norm = "model.pixel_level_module.encoder.swin.layernorm"
    assert set(report.missing_keys) == {"criterion.empty_weight", f"{norm}.weight", f"{norm}.bias"}
    assert not report.unexpected_keys
    assert_equal_outputs(ours, theirs)


def test_from_transformers():
    torch.manual_seed(1)
    ours, theirs = build_model(CONFIG).eval(), theirs_untrained()
    ours.load_state_dict(from_transformers(theirs.state_dict()))
    assert_equal_outputs(ours, theirs)


def test_round_trip():
    state = build_model(CONFIG).state_dict()
    back = from_transformers(to_transformers(state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    assert config_from_transformers(config_to_transformers(CONFIG), "instance") == CONFIG


def test_what_transformers_lacks_is_refused():
    views = replace(CONFIG, num_views=5)
    with pytest.raises(ValueError, match="make_3d"):
        to_transformers(build_model(views).state_dict())
    for config in (views, replace(CONFIG, backbone=ResNetConfig())):
        with pytest.raises(ValueError, match="only the Mask2Former with a Swin"):
            config_to_transformers(config)
