"""The processes of a run in which PyTorch trains or predicts, found without importing it."""

import sys
from typing import Any

__all__ = ["gather"]


def gather(state: Any) -> list[Any]:
    """Return what each rank of torch.distributed passes, in all of them; all must call this.

    Where PyTorch is not loaded, or has not started several processes, there is one rank.

    Args:
        state: Anything that can be pickled.

    >>> gather("alone")
    ['alone']
    """
    dist = getattr(sys.modules.get("torch"), "distributed", None)
    if dist is None or not dist.is_available() or not dist.is_initialized():
        return [state]
    states: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(states, state)
    return states
