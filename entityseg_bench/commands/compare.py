"""Compare prediction files: metrics side by side, differences, how sure they are."""

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from entity_api.state_file import StateError, read_head
from entityseg_bench.commands._arguments import (
    add_engine,
    add_input_arguments,
    add_threads,
    check_draws,
    inputs_of,
    late_bar,
)
from entityseg_bench.io import InputError, check_writable

if TYPE_CHECKING:
    from entityseg_bench.compare import Compared
    from entityseg_bench.compare.figures import Drawn
    from entityseg_bench.scale.saved import SavedScoring
    from entityseg_bench.score import Scoring

EPILOG = """\
In place of GT and PRED may stand two states or more, each of all images, as `evaluate --save-state`
or `merge --save-state` wrote them; the others are held to the first. --figures takes those of
`errors --save-state`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("gt", metavar="GT", help="ground truth, as for evaluate; or a state")
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
    add_engine(parser)
    add_input_arguments(parser)
    add_threads(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Score, compare, print the tables, write the files."""
    from entityseg_bench.compare import compare, comparison_record, write_figures
    from entityseg_bench.compare.paper import comparison_csv, comparison_tex, write_text
    from entityseg_bench.compare.tables import comparison_table
    from entityseg_bench.io import check_folder, write_json

    labels = args.labels.split(",") if args.labels else None
    states = find_states(args)
    refuse(args, labels, states)
    if args.figures:
        # What is missing is named before the work.
        importlib.import_module("matplotlib")
        check_folder(args.figures)
    files: Sequence[Scoring | Compared]
    drawn: Sequence[Scoring | Drawn]
    if states or args.engine:
        files, drawn = from_states(args, states)
    else:
        scorings = list(from_files(args))
        files, drawn = scorings, scorings
    try:
        comparison = compare(
            files, labels, args.resamples, args.permutations, args.level, args.seed
        )
    except ValueError as error:
        raise InputError("arguments", "", f"{error}.") from None
    if args.json:
        write_json(Path(args.json), comparison_record(comparison), indent=2)
    if args.tex:
        write_text(args.tex, comparison_tex(comparison))
    if args.csv:
        write_text(args.csv, comparison_csv(comparison))
    if args.figures:
        write_figures(comparison, drawn, args.figures)
    print(comparison_table(comparison, args.top))
    return 0


def find_states(args: argparse.Namespace) -> list[str]:
    """Return the paths if all of them are states, nothing if none is.

    Raises:
        InputError: Some are.
    """
    paths = [args.gt, *args.preds]
    try:
        states = [path for path in paths if read_head(path) is not None]
    except StateError as error:
        raise InputError("arguments", "", f"{error}.") from None
    if len(states) not in (0, len(paths)):
        other = next(path for path in paths if path not in states)
        what = f"{states[0]} is a state, and {other} is none."
        raise InputError("arguments", "", what, "Name states alone, or GT and PRED.")
    return states


def from_files(args: argparse.Namespace) -> "Iterator[Scoring]":
    """Score the files of predictions."""
    from entity_api import EvalParams
    from entityseg_bench.score import evaluate_files

    params = EvalParams(threads=args.threads, keep_matches=bool(args.figures), count_pairs=False)
    for path in args.preds:
        progress = None if args.quiet else late_bar()
        scoring = evaluate_files(args.gt, path, params, progress, inputs=inputs_of(args))
        for problem in scoring.warnings if not args.quiet else []:
            print(problem, file=sys.stderr)
        yield scoring


def from_states(
    args: argparse.Namespace, states: Sequence[str]
) -> "tuple[list[Compared], list[Drawn]]":
    """Read states, or score shards into such; return what is compared and what is drawn."""
    from entityseg_bench.compare import Compared
    from entityseg_bench.compare.figures import Drawn
    from entityseg_bench.scale.saved import SavedScoring

    found, drawn = [], []
    for path in states or args.preds:
        saved = SavedScoring.load(path) if states else of_shards(args, path)
        found.append(Compared.of_state(saved, Path(path)))
        if args.figures:
            try:
                drawn.append(Drawn.of_state(saved))
            except ValueError as error:
                raise InputError(path, "", f"{error}.") from None
    return found, drawn


def of_shards(args: argparse.Namespace, path: str) -> "SavedScoring":
    """Score a set of shards by an engine."""
    from entity_api import EvalParams
    from entityseg_bench.scale.engines import engine_of
    from entityseg_bench.scale.shards import evaluate_shards

    progress = None if args.quiet else late_bar("shard")
    saved = evaluate_shards(
        args.gt,
        path,
        engine_of(args.engine),
        EvalParams(threads=args.threads, count_pairs=False),
        inputs_of(args),
        progress=progress,
        errors=bool(args.figures),
    )
    for warning in saved.warnings if not args.quiet else []:
        print(warning, file=sys.stderr)
    return saved


def refuse(args: argparse.Namespace, labels: list[str] | None, states: Sequence[str]) -> None:
    """Stop before the work where the arguments make no sense."""
    files = states or args.preds
    faults = {
        "name two prediction files or more": len(files) < 2,
        f"{len(labels or [])} labels for {len(files)} files": labels and len(labels) != len(files),
        "--engine needs GT and PRED": states and args.engine,
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
