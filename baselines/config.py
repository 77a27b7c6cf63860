"""Configurations of the reference models, as frozen dataclasses."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = [
    "BackboneConfig",
    "HorNetConfig",
    "ModelConfig",
    "ResNetConfig",
    "SwinConfig",
    "Task",
    "config_from_dict",
    "config_to_dict",
]

Task = Literal["entity", "instance", "semantic", "panoptic"]


@dataclass(frozen=True)
class ResNetConfig:
    """ResNet with bottleneck blocks, stride in the 3 x 3 convolution. The default is ResNet-50."""

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    stem_channels: int = 64
    res2_channels: int = 256  # out of the first stage; doubles with each stage
    width: int = 64  # inside the blocks of the first stage; doubles with each stage
    frozen_norm: bool = True  # keep the batch statistics constant, as in every published file

    @property
    def channels(self) -> tuple[int, ...]:
        return tuple(self.res2_channels * 2**i for i in range(len(self.blocks)))


@dataclass(frozen=True)
class SwinConfig:
    """Swin Transformer. The default is Swin-T."""

    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int = 7
    mlp_ratio: float = 4.0
    drop_path_rate: float = 0.3

    @property
    def channels(self) -> tuple[int, ...]:
        return tuple(self.embed_dim * 2**i for i in range(len(self.depths)))


@dataclass(frozen=True)
class HorNetConfig:
    """HorNet with recursive gated convolutions. The default is HorNet-L with global filters."""

    base_dim: int = 192
    depths: tuple[int, ...] = (2, 3, 18, 2)
    orders: tuple[int, ...] = (2, 3, 4, 5)
    # (rows, columns) of a stage's filter in the frequency domain; None: a 7 x 7 convolution
    global_filters: tuple[tuple[int, int] | None, ...] = (None, None, (24, 13), (12, 7))
    gate_scale: float = 1 / 3
    drop_path_rate: float = 0.6

    @property
    def channels(self) -> tuple[int, ...]:
        return tuple(self.base_dim * 2**i for i in range(len(self.depths)))


BackboneConfig = ResNetConfig | SwinConfig | HorNetConfig
_BACKBONES = {"resnet": ResNetConfig, "swin": SwinConfig, "hornet": HorNetConfig}


@dataclass(frozen=True)
class ModelConfig:
    """Hold everything that decides a model's parameters and how an image becomes its input."""

    backbone: BackboneConfig = SwinConfig()
    task: Task = "entity"
    num_classes: int = 1
    num_queries: int = 100
    num_views: int = (
        1  # views of an image at inference; more than one adds CropFormer's fusion and joint pass
    )

    hidden_dim: int = 256
    mask_dim: int = 256
    num_heads: int = 8
    encoder_layers: int = 6  # deformable attention, in the pixel decoder
    encoder_ffn_dim: int = 1024
    encoder_points: int = 4
    decoder_layers: int = 9  # masked attention
    decoder_ffn_dim: int = 2048
    fusion_ffn_dim: int = 2048

    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)  # RGB, of values 0..255
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    size_divisibility: int = 32
    min_size_test: int = 800  # short side in pixels
    max_size_test: int = 1333  # bound on the long side in pixels
    crop_ratio: float = 0.7  # side of a corner crop over the side of the image

    max_predictions: int = 100  # of an image; CropFormer keeps all of its queries
    panoptic_score_threshold: float = 0.8
    panoptic_overlap_threshold: float = (
        0.8  # segments whose visible share of their area is lower are dropped
    )


def config_to_dict(config: ModelConfig) -> dict[str, Any]:
    """Convert a configuration to plain JSON values, which :func:`config_from_dict` reads back."""
    backbone = next(name for name, kind in _BACKBONES.items() if type(config.backbone) is kind)
    plain = dataclasses.asdict(config)
    plain["backbone"] = {"kind": backbone, **plain["backbone"]}
    return plain


def config_from_dict(plain: Mapping[str, Any]) -> ModelConfig:
    """Make a configuration from what :func:`config_to_dict` returned, or its JSON.

    Raises:
        ValueError: There is an unknown field or backbone.
    """
    fields = {key: _frozen(value) for key, value in plain.items() if key != "backbone"}
    backbone = {key: _frozen(value) for key, value in plain.get("backbone", {}).items()}
    kind = backbone.pop("kind", "swin")
    if kind not in _BACKBONES:
        raise ValueError(f"unknown backbone {kind!r}; known: {', '.join(_BACKBONES)}")
    try:
        return ModelConfig(backbone=_BACKBONES[kind](**backbone), **fields)
    except TypeError as error:
        raise ValueError(f"not a model configuration: {error}") from None


def _frozen(value: Any) -> Any:
    """Turn lists, which is what JSON makes of tuples, back into tuples."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
