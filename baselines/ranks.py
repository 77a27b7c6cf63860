"""The processes of one run, as torchrun starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

__all__ = ["Ranks", "joined"]


@dataclass(frozen=True)
class Ranks:
    """Hold the rank of this process among `world` processes; by default it is alone."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """True in the one process that writes and prints for all of them."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """Return this process's device of a kind; for "cuda", the GPU of its local rank."""
        return torch.device(name, self.local_rank) if name == "cuda" else torch.device(name)

    def tell(self, text: str | None) -> str | None:
        """Return the first process's text in every process. All processes must call this."""
        if self.world == 1:
            return text
        said = [text]
        dist.broadcast_object_list(said, src=0)
        return said[0]

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def joined(patience: timedelta, tensors_on: str = "cpu") -> Iterator[Ranks]:
    """Join the other processes while the block runs, as torchrun's variables say.

    Args:
        patience: How long a process waits for the others before it gives up.
        tensors_on: Kind of device, "cpu" or "cuda", of the tensors that processes exchange. With
            "cuda" each process takes the GPU of its local rank, and NCCL is needed. Text always
            goes over gloo.
    """
    ranks = Ranks(
        int(os.environ.get("RANK", 0)),
        int(os.environ.get("WORLD_SIZE", 1)),
        int(os.environ.get("LOCAL_RANK", 0)),
    )
    if ranks.world == 1:
        yield ranks
        return
    if tensors_on == "cuda":
        torch.cuda.set_device(ranks.local_rank)
    backend = "cpu:gloo,cuda:nccl" if tensors_on == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=patience)
    try:
        yield ranks
    finally:
        dist.destroy_process_group()
