"""A small case run through kernels and through PyTorch, before a model relies on them.

It takes milliseconds, once for each kind of head. A driver or a card that does something else than
the ones at hand when the kernels were written shows here, and not in somebody's numbers.
"""

import torch
from torch import Tensor

from baselines.ops import launch
from baselines.ops.deformable_attention import backward as torch_backward
from baselines.ops.deformable_attention import forward as torch_forward

__all__ = ["disagreement"]

# Two levels that no tile of 8 x 8 divides; queries are their pixels, as in a pixel decoder.
_SHAPES = [9, 10, 5, 5]
_HEADS, _POINTS = 2, 4
# Of the largest number that PyTorch gives: rounding alone, with room.
_TOLERANCES = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def disagreement(
    kernels: launch.Kernels, dtype: torch.dtype, channels: int, device: torch.device
) -> str | None:
    """Say what a forward and a backward pass by the kernels give wrongly; None: nothing.

    Args:
        kernels: what runs them.
        dtype: of the values, one of ``launch.DTYPES``.
        channels: of a head, one of ``launch.CHANNELS``.
        device: where they run.
    """
    value, locations, weights, grad = _case(dtype, channels, device)
    got = {"out": launch.forward(kernels, value, locations, weights, _SHAPES)}
    names = ("the gradient of value", "of locations", "of weights")
    grads = launch.backward(kernels, grad, value, locations, weights, _SHAPES)
    got |= dict(zip(names, grads, strict=True))
    exact = value.float(), locations, weights
    want = {"out": torch_forward(*exact, _SHAPES)}
    want |= dict(zip(names, torch_backward(grad.float(), *exact, _SHAPES), strict=True))
    for name, expected in want.items():
        error = (got[name].float() - expected).abs().max() / expected.abs().max()
        # Not a number is in no order, so it is a disagreement too.
        if not error <= _TOLERANCES[dtype]:
            return f"on a small case {name} differs from PyTorch's by {error:.1e} of its largest"
    return None


def _case(
    dtype: torch.dtype, channels: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Make value, locations (a few of them outside), weights and the gradient of the output."""
    levels = len(_SHAPES) // 2
    queries = sum(h * w for h, w in zip(_SHAPES[::2], _SHAPES[1::2], strict=True))

    def waves(*shape: int) -> Tensor:
        n = torch.Size(shape).numel()
        return torch.sin(torch.arange(n, device=device, dtype=torch.float64) ** 1.3).view(shape)

    value = waves(1, queries, _HEADS, channels).to(dtype)
    locations = (0.5 + 0.7 * waves(1, queries, _HEADS, levels, _POINTS, 2)).float()
    weights = (waves(1, queries, _HEADS, levels, _POINTS) + 1).float() / (levels * _POINTS)
    return value, locations, weights, waves(1, queries, _HEADS * channels).to(dtype)
