"""Score predictions: AP^e and AP, and beside them the annotation type's own metric."""

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from entity_api import EvalParams
from entity_api.params import AREA_RANGES, OverlapRule
from entityseg_bench.commands._arguments import (
    add_input_arguments,
    add_threads,
    check_draws,
    inputs_of,
    late_bar,
)
from entityseg_bench.commands._pipes import piped
from entityseg_bench.io import InputError, check_writable, write_json
from entityseg_bench.score import (
    BENCHMARK,
    Scoring,
    evaluate_files,
    plain,
    result_record,
)
from entityseg_bench.score.protocols import PROTOCOLS

if TYPE_CHECKING:
    from entityseg_bench.scale.saved import SavedScoring

# What the protocol ar1000 sets itself, or leaves nothing to do for.
SET_BY_AR1000 = ("max_dets", "ap_max_dets", "class_aware", "overlap_sensitivity", "granularity")

EPILOG = """\
GT is entity, instance or COCO JSON, panoptic JSON with its maps beside it, a semantic list (.txt)
or folder of class maps, or a data set's folder with --task and --split. PRED is results JSON,
panoptic JSON with its maps beside it, or a folder: class maps (255 = no class), id maps with or
without their index of scores (0 = nothing), or NPZ. JSON may be .gz. Maps are called like their
image. Also read: what Segment Anything, SA-1B, detectron2 (.pth), Hugging Face write, JSON Lines,
records under any key, NPZ of masks and scores, Parquet and Arrow (docs/formats.md has the table).

AP^e takes every segment of GT as an entity, a class of a semantic map as one. Predictions are cut
to the labelled pixels of semantic and panoptic GT. Beside it are printed: for instances class-aware
AP, for semantic classes mIoU, for panoptic segments PQ, by category and class-agnostic.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("gt", metavar="GT", help="ground truth: see below")
    parser.add_argument("pred", metavar="PRED", help="predictions: see below; - for standard input")
    parser.add_argument(
        "--json", metavar="FILE", help="write metrics and provenance here; - for standard output"
    )
    parser.add_argument(
        "--class-aware", action="store_true", help="match within categories (COCO's usual AP)"
    )
    parser.add_argument("--no-overlap-removal", action="store_true", help="AP only, leave out AP^e")
    parser.add_argument("--boundary", action="store_true", help="print Boundary AP^e and AP, too")
    parser.add_argument(
        "--ci", type=int, nargs="?", const=1000, metavar="N",
        help="print 95 %% confidence intervals, too, from N resamples of the images (1000), seeded",
    )  # fmt: skip
    parser.add_argument(
        "--save-state", metavar="FILE",
        help="write what entityseg merge joins with the states of other images",
    )  # fmt: skip
    parser.add_argument(
        "--engine", metavar="NAME",
        help="score folders or patterns of shards by this: local, ray, or ray=ADDRESS",
    )  # fmt: skip
    parser.add_argument(
        "--max-memory", metavar="SIZE",
        help="read results JSON by parts, so that about this is taken: 500MB, 4GB, 4GiB",
    )  # fmt: skip
    add_input_arguments(parser)
    _add_protocol_arguments(parser)
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


def _add_protocol_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is measured, and by which rule."""
    add = parser.add_argument_group("protocol").add_argument
    listed = "; ".join(f"{one.name}: {one.about}" for one in PROTOCOLS.values())
    add("--protocol", choices=PROTOCOLS, default=BENCHMARK, help=f"{listed} (default: {BENCHMARK})")
    add(
        "--overlap-rule", choices=get_args(OverlapRule), default="score",
        help="which of the predictions that cover a pixel keeps it for AP^e (default: score)",
    )  # fmt: skip
    add(
        "--overlap-sensitivity", action="store_true",
        help="print AP^e under each overlap rule, too; it scores once more for each",
    )  # fmt: skip
    add(
        "--granularity", action="store_true",
        help="print how much of what AP^e misses is found in pieces or merged, too",
    )  # fmt: skip
    add(
        "--max-dets", metavar="N,N,...",
        help="predictions of an image that count for AR, rising (default: 1,10,100)",
    )  # fmt: skip
    add(
        "--ap-max-dets", type=int, metavar="N",
        help="the one of them for AP (default: 100 if it is among them, else the last)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Score, print the table, write the result; ``-`` is standard input and output."""
    with piped(args):
        return score(args)


def score(args: argparse.Namespace) -> int:
    """Do what the arguments say, all of them paths."""
    check_writable(args.json)
    if args.ci is not None:
        check_draws("--ci", args.ci)
    params = params_of(args)
    if args.save_state or args.engine or args.max_memory:
        refuse_state(args)
    if args.engine or args.max_memory:
        return run_parts(args, params)
    scoring = evaluate_files(
        args.gt,
        args.pred,
        params,
        None if args.quiet else late_bar(),
        args.predicted_images_only,
        inputs_of(args),
        args.boundary,
        args.protocol,
    )
    if not args.quiet:
        for problem in scoring.warnings:
            print(problem, file=sys.stderr)
    intervals = None
    if args.ci is not None:
        from entityseg_bench.resampling import confidence_intervals, interval_record, interval_table

        intervals = confidence_intervals(scoring.result, scoring.dt.scores, args.ci)
    print(scoring.result)
    if intervals:
        print(f"\n{interval_table(intervals, args.ci)}")
    if scoring.own:
        from entityseg_bench.score.type_metrics import type_table

        print(f"\n{type_table(scoring.own)}")
    if scoring.boundary:
        from entityseg_bench.commands._merged import BOUNDARY_TITLE

        print(f"\n{BOUNDARY_TITLE}\n{scoring.boundary}")
    more = more_of(scoring, args)
    if args.json:
        record = {**result_record(scoring), **more}
        if intervals:
            record["intervals"] = interval_record(intervals, args.ci)
        write_json(Path(args.json), record, indent=2)
    if args.save_state:
        from entityseg_bench.scale.saved import SavedScoring

        SavedScoring.of(scoring).save(args.save_state)
    return 0


def more_of(scoring: Scoring, args: argparse.Namespace) -> dict[str, Any]:
    """Print what AP^e hangs on, as far as it was asked for; return it as the JSON holds it."""
    found: dict[str, Any] = {}
    if args.overlap_sensitivity:
        from entityseg_bench.score.sensitivity import overlap_sensitivity, sensitivity_table

        by_rule = overlap_sensitivity(scoring)
        print(f"\n{sensitivity_table(by_rule)}")
        found["overlap_sensitivity"] = {k: plain(one.metrics) for k, one in by_rule.items()}
    if args.granularity:
        from entityseg_bench.score.sensitivity import granularity_of, granularity_table

        recall = granularity_of(scoring)
        print(f"\n{granularity_table(recall)}")
        found["granularity"] = plain(recall.metrics())
    return found


def params_of(args: argparse.Namespace) -> EvalParams:
    """Gather what is measured.

    Raises:
        InputError: Options that make no sense, or do not go together.
    """
    if args.protocol == "ar1000":
        given = [name for name in SET_BY_AR1000 if getattr(args, name) not in (None, False)]
        if given:
            option = f"--{given[0].replace('_', '-')}"
            raise InputError("arguments", "", f"--protocol ar1000 does not go with {option}.")
    try:
        return EvalParams(
            max_dets=max_dets("1,10,100" if args.max_dets is None else args.max_dets),
            ap_max_det=args.ap_max_dets,
            overlap_rule=args.overlap_rule,
            area_ranges=area_ranges(args.area_ranges),
            class_aware=args.class_aware,
            remove_overlaps=not args.no_overlap_removal,
            threads=args.threads,
            keep_matches=False,
            count_pairs=bool(args.json),
        )
    except ValueError as error:
        raise InputError("arguments", "", str(error)) from None


def refuse_state(args: argparse.Namespace) -> None:
    """Stop before the work where no state can be written."""
    option = "--save-state"
    if args.engine or args.max_memory:
        option = "--engine" if args.engine else "--max-memory"
    if args.class_aware:
        what = f"{option} keeps class-agnostic scoring, and not --class-aware."
        hint = "In Python, EvalState takes EvalParams(class_aware=True, category_ids=...)."
        raise InputError("arguments", "", what, hint)
    if args.protocol != BENCHMARK:
        what = f"{option} keeps the protocol {BENCHMARK}, and not {args.protocol}."
        raise InputError("arguments", "", what)
    by_parts = args.engine or args.max_memory
    if args.engine and args.max_memory:
        what = "--max-memory reads one file, and --engine shards."
        raise InputError("arguments", "", what)
    if by_parts and (args.overlap_sensitivity or args.granularity):
        what = f"{option} does not go with --overlap-sensitivity or --granularity."
        raise InputError("arguments", "", what, "Score the whole set in one process for them.")
    if by_parts and args.predicted_images_only:
        raise InputError("arguments", "", f"{option} scores all images.")
    if args.save_state:
        check_writable(args.save_state)


def run_parts(args: argparse.Namespace, params: EvalParams) -> int:
    """Score part by part, print the table, write the result."""
    from entityseg_bench.commands._merged import tell

    merged = streamed(args, params) if args.max_memory else of_shards(args, params)
    for warning in merged.warnings if not args.quiet else []:
        print(warning, file=sys.stderr)
    if args.save_state:
        merged.save(args.save_state)
    tell(merged, args.ci, args.json)
    return 0


def streamed(args: argparse.Namespace, params: EvalParams) -> "SavedScoring":
    """Score a results file in so much memory."""
    from entityseg_bench.scale.streamed import evaluate_streamed

    return evaluate_streamed(
        args.gt, args.pred, n_bytes(args.max_memory), params, inputs_of(args), args.boundary,
        None if args.quiet else late_bar(),
    )  # fmt: skip


def of_shards(args: argparse.Namespace, params: EvalParams) -> "SavedScoring":
    """Score shards by an engine."""
    from entityseg_bench.scale.shards import InOneProcess, evaluate_shards

    name, _, address = args.engine.partition("=")
    if name not in ("local", "ray") or (name == "local" and address):
        hint = "Engines are local, ray and ray=ADDRESS."
        raise InputError("arguments", "", f"there is no engine {args.engine!r}.", hint)
    if name == "ray":
        from entityseg_bench.scale.ray_engine import OnRay
    engine = OnRay(address or None) if name == "ray" else InOneProcess()
    progress = None if args.quiet else late_bar("shard")
    return evaluate_shards(
        args.gt, args.pred, engine, params, inputs_of(args), args.boundary, progress
    )


def n_bytes(text: str) -> int:
    """Read a size: a number and its unit.

    Raises:
        InputError: It is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B?", text.strip())
    if not found:
        what = f"{text!r} is no size of memory."
        raise InputError("arguments", "--max-memory", what, "Write 500MB, 4GB or 4GiB.")
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** " kMGT".index(found[2] or " "))


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
