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
    add("source", type=Path, metavar="SRC")
    add("target", type=Path, metavar="DST")
    add("--to", required=True, choices=TARGETS, metavar="FORMAT", help="see below")
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
    add("--jobs", type=int, metavar="N", help="processes (default: all cores)")
    add_outside_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Convert and say what was written and lost."""
    from entityseg_bench.convert import Options, convert

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
