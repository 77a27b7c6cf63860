"""Get the data set: annotations of the release, images of the gated repository."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from entityseg_bench.download import Plan

EPILOG = """\
Images are in a gated repository: ask for access on its page, make a read token there, and run
`hf auth login`. What was interrupted goes on where it was when the command is run again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of the data set")
    parser.add_argument(
        "--parts", nargs="+", choices=("01", "02", "03"), default=("01", "02", "03"),
        metavar="PART", help="of the images: 01, 02, 03 (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--resolution", choices=("high", "low", "both"), default="both", help="(default: both)"
    )
    parser.add_argument("--annotations-only", action="store_true", help="no images")
    parser.add_argument("--keep-archives", action="store_true", help="after they are unpacked")
    parser.add_argument("--yes", action="store_true", help="do not ask before the download")


def run(args: argparse.Namespace) -> int:
    """Show licence and size, get everything, and look at what is there."""
    from entityseg_bench.download import LICENCE, get, make_plan
    from entityseg_bench.io import check_folder
    from entityseg_bench.layout import RESOLUTIONS

    check_folder(args.root)
    resolutions = [name for name in RESOLUTIONS if args.resolution in (name, "both")]
    plan = make_plan(sorted(set(args.parts)), resolutions, args.annotations_only)
    print(LICENCE)
    print(_sizes(plan, args.root))
    if not (args.yes or _agreed()):
        print("nothing is downloaded; --yes goes on without asking", file=sys.stderr)
        return 2
    for item in plan.items:
        count = get(args.root, item, args.keep_archives)
        print(f"{item.name}: {count:,} files in {item.target}" if count > 1 else item.target)
    return _look(args.root, args.parts, resolutions, args.annotations_only)


def _sizes(plan: "Plan", root: Path) -> str:
    """Say what is to come, and how much room there is."""
    from entityseg_bench.names import real_path

    lines = []
    for kind in ("annotations", "images"):
        items = [item for item in plan.items if item.kind == kind]
        size = sum(item.size for item in items)
        lines.append(f"{kind}: {len(items)} files, {size / 1e9:,.2f} GB to download")
    above = next(folder for folder in (root, *real_path(root).parents) if folder.is_dir())
    free = shutil.disk_usage(above).free
    lines.append(f"room on the disk of {root}: {free / 1e9:,.1f} GB; archives need it twice")
    if plan.unknown:
        lines.append(f"not known, and left out: {', '.join(plan.unknown)}")
    return "\n".join(lines)


def _agreed() -> bool:
    return sys.stdin.isatty() and input("Download? [y/N] ").strip().lower() in ("y", "yes")


def _look(root: Path, parts: list[str], resolutions: Sequence[str], no_images: bool) -> int:
    """Compare what `entityseg info` finds with the published counts; 1 if it is less."""
    from entityseg_bench.describe import describe
    from entityseg_bench.layout import PART_FOLDERS

    found = [part for part in describe(root).types if part.task == "entity"]
    short = False
    for resolution in resolutions:
        of_it = [summary for summary in found if summary.resolution == resolution]
        for part in sorted(set(parts)):
            folder = PART_FOLDERS[part]
            # The folders are called after the number of their images.
            published = int(folder.rpartition("_")[2])
            listed = sum(summary.n_images_by_part.get(folder, 0) for summary in of_it)
            here = _count(root / ("images" if resolution == "high" else "images_lr") / folder)
            images = "" if no_images else f", {here:,} image files"
            short |= listed != published or not (no_images or here == published)
            print(
                f"part {part}, {resolution} resolution: {listed:,} images in the annotations"
                f"{images}, published {published:,}"
            )
    print("these are fewer or more than published" if short else "as published")
    print(f"entityseg info {root} tells more")
    return int(short)


def _count(folder: Path) -> int:
    from entityseg_bench.layout import list_images

    return sum(1 for _ in list_images(folder))
