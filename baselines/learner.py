"""The model, its optimizer and all other state that a training step changes."""

import contextlib
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from baselines.build import build_model
from baselines.checkpoint import load_weights, save_checkpoint
from baselines.config import ModelConfig, config_to_dict
from baselines.data import WORKER_DIED, Batch, PartPositions, TrainingSamples
from baselines.modeling.criterion import VIEW_PREFIX, Criterion, Totals
from baselines.modeling.point_sampling import RandomPoints
from baselines.ranks import Ranks
from baselines.recompute import recompute_activations
from baselines.run_state import write_state
from baselines.solver import WeightAverage, lr_factor, make_optimizer
from baselines.train_config import TrainConfig
from baselines.train_eval import evaluate_model
from entityseg_bench.dataset import EntityDataset

__all__ = ["Learner", "Run", "TrainingStopped"]


class TrainingStopped(Exception):
    """Raised when training cannot go on. Checkpoints that were written remain."""


@dataclass(frozen=True)
class Run:
    """Everything that a training run is made of.

    Attributes:
        preset: Name of the preset that the configurations started from.
        model: Configuration of the network.
        train: Configuration of the training.
        train_set: Images to learn from.
        val_set: Images to score on; None for none.
        out: The folder of the run.
        ranks: This process.
        device: The device that computes.
        weights: File of weights to start from, as far as they fit; None to start from scratch.
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
        """Return the whole configuration as plain JSON values."""
        plain = {
            "preset": self.preset,
            "model": config_to_dict(self.model),
            "train": dataclasses.asdict(self.train),
            "data": {
                split: {"file": dataset.where, "images": len(dataset)}
                for split, dataset in (("train", self.train_set), ("val", self.val_set))
                if dataset is not None
            },
            "categories": [
                {"id": category.id, "name": category.name, "type": category.type}
                for category in self.train_set.categories
                if self.model.task != "entity"
            ],
        }
        return json.loads(json.dumps(plain))


class Learner:
    """The model, its optimizer, and everything else that a step changes.

    Args:
        run: The run.
        state: Where to go on from, as `run_state.read_state` gives it; None to begin anew.

    Attributes:
        step: Number of steps done.
        parts: Number of parts that this process's share of a batch is cut into.
        samples: The training samples.
    """

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
        self.samples = TrainingSamples(run.train_set, self.config, run.model)
        self.parts = PartPositions(self.config, run.ranks).parts
        self.parallel: nn.Module = self.model
        if run.ranks.world > 1:
            devices = [run.device] if run.device.type == "cuda" else None
            self.parallel = DistributedDataParallel(self.model, devices)

    def learn(self, parts: list[Batch], stop: bool) -> dict[str, float]:
        """Do one step.

        Args:
            parts: The parts of this process's share of the batch.
            stop: True if this process was asked to stop.

        Returns:
            The values to report, over all processes. "stop" is positive if any process was asked to
            stop.

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
            with self._gradients_shared(idx == len(parts) - 1):
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

    def _gradients_shared(self, last: bool) -> contextlib.AbstractContextManager:
        """Let processes exchange gradients in the backward pass of the last part only."""
        if last or self.run.ranks.world == 1:
            return contextlib.nullcontext()
        return self.parallel.no_sync()

    def _all_totals(self, parts: list[Batch], stop: bool) -> tuple[dict[str, Totals], float]:
        """Sum the batch's totals over all processes, and count those that were asked to stop."""
        queries, prefixes = self.run.model.num_queries, ("", VIEW_PREFIX)
        counted = [self.criterion.totals(part.targets, queries) for part in parts]
        sums = [sum((c[p] for c in counted), Totals(0, 0)) for p in prefixes]
        numbers = [n for total in sums for n in (total.entities, total.class_weight)]
        row = torch.tensor([*numbers, float(stop)], dtype=torch.float64)
        if self.run.ranks.world > 1:
            row = row.to(self.run.device, torch.float32)
            dist.all_reduce(row)
        *numbers, stop_count = row.tolist()
        # Gradients are averaged over processes, so each process divides by the mean of the totals.
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
        """Clip the gradient and take the optimizer's step; return the norm before clipping."""
        self.scaler.unscale_(self.optimizer)
        limit = self.config.clip_norm or float("inf")
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        # With float16 a gradient that is not finite is no error: the scaler skips the step and
        # lowers its scale.
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
            idxs = [self.samples.image_idx(position) for position in part.positions]
            names = [self.run.train_set.images[idx].file_name for idx in idxs]
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
            self._kept_model(),
            run.val_set,
            run.ranks,
            precision,
            config.evaluate_images,
            config.distances,
        )

    def _kept_model(self) -> nn.Module:
        """Return the model that is evaluated and kept, with averaged weights if there are any."""
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
                notes = {"step": str(self.step), "run": json.dumps(run.resolved())}
                model = self._kept_model()
                save_checkpoint(run.out / "model.safetensors", model, run.model, notes)
            except (OSError, RuntimeError) as error:
                if WORKER_DIED in str(error):
                    raise
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
        """Describe in a few lines the model and the data of the run."""
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


def _seed(*key: int) -> int:
    """Mix numbers into one seed of 63 bits."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1
