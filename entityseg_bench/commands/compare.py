"""Compare prediction files: metrics side by side, differences, how sure they are."""

import argparse
import importlib
import sys
from pathlib import Path

from entityseg_bench.commands._arguments import (
    add_input_arguments,
    add_threads,
    check_draws,
    inputs_of,
    late_bar,
)
from entityseg_bench.io import InputError, check_writable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("gt", metavar="GT", help="ground truth, as for evaluate")
    parser.add_argument(
        "preds", metavar="PRED", nargs="+", help="predictions; the others are held to the first"
    )
    parser.add_argument("--json", metavar="FILE", help="write everything, all images too, here")
    parser.add_argument("--tex", metavar="FILE", help="write a LaTeX table (package booktabs) here")
    parser.add_argument("--csv", metavar="FILE", help="write every metric and difference here")
    parser.add_argument(
        "--figures", metavar="DIR",
        help="draw curves, error costs, sizes and calibration here, as PDF and SVG",
    )  # fmt: skip
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
    from entityseg_bench.compare import compare, comparison_record, write_figures
    from entityseg_bench.compare.paper import comparison_csv, comparison_tex, write_text
    from entityseg_bench.compare.tables import comparison_table
    from entityseg_bench.io import check_folder, write_json
    from entityseg_bench.score import evaluate_files

    labels = args.labels.split(",") if args.labels else None
    refuse(args, labels)
    if args.figures:
        # What is missing is named before the work.
        importlib.import_module("matplotlib")
        check_folder(args.figures)
    params = EvalParams(threads=args.threads, keep_matches=bool(args.figures))
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
    if args.figures:
        write_figures(comparison, scorings, args.figures)
    print(comparison_table(comparison, args.top))
    return 0


def refuse(args: argparse.Namespace, labels: list[str] | None) -> None:
    """Stop before the work where the arguments make no sense."""
    faults = {
        "name two prediction files or more": len(args.preds) < 2,
        f"{len(labels or [])} labels for {len(args.preds)} files": labels
        and len(labels) != len(args.preds),
        "--level must lie between 0 and 1": not 0 < args.level < 1,
        "--threads must be at least 1": args.threads < 1,
        "--seed must be at least 0": args.seed < 0,
    }
    for fault, present in faults.items():
        if present:
            raise InputError("arguments", "", f"{fault}.")
    check_draws("--resamples", args.resamples)
    check_draws("--permutations", args.permutations, 0)
    check_writable(args.json, args.tex, args.csv, inputs=[args.gt, *args.preds])
