"""Models as small as they can be, a configuration for each task."""

from dataclasses import replace

import torch

from baselines import build_model
from baselines.config import ModelConfig, SwinConfig

TINY = ModelConfig(
    backbone=SwinConfig(embed_dim=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8)),
    num_queries=12,
    hidden_dim=32,
    mask_dim=32,
    encoder_layers=1,
    encoder_ffn_dim=32,
    decoder_layers=1,
    decoder_ffn_dim=32,
    fusion_ffn_dim=32,
    min_size_test=64,
    max_size_test=96,
)
CONFIGS = {
    "entity": TINY,
    "views": replace(TINY, num_views=5),
    "instance": replace(TINY, task="instance", num_classes=4),
    "semantic": replace(TINY, task="semantic", num_classes=150),
    "panoptic": replace(TINY, task="panoptic", num_classes=350, panoptic_score_threshold=0.003),
}


def build(config):
    torch.manual_seed(0)
    return build_model(config)
