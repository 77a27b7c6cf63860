"""Train a reference model: ``python -m baselines.train --help``, or with torchrun."""

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from baselines.original import read_original
from baselines.original.training_commands import (
    is_original_training,
    read_command,
    run_command,
)
from baselines.overrides import override
from baselines.presets import get_preset
from baselines.ranks import Ranks, joined
from baselines.run_state import latest_state, list_states, read_state, remove_leftovers
from baselines.trainer import Run, TrainingStopped, train
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.coco import read_coco
from entityseg_bench.io import InputError, check_writable, locked, printable, write_json
from entityseg_bench.layout import ImageFiles
from entityseg_bench.names import outside_allowed
from entityseg_bench.parser import Parser
from entityseg_bench.stopping import exit_code, stoppable

__all__ = ["main"]

# The other processes wait while the first one scores the validation set.
PATIENCE = timedelta(hours=2)

# Settings that may differ when a run continues: none of them changes what is learned.
FREE_TO_CHANGE = frozenset(
    (
        "workers",
        "max_device_batch",
        "recompute",
        "skip_broken",
        "checkpoint_every",
        "keep_checkpoints",
        "evaluate_every",
        "evaluate_images",
        "log_every",
    )
)


def build_parser(prog: str) -> argparse.ArgumentParser:
    """Describe the command's arguments."""
    parser = Parser(
        prog=prog,
        description="Train a reference model. Under torchrun, with one process a GPU.",
    )
    add = parser.add_argument
    add("preset", nargs="?", help="name of a preset")
    add("--config-file", metavar="YAML", help="file of the original, in place of a preset")
    add("--data", type=Path, metavar="ROOT", help="root of an EntitySeg dataset")
    add(
        "--train-json",
        type=Path,
        metavar="FILE",
        help="COCO file to learn from, in place of --data",
    )
    add("--val-json", type=Path, metavar="FILE", help="COCO file to be scored on")
    add("--images", type=Path, metavar="DIR", help="folder of the images that the COCO files name")
    add("--allow-outside", action="store_true", help="take images outside of their folder too")
    add(
        "--categories",
        nargs="+",
        metavar="NAME",
        help="of the COCO files: only these, such as person",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    add("--weights", type=Path, metavar="FILE", help="weights to start from, whatever of them fits")
    add(
        "--set",
        dest="settings",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change the configuration: train.lr=2e-4 train.augment.flip=0 model.num_queries=50",
    )
    add(
        "--resume",
        metavar="auto|FILE",
        help="go on from a checkpoint; auto: from the run's newest, or begin if there is none",
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    add("--device", default=device, choices=("cpu", "cuda"), help="(%(default)s)")
    return parser


def main(argv: Sequence[str] | None = None, prog: str = "python -m baselines.train") -> int:
    """Run the command and return its exit code.

    Args:
        argv: Its arguments; those of the process by default.
        prog: Its name in help and errors.

    Returns:
        0 if it trained to the end; 1 if training had to stop, with the reason printed; 2 if it
        could not begin; 130 or 143 if Ctrl-C or SIGTERM stopped it, with a checkpoint where
        training had begun.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if is_original_training(argv):
        try:
            return run_command(read_command(argv))
        except ValueError as error:
            print(printable(str(error)), file=sys.stderr)
            return 2
        except KeyboardInterrupt as error:
            print("stopped", file=sys.stderr)
            return exit_code(error)
    args = build_parser(prog).parse_args(argv)
    signals: list[int] = []
    with (
        joined(PATIENCE, args.device) as ranks,
        stoppable(),
        outside_allowed(args.allow_outside),
    ):
        try:
            check_writable(args.out / "config.json", makes_folders=True)
            run = _prepare(args, ranks)
            # The first process locks the folder: two runs in it would take each other's
            # checkpoints.
            with locked(run.out) if ranks.is_first else nullcontext():
                state = _state_to_resume(args, run)
                if ranks.is_first:
                    write_json(run.out / "config.json", run.resolved(), indent=1)
                done = train(run, state, signals)
        except TrainingStopped as error:
            print(printable(f"training stopped: {error}"), file=sys.stderr)
            return 1
        except (OSError, ValueError) as error:
            print(printable(str(error)), file=sys.stderr)
            return 2
        except KeyboardInterrupt as error:
            print("stopped", file=sys.stderr)
            return exit_code(error)
    if done >= run.train.steps:
        return 0
    # Where several processes train, another one may have been asked.
    return 128 + (signals[0] if signals else signal.SIGTERM)


def _prepare(args: argparse.Namespace, ranks: Ranks) -> Run:
    """Gather configuration and data."""
    name, configs = _configs(args, ranks)
    changed = override(configs, args.settings)
    model, config = changed["model"], changed["train"]
    if config.precision == "float16" and args.device == "cpu":
        raise ValueError("train.precision=float16 needs a GPU; use bfloat16 or float32")
    if (args.data is None) == (args.train_json is None):
        raise ValueError("name the data: --data ROOT, or --train-json FILE")
    if args.categories and args.train_json is None:
        raise ValueError("--categories works with COCO files only: add --train-json FILE")
    if args.data is not None:
        train_set, val_set = (
            EntityDataset.open(args.data, model.task, split, config.resolution, parts)
            for split, parts in ((config.split, config.parts), ("val", None))
        )
    else:
        train_set, val_set = (
            _coco(path, args.images, model.task) for path in (args.train_json, args.val_json)
        )
        if args.categories:
            train_set, val_set = (_only(data, args.categories) for data in (train_set, val_set))
        told = any(
            setting.split("=")[0].strip() == "model.num_classes" for setting in args.settings
        )
        if model.task != "entity" and not told:
            model = replace(model, num_classes=len(train_set.categories))
    return Run(
        name,
        model,
        config,
        train_set,
        val_set,
        args.out,
        ranks,
        ranks.device(args.device),
        args.weights,
    )


def _configs(args: argparse.Namespace, ranks: Ranks) -> tuple[str, dict[str, Any]]:
    """Return the configurations to start from, and the name of the preset or of the nearest one."""
    if (args.preset is None) == (args.config_file is None):
        raise ValueError("name a preset, or a file of the original with --config-file")
    if args.config_file is None:
        preset = get_preset(args.preset)
        return args.preset, {"model": preset.model, "train": preset.train}
    found = read_original(args.config_file)
    if ranks.is_first:
        print(found, file=sys.stderr)
    return found.preset, {"model": found.model, "train": found.train}


def _coco(path: Path | None, images: Path | None, task: str) -> EntityDataset | None:
    if path is None:
        return None
    return EntityDataset.of(read_coco(path, task), image_files=ImageFiles(images or path.parent))


def _only(dataset: EntityDataset | None, names: Sequence[str]) -> EntityDataset | None:
    """Keep the annotations of some categories, and every image."""
    if dataset is None:
        return None
    known = {category.name for category in dataset.categories}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            dataset.where, "categories", f"there is none called {', '.join(unknown)}.",
            f"There are: {', '.join(sorted(known)[:20])}.",
        )  # fmt: skip
    return dataset.take(category_ids=[c.id for c in dataset.categories if c.name in names])


def _state_to_resume(args: argparse.Namespace, run: Run) -> dict[str, Any] | None:
    """Read the checkpoint to continue from, and check that it belongs to this run."""
    run.out.mkdir(parents=True, exist_ok=True)
    if args.resume is None:
        if list_states(run.out):
            raise InputError(
                run.out, "", "a run is there.", "Go on with --resume auto, or name another folder."
            )
        return None
    if run.ranks.is_first:
        remove_leftovers(run.out)
    run.ranks.wait()
    if args.resume != "auto":
        state = read_state(Path(args.resume))
    else:
        state, problems = latest_state(run.out)
        for problem in problems if run.ranks.is_first else ():
            print(f"{problem} Continuing from the one before it.", file=sys.stderr)
    if state is not None:
        _check_same(state["config"], run.resolved(), run.out)
    return state


def _check_same(before: dict[str, Any], now: dict[str, Any], out: Path) -> None:
    changed = []
    for group in ("model", "train"):
        for name, value in now[group].items():
            free = group == "train" and name in FREE_TO_CHANGE
            if not free and before[group].get(name) != value:
                changed.append(f"{group}.{name} (was {before[group].get(name)!r}, now {value!r})")
    if changed:
        raise InputError(
            out,
            "",
            f"the run that is there has another {', '.join(changed)}.",
            "Repeat its settings, or start from its model.safetensors with --weights.",
        )


if __name__ == "__main__":
    sys.exit(main())
