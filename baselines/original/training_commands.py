"""The original's training command, typed as it stands: trains, or predicts and scores."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from baselines.original.commands import PASSED_OVER
from baselines.original.keys import DEFAULTS, read_settings
from baselines.original.mapping import subsets
from baselines.original.presets import read_original
from baselines.original.yaml_reader import read_yaml
from entityseg_bench.cli import main as entityseg
from entityseg_bench.stopping import run_child

__all__ = ["OriginalTraining", "is_original_training", "read_command", "run_command"]

# Key -> how `baselines.train` calls it.
SETTINGS = {
    "SOLVER.BASE_LR": "train.lr",
    "SOLVER.IMS_PER_BATCH": "train.batch_size",
    "SOLVER.MAX_ITER": "train.steps",
}
# What `baselines.predict` writes of each type, as `entityseg evaluate` reads it.
OUTPUTS = {"semantic": "semantic", "panoptic": "panoptic.json"}


@dataclass(frozen=True)
class OriginalTraining:
    """What a command of the original asks for.

    Attributes:
        processes: One for each GPU.
        train: Arguments of `baselines.train`.
        evaluate: Whether to predict and score in place of training.
        config: File of the original.
        data: Root of the data set.
        out: Folder of the run.
        weights: File or name; None if none is named.
    """

    processes: int
    train: list[str]
    evaluate: bool
    config: str
    data: Path
    out: Path
    weights: str | None


def is_original_training(argv: Sequence[str]) -> bool:
    """Say whether arguments are those of the original's training scripts."""
    return "--num-gpus" in argv or "--eval-only" in argv


def read_command(argv: Sequence[str]) -> OriginalTraining:
    """Read ``--config-file C --num-gpus N [--eval-only] [--resume] KEY VALUE ...``.

    The data set is ``$DETECTRON2_DATASETS/entityseg`` as in the original, or ``--data``; without
    the variable, ``datasets/entityseg``.

    Raises:
        ValueError: Keys that are not known or have no counterpart, all named; or no data.
    """
    parser = argparse.ArgumentParser(prog="python -m baselines.train", allow_abbrev=False)
    parser.add_argument("--config-file", required=True)
    parser.add_argument("--num-gpus", type=int, default=1)
    parser.add_argument("--eval-only", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("pairs", nargs="*", metavar="KEY VALUE")
    args = parser.parse_intermixed_args(argv)
    given = _pairs(args.pairs)
    data = args.data or Path(os.environ.get("DETECTRON2_DATASETS", "datasets")) / "entityseg"
    if not data.is_dir():
        raise ValueError(
            f"{data}: no data set is there; name it with --data or DETECTRON2_DATASETS"
        )
    out, weights = Path(given.pop("OUTPUT_DIR", "output")), given.pop("MODEL.WEIGHTS", None)
    train = ["--config-file", args.config_file, "--data", str(data), "--out", str(out)]
    train += ["--weights", weights] if weights else []
    train += ["--resume", "auto"] if args.resume else []
    train += ["--device", args.device] if args.device else []
    if given:
        train += ["--set", *(f"{SETTINGS[key]}={value}" for key, value in given.items())]
    return OriginalTraining(
        args.num_gpus, train, args.eval_only, args.config_file, data, out, weights
    )


def _pairs(words: Sequence[str]) -> dict[str, str]:
    if len(words) % 2:
        raise ValueError(f"{' '.join(words)}: keys and values do not come in pairs")
    given = dict(zip(words[::2], words[1::2], strict=True))
    for key in [key for key in given if key.startswith(PASSED_OVER)]:
        print(f"{key} is of another model, and passed over", file=sys.stderr)
        del given[key]
    taken = {"OUTPUT_DIR", "MODEL.WEIGHTS", *SETTINGS}
    unknown = [key for key in given if key not in taken and key not in DEFAULTS]
    if unknown:
        raise ValueError(f"unknown keys: {', '.join(unknown)}")
    others = [key for key in given if key not in taken]
    if others:
        raise ValueError(f"{', '.join(others)}: set it in the file")
    return given


def run_command(command: OriginalTraining) -> int:
    """Start the processes of a command of the original, and give the exit code.

    Raises:
        InputError: The configuration cannot be read.
        ValueError: It is to evaluate, and names no weights.
    """
    if not command.evaluate:
        return _start(command.processes, "baselines.train", command.train)
    if command.weights is None:
        raise ValueError("no weights are named: MODEL.WEIGHTS FILE")
    task = read_original(command.config, training=False).model.task
    tested = subsets(read_settings(read_yaml(command.config)), "DATASETS.TEST")
    low = any(subset and subset.resolution == "low" for subset in tested)
    resolution = "low" if low else "high"
    found = command.out / f"inference_{resolution}"
    where = ["--split", "val", "--resolution", resolution]
    predict = ["--config-file", command.config, "--weights", command.weights, *where]
    predict += ["--images", str(command.data), "--out", str(found)]
    code = _start(command.processes, "baselines.predict", predict)
    if code:
        return code
    predictions = found / OUTPUTS.get(task, "results.json")
    scored = ["--task", task, *where, "--json", str(command.out / f"result_{resolution}.json")]
    return entityseg(["evaluate", str(command.data), str(predictions), *scored])


def _start(processes: int, module: str, arguments: Sequence[str]) -> int:
    """Run a module in so many processes that know of each other."""
    launcher = ["-m", module]
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone"]
        launcher += ["--nproc-per-node", str(processes), "-m", module]
    return run_child([sys.executable, *launcher, *arguments])
