"""Check a ground-truth file, and a prediction file against it, record by record."""

import argparse
import dataclasses
import sys

from entityseg_bench.io import write_json
from entityseg_bench.validate import validate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("gt", metavar="GT", help="COCO ground truth, .json or .json.gz")
    parser.add_argument("pred", metavar="PRED", nargs="?", help="COCO results for it")
    parser.add_argument("--json", metavar="FILE", help="write the problems here")
    parser.add_argument(
        "--class-aware", action="store_true", help="check the categories of predictions too"
    )
    parser.add_argument(
        "--most", type=int, default=50, metavar="N", help="problems to print (default: 50)"
    )


def run(args: argparse.Namespace) -> int:
    """Print every problem; 1 where one would give a wrong number."""
    problems = list(validate(args.gt, args.pred, args.class_aware))
    errors = sum(problem.severity == "error" for problem in problems)
    for problem in problems[: args.most]:
        print(problem)
    if len(problems) > args.most:
        print(
            f"... {len(problems) - args.most} more (--most N prints them, --json FILE writes all)"
        )
    if args.json:
        write_json(args.json, [dataclasses.asdict(problem) for problem in problems], indent=2)
    files = args.gt if args.pred is None else f"{args.gt} and {args.pred}"
    print(
        f"{files}: {errors} errors, {len(problems) - errors} warnings"
        + (": fit to be scored" if not errors else ": cannot be scored as it is"),
        file=sys.stderr,
    )
    return 1 if errors else 0
