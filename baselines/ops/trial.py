"""What serves the operators on a CUDA device: kernels that passed a trial, else PyTorch.

The trial is a small case run through kernels and through PyTorch, before a model relies on them. It
takes milliseconds. If a driver or a card behaves unlike those for which the kernels were written,
it shows here and not in somebody's numbers. What serves is settled once for each device, dtype and
shape of head, and the log says so.

Under autocast the operators take tensors as they come: values in 16 bits, locations in float32.
"""

import functools
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from baselines.ops import cpu, fused, launch
from baselines.ops.deformable_attention import backward as torch_backward
from baselines.ops.deformable_attention import check
from baselines.ops.deformable_attention import forward as torch_forward
from baselines.ops.load import ENVIRONMENT, PATHS, Card, Choice, choose, forced_path

__all__ = ["disagreement", "info"]

_LOG = logging.getLogger("baselines.ops")

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


class _CudaKernels:
    """The kernels of one device, started through the driver."""

    def __init__(self, choice: Choice, index: int):
        self._driver, self._library, self._index = choice.driver, choice.library, index
        self._loaded: dict[str, Any] = {}

    def launch(
        self, name: str, grid: launch.Grid, arguments: launch.Arguments, device: torch.device
    ) -> None:
        kernel = self._loaded.get(name)
        if kernel is None:
            kernel = self._driver.kernel(self._library, name, self._index)
            self._loaded[name] = kernel
        stream = torch.cuda.current_stream(device).cuda_stream
        self._driver.launch(kernel, grid, arguments, self._index, stream)


class _Need(NamedTuple):
    """What a path is settled for."""

    index: int
    dtype: torch.dtype
    channels: int
    levels: int
    points: int


@functools.cache
def _choice(index: int) -> Choice:
    major, minor = torch.cuda.get_device_capability(index)
    card = Card(index, torch.cuda.get_device_name(index), major, minor)
    return choose(card, forced_path())


@functools.cache
def _kernels_of(index: int) -> _CudaKernels | None:
    choice = _choice(index)
    return _CudaKernels(choice, index) if choice.driver else None


@functools.cache
def _tried(index: int, dtype: torch.dtype, channels: int) -> str | None:
    """Say what the kernels of a device get wrong; a capture cannot wait for it and goes without."""
    kernels = _kernels_of(index)
    return disagreement(kernels, dtype, channels, torch.device("cuda", index)) if kernels else None


@functools.cache
def _settle(need: _Need, refusal: str | None) -> launch.Kernels | None:
    """Find what serves a need; None: the definition. Says so in the log."""
    choice = _choice(need.index)
    if refusal and forced_path() not in (None, "definition"):
        raise RuntimeError(f"{ENVIRONMENT}={forced_path()} is impossible: {refusal}")
    kernels = None if refusal else _kernels_of(need.index)
    if kernels and not torch.cuda.is_current_stream_capturing():
        refusal = _tried(need.index, need.dtype, need.channels)
        if refusal and forced_path():
            raise RuntimeError(f"{ENVIRONMENT}={forced_path()} gives wrong results: {refusal}")
        kernels = None if refusal else kernels
    what = (
        f"deformable_attention on cuda:{need.index}, {str(need.dtype).removeprefix('torch.')}, "
        f"{need.channels} channels a head, {need.levels} levels, {need.points} points"
    )
    if kernels:
        _LOG.info("%s: %s (%s)", what, choice.path, choice.detail)
    else:
        reasons = [f"{path}: {why}" for path, why in choice.reasons.items()]
        _LOG.warning("%s: definition, in PyTorch (%s)", what, refusal or "; ".join(reasons))
    return kernels


def _kernels(
    value: Tensor,
    places: Tensor,
    weights: Tensor,
    shapes: Sequence[int],
    reference: Tensor | None = None,
) -> launch.Kernels | None:
    """Check the arguments, and find what serves them."""
    check(value, places, weights, shapes)
    devices = {t.device for t in (value, places, weights, reference) if t is not None}
    if len(devices) > 1:
        raise ValueError(f"deformable_attention: tensors lie on {sorted(map(str, devices))}")
    levels, points = places.shape[3:5]
    need = _Need(value.device.index, value.dtype, value.shape[3], levels, points)
    return _settle(need, launch.refusal(value, places, shapes, reference))


def _backward_kernels(*arguments: Any) -> launch.Kernels | None:
    """Find what serves a backward pass: atomic additions come in any order."""
    if not torch.are_deterministic_algorithms_enabled():
        return _kernels(*arguments)
    if forced_path() not in (None, "definition"):
        raise RuntimeError(
            f"{ENVIRONMENT}={forced_path()} is impossible: deterministic algorithms are asked for, "
            "and the kernels add up gradients in any order"
        )
    return None


def _forward(value, locations, weights, shapes):
    kernels = _kernels(value, locations, weights, shapes)
    if kernels is None:
        return torch_forward(value, locations, weights, shapes)
    return launch.forward(kernels, value, locations, weights, shapes)


def _backward(grad, value, locations, weights, shapes):
    kernels = _backward_kernels(value, locations, weights, shapes)
    if kernels is None:
        return torch_backward(grad, value, locations, weights, shapes)
    return launch.backward(kernels, grad, value, locations, weights, shapes)


def _fused_forward(value, reference, offsets, logits, shapes):
    kernels = _kernels(value, offsets, logits, shapes, reference)
    if kernels is None:
        return fused.forward(value, reference, offsets, logits, shapes)
    return launch.forward(kernels, value, offsets, logits, shapes, reference)


def _fused_backward(grad, value, reference, offsets, logits, shapes):
    kernels = _backward_kernels(value, offsets, logits, shapes, reference)
    if kernels is None:
        return fused.backward(grad, value, reference, offsets, logits, shapes)
    return launch.backward(kernels, grad, value, offsets, logits, shapes, reference)


torch.library.impl("entityseg::deformable_attention", "cuda", _forward)
torch.library.impl("entityseg::deformable_attention_backward", "cuda", _backward)
torch.library.impl("entityseg::deformable_attention_fused", "cuda", _fused_forward)
torch.library.impl("entityseg::deformable_attention_fused_backward", "cuda", _fused_backward)


def info() -> str:
    """Say which path serves each device, and why the others do not; a few lines of text.

    Raises:
        ValueError: ``ENTITYSEG_OPS`` names no path.
        RuntimeError: it names one that does not work here.
    """
    forced = forced_path()
    lines = [f"deformable_attention on cpu: {cpu.info()}"]
    if not torch.cuda.is_available():
        built = (
            f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        )
        lines.append(f"no CUDA device: PyTorch {torch.__version__}, {built}")
    for index in range(torch.cuda.device_count()):
        choice = _choice(index)
        name = torch.cuda.get_device_name(index)
        lines.append(
            f"deformable_attention on cuda:{index} ({name}): {choice.path} ({choice.detail})"
        )
        lines += [f"    {path}: {choice.reasons[path]}" for path in PATHS if path in choice.reasons]
    if forced:
        lines.append(f"{ENVIRONMENT}={forced}")
    return "\n".join(lines)
