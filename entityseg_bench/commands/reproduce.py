"""Do a published row end to end: predict, score, compare with the published number, file it."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from entityseg_bench.commands._arguments import add_outside_argument
from entityseg_bench.io import InputError, check_folder

if TYPE_CHECKING:
    from entityseg_bench.layout import Resolution
    from entityseg_bench.reproduce import RowName

EPILOG = """\
The row is filed below --dir. Data that is not the whole of EntitySeg needs a name of its own
(--dataset), so that its numbers never stand beside the published ones.
"""
PAPER = "https://arxiv.org/abs/2211.05776"
CODE = "https://github.com/qqlu/Entity"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("root", type=Path, metavar="ROOT", help="folder of the data set")
    add("preset", metavar="PRESET", help="such as cropformer_swin_tiny_3x")
    add("--weights", metavar="W", help="file or name (default: the preset's published weights)")
    add("--out", type=Path, metavar="DIR", help="(default: reproduced/PRESET)")
    add("--dir", type=Path, default=Path("leaderboard"), metavar="DIR", help="(leaderboard)")
    add("--dataset", metavar="NAME", help="of data that is not the whole of EntitySeg")
    add(
        "--resolution", nargs="+", choices=("high", "low"), metavar="R",
        help="high, low (default: both of entities, high of the other types)",
    )  # fmt: skip
    add("--device", metavar="D", help="of the prediction: cpu, cuda")
    add("--batch-size", type=int, metavar="N", help="of the prediction")
    add("--precision", choices=("float32", "bfloat16", "float16"), help="of the prediction")
    add("--check", action="store_true", help="say what it needs and stop")
    add_outside_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Say what it needs, then do it; 2 when something is missing."""
    from entityseg_bench.reproduce import needs, row_name

    check_folder(args.out or Path("reproduced"))
    check_folder(args.dir)
    row = row_name(args.preset)
    weights = args.weights or args.preset
    resolutions = args.resolution or (["low", "high"] if row.task == "entity" else ["high"])
    print(f"{args.preset}: {row.method}, {row.backbone}, {row.task}. It needs:")
    found = needs(args.root, weights, row.task, resolutions)
    for need in found:
        print(f"  {need.what}: {need.found or 'MISSING: ' + need.missing}")
    if any(not need.found for need in found):
        raise InputError(args.preset, "", "what it needs is not all there.", "See the list above.")
    if args.check:
        return 0
    for resolution in resolutions:
        reproduce(args, row, weights, resolution)
    print(f"entityseg leaderboard build --dir {args.dir} puts filed rows into the tables")
    return 0


def reproduce(
    args: argparse.Namespace, row: "RowName", weights: str, resolution: "Resolution"
) -> None:
    """Predict, score, compare and file one resolution."""
    from entityseg_bench.cli import run_verb
    from entityseg_bench.reproduce import predict
    from entityseg_bench.stopping import Stopped

    out = (args.out or Path("reproduced") / args.preset) / resolution
    out.mkdir(parents=True, exist_ok=True)
    print(f"\n{args.preset}, {resolution} resolution: predicting into {out}", flush=True)
    given = {"--device": args.device, "--batch-size": args.batch_size,
             "--precision": args.precision}  # fmt: skip
    options = [text for key, value in given.items() if value for text in (key, str(value))]
    outside = ["--allow-outside"] if args.allow_outside else []
    predictions = predict(
        args.preset, weights, args.root, resolution, out / "found", options + outside
    )
    scored = out / "result.json"
    command = [args.root, predictions, "--task", row.task, "--resolution", resolution]
    code = run_verb("evaluate", [*map(str, command), *outside, "--json", str(scored)])
    if code > 128:
        raise Stopped(code - 128)
    if code:
        raise InputError(predictions, "", f"scoring it ended with exit code {code}.")
    compare(args, row, resolution, scored)
    file_row(args, row, resolution, scored)


def compare(
    args: argparse.Namespace, row: "RowName", resolution: "Resolution", scored: Path
) -> None:
    """Print the difference to the published number, where there is one."""
    from entityseg_bench.reproduce import measured_numbers, published_numbers

    published, source = published_numbers(args.dir, row, resolution)
    if not published:
        print(f"no published number of this row is in {args.dir}")
        return
    measured = measured_numbers(json.loads(scored.read_bytes()), list(published))
    for metric, value in published.items():
        if metric in measured:
            here = measured[metric]
            print(
                f"{metric} {resolution}: {here:.2f} here, {value:.1f} published, "
                f"difference {here - value:+.2f} ({source})"
            )


def file_row(
    args: argparse.Namespace, row: "RowName", resolution: "Resolution", scored: Path
) -> None:
    """File the result, under EntitySeg only if it is of the whole of it."""
    from entityseg_bench.leaderboard import add
    from entityseg_bench.reproduce import is_whole

    dataset = args.dataset
    if dataset is None and is_whole(args.root, row.task, resolution):
        dataset = "EntitySeg"
    if dataset is None:
        print(
            f"not filed: {args.root} is not the whole of EntitySeg, train and val; "
            "say with --dataset what it is",
            file=sys.stderr,
        )
        return
    path = add(
        scored,
        args.dir,
        model=args.preset,
        method=row.method,
        backbone=row.backbone,
        paper=PAPER,
        code=CODE,
        dataset=dataset,
        split="val",
        resolution=resolution,
    )
    print(f"filed: {path}")
