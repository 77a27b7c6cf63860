"""What a training run reports: a progress line, JSON lines, TensorBoard."""

import importlib.util
import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entity_api.names import LOGGED
from entityseg_bench.io import atomic_path

__all__ = ["TrainLog"]


class TrainLog:
    """Report to the terminal, ``log.jsonl`` and, where it is installed, TensorBoard.

    Args:
        out: The folder of the run.
        steps: Number of steps of the whole run, to estimate the time left.
        first_step: The step where this process begins. Lines of later steps are removed, because
            these steps are run again.
        enabled: True in the one process that reports.
    """

    def __init__(self, out: Path, steps: int, first_step: int, enabled: bool = True) -> None:
        self.path = out / "log.jsonl"
        self.steps = steps
        self.enabled = enabled
        self._began, self._first_step = time.monotonic(), first_step
        self._board = None
        self._line = ""
        if not enabled:
            return
        if self.path.exists():
            _keep_lines(self.path, first_step)
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(out / "tensorboard"), purge_step=first_step)

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Report training after so many steps; the values are means since the last report."""
        if not self.enabled:
            return
        self._append({"step": step, **values})
        self._add_scalars("train", step, values)
        spent = time.monotonic() - self._began
        left = spent / max(step - self._first_step, 1) * (self.steps - step)
        self._show(
            f"step {step}/{self.steps}  loss {values['loss']:.3f}  lr {values['lr']:.2e}  "
            f"{values['images_per_s']:.1f} images/s  {_duration(left)} left"
        )

    def evaluation(self, step: int, metrics: Mapping[str, float], seconds: float) -> None:
        """Report an evaluation."""
        if not self.enabled:
            return
        known = {name: value for name, value in metrics.items() if not math.isnan(value)}
        self._append({"step": step, "evaluation": known, "seconds": round(seconds, 1)})
        self._add_scalars("val", step, known)
        names = [*LOGGED, *(name for name in known if name.startswith("APe_"))]
        shown = "  ".join(f"{name} {known[name]:.4f}" for name in names if name in known)
        self.say(f"step {step}: {shown}  ({_duration(seconds)})")

    def say(self, text: str) -> None:
        """Print a line that the progress line does not overwrite."""
        if self.enabled:
            end_line = "\n" if self._line else ""
            self._line = ""
            print(end_line + text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the progress line and flush."""
        if self._line:
            print(file=sys.stderr, flush=True)
            self._line = ""
        if self._board is not None:
            self._board.close()

    def _append(self, row: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(row) + "\n")

    def _add_scalars(self, group: str, step: int, values: Mapping[str, float]) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{group}/{name}", value, step)

    def _show(self, line: str) -> None:
        """Overwrite the last progress line on a terminal; elsewhere print a new line."""
        if sys.stderr.isatty():
            print("\r" + line.ljust(len(self._line)), end="", file=sys.stderr, flush=True)
            self._line = line
        else:
            print(line, file=sys.stderr, flush=True)


def _keep_lines(path: Path, last_step: int) -> None:
    """Remove the lines of later steps, and those that are no lines of a log."""
    kept = []
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int) and row["step"] <= last_step:
            kept.append(line + b"\n")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join(kept))


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
