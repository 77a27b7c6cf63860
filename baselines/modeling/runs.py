"""Encode masks on any device as COCO RLE: only the positions where masks change leave the device.

Canvases lie in memory column by column, in the order of the run lengths. A run therefore ends where
two neighbours in memory differ.
"""

import numpy as np
import torch
from torch import Tensor

from entity_api import rle
from entityseg_bench.types import RLE

__all__ = ["blank_canvas", "encode_map", "encode_masks"]


def blank_canvas(
    size: tuple[int, int], dtype: torch.dtype, device: torch.device, count: int | None = None
) -> Tensor:
    """Make zeros (H, W), or with `count` (count, H, W), that lie column by column."""
    height, width = size
    shape = (width, height) if count is None else (count, width, height)
    return torch.zeros(shape, dtype=dtype, device=device).transpose(-1, -2)


def encode_map(id_map: Tensor) -> tuple[np.ndarray, list[RLE]]:
    """Encode every segment of an id map (H, W) of whole numbers, as `rle.encode_id_map` does.

    Returns:
        The ids that occur, (N,) int64 ascending, and the RLE of each.
    """
    height, width = id_map.shape
    pixels = id_map.T.flatten()
    begins = torch.ones(pixels.shape, dtype=torch.bool, device=pixels.device)
    torch.ne(pixels[1:], pixels[:-1], out=begins[1:])
    starts = begins.nonzero().flatten()
    runs = torch.stack([starts, pixels[starts]]).cpu().numpy()
    return rle.encode_runs(*runs, height, width)


def encode_masks(masks: Tensor) -> list[RLE]:
    """Encode masks (N, H, W) bool, which may overlap, each as `rle.encode` does."""
    count, height, width = masks.shape
    pixels = masks.transpose(1, 2).flatten(1)
    changes = torch.empty_like(pixels)
    # Before the first pixel is background.
    changes[:, :1] = pixels[:, :1]
    torch.ne(pixels[:, 1:], pixels[:, :-1], out=changes[:, 1:])
    owners, positions = changes.nonzero().T.cpu().numpy()
    parts = np.split(positions, np.searchsorted(owners, np.arange(1, count)))
    # A mask that does not end before the last pixel ends with it.
    ends = [[height * width] if len(part) % 2 else [] for part in parts[:count]]
    return [
        rle.from_bounds(np.append(part, end).astype(np.uint32), (height, width))
        for part, end in zip(parts, ends, strict=False)
    ]
