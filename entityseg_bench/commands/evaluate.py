"""Score a prediction file: AP^e and AP."""

import argparse
import sys
import time
from pathlib import Path

from entity_api import EvalParams
from entity_api.params import AREA_RANGES
from entity_api.report import text_table
from entityseg_bench.evaluate import evaluate_files, result_record
from entityseg_bench.io import InputError, write_json

# A bar that only flashes by helps nobody.
SECONDS_BEFORE_BAR = 1.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("gt", metavar="GT", help="COCO ground truth, .json or .json.gz")
    parser.add_argument("pred", metavar="PRED", help="COCO results, .json or .json.gz")
    parser.add_argument("--json", metavar="FILE", help="write metrics and provenance here")
    parser.add_argument(
        "--class-aware", action="store_true", help="match within categories (COCO's usual AP)"
    )
    parser.add_argument("--no-overlap-removal", action="store_true", help="AP only, leave out AP^e")
    parser.add_argument(
        "--max-dets", metavar="N,N,...", default="1,10,100",
        help="predictions of an image that count, rising; AP is at the last (default: 1,10,100)",
    )  # fmt: skip
    parser.add_argument(
        "--area-ranges", metavar="LABEL:LEAST:GREATEST,...",
        help="in pixels, besides 'all' (default: small:0:1024,medium:1024:9216,large:9216:1e10)",
    )  # fmt: skip
    parser.add_argument(
        "--predicted-images-only", action="store_true",
        help="leave out images without predictions (they count as missed otherwise)",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=1, help="images scored at once (default: 1)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no warnings")


def run(args: argparse.Namespace) -> int:
    """Score, print the table, write the result."""
    try:
        params = EvalParams(
            max_dets=tuple(int(n) for n in args.max_dets.split(",")),
            area_ranges=area_ranges(args.area_ranges),
            class_aware=args.class_aware,
            remove_overlaps=not args.no_overlap_removal,
            threads=args.threads,
        )
    except ValueError as error:
        raise InputError("arguments", "", str(error)) from None
    scoring = evaluate_files(
        args.gt,
        args.pred,
        params,
        None if args.quiet else late_bar(),
        args.predicted_images_only,
    )
    if not args.quiet:
        for problem in scoring.warnings:
            print(problem, file=sys.stderr)
    if args.json:
        write_json(Path(args.json), result_record(scoring), indent=2)
    print(text_table(scoring.result))
    return 0


def area_ranges(text: str | None) -> dict[str, tuple[float, float]]:
    """Read ``label:least:greatest,...``; ``all`` stays the first."""
    if text is None:
        return dict(AREA_RANGES)
    ranges = {"all": AREA_RANGES["all"]}
    for part in text.split(","):
        label, least, greatest = part.split(":")
        ranges[label] = (float(least), float(greatest))
    return ranges


def late_bar():  # type: ignore[no-untyped-def]
    """Make a progress callback that shows a bar on a terminal once the work takes long."""
    from tqdm import tqdm

    start = time.monotonic()
    bar: tqdm | None = None

    def show(done: int, total: int) -> None:
        nonlocal bar
        if bar is None and time.monotonic() - start > SECONDS_BEFORE_BAR:
            bar = tqdm(total=total, unit="image", disable=not sys.stderr.isatty(), leave=False)
        if bar is not None:
            bar.update(done - bar.n)
            if done == total:
                bar.close()

    return show
