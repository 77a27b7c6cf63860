"""Guess the preset that weights belong to, from the sizes in which presets differ."""

import re
from collections.abc import Mapping

from torch import Tensor

from baselines.config import HorNetConfig, ModelConfig, ResNetConfig, SwinConfig
from baselines.presets import PRESETS

__all__ = ["FUSION", "guess_presets"]

# Beginning of names that CropFormer has and Mask2Former does not.
FUSION = "sem_seg_head.predictor.make_3d."


def guess_presets(weights: Mapping[str, Tensor]) -> list[str]:
    """List the presets whose sizes the renamed weights have, in alphabetical order; maybe none.

    Recipes without published weights come last, so that they are never taken for published ones.
    """
    found = _sizes(weights)
    likely = [name for name, preset in PRESETS.items() if _config_sizes(preset.model) == found]
    return sorted(likely, key=lambda name: PRESETS[name].is_recipe)


def _sizes(weights: Mapping[str, Tensor]) -> tuple:
    """Read from weights the sizes in which presets differ; None where an entry is missing."""

    def side(name: str) -> int | None:
        return weights[name].shape[0] if name in weights else None

    def blocks(pattern: str) -> tuple[int, ...]:
        found = {match.groups() for name in weights if (match := re.match(pattern, name))}
        stages = sorted({int(stage) for stage, _ in found})
        return tuple(sum(int(s) == stage for s, _ in found) for stage in stages)

    predictor = "sem_seg_head.predictor."
    classes = side(f"{predictor}class_embed.weight")
    return (
        classes and classes - 1,
        side(f"{predictor}query_feat.weight"),
        any(name.startswith(FUSION) for name in weights),
        side("backbone.stem.conv1.weight"),
        side("backbone.patch_embed.proj.weight"),
        side("backbone.layers.0.blocks.0.attn.relative_position_bias_table"),
        side("backbone.downsample_layers.0.0.weight"),
        blocks(r"backbone\.(?:res|layers\.|stages\.)(\d+)\.(?:blocks\.)?(\d+)\."),
    )


def _config_sizes(config: ModelConfig) -> tuple:
    """Return what `_sizes` returns for the weights of a configuration."""
    backbone = config.backbone
    is_swin = isinstance(backbone, SwinConfig)
    return (
        config.num_classes,
        config.num_queries,
        config.num_views > 1,
        backbone.stem_channels if isinstance(backbone, ResNetConfig) else None,
        backbone.embed_dim if is_swin else None,
        (2 * backbone.window_size - 1) ** 2 if is_swin else None,
        backbone.base_dim if isinstance(backbone, HorNetConfig) else None,
        backbone.blocks if isinstance(backbone, ResNetConfig) else backbone.depths,
    )
