"""PyTorch's own checks of an operator."""

import warnings
from typing import Any

import torch

__all__ = ["opcheck"]


def opcheck(operator: Any, inputs: tuple[Any, ...]) -> None:
    """Run ``torch.library.opcheck``.

    It traces copies of the inputs, which are no leaves, and reads their ``grad``. PyTorch 2.14
    hides the warning about that when it would be shown, which is too late where warnings are
    errors. It comes for every operator, ``aten.sin`` for instance.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", r"The \.grad attribute of a Tensor that is not a leaf", UserWarning
        )
        torch.library.opcheck(operator, inputs)
