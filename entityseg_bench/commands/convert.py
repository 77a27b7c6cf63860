"""Convert annotations and predictions between formats, types and resolutions."""

import argparse
import os
import sys
from pathlib import Path

from entityseg_bench.commands._arguments import add_outside_argument

EPILOG = """\
SRC is a data set's folder (either naming), or one of: entity, instance or COCO JSON, panoptic JSON
with its maps beside it, COCO results JSON, a folder of id maps, NPZ, Parquet, ADE20K-style label
maps or Cityscapes instance maps. DST is a folder for a data set, else the file or folder to write.

--to entity|instance|semantic|panoptic   annotation types; instance, semantic and panoptic come from
                                         entity annotations by the data set's category tables
--to coco-entity                         the entities of COCO's panoptic JSON, by the recipe of the
                                         first-generation models (crowds dropped, area of the box)
--to low                                 short side 800, long side at most 1333
--to parquet                             shards and a card for Hugging Face datasets; predictions
                                         as one file of image_id, score, size, counts
--to webdataset                          tar archives of one JSON an image, in SA-1B's form
--to id-png|npz|results                  masks as one map an image, as packed bits, as COCO results

A run that broke off goes on where it stopped. What the target cannot hold is counted and printed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from entityseg_bench.categories import TASKS
    from entityseg_bench.commands._arguments import add_record_arguments
    from entityseg_bench.convert import SOURCES, TARGETS
    from entityseg_bench.layout import PARTS, RESOLUTIONS, SPLITS

    parser.epilog = EPILOG
    add = parser.add_argument
    add("source", metavar="SRC")
    add("target", type=Path, metavar="DST")
    add("--to", required=True, choices=(*TARGETS, "webdataset"), metavar="FORMAT", help="see below")
    add("--from", dest="source_format", choices=SOURCES, help="format of SRC (default: look)")
    add("--task", action="append", choices=TASKS, default=[], help="type to read; repeatable")
    add("--split", action="append", choices=SPLITS, default=[], help="split to read; repeatable")
    add("--resolution", choices=RESOLUTIONS, default="high", help="to read (default: high)")
    add("--part", action="append", choices=PARTS, help="part to read; repeatable")
    add("--images", type=Path, metavar="DIR", help="folder of the image files")
    add("--gt", type=Path, metavar="FILE", help="ground truth of predictions: names and sizes")
    add_record_arguments(parser)
    add(
        "--embed-images", action="store_true", help="put image files into Parquet (their licences!)"
    )
    add("--no-images", action="store_true", help="with --to low: annotations only")
    add("--connected", action="store_true", help="split ADE20K's classes into connected parts")
    add(
        "--engine", metavar="NAME",
        help="write a shard for each shard of SRC, a folder or pattern, by this: local, ray, "
        "ray=ADDRESS (--to parquet, webdataset)",
    )  # fmt: skip
    add("--jobs", type=int, metavar="N", help="processes (default: all cores)")
    add_outside_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Convert and say what was written and lost."""
    from entityseg_bench.convert import Options, convert

    if args.engine or args.to == "webdataset":
        return run_shards(args)
    options = Options(
        source=args.source_format,
        tasks=args.task,
        splits=args.split,
        resolution=args.resolution,
        parts=args.part,
        images=args.images,
        gt=args.gt,
        embed_images=args.embed_images,
        write_images=not args.no_images,
        connected=args.connected,
        image_id=args.image_id,
        score_from=args.score_from,
        jobs=args.jobs or os.cpu_count() or 1,
        progress=sys.stderr.isatty(),
    )
    convert(args.source, args.target, args.to, options)
    return 0


HINT = "Say it: --split train|val."


def run_shards(args: argparse.Namespace) -> int:
    """Convert shard by shard."""
    from entityseg_bench.commands._arguments import late_bar
    from entityseg_bench.formats import Inputs
    from entityseg_bench.io import InputError, check_folder
    from entityseg_bench.scale.conversion import TARGETS, Wanted, convert_shards
    from entityseg_bench.scale.engines import engine_of

    if args.to not in TARGETS:
        what = f"--engine writes {' and '.join(TARGETS)}, and not {args.to}."
        raise InputError("arguments", "", what)
    refused = [
        option
        for option, value in (
            ("--gt", args.gt), ("--image-id", args.image_id), ("--score-from", args.score_from),
            ("--part", args.part), ("--connected", args.connected), ("--jobs", args.jobs),
            ("two of --split", len(args.split) > 1), ("two of --task", len(args.task) > 1),
        )
        if value
    ]  # fmt: skip
    if refused:
        what = f"shards of ground truth are converted without {refused[0]}."
        raise InputError("arguments", "", what)
    check_folder(args.target)
    if not args.split:
        raise InputError("arguments", "", "nothing says of which split the shards are.", HINT)
    inputs = Inputs(
        task=args.task[0] if args.task else None,
        split=args.split[0],
        resolution=args.resolution,
        gt_format=args.source_format,
    )
    wanted = Wanted(args.to, args.split[0], inputs, args.images, args.embed_images)
    engine = engine_of(args.engine or "local")
    convert_shards(args.source, args.target, wanted, engine, print, late_bar("shard"))
    return 0
