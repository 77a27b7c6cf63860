"""The state of a training run on disk: whole or not there, and found again.

Layout of a run's folder::

    config.json                  the resolved configuration
    log.jsonl                    a line every so many steps, and one an evaluation
    checkpoints/step_00005000.pt what `--resume` needs, the newest few
    model.safetensors            the newest weights, for prediction
"""

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import safetensors
import torch

from baselines.data import WORKER_DIED
from entityseg_bench.io import InputError, atomic_path, open_regular
from entityseg_bench.types import Category

__all__ = [
    "latest_state",
    "list_states",
    "read_categories",
    "read_state",
    "remove_leftovers",
    "write_state",
]

_NAME = re.compile(r"step_(\d{8})\.pt")
# What PyTorch raises on a file that is cut or is none of its own.
_READ_ERRORS = (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError)


def list_states(out: Path) -> list[Path]:
    """List a run's checkpoints, oldest first."""
    folder = out / "checkpoints"
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def write_state(out: Path, state: dict[str, Any], keep: int) -> Path:
    """Write a checkpoint, and only then remove older ones.

    Args:
        out: Folder of the run.
        state: Tensors and plain values; "step" names the file.
        keep: How many checkpoints stay.

    Raises:
        OSError: It cannot be written; those before it stand.
    """
    folder = out / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step_{state['step']:08d}.pt"
    with atomic_path(path) as temporary:
        try:
            with temporary.open("wb") as file:
                torch.save(state, file)
                file.flush()
                # So that the name never points to bytes that a power cut could lose.
                os.fsync(file.fileno())
        except RuntimeError as error:
            if WORKER_DIED in str(error):
                raise
            # PyTorch's writer hides the reason of a failed write behind an error of its own.
            raise OSError(f"{path} cannot be written: {str(error).splitlines()[0]}") from error
    for old in list_states(out)[:-keep]:
        old.unlink()
    return path


def read_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        InputError: It is missing, broken, or none of a training run.
    """
    try:
        # A pipe would be waited for.
        open_regular(path).close()
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(path, "", "there is no such checkpoint.") from None
    except InputError:
        raise
    except _READ_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(path, "", f"the checkpoint cannot be read: {reason}.") from None
    if not isinstance(state, dict) or not {"step", "model", "optimizer"} <= state.keys():
        raise InputError(path, "", "it is no checkpoint of a training run.")
    return state


def latest_state(out: Path) -> tuple[dict[str, Any] | None, list[InputError]]:
    """Read the newest checkpoint that can be read.

    Returns:
        Its state, None where there is no checkpoint at all; and what was wrong with newer ones.

    Raises:
        InputError: There are checkpoints, and none can be read.
    """
    problems: list[InputError] = []
    for path in reversed(list_states(out)):
        try:
            return read_state(path), problems
        except InputError as error:
            problems.append(error)
    if problems:
        raise problems[0]
    return None, []


def read_categories(path: Path) -> tuple[Category, ...]:
    """Read from a run's ``model.safetensors`` what the model's classes are, in their order.

    Returns:
        Nothing for entities, which have no classes, and from files of another kind.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            run = json.loads((file.metadata() or {}).get("run", "{}"))
    except (safetensors.SafetensorError, OSError):
        return ()
    return tuple(Category(**row) for row in run.get("categories", ()))


def remove_leftovers(out: Path) -> None:
    """Remove half-written files of a run that was killed; no other run may be writing there."""
    for folder in (out, out / "checkpoints"):
        for path in folder.glob(".*.part"):
            path.unlink()
