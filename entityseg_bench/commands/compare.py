"""Compare prediction files: metrics side by side, differences, how sure they are."""

import argparse
import os
import sys
from pathlib import Path

from entityseg_bench.commands._arguments import (
    add_input_arguments,
    add_threads,
    inputs_of,
    late_bar,
)
from entityseg_bench.io import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("gt", metavar="GT", help="ground truth, as for evaluate")
    parser.add_argument(
        "preds", metavar="PRED", nargs="+", help="predictions; the others are held to the first"
    )
    parser.add_argument("--json", metavar="FILE", help="write everything, all images too, here")
    parser.add_argument("--tex", metavar="FILE", help="write a LaTeX table (package booktabs) here")
    parser.add_argument("--csv", metavar="FILE", help="write every metric and difference here")
    parser.add_argument("--labels", metavar="NAME,NAME,...", help="what to call the files")
    parser.add_argument(
        "--resamples", type=int, default=1000, metavar="N",
        help="sets of images drawn for the intervals (default: 1000)",
    )  # fmt: skip
    parser.add_argument(
        "--permutations", type=int, default=1000, metavar="N",
        help="exchanges drawn for the tests, 0 for none (default: 1000)",
    )  # fmt: skip
    parser.add_argument(
        "--level", type=float, default=0.95, help="of the confidence intervals (default: 0.95)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all chance (default: 0)")
    parser.add_argument(
        "--top", type=int, default=10, metavar="N", help="images to list that moved (default: 10)"
    )
    add_input_arguments(parser)
    add_threads(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Score, compare, print the tables, write the files."""
    from entity_api import EvalParams
    from entityseg_bench.compare import compare, comparison_record
    from entityseg_bench.compare.paper import comparison_csv, comparison_tex, write_text
    from entityseg_bench.compare.tables import comparison_table
    from entityseg_bench.io import write_json
    from entityseg_bench.score import evaluate_files

    labels = args.labels.split(",") if args.labels else None
    refuse(args, labels)
    params = EvalParams(threads=args.threads, keep_matches=False)
    scorings, inputs = [], inputs_of(args)
    for path in args.preds:
        progress = None if args.quiet else late_bar()
        scorings.append(evaluate_files(args.gt, path, params, progress, inputs=inputs))
        for problem in scorings[-1].warnings if not args.quiet else []:
            print(problem, file=sys.stderr)
    comparison = compare(scorings, labels, args.resamples, args.permutations, args.level, args.seed)
    if args.json:
        write_json(Path(args.json), comparison_record(comparison), indent=2)
    if args.tex:
        write_text(args.tex, comparison_tex(comparison))
    if args.csv:
        write_text(args.csv, comparison_csv(comparison))
    print(comparison_table(comparison, args.top))
    return 0


def refuse(args: argparse.Namespace, labels: list[str] | None) -> None:
    """Stop before the work where the arguments make no sense."""
    faults = {
        "name two prediction files or more": len(args.preds) < 2,
        f"{len(labels or [])} labels for {len(args.preds)} files": labels
        and len(labels) != len(args.preds),
        "--resamples must be at least 1": args.resamples < 1,
        "--permutations must be at least 0": args.permutations < 0,
        "--level must lie between 0 and 1": not 0 < args.level < 1,
        "--threads must be at least 1": args.threads < 1,
    }
    for fault, present in faults.items():
        if present:
            raise InputError("arguments", "", f"{fault}.")
    for target in filter(None, (args.json, args.tex, args.csv)):
        path = Path(target)
        if path.is_dir():
            raise InputError(path, "", "it cannot be written: it is a folder.", "Name a file.")
        if not os.access(path.parent, os.W_OK):
            what = "it cannot be written: its folder does not exist or may not be written to."
            raise InputError(path, "", what, "Make the folder, or name another.")
