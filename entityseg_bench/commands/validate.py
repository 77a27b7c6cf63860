"""Check ground truth of any type, and predictions for it, record by record and map by map."""

import argparse
import dataclasses
import sys

from entityseg_bench.commands._arguments import (
    add_engine,
    add_input_arguments,
    inputs_of,
    late_bar,
)
from entityseg_bench.io import check_writable, write_json
from entityseg_bench.validate import validate

EPILOG = """\
GT and PRED are what `entityseg evaluate` takes (see its --help); a data set's folder without --task
and without PRED is checked for each type that is there. Errors are what evaluate refuses, warnings
what is odd. Exit code: 0 without errors, 1 with errors, 2 where a file cannot be opened at all.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("gt", metavar="GT", help="ground truth of any type")
    parser.add_argument("pred", metavar="PRED", nargs="?", help="predictions for it")
    parser.add_argument("--json", metavar="FILE", help="write the problems here")
    parser.add_argument(
        "--class-aware", action="store_true", help="check the categories of predictions too"
    )
    parser.add_argument(
        "--most", type=int, default=50, metavar="N", help="problems to print (default: 50)"
    )
    add_engine(parser)
    add_input_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print every problem; 1 where one would give a wrong number."""
    check_writable(args.json, inputs=[args.gt, args.pred])
    inputs = inputs_of(args)
    if args.engine:
        from entityseg_bench.scale.engines import engine_of
        from entityseg_bench.scale.validating import validate_shards

        engine, bar = engine_of(args.engine), late_bar("shard")
        problems = validate_shards(args.gt, args.pred, engine, args.class_aware, inputs, bar)
    else:
        bar = late_bar("record")
        problems = list(validate(args.gt, args.pred, args.class_aware, inputs, bar))
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
