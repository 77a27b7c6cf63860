"""Write one self-contained HTML page about one prediction file, or up to five side by side."""

import argparse
import sys
from pathlib import Path

from entityseg_bench.commands._arguments import (
    add_input_arguments,
    add_threads,
    check_draws,
    inputs_of,
    late_bar,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("gt", metavar="GT", help="ground truth, as for evaluate")
    parser.add_argument(
        "preds", metavar="PRED", nargs="+",
        help="predictions, as for evaluate, up to five; the others are held to the first",
    )  # fmt: skip
    parser.add_argument("--images", metavar="DIR", help="folder of the images, for pictures")
    parser.add_argument("--out", metavar="HTML", required=True, help="the page to write")
    parser.add_argument(
        "--pictures", type=int, default=4, metavar="N",
        help="images each of the worst, median and best (default: 4)",
    )  # fmt: skip
    parser.add_argument(
        "--resamples", type=int, default=1000, metavar="N",
        help="of the bootstrap behind the intervals (default: 1000)",
    )  # fmt: skip
    parser.add_argument(
        "--max-mb", type=float, default=10, metavar="MB",
        help="pictures shrink to keep the page below (default: 10)",
    )  # fmt: skip
    parser.add_argument(
        "--assets", action="store_true",
        help="write the images, larger, into a folder beside the page instead of into it",
    )  # fmt: skip
    add_input_arguments(parser)
    add_threads(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no warnings")


def run(args: argparse.Namespace) -> int:
    """Write the page and name it."""
    from entityseg_bench.io import InputError, check_writable
    from entityseg_bench.report import write_report

    for name, least in (("pictures", 0), ("resamples", 1), ("threads", 1), ("max_mb", 0.1)):
        if not least <= getattr(args, name) < float("inf"):
            flag = name.replace("_", "-")
            raise InputError("arguments", f"--{flag}", f"it must be at least {least}, and finite.")
    check_draws("--resamples", args.resamples)
    if args.assets and not args.images:
        raise InputError("arguments", "--assets", "there are no images.", "Name them: --images.")
    check_writable(args.out, inputs=[args.gt, *args.preds])
    path = write_report(
        args.gt,
        args.preds,
        Path(args.out),
        args.images,
        threads=args.threads,
        n_resamples=args.resamples,
        n_pictures=args.pictures,
        max_bytes=int(args.max_mb * 1e6),
        assets=args.assets,
        progress=None if args.quiet else late_bar(),
        inputs=inputs_of(args),
        warn=None if args.quiet else lambda problem: print(problem, file=sys.stderr),
    )
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0
