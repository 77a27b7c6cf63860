"""The training loop."""

import contextlib
import dataclasses
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from baselines import build_model
from baselines.checkpoint import load_weights, save_checkpoint
from baselines.config import ModelConfig, config_to_dict
from baselines.data import Batch, PartPositions, TrainingSamples, make_loader
from baselines.modeling.criterion import VIEW_PREFIX, Criterion, Totals
from baselines.modeling.point_sampling import RandomPoints
from baselines.ranks import Ranks
from baselines.recompute import recompute_activations
from baselines.run_state import write_state
from baselines.solver import WeightAverage, lr_factor, make_optimizer
from baselines.train_config import TrainConfig
from baselines.train_eval import evaluate_model
from baselines.train_log import TrainLog
from entityseg_bench.dataset import EntityDataset

__all__ = ["Run", "TrainingStopped", "train"]


class TrainingStopped(Exception):
    """Say why training cannot go on. The checkpoints that were written stand."""


@dataclass(frozen=True)
class Run:
    """Everything that a training run is made of.

    Attributes:
        preset: Name that the configurations started from.
        model: Configuration of the network.
        train: Configuration of the training.
        train_set: Images to learn from.
        val_set: Images to be scored on; None: none.
        out: Folder of the run.
        ranks: This process.
        device: Where it computes.
        weights: File of weights to start from, whatever of them fits; None: from scratch.
    """

    preset: str
    model: ModelConfig
    train: TrainConfig
    train_set: EntityDataset
    val_set: EntityDataset | None
    out: Path
    ranks: Ranks
    device: torch.device
    weights: Path | None = None

    def resolved(self) -> dict[str, Any]:
        """Give the whole configuration as plain JSON values."""
        plain = {
            "preset": self.preset,
            "model": config_to_dict(self.model),
            "train": dataclasses.asdict(self.train),
        }
        return json.loads(json.dumps(plain))


def train(run: Run, state: dict[str, Any] | None = None) -> int:
    """Train until the last step, or until SIGTERM or SIGINT asks to stop.

    The seed decides everything that is drawn at a step, also dropped paths, together with the step
    and the process, so that a run that was stopped goes on exactly as if it had not been.

    Args:
        run: What to do.
        state: Where to go on from, as `run_state.read_state` gives it; None: from the beginning.

    Returns:
        Steps done; fewer than `run.train.steps` after a signal, with a checkpoint of that step.

    Raises:
        TrainingStopped: The loss is not finite, a data worker died, the disk is full.
        InputError: Data or weights that cannot be read.
    """
    config, ranks = run.train, run.ranks
    learner = _Learner(run, state)
    log = TrainLog(run.out, config.steps, learner.step, enabled=ranks.is_first)
    log.say(learner.summary())
    meter = _Meter()
    with _stop_signals() as asked_to_stop, contextlib.closing(log), _named_failures(run):
        batches = _batches(run, learner.step)
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


class _Learner:
    """The model, its optimizer, and everything else that a step changes."""

    def __init__(self, run: Run, state: dict[str, Any] | None) -> None:
        self.run, self.config = run, run.train
        self.step = 0
        torch.manual_seed(self.config.seed)
        self.model = build_model(run.model)
        self.fit = None
        if state is None and run.weights is not None:
            self.fit = load_weights(self.model, run.weights, partial=True)
        self.model.to(run.device).train()
        if self.config.recompute:
            recompute_activations(self.model)
        self.optimizer = make_optimizer(self.model, self.config)
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.scaler = torch.amp.GradScaler(
            run.device.type, enabled=self.config.precision == "float16"
        )
        self.average = None
        if self.config.ema_decay:
            self.average = WeightAverage(self.model, self.config.ema_decay)
        if state is not None:
            self._restore(state)
        self.criterion = Criterion(self.config.loss)
        self.parts = PartPositions(self.config, run.ranks).parts
        self.parallel: nn.Module = self.model
        if run.ranks.world > 1:
            devices = [run.device] if run.device.type == "cuda" else None
            self.parallel = DistributedDataParallel(self.model, devices)

    def learn(self, parts: list[Batch], stop: bool) -> dict[str, float]:
        """Do one step.

        Args:
            parts: Of this process's share of the batch.
            stop: Whether this process was asked to stop.

        Returns:
            What to report, over all processes; "stop" is positive if any was asked to.

        Raises:
            TrainingStopped: The loss or the gradient is not finite.
        """
        torch.manual_seed(_seed(self.config.seed, self.step, self.run.ranks.rank))
        factor = lr_factor(self.step, self.config)
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = lr * factor
        parts = [part.to(self.run.device) for part in parts]
        totals, stop_count = self._all_totals(parts, stop)

        losses: dict[str, Tensor] = {}
        for idx, part in enumerate(parts):
            last = idx == len(parts) - 1
            waits = contextlib.nullcontext() if last or self.parallel is self.model else None
            with waits or self.parallel.no_sync():
                found = self._losses(part, totals)
                total = sum(found.values())
                self._check_finite(total, "loss", part)
                self.scaler.scale(total).backward()
            for name, loss in found.items():
                losses[name] = losses.get(name, 0) + loss.detach()
        norm = self._update()
        self.step += 1
        return {
            **self._report(losses),
            "gradient_norm": norm,
            "lr": max(group["lr"] for group in self.optimizer.param_groups),
            "stop": stop_count,
        }

    def _all_totals(self, parts: list[Batch], stop: bool) -> tuple[dict[str, Totals], float]:
        """Count the totals of the whole batch, and how many processes were asked to stop."""
        queries, prefixes = self.run.model.num_queries, ("", VIEW_PREFIX)
        counted = [self.criterion.totals(part.targets, queries) for part in parts]
        sums = [sum((c[p] for c in counted), Totals(0, 0)) for p in prefixes]
        numbers = [n for total in sums for n in (total.entities, total.class_weight)]
        row = torch.tensor([*numbers, float(stop)], dtype=torch.float64, device="cpu")
        if self.run.ranks.world > 1:
            row = row.to(self.run.device, torch.float32)
            dist.all_reduce(row)
        *numbers, stop_count = row.tolist()
        # Gradients are averaged over processes, so each divides by its share of the totals.
        world = self.run.ranks.world
        shares = [
            Totals(max(entities, 1) / world, weight / world)
            for entities, weight in zip(numbers[::2], numbers[1::2], strict=True)
        ]
        return dict(zip(prefixes, shares, strict=True)), stop_count

    def _losses(self, part: Batch, totals: dict[str, Totals]) -> dict[str, Tensor]:
        config, device = self.config, self.run.device
        images = part.normalised(self.run.model)
        dtype = getattr(torch, config.precision)
        with torch.autocast(device.type, dtype, enabled=config.precision != "float32"):
            outputs = self.parallel(images)
        views = range(1, 1 + images.shape[1]) if "view_outputs" in outputs else ()
        points, view_points = (
            RandomPoints(
                [_seed(config.seed, position, k) for position in part.positions for k in keys],
                config.loss.num_points,
                config.loss.oversample,
                config.loss.importance,
                device,
            )
            for keys in ((0,), views)
        )
        try:
            return self.criterion(outputs, part.targets, points, view_points, totals)
        except FloatingPointError as error:
            raise self._not_finite(str(error), part) from None

    def _update(self) -> float:
        """Clip the gradient and let the optimizer step; returns the norm before clipping."""
        self.scaler.unscale_(self.optimizer)
        limit = self.config.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        # With float16 the scaler leaves such a step out and lowers its scale.
        if not self.scaler.is_enabled():
            self._check_finite(norm, "gradient", None)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.model)
        return norm.item()

    def _check_finite(self, value: Tensor, what: str, part: Batch | None) -> None:
        if not value.isfinite():
            raise self._not_finite(f"the {what} is {value.item()}", part)

    def _not_finite(self, what: str, part: Batch | None) -> TrainingStopped:
        images = ""
        if part is not None:
            dataset = self.run.train_set
            samples = TrainingSamples(dataset, self.config, self.run.model)
            names = [dataset.images[samples.image_idx(p)].file_name for p in part.positions]
            images = f", images {', '.join(names)}"
        return TrainingStopped(
            f"{what} at step {self.step}{images}. Lower train.lr, or train in bfloat16 or float32 "
            "if the precision is lower; --resume auto goes on from the last checkpoint."
        )

    def _report(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Sum the losses over layers, and over processes."""
        kinds: dict[str, Tensor] = {}
        for name, loss in losses.items():
            kind = name.rstrip("_0123456789")
            kinds[kind] = kinds.get(kind, 0) + loss
        names = sorted(kinds)
        row = torch.stack([kinds[name] for name in names])
        if self.run.ranks.world > 1:
            dist.all_reduce(row)
            row /= self.run.ranks.world
        values = dict(zip(names, row.tolist(), strict=True))
        return {"loss": sum(values.values()), **values}

    def evaluate(self) -> dict[str, float]:
        """Score the model, or its averaged weights, on the validation set."""
        config, run = self.config, self.run
        precision = "float32" if run.device.type == "cpu" else config.precision
        return evaluate_model(
            self._kept_model(), run.val_set, run.ranks, precision, config.evaluate_images
        )

    def _kept_model(self) -> nn.Module:
        """Give the model as it is evaluated and kept: with averaged weights where there are any."""
        if self.average is None:
            return self.model
        model = build_model(self.run.model).to(self.run.device)
        model.load_state_dict(self.average.state)
        return model

    def save(self) -> None:
        """Write a checkpoint and the weights for prediction.

        Raises:
            TrainingStopped: They cannot be written.
        """
        run = self.run
        if run.ranks.is_first:
            try:
                write_state(run.out, self._state(), self.config.keep_checkpoints)
                notes = {"preset": run.preset, "step": str(self.step)}
                model = self._kept_model()
                save_checkpoint(run.out / "model.safetensors", model, run.model, notes)
            except (OSError, RuntimeError) as error:
                raise TrainingStopped(
                    f"the checkpoint of step {self.step} cannot be written: {error}. Those before "
                    "it stand; make room and go on with --resume auto."
                ) from error
        run.ranks.wait()

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "config": self.run.resolved(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state,
            "average_updates": 0 if self.average is None else self.average.updates,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None and state["average"] is not None:
            self.average.updates = state["average_updates"]
            self.average.state = {k: v.to(self.run.device) for k, v in state["average"].items()}

    def summary(self) -> str:
        """Say in a few lines what is going to be trained, on what."""
        run, config = self.run, self.config
        count = sum(p.numel() for p in self.model.parameters())
        lines = [
            f"{run.preset}: {count:,} parameters, {len(run.train_set)} images, "
            f"steps {self.step} to {config.steps} of {config.batch_size} images "
            f"({run.ranks.world} processes x {self.parts} parts), {run.device}, {config.precision}"
        ]
        if self.fit is not None:
            lines.append(f"start from {run.weights}: {self.fit}")
        return "\n".join(lines)


class _Meter:
    """Means of what steps report."""

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
        """Give the means since the last call, and the images a second."""
        means = {name: value / self._steps for name, value in self._sums.items() if name != "stop"}
        means["images_per_s"] = self._images / max(time.monotonic() - self._began, 1e-9)
        self.restart()
        return means


def _batches(run: Run, first_step: int) -> Iterator[Batch]:
    samples = TrainingSamples(run.train_set, run.train, run.model)
    positions = PartPositions(run.train, run.ranks, first_step)
    on_gpu = run.device.type == "cuda"
    return iter(make_loader(samples, positions, run.model.size_divisibility, on_gpu))


def _report_problems(parts: list[Batch], goes_on: bool, log: TrainLog) -> None:
    for problem in [problem for part in parts for problem in part.problems]:
        if not goes_on:
            raise TrainingStopped(
                f"{problem} (train.skip_broken=true takes another image in its place)"
            )
        log.say(f"left out: {problem}")
    if not all(part.positions for part in parts):
        raise TrainingStopped("no other image could be read in place of a broken one")


def _seed(*key: int) -> int:
    """Mix numbers into one seed of 63 bits."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


@contextlib.contextmanager
def _stop_signals() -> Iterator[Any]:
    """Give a function that says whether SIGTERM or SIGINT has come; a second SIGINT kills."""
    asked = []

    def ask(number: int, frame: Any) -> None:
        if number == signal.SIGINT and asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _named_failures(run: Run) -> Iterator[None]:
    """Turn what the loader and the device raise into reasons that a user can act on."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise TrainingStopped(
            f"{run.device} has too little memory: lower train.max_device_batch, or set "
            "train.recompute=true."
        ) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingStopped(
            f"a process that loads data died ({str(error).splitlines()[0]}), often for want of "
            "memory: lower train.workers. --resume auto goes on from the last checkpoint."
        ) from None
