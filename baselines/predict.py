"""Find the entities in images: ``python -m baselines.predict --help``."""

import argparse
import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import get_args

import torch
from tqdm import tqdm

from baselines.archives import archives_of
from baselines.config import ModelConfig, config_to_dict
from baselines.inference import Job, dataset_of, predict_pictures
from baselines.original import read_original
from baselines.original.commands import is_original_demo, translate_demo
from baselines.outputs import DATASET_KINDS, FORMATS, is_one_file, write_list, write_predictions
from baselines.pictures import Picture, list_pictures
from baselines.predictor import Precision, Predictor, precision_of
from baselines.progress import Progress
from baselines.ranks import Ranks, joined
from baselines.weights import find_weights
from entityseg_bench import __version__
from entityseg_bench.formats.identity import digest
from entityseg_bench.io import InputError, check_writable, printable, sha256
from entityseg_bench.names import outside_allowed, real_path
from entityseg_bench.parser import Parser
from entityseg_bench.stopping import exit_code, stoppable
from entityseg_bench.turbulence import Air

__all__ = ["Job", "Predictor", "main", "run"]

# A process that has finished its share of the images may have to wait long for the others.
PATIENCE = timedelta(days=7)

DEFAULT_FORMATS = {
    "entity": ("json",),
    "instance": ("json",),
    "semantic": ("semantic",),
    "panoptic": ("panoptic",),
}


def run(predictor: Predictor, job: Job, progress: Progress, ranks: Ranks) -> dict[str, str]:
    """Predict on this process's share of the images. The first process then writes the outputs.

    Args:
        predictor: The model.
        job: Images and outputs.
        progress: The record of finished images, already begun. They are not predicted again.
        ranks: This process; of N processes each takes every N-th image.

    Returns:
        Image -> reason, for every image without a result, of all processes. Only the first process
        returns them.
    """
    places = progress.finished()
    share = [
        picture
        for picture in job.pictures[ranks.rank :: ranks.world]
        if picture.image_id not in places or places[picture.image_id].failed
    ]
    done = len(job.pictures[ranks.rank :: ranks.world]) - len(share)
    silent = not ranks.is_first or not sys.stderr.isatty()
    with tqdm(total=done + len(share), initial=done, unit="image", disable=silent) as bar:
        for n in predict_pictures(predictor, share, job, progress):
            bar.update(n)
    progress.close()
    ranks.wait()
    return _finish(predictor, job, progress) if ranks.is_first else {}


def _finish(predictor: Predictor, job: Job, progress: Progress) -> dict[str, str]:
    """Write the files that hold all images, remove the record, and return the failures."""
    places = progress.finished()
    failures = {}
    for picture in job.pictures:
        if places[picture.image_id].failed:
            failures[str(picture.path)] = progress.read(places[picture.image_id]).error or ""
    finished = [p for p in job.pictures if not places[p.image_id].failed]
    if "json" in job.formats:
        path = job.out if job.is_file else job.out / "results.json"
        lists = (progress.read(places[p.image_id]).predictions for p in finished)
        write_list(path, (bytes(part)[1:-1] for part in lists))
    kinds = [kind for kind in DATASET_KINDS if kind in job.formats]
    if kinds:
        rows = {p: progress.read(places[p.image_id]).predictions for p in finished}
        dataset = dataset_of(predictor, rows)
        for kind in kinds:
            write_predictions(dataset, job.out, kind)
    progress.remove()
    return failures


def build_parser(prog: str) -> argparse.ArgumentParser:
    """Describe the command's arguments."""
    parser = Parser(prog=prog, description="Find the entities in images.")
    add = parser.add_argument
    add("preset", nargs="?", help="name of a preset; without it the weights tell")
    add("--config-file", metavar="YAML", help="file of the original, in place of a preset")
    add(
        "--weights",
        required=True,
        metavar="FILE",
        help="published weights, a checkpoint, or the name of weights that come with the package",
    )
    images = "image, folder, pattern, tar, Parquet, list (.txt), COCO JSON, dataset"
    add("--images", required=True, metavar="I", help=images)
    add("--split", choices=("train", "val"), help="of a dataset (val)")
    add("--resolution", choices=("high", "low"), default="high", help="of a dataset (%(default)s)")
    add("--image-root", metavar="DIR", help="folder of the images that a COCO JSON names")
    add("--out", required=True, type=Path, help="results file (.json, .json.gz) or a folder")
    add("--allow-outside", action="store_true", help="take images that a COCO JSON names elsewhere")
    add(
        "--write",
        nargs="+",
        choices=("json", *DATASET_KINDS, *FORMATS),
        metavar="KIND",
        help="what to write into the folder: json, panoptic, semantic, ids, npz, drawings, binary "
        "(PNG, 255 where anything was found, and one of each); the task's own kind if not said",
    )
    add("--distance", type=float, metavar="M", help="see the images through so much turbulent air")
    add("--threshold", type=float, default=0.0, help="leave out lower scores (%(default)s)")
    add("--min-area", type=int, default=1, help="leave out smaller masks, pixels (%(default)s)")
    add("--top-k", type=int, help="segments that the model may propose (the preset's number)")
    scores = parser.add_mutually_exclusive_group()
    scores.add_argument(
        "--faithful",
        dest="scores",
        action="store_const",
        const="faithful",
        default="faithful",
        help="scores as the published models make them (default)",
    )
    scores.add_argument(
        "--calibrated",
        dest="scores",
        action="store_const",
        const="calibrated",
        help="class score times mean mask probability",
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    add("--device", default=device, help="cpu, cuda, cuda:1 ... (%(default)s)")
    add("--batch-size", type=int, default=1, help="images of like size at once (%(default)s)")
    add(
        "--precision",
        choices=get_args(Precision),
        default="float32",
        help="of the network (%(default)s); auto: bfloat16 where the device multiplies in it",
    )
    _add_shard_arguments(parser)
    return parser


def _add_shard_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("shard by shard (docs/scale.md)").add_argument
    add(
        "--engine",
        metavar="NAME",
        help="write Parquet shards into the folder, by this: local, ray, or ray=ADDRESS",
    )
    add("--workers", type=int, metavar="N", help="processes (all GPUs, or all cores)")
    add(
        "--shard-images",
        type=int,
        default=256,
        metavar="N",
        help="images of a shard (%(default)s); those of a tar or Parquet file are one",
    )


def main(argv: Sequence[str] | None = None, prog: str = "python -m baselines.predict") -> int:
    """Run the command and return its exit code.

    Args:
        argv: Its arguments; those of the process by default.
        prog: Its name in help and errors.

    Returns:
        0 if all images have results; 1 if some could not be read, which are listed; 2 if it could
        not run; 130 or 143 if Ctrl-C or SIGTERM stopped it. The same command then continues.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if is_original_demo(argv):
        try:
            argv = translate_demo(argv)
        except ValueError as error:
            print(printable(str(error)), file=sys.stderr)
            return 2
    args = build_parser(prog).parse_args(argv)
    with joined(PATIENCE) as ranks:
        try:
            with stoppable(), outside_allowed(args.allow_outside):
                failures = _main(args, ranks)
        except (OSError, ValueError) as error:
            print(printable(str(error)), file=sys.stderr)
            return 2
        except KeyboardInterrupt as error:
            print("stopped; the same command goes on", file=sys.stderr)
            return exit_code(error)
    for path, reason in failures.items():
        print(printable(f"no result: {reason or path}"), file=sys.stderr)
    if failures:
        print(f"{len(failures)} images have no result", file=sys.stderr)
    return 1 if failures else 0


def _main(args: argparse.Namespace, ranks: Ranks) -> dict[str, str]:
    file = args.out if is_one_file(args.out) else args.out / "results.json"
    check_writable(file, makes_folders=True)
    if Path(args.images).is_dir() and real_path(args.out).is_relative_to(real_path(args.images)):
        raise InputError(args.out, "", "it lies in the folder of the images.", "Name another.")
    make = _maker(args, ranks)
    if args.engine:
        return _main_shards(args, make, ranks)
    predictor = make(device=ranks.device(args.device))
    formats = tuple(args.write or DEFAULT_FORMATS[predictor.config.task])
    pictures = _pictures(args, predictor)
    air = None if args.distance is None else Air(args.distance)
    job = Job(pictures, args.out, formats, args.batch_size, air)
    with contextlib.closing(Progress(args.out, ranks.rank)) as progress:
        refusal = None
        if ranks.is_first:
            try:
                progress.begin(_settings(args, predictor, job.pictures, job.formats))
            except InputError as error:
                refusal = str(error)
        refusal = ranks.tell(refusal)
        if refusal is not None:
            raise ValueError(refusal)
        if not ranks.is_first:
            progress.join()
        return run(predictor, job, progress, ranks)


def _main_shards(
    args: argparse.Namespace, make: Callable[..., Predictor], ranks: Ranks
) -> dict[str, str]:
    """Predict shard by shard on an engine."""
    from baselines.predict_shards import Shard, cut, predict_shards
    from entityseg_bench.scale.engines import engine_of

    if is_one_file(args.out) or args.write:
        what = "--engine writes Parquet shards into a folder."
        hint = "Name a folder, and leave --write out; entityseg convert makes other kinds of them."
        raise InputError(args.out, "", what, hint)
    if ranks.world > 1:
        raise InputError("arguments", "", "--engine shares out the images, torchrun need not.")
    if min(args.shard_images, args.workers or 1) < 1:
        raise InputError("arguments", "", "--shard-images and --workers are 1 or more.")
    engine = engine_of(args.engine)
    # The weights and options are found wrong here, before any process is started.
    predictor = make(device="cpu")
    archives = [] if args.split else archives_of(Path(args.images))
    shards = [Shard(archive=path) for path in archives]
    shards = shards or cut(_pictures(args, predictor), args.shard_images)
    air = None if args.distance is None else Air(args.distance)
    return predict_shards(
        functools.partial(make, device=args.device),
        Job((), args.out, ("json",), args.batch_size, air),
        shards,
        engine,
        _settings(args, predictor, shards, ("parquet",)),
        args.workers,
        args.device.startswith("cuda"),
    )


def _pictures(args: argparse.Namespace, predictor: Predictor) -> list[Picture]:
    return list_pictures(
        args.images,
        args.image_root,
        task=predictor.config.task,
        split=args.split,
        resolution=args.resolution,
    )


def _maker(args: argparse.Namespace, ranks: Ranks) -> Callable[..., Predictor]:
    """Return what makes the predictor on a device."""
    return functools.partial(
        Predictor,
        _model(args, ranks),
        args.weights,
        threshold=args.threshold,
        min_area=args.min_area,
        top_k=args.top_k,
        scores=args.scores,
        precision=precision_of(args.precision, args.device),
    )


def _model(args: argparse.Namespace, ranks: Ranks) -> str | ModelConfig | None:
    """Return the preset's name, or the model that a file of the original describes."""
    if args.config_file is None:
        return args.preset
    if args.preset is not None:
        raise ValueError("name a preset or --config-file, not both")
    found = read_original(args.config_file, training=False)
    if ranks.is_first:
        print(found, file=sys.stderr)
    return found.model


def _settings(
    args: argparse.Namespace,
    predictor: Predictor,
    images: Sequence[object],
    formats: Sequence[str],
) -> dict[str, object]:
    """Return all settings that results depend on, so that two runs are never mixed."""
    return {
        "model": config_to_dict(predictor.config),
        "weights": sha256(find_weights(args.weights)),
        "images": digest(list(images)),
        "write": sorted(formats),
        "threshold": args.threshold,
        "min_area": args.min_area,
        "top_k": args.top_k,
        "scores": args.scores,
        "precision": precision_of(args.precision, args.device),
        "version": __version__,
        "distance": args.distance,
    }


if __name__ == "__main__":
    sys.exit(main())
