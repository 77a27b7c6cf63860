"""Deformable attention from offsets and logits, ``entityseg::deformable_attention_fused``.

The operator takes what a model's linear layers give. Adding reference points, dividing by the size
of a level and the softmax are part of it, so that a kernel does them on the way and no array of
locations is ever written.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from baselines.ops.deformable_attention import backward as plain_backward
from baselines.ops.deformable_attention import deformable_attention_definition
from baselines.ops.deformable_attention import forward as plain_forward

__all__ = [
    "backward",
    "check",
    "deformable_attention_from_offsets",
    "deformable_attention_from_offsets_definition",
    "forward",
]


def deformable_attention_from_offsets(
    value: Tensor,
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
    shapes: Sequence[tuple[int, int]],
) -> Tensor:
    """Sum bilinear samples of ``value`` around reference points.

    Sampled is where :func:`baselines.ops.deformable_attention` would at reference + offset / size,
    with the softmax of the logits over a head's L * P points as weights. Locations, weights and
    sums are float32 whatever the dtypes of value, offsets and logits (float64 stays).

    Args:
        value: (B, S, H, C), H heads; levels one after another, rows first, S their area in all.
        reference: points (x, y), where [0, 1] spans a level; (B, Q, H, L, P, 2), or 1 in place of
            any size but the last; float32 or float64.
        offsets: (B, Q, H, L, P, 2) as (x, y), in pixels of the level.
        logits: (B, Q, H, L, P).
        shapes: (height, width) of the L levels.

    Returns:
        (B, Q, H * C) in the dtype of ``value``.

    Raises:
        ValueError: shapes do not fit together.
    """
    flat = [side for shape in shapes for side in shape]
    return torch.ops.entityseg.deformable_attention_fused(value, reference, offsets, logits, flat)


def deformable_attention_from_offsets_definition(
    value: Tensor,
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
    shapes: Sequence[tuple[int, int]],
) -> Tensor:
    """Compute what :func:`deformable_attention_from_offsets` computes, in the fewest lines.

    Arguments and result are those of that function; the tests compare the two.
    """
    size = torch.tensor([(width, height) for height, width in shapes])
    locations = reference + offsets.to(reference.dtype) / size.to(reference)[:, None]
    weights = logits.to(reference.dtype).flatten(3).softmax(-1).view(logits.shape)
    return deformable_attention_definition(value, locations, weights, shapes)


torch.library.define(
    "entityseg::deformable_attention_fused",
    "(Tensor value, Tensor reference, Tensor offsets, Tensor logits, SymInt[] shapes) -> Tensor",
)
torch.library.define(
    "entityseg::deformable_attention_fused_backward",
    "(Tensor grad, Tensor value, Tensor reference, Tensor offsets, Tensor logits, SymInt[] shapes)"
    " -> (Tensor, Tensor, Tensor)",
)


def forward(
    value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor, shapes: Sequence[int]
) -> Tensor:
    """Run the operator in PyTorch, on any device."""
    locations, weights, _ = _locations_and_weights(reference, offsets, logits, shapes)
    return plain_forward(value, locations, weights, shapes)


def backward(
    grad: Tensor,
    value: Tensor,
    reference: Tensor,
    offsets: Tensor,
    logits: Tensor,
    shapes: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the backward operator in PyTorch; gradients of value, offsets and logits."""
    locations, weights, pixel = _locations_and_weights(reference, offsets, logits, shapes)
    grad_value, grad_locations, grad_weights = plain_backward(
        grad, value, locations, weights, shapes
    )
    shares = grad_weights.mul_(weights)
    grad_logits = shares - weights * shares.sum(dim=(3, 4), keepdim=True)
    return grad_value, grad_locations.mul_(pixel).to(offsets.dtype), grad_logits.to(logits.dtype)


def check(reference: Tensor, offsets: Tensor, logits: Tensor, shapes: Sequence[int]) -> None:
    """Raise a ValueError that says which shapes do not fit together."""
    if logits.dim() != 5 or offsets.shape != (*logits.shape, 2) or reference.dim() != 6:
        raise ValueError(
            "deformable_attention: offsets must be shaped (B, Q, H, L, P, 2), logits (B, Q, H, L, "
            f"P) and reference likewise, not {tuple(offsets.shape)}, {tuple(logits.shape)} and "
            f"{tuple(reference.shape)}"
        )
    if logits.shape[3] * 2 != len(shapes):
        raise ValueError(
            f"deformable_attention: {logits.shape[3]} levels, but {len(shapes) // 2} shapes"
        )


def _locations_and_weights(
    reference: Tensor, offsets: Tensor, logits: Tensor, shapes: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Give locations, weights, and the size of a pixel (H, L, P, 2) that offsets are counted in."""
    check(reference, offsets, logits, shapes)
    heads, levels, points = logits.shape[2:]
    # In float32 also under autocast: 16 bits cannot tell neighbouring pixels apart.
    dtype = torch.promote_types(reference.dtype, torch.float32)
    pixel = _sizes(shapes, dtype, offsets.device).clamp_(min=1).reciprocal_()
    # Written out: broadcasts of pairs are slow on a CPU.
    pixel = pixel[:, None].repeat(heads, 1, points, 1).view(heads, levels, points, 2)
    if reference.device.type == "cpu":
        reference = reference.expand_as(offsets).contiguous()
    locations = torch.addcmul(reference.to(dtype), offsets.to(dtype), pixel)
    weights = _softmax(logits.to(dtype).flatten(3)).unflatten(3, (levels, points))
    return locations, weights, pixel


def _softmax(logits: Tensor) -> Tensor:
    """Compute the softmax of short rows.

    Written out on a CPU, where PyTorch's takes 26 ms for 176,400 rows of 12, and this 5.
    """
    if logits.device.type != "cpu":
        return logits.softmax(-1)
    powers = (logits - logits.amax(-1, keepdim=True)).exp_()
    return powers.div_(powers.sum(-1, keepdim=True))


def _sizes(shapes: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Give (width, height) of the levels, (L, 2); made on the device: a list would be sent."""
    sides = [
        torch.full((1,), side, dtype=dtype, device=device)
        for height, width in zip(shapes[::2], shapes[1::2], strict=True)
        for side in (width, height)
    ]
    return torch.cat(sides).view(-1, 2)


def _setup_context(ctx, inputs, output) -> None:
    *tensors, ctx.shapes = inputs
    ctx.save_for_backward(*tensors)


def _autograd_backward(ctx, grad):
    value, reference, *rest = ctx.saved_tensors
    grad_value, grad_offsets, grad_logits = torch.ops.entityseg.deformable_attention_fused_backward(
        grad, value, reference, *rest, ctx.shapes
    )
    grad_reference = None
    if ctx.needs_input_grad[1]:
        # An offset of one pixel and a reference moved by 1 / size are the same step.
        size = _sizes(ctx.shapes, reference.dtype, reference.device)
        grad_locations = grad_offsets.to(reference.dtype) * size[:, None]
        grad_reference = grad_locations.sum_to_size(reference.shape)
    return grad_value, grad_reference, grad_offsets, grad_logits, None


@torch.library.register_fake("entityseg::deformable_attention_fused")
def _fake_forward(value, reference, offsets, logits, shapes):
    return value.new_empty(value.shape[0], offsets.shape[1], value.shape[2] * value.shape[3])


@torch.library.register_fake("entityseg::deformable_attention_fused_backward")
def _fake_backward(grad, value, reference, offsets, logits, shapes):
    return tuple(tensor.new_empty(tensor.shape) for tensor in (value, offsets, logits))


torch.library.impl("entityseg::deformable_attention_fused", "default", forward)
torch.library.impl("entityseg::deformable_attention_fused_backward", "default", backward)
torch.library.register_autograd(
    "entityseg::deformable_attention_fused", _autograd_backward, setup_context=_setup_context
)
