"""Masked-attention decoder over queries and views.

Source: Cheng et al., Mask2Former, arXiv 2112.01527; Qi et al., CropFormer, arXiv 2211.05776. Views
are an axis of the keys: a pass over (B, V) images sees the positions of all V views as one long
sequence of keys, and its masks as one long sequence of pixels. V = 1 is Mask2Former.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from baselines.config import ModelConfig
from baselines.modeling.constants import constant
from baselines.modeling.layers import (
    FFN,
    MLP,
    CrossAttention,
    SelfAttention,
    row_products,
    sine_position,
    view_position,
)
from baselines.modeling.linear import Linear

__all__ = ["MaskDecoder"]

_NUM_LEVELS = 3


class _Level(NamedTuple):
    """Hold one feature level as a pass uses it, with K keys."""

    key: Tensor  # (B, K, C), value plus position
    value: Tensor  # (B, K, C)
    mask_features: Tensor  # (B, K, mask_dim), resized to the level


class MaskDecoder(nn.Module):
    """Queries that attend to their own masks; with several views, on each view and then jointly."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        dim, heads, layers = config.hidden_dim, config.num_heads, config.decoder_layers
        self.transformer_self_attention_layers = nn.ModuleList(
            SelfAttention(dim, heads) for _ in range(layers)
        )
        self.transformer_cross_attention_layers = nn.ModuleList(
            CrossAttention(dim, heads) for _ in range(layers)
        )
        self.transformer_ffn_layers = nn.ModuleList(
            FFN(dim, config.decoder_ffn_dim) for _ in range(layers)
        )
        self.fuses = config.num_views > 1
        if self.fuses:
            self.make_3d = _Fusion(dim, heads, config.fusion_ffn_dim)
        self.decoder_norm = nn.LayerNorm(dim)
        self.query_feat = nn.Embedding(config.num_queries, dim)
        self.query_embed = nn.Embedding(config.num_queries, dim)
        self.level_embed = nn.Embedding(_NUM_LEVELS, dim)
        self.class_embed = Linear(dim, config.num_classes + 1)
        self.mask_embed = MLP([dim, dim, dim, config.mask_dim])

    def forward(
        self, mask_features: Tensor, levels: list[Tensor], views: int, aux: bool
    ) -> dict[str, Tensor | list | dict]:
        """Predict classes and masks.

        Args:
            mask_features: (B * V, mask_dim, H/4, W/4).
            levels: Three tensors (B * V, C, h, w), of stride 32, 16 and 8.
            views: V, the number of consecutive images that are views of one image.
            aux: True to return the predictions of earlier layers and of the pass on each view, too.

        Returns:
            See :meth:`baselines.modeling.mask2former.Mask2Former.forward`.
        """
        as_seen = self._levels(mask_features, levels)
        queries = self.query_feat.weight.expand(mask_features.shape[0], -1, -1)
        view_states = None
        if self.fuses:
            view_states = self._decode(queries, as_seen)
            queries = self.make_3d(
                view_states[-1].unflatten(0, (-1, views)), self.query_embed.weight
            )
            as_seen = [_join(level, views) for level in as_seen]
        states = self._decode(queries, as_seen)
        masks = mask_features.unflatten(0, (-1, views))
        outputs = self._predict(states[-1], masks)
        if aux:
            outputs["aux_outputs"] = [self._predict(state, masks) for state in states[:-1]]
            if view_states is not None:
                outputs["view_outputs"] = self._predict_views(view_states, masks)
        return outputs

    def _levels(self, mask_features: Tensor, levels: list[Tensor]) -> list[_Level]:
        result = []
        for level, embed in zip(levels, self.level_embed.weight, strict=True):
            height, width = level.shape[-2:]
            # Attention needs only the signs of the masks at the size of the level. Resizing and the
            # product with a query are both linear, so the features are resized, once for all
            # layers.
            small = F.interpolate(mask_features, (height, width), mode="bilinear")
            value = _tokens(level) + embed
            position = constant(sine_position, height, width, value.shape[2], like=value)
            result.append(_Level(value + position, value, _tokens(small)))
        return result

    def _decode(self, queries: Tensor, levels: list[_Level]) -> list[Tensor]:
        """Run all layers on queries (B, Q, C); returns the queries given and after each layer."""
        position = self.query_embed.weight
        states = [queries]
        layers = zip(
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
            strict=True,
        )
        for index, (cross, own, ffn) in enumerate(layers):
            level = levels[index % _NUM_LEVELS]
            mask_embed = self.mask_embed(self.decoder_norm(queries))
            # Where the mask's probability is at least 0.5, or anywhere if there is no such place.
            attend = row_products(mask_embed, level.mask_features) >= 0
            attend = attend | ~attend.any(-1, keepdim=True)
            queries = cross(queries, position, level.key, level.value, attend)
            queries = ffn(own(queries, position))
            states.append(queries)
        return states

    def _predict(self, queries: Tensor, mask_features: Tensor) -> dict[str, Tensor]:
        """Predict from queries (B, Q, C) and mask features (B, V, mask_dim, H/4, W/4)."""
        views, _, height, width = mask_features.shape[1:]
        queries = self.decoder_norm(queries)
        pixels = mask_features.permute(0, 1, 3, 4, 2).flatten(1, 3)
        masks = row_products(self.mask_embed(queries), pixels)
        return {
            "pred_logits": self.class_embed(queries),
            "pred_masks": masks.unflatten(2, (views, height, width)),
        }

    def _predict_views(self, states: list[Tensor], mask_features: Tensor) -> dict:
        """Predict from the states (B * V, Q, C) of the pass on each view."""
        views = mask_features.shape[1]
        each = mask_features.flatten(0, 1)[:, None]
        predictions = []
        for state in states:
            prediction = self._predict(state, each)
            predictions.append(
                {
                    "pred_logits": prediction["pred_logits"].unflatten(0, (-1, views)),
                    "pred_masks": prediction["pred_masks"].squeeze(2).unflatten(0, (-1, views)),
                }
            )
        return {**predictions[-1], "aux_outputs": predictions[:-1]}


class _Fusion(nn.Module):
    """Fuse the queries of all views into one set."""

    def __init__(self, dim: int, heads: int, hidden: int):
        super().__init__()
        self.enc_crosattn_3d = nn.ModuleList([CrossAttention(dim, heads)])
        self.enc_selfattn_3d = nn.ModuleList([SelfAttention(dim, heads)])
        self.enc_ffn_3d = nn.ModuleList([FFN(dim, hidden)])

    def forward(self, queries: Tensor, position: Tensor) -> Tensor:
        """Map queries (B, V, Q, C), with positions (Q, C), to (B, Q, C).

        The full image's queries look at the queries of all views. Self-attention goes without
        position, as in the original.
        """
        key, value = (queries + position).flatten(1, 2), queries.flatten(1, 2)
        fused = self.enc_crosattn_3d[0](queries[:, 0], position, key, value)
        return self.enc_ffn_3d[0](self.enc_selfattn_3d[0](fused))


def _join(level: _Level, views: int) -> _Level:
    """Put the keys of an image's views, (B * V, K, C), one after another: (B, V * K, C)."""
    key = level.key.unflatten(0, (-1, views))
    key = key + constant(view_position, views, key.shape[-1], like=key)[:, None]
    value, mask_features = (
        tensor.unflatten(0, (-1, views)).flatten(1, 2)
        for tensor in (level.value, level.mask_features)
    )
    return _Level(key.flatten(1, 2), value, mask_features)


def _tokens(x: Tensor) -> Tensor:
    """View (N, C, h, w) as (N, h * w, C)."""
    return x.flatten(2).transpose(1, 2)
