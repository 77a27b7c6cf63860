"""Tell where a prediction file loses AP^e: kinds of errors, scores, categories."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entityseg_bench.commands._arguments import (
    add_engine,
    add_input_arguments,
    add_save_state,
    add_threads,
    check_state_writable,
    inputs_of,
    late_bar,
)
from entityseg_bench.io import InputError, check_writable

if TYPE_CHECKING:
    from entity_api import EvalParams
    from entityseg_bench.errors import ErrorSummary

    Found = tuple[ErrorSummary, dict[str, Any]]

EPILOG = """\
GT alone may be the state of a set, as `entityseg errors GT PRED --save-state` writes it, or
`entityseg merge` from those of its parts.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("gt", metavar="GT", help="ground truth, as for evaluate; or a state alone")
    parser.add_argument("pred", metavar="PRED", nargs="?", help="predictions, as for evaluate")
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
    add_save_state(parser)
    add_engine(parser)
    add_input_arguments(parser)
    add_threads(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no warnings")


def run(args: argparse.Namespace) -> int:
    """Score, sort errors, print the tables, write the JSON."""
    from entity_api import EvalParams
    from entityseg_bench.errors.find import SCORES, summary_record
    from entityseg_bench.errors.tables import error_table
    from entityseg_bench.io import write_json

    check_writable(args.json, inputs=[args.gt, args.pred])
    check_state_writable(args.save_state, inputs=[args.gt, args.pred])
    try:
        scores = tuple(float(s) for s in args.scores.split(",")) if args.scores else SCORES
        params = EvalParams(
            remove_overlaps=not args.as_submitted,
            # A state says of its scoring what `evaluate` would.
            count_pairs=bool(args.save_state),
            threads=args.threads,
        )
    except ValueError as error:
        raise InputError("arguments", "", f"{error}.") from None
    if args.pred is None or args.engine:
        summary, files = from_states(args, params, scores)
    else:
        summary, files = from_files(args, params, scores)
    if args.json:
        write_json(Path(args.json), summary_record(summary, files), indent=2)
    print(error_table(summary, args.categories))
    return 0


def from_files(args: argparse.Namespace, params: "EvalParams", scores: Sequence[float]) -> "Found":
    """Score both sides and tell errors; return these, and what was read."""
    from entityseg_bench.errors import find_errors
    from entityseg_bench.score import evaluate_files

    scoring = evaluate_files(
        args.gt,
        args.pred,
        params,
        None if args.quiet else late_bar(),
        inputs=inputs_of(args),
        is_part=bool(args.save_state),
    )
    for problem in scoring.warnings if not args.quiet else []:
        print(problem, file=sys.stderr)
    progress = None if args.quiet else late_bar()
    try:
        report = find_errors(scoring, not args.as_submitted, scores, progress)
    except ValueError as error:
        raise InputError(args.pred, "", f"{error}.") from None
    if args.save_state:
        from entityseg_bench.scale.saved import SavedScoring

        SavedScoring.of(scoring, report.oracle.judged).save(args.save_state)
    return report, scoring.sides.files()


def from_states(args: argparse.Namespace, params: "EvalParams", scores: Sequence[float]) -> "Found":
    """Tell errors of shards, or of a state that was saved; return these, and what was read."""
    from entityseg_bench.errors import summarize
    from entityseg_bench.scale.engines import engine_of
    from entityseg_bench.scale.saved import SavedScoring
    from entityseg_bench.scale.shards import evaluate_shards

    if args.engine and args.pred is None:
        raise InputError("arguments", "", "--engine needs GT and PRED.")
    if args.engine:
        progress = None if args.quiet else late_bar("shard")
        engine, inputs = engine_of(args.engine), inputs_of(args)
        saved = evaluate_shards(
            args.gt, args.pred, engine, params, inputs, progress=progress, errors=True
        )
        for warning in saved.warnings if not args.quiet else []:
            print(warning, file=sys.stderr)
    else:
        saved = SavedScoring.load(args.gt)
    if args.save_state:
        saved.save(args.save_state)
    if saved.errors is None:
        hint = "entityseg errors GT PRED --save-state writes them."
        raise InputError(args.gt, "", "this state keeps no errors.", hint)
    if args.as_submitted and saved.errors.overlaps_removed:
        raise InputError(args.gt, "", "this state keeps the errors of AP^e, not those of AP.")
    return summarize(saved.errors, scores), saved.files()
