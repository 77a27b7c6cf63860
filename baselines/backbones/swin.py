"""Swin Transformer.

Source: Liu et al., arXiv 2103.14030. Tokens stay in image layout (N, height, width, C) throughout.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.config import SwinConfig
from baselines.modeling.constants import constant
from baselines.modeling.layers import DropPath, by_rows, drop_path_rates
from baselines.modeling.linear import Linear, at_inference_on_a_cpu

__all__ = ["Swin", "relative_position_index"]

# Added to the logit of a pair of tokens that the shift brought into one window from different
# regions. The value is the original's, and large enough for the weight to vanish.
_MASKED = -100.0


class _Shifted(NamedTuple):
    """Say what shifted windows bring together from different regions.

    Attributes:
        mask: (windows, 1, window**2, window**2), 0 where both tokens come from one region, else
            -100.
        mixed: (M,) positions of the windows that have both.
    """

    mask: Tensor
    mixed: Tensor


class Swin(nn.Module):
    """Swin; see :func:`baselines.backbones.build_backbone` for input and output."""

    def __init__(self, config: SwinConfig):
        super().__init__()
        self.patch_embed = nn.ModuleDict(
            {
                "proj": nn.Conv2d(3, config.embed_dim, 4, stride=4),
                "norm": nn.LayerNorm(config.embed_dim),
            }
        )
        rates = iter(drop_path_rates(config.drop_path_rate, sum(config.depths)))
        self.layers = nn.ModuleList()
        for stage, (dim, depth) in enumerate(zip(config.channels, config.depths, strict=True)):
            last = stage == len(config.depths) - 1
            self.layers.append(
                _Stage(dim, stage, config, [next(rates) for _ in range(depth)], last)
            )
            self.add_module(f"norm{stage}", nn.LayerNorm(dim))
        self.apply(_init)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = self.patch_embed["proj"](images).permute(0, 2, 3, 1)
        x = self.patch_embed["norm"](x)
        features = {}
        for index, stage in enumerate(self.layers):
            x = stage.attend(x)
            features[f"res{index + 2}"] = getattr(self, f"norm{index}")(x).permute(0, 3, 1, 2)
            if stage.downsample is not None:
                x = stage.downsample(x)
        return features


class _Stage(nn.Module):
    def __init__(self, dim: int, stage: int, config: SwinConfig, rates: list[float], last: bool):
        super().__init__()
        heads, window = config.num_heads[stage], config.window_size
        hidden = int(dim * config.mlp_ratio)
        self.blocks = nn.ModuleList(
            _Block(dim, heads, window, window // 2 if index % 2 else 0, hidden, rate)
            for index, rate in enumerate(rates)
        )
        self.downsample = None if last else _PatchMerging(dim)

    def attend(self, x: Tensor) -> Tensor:
        """Run the blocks on tokens (N, height, width, C)."""
        shifted = next((block for block in self.blocks if block.shift), None)
        windows = None if shifted is None else shifted.shifted_windows(x)
        for block in self.blocks:
            x = block(x, windows if block.shift else None)
        return x


class _Block(nn.Module):
    def __init__(
        self, dim: int, heads: int, window: int, shift: int, hidden: int, drop_path: float
    ):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = _WindowAttention(dim, heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.ModuleDict(
            {"fc1": Linear(dim, hidden, activation="gelu"), "fc2": Linear(hidden, dim)}
        )
        self.drop_path = DropPath(drop_path)

    def shifted_windows(self, x: Tensor) -> _Shifted:
        """Say which pairs of tokens of x (N, height, width, C) its shifted windows mix."""
        sides = (*x.shape[1:3], self.window, self.shift)
        return _Shifted(
            constant(_shift_mask, *sides, like=x),
            constant(_mixed_windows, *sides, like=x, dtype=torch.int64),
        )

    def forward(self, x: Tensor, shifted: _Shifted | None) -> Tensor:
        x = x + self.drop_path(self._attend(self.norm1(x), shifted))
        return x + self.drop_path(by_rows(self._mlp, x, self.mlp["fc1"].out_features))

    def _mlp(self, x: Tensor) -> Tensor:
        return self.mlp["fc2"](self.mlp["fc1"](self.norm2(x)))

    def _attend(self, x: Tensor, shifted: _Shifted | None) -> Tensor:
        sides = (*x.shape[1:3], self.window, self.shift)
        tokens, filling, places = (
            constant(function, *sides, like=x, dtype=torch.int64)
            for function in (_window_tokens, _window_filling, _window_places)
        )
        windows = x.flatten(1, 2).index_select(1, tokens)
        if len(filling):
            # They take part in attention, as in the original.
            windows.index_fill_(1, filling, 0)
        windows = self.attn(windows.view(-1, self.window**2, x.shape[3]), shifted)
        return windows.view(x.shape[0], -1, x.shape[3]).index_select(1, places).view(x.shape)


class _WindowAttention(nn.Module):
    def __init__(self, dim: int, heads: int, window: int):
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)

    def forward(self, x: Tensor, shifted: _Shifted | None) -> Tensor:
        """Attend inside windows: x (N * windows, T, C) with T tokens."""
        windows, tokens, dim = x.shape
        qkv = self.qkv(x).view(windows, tokens, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index]
        bias = bias.permute(2, 0, 1)[None].to(query.dtype)
        if shifted is None:
            x = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        elif at_inference_on_a_cpu(x):
            x = _attend_shifted(query, key, value, bias, shifted)
        else:
            bias = (bias + shifted.mask.to(bias.dtype)).repeat(
                windows // len(shifted.mask), 1, 1, 1
            )
            x = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(x.transpose(1, 2).reshape(windows, tokens, dim))


def _attend_shifted(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, shifted: _Shifted
) -> Tensor:
    """Attend inside shifted windows, (N * windows, heads, T, C), with the bias (1, heads, T, T).

    All windows attend without the mask, for whose sum with the bias each would need a matrix of its
    own; then the few that mix regions do so again with it.
    """
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    images = len(query) // len(shifted.mask)
    rows = torch.arange(images, device=bias.device)[:, None] * len(shifted.mask) + shifted.mixed
    rows = rows.flatten()
    own = (bias + shifted.mask[shifted.mixed].to(bias.dtype)).repeat(images, 1, 1, 1)
    out[rows] = F.scaled_dot_product_attention(query[rows], key[rows], value[rows], attn_mask=own)
    return out


class _PatchMerging(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.reduction = Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Merge 2 x 2 tokens: (N, height, width, C) to (N, height/2, width/2, 2C)."""
        batch, height, width, dim = x.shape
        # Channels in the original's order: column of the pair, then row, then channel.
        x = x.view(batch, height // 2, 2, width // 2, 2, dim).permute(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(x.reshape(batch, height // 2, width // 2, 4 * dim)))


def _shift_mask(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    rows, columns = (_regions(side, window, shift, device) for side in (height, width))
    region = (3 * rows[:, None] + columns)[None, :, :, None]
    region = _to_windows(region, window).squeeze(-1)
    differ = region[:, None, :, None] != region[:, None, None, :]
    return differ.float() * _MASKED


def _mixed_windows(
    height: int, width: int, window: int, shift: int, device: torch.device
) -> Tensor:
    """Name the windows of more than one region: those of the last column and of the last row."""
    rows, columns = -(-height // window), -(-width // window)
    windows = torch.arange(rows * columns, device=device).view(rows, columns)
    return torch.cat([windows[:-1, -1], windows[-1]])


def _regions(side: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Number the regions along one side: inner windows, last window, and what wrapped round."""
    side = -(-side // window) * window
    position = torch.arange(side, device=device)
    return (position >= side - window).int() + (position >= side - shift).int()


def _to_windows(x: Tensor, window: int) -> Tensor:
    """Cut (N, height, width, C), sides multiples of window, into (N * windows, window**2, C)."""
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))
    return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def _window_places(
    height: int, width: int, window: int, shift: int, device: torch.device
) -> Tensor:
    """Give where each token of an image stands in its shifted windows, (height * width,)."""
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    return _places(y[:, None], x, height, width, window, shift).flatten()


def _window_tokens(
    height: int, width: int, window: int, shift: int, device: torch.device
) -> Tensor:
    """Give the token at each place of the windows, (windows * window**2,), 0 for none."""
    places = _window_places(height, width, window, shift, device)
    n_places = -(-height // window) * -(-width // window) * window**2
    tokens = torch.zeros(n_places, dtype=torch.int64, device=device)
    return tokens.index_copy(0, places, torch.arange(height * width, device=device))


def _window_filling(
    height: int, width: int, window: int, shift: int, device: torch.device
) -> Tensor:
    """Give the places that no token fills: those below and to the right of the image."""
    y, x = (torch.arange(-(-side // window) * window, device=device) for side in (height, width))
    parts = ((y[height:, None], x), (y[:height, None], x[width:]))
    sides = (height, width, window, shift)
    return torch.cat([_places(*part, *sides).flatten() for part in parts])


def _places(y: Tensor, x: Tensor, height: int, width: int, window: int, shift: int) -> Tensor:
    """Give the places of tokens in windows, one after another, of an image that is rolled back."""
    rows, columns = -(-height // window), -(-width // window)
    y, x = (y - shift) % (rows * window), (x - shift) % (columns * window)
    return (y // window * columns + x // window) * window**2 + y % window * window + x % window


def relative_position_index(window: int) -> Tensor:
    """Index of the bias of each pair of a window's tokens, (window**2, window**2)."""
    row, col = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    row, col = row.flatten(), col.flatten()
    rows = row[:, None] - row + window - 1
    cols = col[:, None] - col + window - 1
    return rows * (2 * window - 1) + cols


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
