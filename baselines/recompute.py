"""Trade time for memory: recompute activations in the backward pass instead of keeping them."""

import functools
import re

from torch import nn
from torch.utils.checkpoint import checkpoint

__all__ = ["recompute_activations"]

# The blocks and layers of every backbone and decoder, by the names in the published weights.
_BLOCKS = re.compile(
    r"backbone\.(layers\.\d+\.blocks|stages\.\d+|res\d)\.\d+"
    r"|.*\.encoder\.layers\.\d+"
    r"|.*\.transformer_\w+_layers\.\d+"
)


def recompute_activations(model: nn.Module) -> int:
    """Make each block keep only its input, by changing the model's modules in place.

    Returns:
        The number of blocks.
    """
    blocks = [module for name, module in model.named_modules() if _BLOCKS.fullmatch(name)]
    for block in blocks:
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
    return len(blocks)
