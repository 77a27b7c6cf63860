"""Tensors that depend on nothing but shapes, computed once for each shape and device."""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

__all__ = ["constant"]

# Bytes kept over all shapes; an input of 800 x 1344 needs 55 MB.
_LIMIT_BYTES = 2**27
_kept: dict[Hashable, Tensor] = {}


def constant(
    function: Callable[..., Tensor], *args: Hashable, like: Tensor, dtype: torch.dtype | None = None
) -> Tensor:
    """Compute ``function(*args, device)``, or return the result of an earlier call.

    The caller must not write to the result. Nothing is kept while a program is traced, compiled or
    captured into a CUDA graph: a trace has no values, and a graph would still read the memory after
    the constant was dropped. There the constant becomes a part of the program.

    Args:
        function: Takes `args` and a device.
        args: Sizes and other plain values.
        like: A tensor on the wanted device. It also gives the dtype if `dtype` is None.
        dtype: Dtype of the result.
    """
    dtype = dtype or like.dtype
    if torch.compiler.is_compiling() or type(like) is not Tensor or _is_captured(like):
        return function(*args, like.device).to(dtype)
    # On a GPU another stream might read before this one has written.
    stream = torch.cuda.current_stream(like.device).cuda_stream if like.is_cuda else None
    key = (function, args, dtype, like.device, stream)
    if key not in _kept:
        # A tensor made in inference mode could not be used in training later.
        with torch.inference_mode(False), torch.no_grad():
            made = function(*args, like.device).to(dtype)
        if made.nbytes + sum(tensor.nbytes for tensor in _kept.values()) > _LIMIT_BYTES:
            _kept.clear()
        _kept[key] = made
    return _kept[key]


def _is_captured(x: Tensor) -> bool:
    return x.is_cuda and torch.cuda.is_current_stream_capturing()
