"""Pixel decoder: deformable attention over strides 32, 16 and 8, then an FPN step to stride 4.

Source: Cheng et al., Mask2Former, arXiv 2112.01527; Zhu et al., Deformable DETR, arXiv 2010.04159.
Token sequences are (N, S, C), levels one after another from stride 32 to stride 8, rows first.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.config import ModelConfig
from baselines.modeling.constants import constant
from baselines.modeling.layers import ConvNorm, by_rows, sine_position
from baselines.modeling.linear import Linear
from baselines.ops import deformable_attention_from_offsets

__all__ = ["DeformableAttention", "PixelDecoder"]

_LEVELS = ("res5", "res4", "res3")


class PixelDecoder(nn.Module):
    """Turn backbone features into tokens of three levels and mask features of stride 4."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        dim = config.hidden_dim
        res2, *coarser = config.backbone.channels
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, dim, 1), nn.GroupNorm(32, dim))
            for channels in reversed(coarser)
        )
        for projection in self.input_proj:
            nn.init.xavier_uniform_(projection[0].weight)
            nn.init.zeros_(projection[0].bias)
        self.transformer = DeformableEncoder(config)
        self.adapter_1 = ConvNorm(res2, dim, 1, nn.GroupNorm(32, dim))
        self.layer_1 = ConvNorm(dim, dim, 3, nn.GroupNorm(32, dim), padding=1, activation=F.relu)
        self.mask_features = nn.Conv2d(dim, config.mask_dim, 1)
        nn.init.kaiming_uniform_(self.mask_features.weight, a=1)
        nn.init.zeros_(self.mask_features.bias)

    def forward(self, features: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Decode the features of a backbone.

        Args:
            features: "res2" to "res5", (N, C, H/4, W/4) to (N, C, H/32, W/32).

        Returns:
            Mask features (N, mask_dim, H/4, W/4), and the levels (N, hidden_dim, h, w) of stride
            32, 16 and 8.
        """
        levels = [p(features[k]) for p, k in zip(self.input_proj, _LEVELS, strict=True)]
        shapes = [(level.shape[-2], level.shape[-1]) for level in levels]
        memory = self.transformer(levels)
        tokens = memory.split([height * width for height, width in shapes], dim=1)
        # Cut before it is permuted, or the only image gets strides that no layout has, and resizing
        # takes seven times as long.
        levels = [
            t.unflatten(1, shape).permute(0, 3, 1, 2)
            for t, shape in zip(tokens, shapes, strict=True)
        ]
        fine = self.adapter_1(features["res2"])
        fine = fine + F.interpolate(
            levels[-1], fine.shape[-2:], mode="bilinear", align_corners=False
        )
        return self.mask_features(self.layer_1(fine)), levels


class DeformableEncoder(nn.Module):
    """Layers of deformable self-attention over all levels."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.level_embed = nn.Parameter(torch.empty(len(_LEVELS), config.hidden_dim))
        nn.init.normal_(self.level_embed)
        self.encoder = nn.ModuleDict(
            {"layers": nn.ModuleList(_Layer(config) for _ in range(config.encoder_layers))}
        )

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Encode levels (N, C, h, w); returns their tokens (N, S, C)."""
        shapes = [(level.shape[-2], level.shape[-1]) for level in levels]
        x = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
        positions = [
            constant(sine_position, *shape, x.shape[2], like=x) + embed
            for shape, embed in zip(shapes, self.level_embed, strict=True)
        ]
        position = torch.cat(positions)
        reference = constant(_reference_points, tuple(shapes), like=x, dtype=torch.float32)
        for layer in self.encoder["layers"]:
            x = layer(x, position, reference, shapes)
        return x


class _Layer(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        dim, hidden = config.hidden_dim, config.encoder_ffn_dim
        self.self_attn = DeformableAttention(
            dim, config.num_heads, len(_LEVELS), config.encoder_points
        )
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = Linear(dim, hidden, activation="relu")
        self.linear2 = Linear(hidden, dim)
        self.norm2 = nn.LayerNorm(dim)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self, x: Tensor, position: Tensor, reference: Tensor, shapes: list[tuple[int, int]]
    ) -> Tensor:
        x = self.norm1(x + self.self_attn(x + position, reference, x, shapes))
        return by_rows(self._feed_forward, x, self.linear1.out_features)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.norm2(x + self.linear2(self.linear1(x)))


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention with its projections."""

    def __init__(self, dim: int, heads: int, levels: int, points: int):
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = Linear(dim, heads * levels * points * 2)
        self.attention_weights = Linear(dim, heads * levels * points)
        self.value_proj = Linear(dim, dim)
        self.output_proj = Linear(dim, dim)
        self._init()

    def _init(self) -> None:
        """Start head h at angle 2 pi h / heads, its point p at p + 1 pixels along a square."""
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        for linear in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(linear.weight)
        nn.init.zeros_(self.attention_weights.bias)
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        step = torch.arange(1, self.points + 1)[:, None]
        offsets = (direction[:, None, None] * step).expand(-1, self.levels, -1, -1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.flatten())

    def forward(
        self,
        query: Tensor,
        reference: Tensor,
        x: Tensor,
        shapes: list[tuple[int, int]],
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Sample x around reference points.

        Args:
            query: (N, Q, C).
            reference: points (x, y), where [0, 1] spans a level; (N, Q, heads, L, points, 2), or 1
                in place of any size but the last.
            x: (N, S, C) tokens of the levels.
            shapes: (height, width) of the L levels.
            padding_mask: (N, S) bool, true at tokens that count as zero; None: there are none.

        Returns:
            (N, Q, C).
        """
        value = self.value_proj(x)
        if padding_mask is not None:
            value = value.masked_fill(padding_mask[..., None], 0)
        value = value.unflatten(2, (self.heads, -1))
        samples = (self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).unflatten(2, (*samples, 2))
        logits = self.attention_weights(query).unflatten(2, samples)
        out = deformable_attention_from_offsets(value, reference, offsets, logits, shapes)
        return self.output_proj(out)


def _reference_points(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """Give every token's centre as (x, y) in [0, 1]: (1, S, 1, 1, 1, 2) float32."""
    centres = torch.cat([_pixel_centres(height, width, device) for height, width in shapes])
    return centres[None, :, None, None, None]


def _pixel_centres(height: int, width: int, device: torch.device) -> Tensor:
    """Centres of the pixels of a level as (x, y) in [0, 1], (height * width, 2) float32."""
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)
