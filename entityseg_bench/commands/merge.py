"""Merge what `evaluate` or `errors --save-state` wrote of shards into that of the whole set."""

import argparse

from entityseg_bench.commands._arguments import check_draws
from entityseg_bench.io import check_writable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "states", metavar="STATE", nargs="+", help="files of evaluate --save-state, or of errors"
    )
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
    from entityseg_bench.commands._merged import tell
    from entityseg_bench.scale.saved import merge_files

    if args.ci is not None:
        check_draws("--ci", args.ci)
    check_writable(args.json, args.save_state, inputs=args.states)
    merged = merge_files(args.states)
    if args.save_state:
        merged.save(args.save_state)
    tell(merged, args.ci, args.json)
    return 0
