"""Bilinear resizing of any part of an axis."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Axis", "Resize"]


@dataclass(frozen=True)
class Axis:
    """Linear interpolation along one axis, for a range of output positions.

    Output i is ``low_weight[i] * input[start + low[i]] + high_weight[i] * input[start + high[i]]``
    for inputs cut to [start, stop).
    """

    start: int
    stop: int
    low: Tensor
    high: Tensor
    low_weight: Tensor
    high_weight: Tensor

    def apply(self, values: Tensor, dim: int) -> Tensor:
        """Interpolate `values`, already cut to [start, stop), along `dim` (-1 or -2)."""
        shape = (-1, 1) if dim == -2 else (-1,)
        high = self._pick(values, dim, self.high).mul_(self.high_weight.view(shape))
        low = self._pick(values, dim, self.low)
        return high.addcmul_(low, self.low_weight.view(shape))

    @staticmethod
    def _pick(values: Tensor, dim: int, idxs: Tensor) -> Tensor:
        if dim == -2:
            return values.index_select(-2, idxs)
        # Along the last axis a gather is about 2.5 times faster than index_select on CPU.
        return values.gather(-1, idxs.expand(*values.shape[:-1], len(idxs)))


class Resize:
    """A resize of one axis, of which ranges of output positions are cut.

    The coordinates are those of torch.nn.functional.interpolate(mode="bilinear",
    align_corners=False), to the bit on CPU: float32 scale, then one fused multiply-subtract, which
    float64 reproduces. They are computed and kept on the CPU too, so that a cut asks no device.
    """

    def __init__(self, in_size: int, out_size: int, device: torch.device) -> None:
        scale = (torch.tensor(in_size).float() / torch.tensor(out_size).float()).double()
        position = torch.arange(out_size, dtype=torch.float64) + 0.5
        source = (scale * position - 0.5).float().clamp_(min=0)
        low = source.floor().long().clamp_(max=in_size - 1)
        high = (low + 1).clamp_(max=in_size - 1)
        high_weight = (source - low).clamp_(0, 1)
        self._firsts, self._lasts = low.numpy(), high.numpy()
        self._low, self._high = low.to(device), high.to(device)
        self._low_weight, self._high_weight = (1 - high_weight).to(device), high_weight.to(device)

    def cut(self, out_start: int, out_stop: int) -> Axis:
        """Return the interpolation for outputs [out_start, out_stop)."""
        start, stop = int(self._firsts[out_start]), int(self._lasts[out_stop - 1]) + 1
        outputs = slice(out_start, out_stop)
        return Axis(
            start,
            stop,
            self._low[outputs] - start,
            self._high[outputs] - start,
            self._low_weight[outputs],
            self._high_weight[outputs],
        )
