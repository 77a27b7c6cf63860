"""Building blocks shared by the networks; parameter names are those of the published weights."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.modeling.linear import Linear, at_inference_on_a_cpu, in_one_pass, linear

__all__ = [
    "FFN",
    "MLP",
    "ConvNorm",
    "CrossAttention",
    "DropPath",
    "FrozenBatchNorm2d",
    "SelfAttention",
    "by_rows",
    "drop_path_rates",
    "row_products",
    "sine_position",
    "view_position",
]

_TEMPERATURE = 10000.0
# Elements of a block's widest intermediate in by_rows, 4 MB in float32. Measured on 2 cores with
# 22,050 rows, 256 to 1024 to 256: 190 ms against 380 ms in one piece; 2 to 16 MB do the same. Where
# a product writes its activation itself there is less to keep in the cache, and blocks only bound
# the memory, 128 MB.
_BLOCK_ELEMENTS, _BLOCK_ELEMENTS_IN_ONE_PASS = 2**20, 2**25


class ConvNorm(nn.Conv2d):
    """Convolution without bias, then a norm, then perhaps an activation; stored as one module."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        norm: nn.Module,
        stride: int = 1,
        padding: int = 0,
        activation: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.norm = norm
        self.activation = activation
        nn.init.kaiming_uniform_(self.weight, a=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(super().forward(x))
        return x if self.activation is None else self.activation(x)


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics and factors are constants, also in training."""

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class DropPath(nn.Module):
    """Drop a residual branch of whole samples with probability ``rate``, in training only."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        mask = x.new_empty(x.shape[0], *(1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * (mask / keep)


def drop_path_rates(last: float, blocks: int) -> list[float]:
    """Rates that rise evenly from 0 in the first block to ``last`` in the last."""
    return [last * block / max(blocks - 1, 1) for block in range(blocks)]


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, dims: list[int]):
        super().__init__()
        last = len(dims) - 2
        self.layers = nn.ModuleList(
            Linear(i, o, activation="none" if k == last else "relu")
            for k, (i, o) in enumerate(pairwise(dims))
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def by_rows(function: Callable[[Tensor], Tensor], x: Tensor, width: int) -> Tensor:
    """Apply a function that maps every row of x (..., C) by itself.

    At inference on a CPU the rows are computed in blocks, so that intermediate results stay in the
    cache instead of being written to memory and read back, or take little of it.

    Args:
        function: maps (rows, C) to (rows, D).
        x: (..., C).
        width: size of the widest row inside the function.

    Returns:
        (..., D).
    """
    if not at_inference_on_a_cpu(x):
        return function(x)
    most = _BLOCK_ELEMENTS_IN_ONE_PASS if in_one_pass(x.dtype) else _BLOCK_ELEMENTS
    rows = most // width
    if x.numel() <= rows * x.shape[-1]:
        return function(x)
    blocks = x.reshape(-1, x.shape[-1]).split(rows)
    return torch.cat([function(block) for block in blocks]).view(*x.shape[:-1], -1)


def row_products(x: Tensor, y: Tensor) -> Tensor:
    """Multiply each row of x (B, Q, C) with each row of y (B, K, C): (B, Q, K).

    At inference on a CPU one of the batch after the other: in bfloat16 a batched product with a
    transposed matrix took 100 ms where the plain one takes 9 (100 x 256 by 67,200 x 256, 1 core).
    """
    if not at_inference_on_a_cpu(x):
        return x @ y.transpose(1, 2)
    return torch.stack([linear(own, other, None) for own, other in zip(x, y, strict=True)])


class _Attention(nn.Module):
    """Multi-head attention with the parameters of ``torch.nn.MultiheadAttention``."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attend: Tensor | None = None
    ) -> Tensor:
        """Attend from query (B, Q, C) to key and value (B, K, C).

        Args:
            attend: (B, Q, K) bool, true where a query may look; None: everywhere.
        """
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (
            linear(x, w, b).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )
        # One mask for all heads: SDPA broadcasts it.
        mask = None if attend is None else attend[:, None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class SelfAttention(nn.Module):
    """Self-attention, residual, norm."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.self_attn = _Attention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor | None = None) -> Tensor:
        """Map x (B, Q, C); position, where given, is added to queries and keys."""
        query = x if position is None else x + position
        return self.norm(x + self.self_attn(query, query, x))


class CrossAttention(nn.Module):
    """Cross-attention, residual, norm."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.multihead_attn = _Attention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        key: Tensor,
        value: Tensor,
        attend: Tensor | None = None,
    ) -> Tensor:
        """Map x (B, Q, C) by what it finds in key and value (B, K, C), attend (B, Q, K) bool."""
        return self.norm(x + self.multihead_attn(x + position, key, value, attend))


class FFN(nn.Module):
    """Two linear layers with ReLU between them, residual, norm."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.linear1 = Linear(dim, hidden, activation="relu")
        self.linear2 = Linear(hidden, dim)
        self.norm = nn.LayerNorm(dim)
        for layer in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.linear2(self.linear1(x)))


def sine_position(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Sine code of image positions: (height * width, channels) float32, y in the first half.

    A coordinate i of n is put as ``2 pi (i + 1) / (n + 1e-6)``; sines and cosines alternate.
    Source: Carion et al., DETR, arXiv 2005.12872.
    """
    half = channels // 2
    y = _sine(height, half, device)[:, None].expand(height, width, half)
    x = _sine(width, half, device)[None].expand(height, width, half)
    return torch.cat([y, x], dim=-1).flatten(0, 1)


def view_position(views: int, channels: int, device: torch.device) -> Tensor:
    """Sine code of views, (views, channels) float32; it is added to that of image positions."""
    return _sine(views, channels, device)


def _sine(count: int, channels: int, device: torch.device) -> Tensor:
    position = torch.arange(1, count + 1, dtype=torch.float32, device=device)
    position = position / (count + 1e-6) * (2 * math.pi)
    pair = torch.arange(channels, device=device).div(2, rounding_mode="floor")
    angle = position[:, None] / _TEMPERATURE ** (2 * pair / channels)
    return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=2).flatten(1)
