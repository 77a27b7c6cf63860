"""The training loop."""

import contextlib
import signal
import time
from collections.abc import Iterator
from typing import Any

import torch

from baselines.data import WORKER_DIED, Batch, PartPositions, make_loader
from baselines.learner import Learner, Run, TrainingStopped
from baselines.train_log import TrainLog
from entityseg_bench.io import InputError
from entityseg_bench.stopping import ENDING

__all__ = ["Run", "TrainingStopped", "train"]


def train(run: Run, state: dict[str, Any] | None = None, signals: list[int] | None = None) -> int:
    """Train until the last step, or until SIGTERM or SIGINT asks to stop.

    All random numbers of a step, also those of dropped paths, depend only on the seed, the step and
    the process. A run that was stopped therefore continues exactly as if it had not been.

    Args:
        run: The run.
        state: Where to go on from, as `run_state.read_state` gives it; None to begin anew.
        signals: Takes the number of each signal that has come.

    Returns:
        Number of steps done. After a signal it is less than `run.train.steps`, and there is a
        checkpoint of that step.

    Raises:
        TrainingStopped: The loss is not finite, a data process died, or the disk is full.
        InputError: Data or weights cannot be read.
    """
    config, ranks = run.train, run.ranks
    learner = Learner(run, state)
    log = TrainLog(run.out, config.steps, learner.step, enabled=ranks.is_first)
    log.say(learner.summary())
    meter = _Meter()
    with (
        _named_failures(run),
        contextlib.closing(log),
        _stop_signals(signals) as asked_to_stop,
        _batches(learner) as batches,
    ):
        while learner.step < config.steps:
            parts = [next(batches) for _ in range(learner.parts)]
            _report_problems(parts, config.skip_broken, log)
            values = learner.learn(parts, asked_to_stop())
            meter.add(values, images=config.batch_size)
            step = learner.step

            if step % config.log_every == 0 or step == config.steps:
                log.step(step, meter.means())
            stopping = values["stop"] > 0
            if step % config.checkpoint_every == 0 or step == config.steps or stopping:
                learner.save()
            if stopping:
                log.say(f"stopped by a signal after step {step}; the checkpoint is written")
                break
            if (
                run.val_set is not None
                and config.evaluate_every
                and (step % config.evaluate_every == 0 or step == config.steps)
            ):
                began = time.monotonic()
                metrics = learner.evaluate()
                log.evaluation(step, metrics, time.monotonic() - began)
                meter.restart()
    return learner.step


class _Meter:
    """Average what steps report."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._sums: dict[str, float] = {}
        self._steps, self._images, self._began = 0, 0, time.monotonic()

    def add(self, values: dict[str, float], images: int) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        self._images += images

    def means(self) -> dict[str, float]:
        """Return the means since the last call, and the images per second."""
        means = {name: value / self._steps for name, value in self._sums.items() if name != "stop"}
        means["images_per_s"] = self._images / max(time.monotonic() - self._began, 1e-9)
        self.restart()
        return means


@contextlib.contextmanager
def _batches(learner: Learner) -> Iterator[Iterator[Batch]]:
    """Give the batches in order; the data processes end with the block."""
    run = learner.run
    positions = PartPositions(run.train, run.ranks, learner.step)
    on_gpu = run.device.type == "cuda"
    batches = iter(make_loader(learner.samples, positions, run.model.size_divisibility, on_gpu))
    try:
        yield batches
    finally:
        # What an error's traceback holds on to ends when Python does, by a signal that the data
        # processes ignore: Python would wait for them for ever.
        if run.train.workers:
            batches._shutdown_workers()


def _report_problems(parts: list[Batch], goes_on: bool, log: TrainLog) -> None:
    for problem in [problem for part in parts for problem in part.problems]:
        if not goes_on:
            raise TrainingStopped(
                f"{problem} (train.skip_broken=true takes another image in its place)"
            )
        log.say(f"left out: {problem}")
    if not all(part.positions for part in parts):
        raise TrainingStopped("no other image could be read in place of a broken one")


@contextlib.contextmanager
def _stop_signals(signals: list[int] | None) -> Iterator[Any]:
    """Return a function that tells whether a signal asked to end; a second SIGINT kills."""
    asked = [] if signals is None else signals

    def ask(number: int, frame: Any) -> None:
        if number == signal.SIGINT and asked:
            raise KeyboardInterrupt
        asked.append(number)

    heard = [n for n in ENDING if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, *heard)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _named_failures(run: Run) -> Iterator[None]:
    """Turn errors of the loader and the device into reasons that a user can act on."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise TrainingStopped(
            f"{run.device} has too little memory: lower train.max_device_batch, or set "
            "train.recompute=true."
        ) from None
    except (ConnectionError, EOFError) as error:
        # The error when a data process dies while it passes a batch.
        raise _worker_died(error) from None
    except (InputError, OSError) as error:
        raise TrainingStopped(str(error)) from error
    except RuntimeError as error:
        if WORKER_DIED not in str(error):
            raise
        raise _worker_died(error) from None


def _worker_died(error: Exception) -> TrainingStopped:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TrainingStopped(
        f"a process that loads data died ({reason}), often for want of memory: lower "
        "train.workers. --resume auto goes on from the last checkpoint."
    )
