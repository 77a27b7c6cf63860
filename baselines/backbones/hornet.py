"""HorNet, recursive gated convolutions.

Source: Rao et al., arXiv 2207.14284. The layout is channels first, as the convolutions want it.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.config import HorNetConfig
from baselines.modeling.layers import DropPath, by_rows, drop_path_rates
from baselines.modeling.linear import Linear

__all__ = ["HorNet"]

_LAYER_SCALE = 1e-6  # initial factor of a block's two branches


class HorNet(nn.Module):
    """HorNet; see :func:`baselines.backbones.build_backbone` for input and output."""

    def __init__(self, config: HorNetConfig):
        super().__init__()
        dims = config.channels
        self.downsample_layers = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(3, dims[0], 4, stride=4), _ChannelNorm(dims[0]))]
        )
        for dim, wider in pairwise(dims):
            self.downsample_layers.append(
                nn.Sequential(_ChannelNorm(dim), nn.Conv2d(dim, wider, 2, stride=2))
            )
        rates = iter(drop_path_rates(config.drop_path_rate, sum(config.depths)))
        self.stages = nn.ModuleList()
        for stage, dim in enumerate(dims):
            order, grid = config.orders[stage], config.global_filters[stage]
            self.stages.append(
                nn.Sequential(
                    *(
                        _Block(dim, order, grid, config.gate_scale, next(rates))
                        for _ in range(config.depths[stage])
                    )
                )
            )
            self.add_module(f"norm{stage}", _ChannelNorm(dim))
        self.apply(_init)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x, features = images, {}
        for stage, (downsample, blocks) in enumerate(
            zip(self.downsample_layers, self.stages, strict=True)
        ):
            x = blocks(downsample(x))
            features[f"res{stage + 2}"] = getattr(self, f"norm{stage}")(x)
        return features


class _ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (N, C, H, W)."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Block(nn.Module):
    def __init__(
        self,
        dim: int,
        order: int,
        grid: tuple[int, int] | None,
        gate_scale: float,
        drop_path: float,
    ):
        super().__init__()
        self.norm1 = _ChannelNorm(dim)
        self.gnconv = _GatedConv(dim, order, grid, gate_scale)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = Linear(dim, 4 * dim, activation="gelu")
        self.pwconv2 = Linear(4 * dim, dim)
        self.gamma1 = nn.Parameter(torch.full((dim,), _LAYER_SCALE))
        self.gamma2 = nn.Parameter(torch.full((dim,), _LAYER_SCALE))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.gamma1[:, None, None] * self.gnconv(self.norm1(x)))
        mlp = by_rows(self._mlp, x.permute(0, 2, 3, 1), self.pwconv1.out_features)
        return x + self.drop_path(mlp.permute(0, 3, 1, 2))

    def _mlp(self, x: Tensor) -> Tensor:
        return self.gamma2 * self.pwconv2(self.pwconv1(self.norm2(x)))


class _GatedConv(nn.Module):
    """Recursive gated convolution: ``order`` gates, each on twice the channels of the last."""

    def __init__(self, dim: int, order: int, grid: tuple[int, int] | None, scale: float):
        super().__init__()
        self.dims = [dim // 2**i for i in reversed(range(order))]
        self.scale = scale
        gated = sum(self.dims)
        self.proj_in = nn.Conv2d(dim, 2 * dim, 1)
        if grid is None:
            self.dwconv = nn.Conv2d(gated, gated, 7, padding=3, groups=gated)
        else:
            self.dwconv = _GlobalLocalFilter(gated, grid)
        self.proj_out = nn.Conv2d(dim, dim, 1)
        self.pws = nn.ModuleList(nn.Conv2d(narrow, wide, 1) for narrow, wide in pairwise(self.dims))

    def forward(self, x: Tensor) -> Tensor:
        first, rest = self.proj_in(x).split([self.dims[0], sum(self.dims)], dim=1)
        gates = (self.dwconv(rest) * self.scale).split(self.dims, dim=1)
        x = first * gates[0]
        for widen, gate in zip(self.pws, gates[1:], strict=True):
            x = widen(x) * gate
        return self.proj_out(x)


class _GlobalLocalFilter(nn.Module):
    """Filter half the channels by a 3 x 3 convolution, half by a product of spectra."""

    def __init__(self, dim: int, grid: tuple[int, int]):
        super().__init__()
        half = dim // 2
        self.dw = nn.Conv2d(half, half, 3, padding=1, bias=False, groups=half)
        self.complex_weight = nn.Parameter(torch.randn(half, *grid, 2) * 0.02)
        self.pre_norm = _ChannelNorm(dim)
        self.post_norm = _ChannelNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        local, spread = self.pre_norm(x).chunk(2, dim=1)
        spread = torch.stack([self.dw(local), self._filter(spread)], dim=2).flatten(1, 2)
        return self.post_norm(spread)

    def _filter(self, x: Tensor) -> Tensor:
        # In float32, also under autocast, which leaves it so: 16 bits have no FFT of any size.
        height, width = x.shape[-2:]
        spectrum = torch.fft.rfft2(x.float(), norm="ortho")
        weight = self.complex_weight.float().permute(3, 0, 1, 2)
        if weight.shape[-2:] != spectrum.shape[-2:]:
            size = (height, width // 2 + 1)
            weight = F.interpolate(weight, size, mode="bilinear", align_corners=True)
        weight = torch.complex(weight[0], weight[1])
        return torch.fft.irfft2(spectrum * weight, s=(height, width), norm="ortho").to(x.dtype)


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
