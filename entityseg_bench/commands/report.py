"""Write one self-contained HTML page about one prediction file, or two side by side."""

import argparse
from pathlib import Path

from entityseg_bench.commands._arguments import add_threads, late_bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("gt", metavar="GT", help="COCO ground truth, .json or .json.gz")
    parser.add_argument("pred", metavar="PRED", help="COCO results, .json or .json.gz")
    parser.add_argument("pred2", metavar="PRED2", nargs="?", help="COCO results to compare with")
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
    add_threads(parser)


def run(args: argparse.Namespace) -> int:
    """Write the page and name it."""
    from entityseg_bench.io import InputError
    from entityseg_bench.report import write_report

    for name, least in (("pictures", 0), ("resamples", 1), ("threads", 1), ("max_mb", 0.1)):
        if getattr(args, name) < least:
            flag = name.replace("_", "-")
            raise InputError("arguments", f"--{flag}", f"it must be at least {least}.")
    path = write_report(
        args.gt,
        [args.pred, *([args.pred2] if args.pred2 else [])],
        Path(args.out),
        args.images,
        threads=args.threads,
        n_resamples=args.resamples,
        n_pictures=args.pictures,
        max_bytes=int(args.max_mb * 1e6),
        progress=late_bar(),
    )
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0
