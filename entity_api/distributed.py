"""The processes of a run in which PyTorch trains or predicts, found without importing it."""

import sys
from typing import Any

__all__ = ["gather", "own_rank"]


def gather(state: Any) -> list[Any]:
    """Return what each rank of torch.distributed passes, in all of them; all must call this.

    Where PyTorch is not loaded, or has not started several processes, there is one rank.

    Args:
        state: Anything that can be pickled.

    >>> gather("alone")
    ['alone']
    """
    dist = _started()
    if dist is None:
        return [state]
    states: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(states, state)
    return states


def own_rank() -> int:
    """Return which of the processes this one is.

    >>> own_rank()
    0
    """
    dist = _started()
    return dist.get_rank() if dist else 0


def _started() -> Any:
    """Return PyTorch's module once it has started several processes, else None."""
    dist = getattr(sys.modules.get("torch"), "distributed", None)
    return dist if dist and dist.is_available() and dist.is_initialized() else None
