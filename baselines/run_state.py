"""Write and read the state of a training run. A file on disk is always complete.

Layout of a run's folder::

    config.json                  the resolved configuration
    log.jsonl                    a line every so many steps, and one an evaluation
    checkpoints/step_00005000.pt what `--resume` needs, the newest few
    model.safetensors            the newest weights, for prediction
"""

import os
import pickle
import re
from pathlib import Path
from typing import Any

import msgspec
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
# What PyTorch raises on a file that is truncated or not one of its own.
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
        out: The folder of the run.
        state: Tensors and plain values; "step" names the file.
        keep: Number of checkpoints to keep.

    Raises:
        OSError: It cannot be written. The checkpoints before it remain.
    """
    folder = out / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step_{state['step']:08d}.pt"
    with atomic_path(path) as temporary:
        try:
            with temporary.open("wb") as file:
                torch.save(state, file)
                file.flush()
                # Synced before it is renamed, so that the name never points to bytes that a power
                # cut can lose.
                os.fsync(file.fileno())
        except RuntimeError as error:
            if WORKER_DIED in str(error):
                raise
            # PyTorch's writer raises its own error after the one that says why writing failed.
            raise OSError(f"{path} cannot be written: {str(error).splitlines()[0]}") from error
    for old in list_states(out)[:-keep]:
        old.unlink()
    return path


def read_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        InputError: It is missing, broken, or not a checkpoint of a training run.
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
        Its state, or None if there is no checkpoint; and the faults of newer ones.

    Raises:
        InputError: There are checkpoints, but none can be read.
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


class _Run(msgspec.Struct):
    """What weights say of the training that they are of, as far as it is needed."""

    categories: tuple[Category, ...] = ()


def read_categories(path: Path) -> tuple[Category, ...]:
    """Read the categories of the model's classes, in their order, from a run's weights.

    Returns:
        An empty result for entities, which have no classes, and for files of another kind.

    Raises:
        InputError: What the file says of its run cannot be read.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("run", "{}")
    except (safetensors.SafetensorError, OSError):
        return ()
    try:
        run = msgspec.json.decode(text, type=_Run)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InputError(path, "metadata", f"its run cannot be read: {error}.") from None
    return run.categories


def remove_leftovers(out: Path) -> None:
    """Remove incomplete files of a killed run. No other run may be writing in the folder."""
    for folder in (out, out / "checkpoints"):
        for path in folder.glob(".*.part"):
            path.unlink()
