"""Score predictions: AP^e and AP, and beside them the annotation type's own metric."""

import argparse
import sys
from pathlib import Path

from entity_api import EvalParams
from entity_api.params import AREA_RANGES
from entity_api.report import text_table
from entityseg_bench.commands._arguments import (
    add_input_arguments,
    add_threads,
    inputs_of,
    late_bar,
)
from entityseg_bench.io import InputError, write_json
from entityseg_bench.score import evaluate_files, result_record

BOUNDARY_TITLE = "By boundaries: the lesser of mask IoU and boundary IoU (2 % of the diagonal)"

EPILOG = """\
GT is entity, instance or COCO JSON, panoptic JSON with its maps beside it, a semantic list (.txt)
or folder of class maps, or a data set's folder with --task and --split. PRED is results JSON,
panoptic JSON with its maps beside it, or a folder: class maps (255 = no class), id maps with or
without their index of scores (0 = nothing), or NPZ. JSON may be .gz. Maps are called like their
image.

AP^e takes every segment of GT as an entity, a class of a semantic map as one. Predictions are cut
to the labelled pixels of semantic and panoptic GT. Beside it are printed: for instances class-aware
AP, for semantic classes mIoU, for panoptic segments PQ, by category and class-agnostic.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("gt", metavar="GT", help="ground truth: see below")
    parser.add_argument("pred", metavar="PRED", help="predictions: see below")
    parser.add_argument("--json", metavar="FILE", help="write metrics and provenance here")
    parser.add_argument(
        "--class-aware", action="store_true", help="match within categories (COCO's usual AP)"
    )
    parser.add_argument("--no-overlap-removal", action="store_true", help="AP only, leave out AP^e")
    parser.add_argument("--boundary", action="store_true", help="print Boundary AP^e and AP, too")
    parser.add_argument(
        "--ci", type=int, nargs="?", const=1000, metavar="N",
        help="print 95 %% confidence intervals, too, from N resamples of the images (1000), seeded",
    )  # fmt: skip
    add_input_arguments(parser)
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
    add_threads(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no warnings")


def run(args: argparse.Namespace) -> int:
    """Score, print the table, write the result."""
    if args.ci is not None and args.ci < 1:
        raise InputError("arguments", "", f"--ci {args.ci} must be at least 1.")
    try:
        params = EvalParams(
            max_dets=max_dets(args.max_dets),
            area_ranges=area_ranges(args.area_ranges),
            class_aware=args.class_aware,
            remove_overlaps=not args.no_overlap_removal,
            threads=args.threads,
            keep_matches=False,
            count_pairs=bool(args.json),
        )
    except ValueError as error:
        raise InputError("arguments", "", str(error)) from None
    scoring = evaluate_files(
        args.gt,
        args.pred,
        params,
        None if args.quiet else late_bar(),
        args.predicted_images_only,
        inputs_of(args),
        args.boundary,
    )
    if not args.quiet:
        for problem in scoring.warnings:
            print(problem, file=sys.stderr)
    intervals = None
    if args.ci is not None:
        from entityseg_bench.resampling import confidence_intervals, interval_record, interval_table

        intervals = confidence_intervals(scoring.result, scoring.dt.scores, args.ci)
    print(text_table(scoring.result))
    if intervals:
        print(f"\n{interval_table(intervals, args.ci)}")
    if scoring.own:
        from entityseg_bench.type_metrics import type_table

        print(f"\n{type_table(scoring.own)}")
    if scoring.boundary:
        print(f"\n{BOUNDARY_TITLE}\n{text_table(scoring.boundary)}")
    if args.json:
        record = result_record(scoring)
        if intervals:
            record["intervals"] = interval_record(intervals, args.ci)
        write_json(Path(args.json), record, indent=2)
    return 0


def max_dets(text: str) -> tuple[int, ...]:
    """Read ``N,N,...``."""
    try:
        return tuple(int(n) for n in text.split(","))
    except ValueError:
        raise ValueError(f"--max-dets {text!r} is not N,N,...") from None


def area_ranges(text: str | None) -> dict[str, tuple[float, float]]:
    """Read ``label:least:greatest,...``; ``all`` stays the first."""
    if text is None:
        return dict(AREA_RANGES)
    ranges = {"all": AREA_RANGES["all"]}
    for part in text.split(","):
        try:
            label, least, greatest = part.split(":")
            ranges[label] = (float(least), float(greatest))
        except ValueError:
            raise ValueError(f"--area-ranges {part!r} is not LABEL:LEAST:GREATEST") from None
    return ranges
