"""Backbones: images (N, 3, H, W) to features of stride 4, 8, 16 and 32."""

from torch import nn

from baselines.backbones.hornet import HorNet
from baselines.backbones.resnet import ResNet
from baselines.backbones.swin import Swin
from baselines.config import BackboneConfig, HorNetConfig, ResNetConfig, SwinConfig

__all__ = ["HorNet", "ResNet", "Swin", "build_backbone"]

_BACKBONES = {ResNetConfig: ResNet, SwinConfig: Swin, HorNetConfig: HorNet}


def build_backbone(config: BackboneConfig) -> nn.Module:
    """Build the backbone that a configuration describes.

    It maps images (N, 3, H, W), sides multiples of 32, to ``{"res2": (N, C, H/4, W/4), "res3":
    (N, 2C, H/8, W/8), "res4": ..., "res5": ...}``.
    """
    return _BACKBONES[type(config)](config)
