"""Linear layers; at inference on a CPU bias and activation are part of the product.

PyTorch writes the bias first, adds the product to it, and reads all once more for the activation.
oneDNN, which x86 builds of PyTorch bring along, does it in one pass. Of the processors that were
measured, both AMD, it multiplies faster than MKL on the one with AVX-512, on the other MKL does.
"""

import functools
import platform
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Activation", "Linear", "at_inference_on_a_cpu", "in_one_pass", "linear"]

Activation = Literal["none", "relu", "gelu"]
_ACTIVATIONS = {"none": lambda x: x, "relu": F.relu, "gelu": F.gelu}


class Linear(nn.Linear):
    """A linear layer and, perhaps, an activation."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation: Activation = "none",
    ):
        super().__init__(in_features, out_features, bias)
        self.activation: Activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias, self.activation)


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation = "none"
) -> Tensor:
    """Map x (..., C) by weight (D, C) and bias (D,), then by an activation; (..., D)."""
    if at_inference_on_a_cpu(x) and _serves(x, weight):
        algorithm = "none" if activation == "gelu" else ""
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], algorithm)
    return _ACTIVATIONS[activation](F.linear(x, weight, bias))


def at_inference_on_a_cpu(x: Tensor) -> bool:
    """Tell whether x is worked on at inference, in eager mode, on a CPU."""
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling() or x.device.type != "cpu")


def _serves(x: Tensor, weight: Tensor) -> bool:
    # What stands for a tensor, quantized weights for instance, has its own products.
    are_plain = type(x) is Tensor and type(weight) in (Tensor, nn.Parameter)
    return are_plain and x.dtype == weight.dtype and x.numel() > 0 and in_one_pass(x.dtype)


@functools.cache
def in_one_pass(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN serves a dtype here, and does so faster."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return False
    operators = torch.ops.mkldnn
    if not hasattr(operators, "_linear_pointwise"):
        return False
    if dtype == torch.float32:
        return "AVX512" in torch.backends.cpu.get_cpu_capability()
    return dtype == torch.bfloat16 and bool(operators._is_mkldnn_bf16_supported())
