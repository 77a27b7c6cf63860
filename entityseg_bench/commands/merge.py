"""Merge what `evaluate --save-state` wrote of shards into the result of the whole set."""

import argparse
from pathlib import Path

from entityseg_bench.io import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("states", metavar="STATE", nargs="+", help="files of evaluate --save-state")
    parser.add_argument("--json", metavar="FILE", help="write metrics and provenance here")
    parser.add_argument(
        "--save-state", metavar="FILE", help="write the merged state, to be merged again"
    )
    parser.add_argument(
        "--ci", type=int, nargs="?", const=1000, metavar="N",
        help="print 95 %% confidence intervals, too, from N resamples of the images (1000), seeded",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Merge, print the table, write the result."""
    from entity_api.report import text_table
    from entityseg_bench.commands.evaluate import BOUNDARY_TITLE
    from entityseg_bench.io import write_json
    from entityseg_bench.resampling import interval_record, interval_table, state_intervals
    from entityseg_bench.saved import merge_files

    if args.ci is not None and args.ci < 1:
        raise InputError("arguments", "", f"--ci {args.ci} must be at least 1.")
    merged = merge_files(args.states)
    if args.save_state:
        merged.save(args.save_state)
    result = merged.state.finish()
    boundary = merged.boundary.finish() if merged.boundary else None
    print(text_table(result))
    record = merged.record(result, boundary)
    if args.ci is not None:
        intervals = state_intervals(merged.state, result, args.ci)
        print(f"\n{interval_table(intervals, args.ci)}")
        record["intervals"] = interval_record(intervals, args.ci)
    if boundary:
        print(f"\n{BOUNDARY_TITLE}\n{text_table(boundary)}")
    if record["own_metrics"]:
        print(f"\n{record['own_metrics']['left_out']}: score the whole set in one process for it.")
    if args.json:
        write_json(Path(args.json), record, indent=2)
    return 0
