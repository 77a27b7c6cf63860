"""The processes of one run, as torchrun starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

__all__ = ["Ranks", "joined"]

# A process may finish its share long before the others.
PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Ranks:
    """This process among `world`; alone (0 of 1) unless torchrun's variables say otherwise."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process does what one has to do for all."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """Give this process's device of a kind: "cuda" is one GPU a process of a machine."""
        return torch.device(name, self.local_rank) if name == "cuda" else torch.device(name)

    def tell(self, text: str | None) -> str | None:
        """Give every process what the first one says; all wait for it."""
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
def joined() -> Iterator[Ranks]:
    """Join the other processes while the block runs.

    Over gloo also where the models run on GPUs: nothing but words goes between the processes.
    """
    ranks = Ranks(
        int(os.environ.get("RANK", 0)),
        int(os.environ.get("WORLD_SIZE", 1)),
        int(os.environ.get("LOCAL_RANK", 0)),
    )
    if ranks.world == 1:
        yield ranks
        return
    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield ranks
    finally:
        dist.destroy_process_group()
