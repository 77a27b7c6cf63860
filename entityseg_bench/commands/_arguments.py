"""What several verbs ask for alike: what GT and PRED are, and a bar while they work."""

import argparse
import importlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from entityseg_bench.categories import TASKS
from entityseg_bench.formats import Inputs, gt_formats, prediction_formats
from entityseg_bench.io import InputError, check_writable
from entityseg_bench.layout import PARTS, RESOLUTIONS, SPLITS

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = [
    "add_engine",
    "add_input_arguments",
    "add_outside_argument",
    "add_record_arguments",
    "add_save_state",
    "add_threads",
    "check_draws",
    "check_state_writable",
    "inputs_of",
    "late_bar",
]

MOST_DRAWS = 1_000_000
# Work that ends sooner shows no bar, which would only flicker.
SECONDS_BEFORE_BAR = 1.5


def add_input_arguments(parser: argparse.ArgumentParser, draws_images: bool = False) -> None:
    """Declare what GT and PRED are, where their files do not say it.

    A command that draws images has an option --image-id of its own, which says as much.
    """
    add = parser.add_argument_group("what GT and PRED are").add_argument
    add("--task", choices=TASKS, help="type of GT")
    add("--split", choices=SPLITS, default="val", help="of a data set (default: val)")
    add("--resolution", choices=RESOLUTIONS, default="high", help="of a data set")
    add("--part", action="append", choices=PARTS, help="of a data set; repeatable")
    add("--gt-maps", type=Path, metavar="DIR", help="PNG maps of GT (default: look beside it)")
    add("--pred-maps", type=Path, metavar="DIR", help="PNG maps of a panoptic PRED")
    add("--gt-format", choices=gt_formats(), help="format of GT (default: look)")
    add("--pred-format", choices=prediction_formats(), help="format of PRED (default: look)")
    add_outside_argument(parser)
    add_record_arguments(parser, draws_images)


def add_record_arguments(parser: argparse.ArgumentParser, draws_images: bool = False) -> None:
    """Declare what the records of PRED are where they do not say it; see `add_input_arguments`."""
    group = parser.add_argument_group("what the records of predictions are")
    if not draws_images:
        group.add_argument("--image-id", metavar="ID", help="their image, where they name none")
    group.add_argument(
        "--score-from", metavar="KEY",
        help="their score: a key, a * b, or mean, product, min, max of keys: mean(a, b)",
    )  # fmt: skip


def add_outside_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the option that lets files name others outside of their folder; `cli` acts on it."""
    parser.add_argument(
        "--allow-outside", action="store_true",
        help="read images and maps outside of their folder too, where files name such",
    )  # fmt: skip


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Declare ``--engine``: then GT and PRED are shards."""
    parser.add_argument(
        "--engine", metavar="NAME",
        help="GT and PRED are folders or patterns of shards, for this: local, ray, or ray=ADDRESS",
    )  # fmt: skip


def add_save_state(parser: argparse.ArgumentParser) -> None:
    """Declare ``--save-state``."""
    parser.add_argument(
        "--save-state", metavar="FILE",
        help="write what entityseg merge joins with the states of other images",
    )  # fmt: skip


def check_state_writable(path: str | None, inputs: Sequence[str | Path | None] = ()) -> None:
    """Check before the work that a state can be written, if one is asked for.

    Raises:
        InputError: It cannot.
        ModuleNotFoundError: What writes it is not installed.
    """
    if path:
        importlib.import_module("pyarrow")
        check_writable(path, inputs=inputs)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Declare ``--threads``, which is the number of cores that the process may use by default."""
    usable = getattr(os, "sched_getaffinity", None)
    n = len(usable(0)) if usable else os.cpu_count() or 1
    what = "images scored at once (default: as many as there are cores)"
    parser.add_argument("--threads", type=int, default=n, metavar="N", help=what)


def inputs_of(args: argparse.Namespace) -> Inputs:
    """Gather what the arguments say of GT and PRED."""
    return Inputs(
        task=args.task,
        split=args.split,
        resolution=args.resolution,
        parts=tuple(args.part) if args.part else None,
        gt_maps=args.gt_maps,
        pred_maps=args.pred_maps,
        gt_format=args.gt_format,
        pred_format=args.pred_format,
        image_id=args.image_id if isinstance(args.image_id, str) else None,
        score_from=args.score_from,
    )


def check_draws(name: str, count: int, least: int = 1) -> None:
    """Check how many resamples or exchanges an option asks for: memory is taken for all of them.

    Raises:
        InputError: They are too few, or too many.
    """
    if not least <= count <= MOST_DRAWS:
        raise InputError("arguments", name, f"{count} is not from {least} to {MOST_DRAWS:,}.")


def late_bar(unit: str = "image"):  # type: ignore[no-untyped-def]
    """Make a progress callback that shows a bar on a terminal once the work takes long."""
    start = time.monotonic()
    bar: tqdm | None = None

    def show(done: int, total: int) -> None:
        nonlocal bar
        if bar is None and time.monotonic() - start > SECONDS_BEFORE_BAR and sys.stderr.isatty():
            from tqdm import tqdm  # is as much to import as the rest of a short command

            bar = tqdm(total=total, unit=unit, leave=False)
        if bar is not None:
            bar.update(done - bar.n)
            if done == total:
                bar.close()
                bar = None

    return show
