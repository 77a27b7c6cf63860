"""Scoring in several processes: each rank predicts its share, all have the whole result."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

__all__ = ["in_ranks"]


def in_ranks(work: Callable[..., Any], world: int, folder: Path, *args: Any) -> list[Any]:
    """Call ``work(rank, world, *args)`` in gloo ranks; return what each did, as JSON."""
    mp.spawn(_one, args=(work, world, folder, args), nprocs=world, join=True)
    return [
        json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(world)
    ]


def _one(
    rank: int, work: Callable[..., Any], world: int, folder: Path, args: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = dist.FileStore(str(folder / "store"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    try:
        found = work(rank, world, *args)
    finally:
        dist.destroy_process_group()
    (folder / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
