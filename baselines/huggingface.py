"""Convert Mask2Former weights and configurations to and from Hugging Face transformers (version 5).

Only models with a Swin backbone can be converted: transformers has no HorNet, and its ResNet
updates batch statistics. The two models differ in one point. Where a feature map is no larger than
a window, transformers shrinks the window and drops the shift; the original and the model here do
neither.
"""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from baselines.backbones.swin import relative_position_index
from baselines.config import ModelConfig, SwinConfig, Task

__all__ = [
    "config_from_transformers",
    "config_to_transformers",
    "from_transformers",
    "to_transformers",
]

_BLOCK = "backbone.layers.{}.blocks.{}."
_THEIR_ENCODER = "model.pixel_level_module.encoder."
_THEIR_STAGE = _THEIR_ENCODER + "swin.encoder.layers.{}."
_THEIR_BLOCK = _THEIR_STAGE + "blocks.{}."
_PIXEL = "sem_seg_head.pixel_decoder."
_PIXEL_LAYER = _PIXEL + "transformer.encoder.layers.{}."
_THEIR_PIXEL = "model.pixel_level_module.decoder."
_THEIR_PIXEL_LAYER = _THEIR_PIXEL + "encoder.layers.{}."
_DECODER = "sem_seg_head.predictor."
_THEIR_DECODER = "model.transformer_module.decoder."
_THEIR_LAYER = _THEIR_DECODER + "layers.{}."

# Beginning of a name here, and of the same name in transformers; {} is an index. The first row that
# fits is used. The projections of queries, keys and values are split before and joined after
# renaming.
_NAMES = (
    ("backbone.patch_embed.proj.", _THEIR_ENCODER + "swin.embeddings.patch_embeddings.projection."),
    ("backbone.patch_embed.norm.", _THEIR_ENCODER + "swin.embeddings.norm."),
    (_BLOCK + "norm1.", _THEIR_BLOCK + "layernorm_before."),
    (_BLOCK + "norm2.", _THEIR_BLOCK + "layernorm_after."),
    (_BLOCK + "attn.proj.", _THEIR_BLOCK + "attention.o_proj."),
    (
        _BLOCK + "attn.relative_position_bias_table",
        _THEIR_BLOCK + "attention.relative_position_bias.relative_position_bias_table",
    ),
    (_BLOCK + "attn.", _THEIR_BLOCK + "attention."),
    (_BLOCK + "mlp.", _THEIR_BLOCK + "mlp."),
    ("backbone.layers.{}.downsample.", _THEIR_STAGE + "downsample."),
    ("backbone.norm0.", _THEIR_ENCODER + "hidden_states_norms.stage1."),
    ("backbone.norm1.", _THEIR_ENCODER + "hidden_states_norms.stage2."),
    ("backbone.norm2.", _THEIR_ENCODER + "hidden_states_norms.stage3."),
    ("backbone.norm3.", _THEIR_ENCODER + "hidden_states_norms.stage4."),
    (_PIXEL + "transformer.level_embed", _THEIR_PIXEL + "level_embed"),
    (_PIXEL + "input_proj.", _THEIR_PIXEL + "input_projections."),
    (_PIXEL_LAYER + "self_attn.", _THEIR_PIXEL_LAYER + "self_attn."),
    (_PIXEL_LAYER + "norm1.", _THEIR_PIXEL_LAYER + "self_attn_layer_norm."),
    (_PIXEL_LAYER + "norm2.", _THEIR_PIXEL_LAYER + "final_layer_norm."),
    (_PIXEL_LAYER + "linear1.", _THEIR_PIXEL_LAYER + "fc1."),
    (_PIXEL_LAYER + "linear2.", _THEIR_PIXEL_LAYER + "fc2."),
    (_PIXEL + "adapter_1.norm.", _THEIR_PIXEL + "adapter_1.1."),
    (_PIXEL + "adapter_1.", _THEIR_PIXEL + "adapter_1.0."),
    (_PIXEL + "layer_1.norm.", _THEIR_PIXEL + "layer_1.1."),
    (_PIXEL + "layer_1.", _THEIR_PIXEL + "layer_1.0."),
    (_PIXEL + "mask_features.", _THEIR_PIXEL + "mask_projection."),
    (
        _DECODER + "transformer_cross_attention_layers.{}.multihead_attn.",
        _THEIR_LAYER + "cross_attn.",
    ),
    (
        _DECODER + "transformer_cross_attention_layers.{}.norm.",
        _THEIR_LAYER + "cross_attn_layer_norm.",
    ),
    (_DECODER + "transformer_self_attention_layers.{}.self_attn.", _THEIR_LAYER + "self_attn."),
    (
        _DECODER + "transformer_self_attention_layers.{}.norm.",
        _THEIR_LAYER + "self_attn_layer_norm.",
    ),
    (_DECODER + "transformer_ffn_layers.{}.linear1.", _THEIR_LAYER + "fc1."),
    (_DECODER + "transformer_ffn_layers.{}.linear2.", _THEIR_LAYER + "fc2."),
    (_DECODER + "transformer_ffn_layers.{}.norm.", _THEIR_LAYER + "final_layer_norm."),
    (_DECODER + "decoder_norm.", _THEIR_DECODER + "layernorm."),
    (_DECODER + "query_feat.", "model.transformer_module.queries_features."),
    (_DECODER + "query_embed.", "model.transformer_module.queries_embedder."),
    (_DECODER + "level_embed.", "model.transformer_module.level_embed."),
    (_DECODER + "class_embed.", "class_predictor."),
    (_DECODER + "mask_embed.layers.0.", _THEIR_DECODER + "mask_predictor.mask_embedder.0.0."),
    (_DECODER + "mask_embed.layers.1.", _THEIR_DECODER + "mask_predictor.mask_embedder.1.0."),
    (_DECODER + "mask_embed.layers.2.", _THEIR_DECODER + "mask_predictor.mask_embedder.2.0."),
)
# Weights that only transformers has: the class weights of the loss, and a norm that is never used.
_THEIRS_ALONE = ("criterion.empty_weight", _THEIR_ENCODER + "swin.layernorm.")
_JOINED = re.compile(r"(.*\.attn)\.qkv\.(weight|bias)|(.*\.self_attn)\.in_proj_(weight|bias)")
_SPLIT = re.compile(r"(.*\.(?:attn|self_attn))\.q_proj\.(weight|bias)")


def to_transformers(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a Mask2Former's weights for ``Mask2FormerForUniversalSegmentation.load_state_dict``.

    Load with ``strict=False``: the loss's ``criterion.empty_weight`` and the encoder's last norm,
    which is never used, have no counterpart here and keep the values they are made with.

    Raises:
        ValueError: transformers has no counterpart for a weight, for example CropFormer's fusion.
    """
    renamed = {}
    for key, value in state_dict.items():
        if key.endswith("relative_position_index"):
            continue
        joined = _JOINED.fullmatch(key)
        if joined is None:
            renamed[_rename(key, 0)] = value
        else:
            stem, leaf = joined[1] or joined[3], joined[2] or joined[4]
            for name, part in zip("qkv", value.chunk(3), strict=True):
                renamed[_rename(f"{stem}.{name}_proj.{leaf}", 0)] = part
    return renamed


def from_transformers(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the ``state_dict()`` of a ``Mask2FormerForUniversalSegmentation`` for a model here.

    Raises:
        ValueError: A weight has no counterpart here.
    """
    names = {key: _rename(key, 1) for key in state_dict if not key.startswith(_THEIRS_ALONE)}
    split = {ours: state_dict[theirs] for theirs, ours in names.items()}
    result = {}
    for key, value in split.items():
        match = _SPLIT.fullmatch(key)
        if match is not None:
            stem, leaf = match[1], match[2]
            joint = f"{stem}.qkv.{leaf}" if stem.endswith(".attn") else f"{stem}.in_proj_{leaf}"
            result[joint] = torch.cat([split[f"{stem}.{name}_proj.{leaf}"] for name in "qkv"])
        elif not re.search(r"\.[kv]_proj\.", key):
            result[key] = value
        if key.endswith("relative_position_bias_table"):
            window = (math.isqrt(len(value)) + 1) // 2
            index = key.removesuffix("bias_table") + "index"
            result[index] = relative_position_index(window)
    return result


def _rename(key: str, source: int) -> str:
    """Rename a weight by the first row of _NAMES that fits.

    ``source`` is 0 for a name of this package and 1 for one of transformers.
    """
    for row in _NAMES:
        pattern = re.escape(row[source]).replace(r"\{\}", r"(\d+)")
        match = re.match(pattern, key)
        if match is not None:
            return row[1 - source].format(*match.groups()) + key[match.end() :]
    raise ValueError(f"no counterpart in the conversion to and from transformers: {key}")


def config_to_transformers(config: ModelConfig):
    """Translate a configuration into a ``transformers.Mask2FormerConfig``.

    Raises:
        ValueError: It is a CropFormer, or has another backbone than Swin.
    """
    from transformers import Mask2FormerConfig
    from transformers import SwinConfig as TheirSwinConfig

    swin = config.backbone
    if not isinstance(swin, SwinConfig) or config.num_views > 1:
        raise ValueError("transformers has only the Mask2Former with a Swin backbone")
    return Mask2FormerConfig(
        backbone_config=TheirSwinConfig(
            embed_dim=swin.embed_dim,
            depths=list(swin.depths),
            num_heads=list(swin.num_heads),
            window_size=swin.window_size,
            mlp_ratio=swin.mlp_ratio,
            drop_path_rate=swin.drop_path_rate,
            out_features=[f"stage{i + 1}" for i in range(len(swin.depths))],
        ),
        num_labels=config.num_classes,
        num_queries=config.num_queries,
        hidden_dim=config.hidden_dim,
        feature_size=config.hidden_dim,
        mask_feature_size=config.mask_dim,
        num_attention_heads=config.num_heads,
        encoder_layers=config.encoder_layers,
        encoder_feedforward_dim=config.encoder_ffn_dim,
        decoder_layers=config.decoder_layers
        + 1,  # the number of learnable queries in transformers, too
        dim_feedforward=config.decoder_ffn_dim,
    )


def config_from_transformers(theirs, task: Task) -> ModelConfig:
    """Translate a ``transformers.Mask2FormerConfig``, which does not state the task.

    Raises:
        ValueError: The backbone is another than Swin.
    """
    swin = theirs.backbone_config
    if swin.model_type != "swin":
        raise ValueError(f"only Swin backbones can be converted, not {swin.model_type}")
    return ModelConfig(
        backbone=SwinConfig(
            embed_dim=swin.embed_dim,
            depths=tuple(swin.depths),
            num_heads=tuple(swin.num_heads),
            window_size=swin.window_size,
            mlp_ratio=swin.mlp_ratio,
            drop_path_rate=swin.drop_path_rate,
        ),
        task=task,
        num_classes=theirs.num_labels,
        num_queries=theirs.num_queries,
        hidden_dim=theirs.hidden_dim,
        mask_dim=theirs.mask_feature_size,
        num_heads=theirs.num_attention_heads,
        encoder_layers=theirs.encoder_layers,
        encoder_ffn_dim=theirs.encoder_feedforward_dim,
        decoder_layers=theirs.decoder_layers - 1,
        decoder_ffn_dim=theirs.dim_feedforward,
    )
