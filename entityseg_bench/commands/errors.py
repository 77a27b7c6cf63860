"""Tell where a prediction file loses AP^e: kinds of errors, scores, categories."""

import argparse
import sys
from pathlib import Path

from entityseg_bench.commands._arguments import (
    add_input_arguments,
    add_threads,
    inputs_of,
    late_bar,
)
from entityseg_bench.io import InputError, check_writable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("gt", metavar="GT", help="ground truth, as for evaluate")
    parser.add_argument("pred", metavar="PRED", help="predictions, as for evaluate")
    parser.add_argument("--json", metavar="FILE", help="write everything, all categories too, here")
    parser.add_argument(
        "--as-submitted", action="store_true", help="judge AP, overlaps and all, instead of AP^e"
    )
    parser.add_argument(
        "--scores", metavar="S,S,...", default=None,
        help="least scores for precision and recall (default: 0.1,0.2,...,0.9)",
    )  # fmt: skip
    parser.add_argument(
        "--categories", type=int, default=10, metavar="N",
        help="categories to list, those of the worst recall (default: 10)",
    )  # fmt: skip
    add_input_arguments(parser)
    add_threads(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no warnings")


def run(args: argparse.Namespace) -> int:
    """Score, sort errors, print the tables, write the JSON."""
    from entity_api import EvalParams
    from entityseg_bench.errors import error_record, find_errors
    from entityseg_bench.errors.find import SCORES
    from entityseg_bench.errors.tables import error_table
    from entityseg_bench.io import write_json
    from entityseg_bench.score import evaluate_files

    check_writable(args.json, inputs=[args.gt, args.pred])
    try:
        scores = tuple(float(s) for s in args.scores.split(",")) if args.scores else SCORES
        params = EvalParams(remove_overlaps=not args.as_submitted, threads=args.threads)
    except ValueError as error:
        raise InputError("arguments", "", f"{error}.") from None
    progress = None if args.quiet else late_bar()
    scoring = evaluate_files(args.gt, args.pred, params, progress, inputs=inputs_of(args))
    for problem in scoring.warnings if not args.quiet else []:
        print(problem, file=sys.stderr)
    progress = None if args.quiet else late_bar()
    try:
        report = find_errors(scoring, not args.as_submitted, scores, progress)
    except ValueError as error:
        raise InputError(args.pred, "", f"{error}.") from None
    if args.json:
        write_json(Path(args.json), error_record(report), indent=2)
    print(error_table(report, args.categories))
    return 0
