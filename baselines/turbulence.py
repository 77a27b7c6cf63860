"""Turbulent air for tensors: the fields and formulas of `entityseg_bench.turbulence`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from entityseg_bench.turbulence import VARIATION, Air, draw_fields, haze, transfer_grid

__all__ = ["Air", "distort"]

MARGIN = 32


def distort(image: Tensor, air: Air, seed: int = 0) -> Tensor:
    """Distort an image as it is seen through turbulent air: tilt, blur, then haze.

    The same seed gives the same air as `entityseg_bench.turbulence.distort`, on any device.

    Args:
        image: (C, H, W) float, from 0 to 1.
        air: Strength of the turbulence, and camera. At 0 m the image is returned unchanged.
        seed: Seed of all random numbers.

    Returns:
        (C, H, W), of the image's type and device.
    """
    if air.distance == 0:
        return image.clone()
    height, width = image.shape[-2:]
    shift, weight = (
        torch.from_numpy(field).to(image.device) for field in draw_fields(height, width, air, seed)
    )
    seen = _blur(_warp(image.float(), shift), air, weight)
    return haze(seen, air).to(image.dtype)


def _warp(image: Tensor, shift: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    row = torch.arange(height, device=image.device)[:, None] + shift[0]
    column = torch.arange(width, device=image.device) + shift[1]
    # With aligned corners, -1 and 1 of `grid_sample` are the centres of the outermost pixels.
    grid = torch.stack(
        (2 * column / max(width - 1, 1) - 1, 2 * row / max(height - 1, 1) - 1), dim=-1
    )
    seen = F.grid_sample(image[None], grid[None], padding_mode="border", align_corners=True)
    return seen[0]


def _blur(image: Tensor, air: Air, weight: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    margin = min(MARGIN, height, width)
    # Mirrored with the border row repeated, as numpy's mode "symmetric" does.
    rows = _mirrored(height, margin, image.device)
    columns = _mirrored(width, margin, image.device)
    padded = image[:, rows][:, :, columns]
    spectrum = torch.fft.rfft2(padded)

    def seen(strength: float) -> Tensor:
        grid = torch.from_numpy(transfer_grid(*padded.shape[-2:], air, strength)).to(image.device)
        whole = torch.fft.irfft2(spectrum * grid, s=padded.shape[-2:])
        return whole[:, margin : margin + height, margin : margin + width]

    weak, strong = seen(1 - VARIATION), seen(1 + VARIATION)
    return weak + (strong - weak) * weight


def _mirrored(size: int, margin: int, device: torch.device) -> Tensor:
    inside = torch.arange(size, device=device)
    return torch.cat((inside[:margin].flip(0), inside, inside[size - margin :].flip(0)))
