"""The original's training command, typed as it stands: trains, or predicts and scores."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from baselines.original.keys import read_settings
from baselines.original.mapping import subsets
from baselines.original.pairs import is_key, read_pairs, with_pairs
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
        config: File of the original, or one based on it with the keys and values of the command.
        data: Root of the data set.
        out: The folder of the run.
        weights: File or name; None if none is named.
        device: cpu or cuda; None for what is there.
    """

    processes: int
    train: list[str]
    evaluate: bool
    config: str
    data: Path
    out: Path
    weights: str | None
    device: str | None


def is_original_training(argv: Sequence[str]) -> bool:
    """Say whether arguments are those of the original's training scripts."""
    options = {text.partition("=")[0] for text in argv}
    if options & {"--num-gpus", "--eval-only"}:
        return True
    # Commands of this package name --out, the original's may name nothing but keys and values.
    return "--out" not in options and any(map(is_key, argv))


def read_command(argv: Sequence[str]) -> OriginalTraining:
    """Read ``--config-file C --num-gpus N [--eval-only] [--resume] KEY VALUE ...``.

    The data set is ``$DETECTRON2_DATASETS/entityseg`` as in the original, or ``--data``; without
    the variable, ``datasets/entityseg``.

    Raises:
        ValueError: Keys that are not known, all named; or no data.
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
    given = read_pairs(args.pairs)
    data = args.data or Path(os.environ.get("DETECTRON2_DATASETS", "datasets")) / "entityseg"
    if not data.is_dir():
        raise ValueError(
            f"{data}: no data set is there; name it with --data or DETECTRON2_DATASETS"
        )
    out, weights = Path(given.pop("OUTPUT_DIR", "output")), given.pop("MODEL.WEIGHTS", None)
    device = given.pop("MODEL.DEVICE", args.device)
    settings = {SETTINGS[key]: given.pop(key) for key in list(given) if key in SETTINGS}
    config = with_pairs(args.config_file, given, out)
    train = ["--config-file", config, "--data", str(data), "--out", str(out)]
    train += ["--weights", weights] if weights else []
    train += ["--resume", "auto"] if args.resume else []
    train += ["--device", device] if device else []
    if settings:
        train += ["--set", *(f"{key}={value}" for key, value in settings.items())]
    return OriginalTraining(
        args.num_gpus, train, args.eval_only, config, data, out, weights, device
    )


def run_command(command: OriginalTraining) -> int:
    """Start the processes of a command of the original, and give the exit code.

    Raises:
        InputError: The configuration cannot be read.
        ValueError: It is to evaluate, and names no weights.
    """
    if not command.evaluate:
        # What is wrong with the file is said once, and not by each process.
        read_original(command.config)
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
    predict += ["--device", command.device] if command.device else []
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
