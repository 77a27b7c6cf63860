"""Score predictions: AP^e and AP, and beside them the annotation type's own metric."""

import argparse
import sys
import time
from pathlib import Path

from entity_api import EvalParams
from entity_api.params import AREA_RANGES
from entity_api.report import text_table
from entityseg_bench.evaluate import evaluate_files, result_record
from entityseg_bench.inputs import Inputs
from entityseg_bench.io import InputError, write_json

BOUNDARY_TITLE = "By boundaries: the lesser of mask IoU and boundary IoU (2 % of the diagonal)"

# A bar that only flashes by helps nobody.
SECONDS_BEFORE_BAR = 1.5


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
    parser.add_argument("--threads", type=int, default=1, help="images scored at once (default: 1)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no warnings")


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what GT and PRED are, where their files do not say it."""
    add = parser.add_argument_group("what GT and PRED are").add_argument
    add("--task", choices=("entity", "instance", "semantic", "panoptic"), help="type of GT")
    add("--split", choices=("train", "val"), default="val", help="of a data set (default: val)")
    add("--resolution", choices=("high", "low"), default="high", help="of a data set")
    add("--part", action="append", choices=("01", "02", "03"), help="of a data set; repeatable")
    add("--gt-maps", type=Path, metavar="DIR", help="PNG maps of GT (default: look beside it)")
    add("--pred-maps", type=Path, metavar="DIR", help="PNG maps of a panoptic PRED")
    add(
        "--pred-format", choices=("results", "panoptic", "semantic", "id-png", "npz"),
        help="format of PRED (default: look)",
    )  # fmt: skip


def inputs_of(args: argparse.Namespace) -> Inputs:
    """Gather what the arguments say of GT and PRED."""
    return Inputs(
        task=args.task,
        split=args.split,
        resolution=args.resolution,
        parts=tuple(args.part) if args.part else None,
        gt_maps=args.gt_maps,
        pred_maps=args.pred_maps,
        pred_format=args.pred_format,
    )


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
        from entityseg_bench.typed.own_metrics import own_table

        print(f"\n{own_table(scoring.own)}")
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
                bar = None

    return show
