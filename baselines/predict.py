"""Find the entities in images: ``python -m baselines.predict --help``."""

import argparse
import contextlib
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import torch
from tqdm import tqdm

from baselines.config import ModelConfig, config_to_dict
from baselines.images import image_size, read_image
from baselines.original import read_original
from baselines.original.commands import is_original_demo, translate_demo
from baselines.outputs import DATASET_KINDS, FORMATS, write_list, write_predictions
from baselines.pictures import Picture, list_pictures
from baselines.predictor import Entities, Predictor
from baselines.progress import Finished, Progress
from baselines.ranks import Ranks, joined
from baselines.weights import find_weights
from entity_api import rle
from entityseg_bench import __version__
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.identity import digest
from entityseg_bench.formats.maps import check_names
from entityseg_bench.io import InputError, check_writable, printable, sha256
from entityseg_bench.names import outside_allowed, real_path
from entityseg_bench.parser import Parser
from entityseg_bench.stopping import exit_code, stoppable
from entityseg_bench.turbulence import Air, distort
from entityseg_bench.types import Annotation, ImageInfo, Prediction

__all__ = ["Job", "Predictor", "main", "run"]

# A process that has finished its share of the images may have to wait long for the others.
PATIENCE = timedelta(days=7)

DEFAULT_FORMATS = {
    "entity": ("json",),
    "instance": ("json",),
    "semantic": ("semantic",),
    "panoptic": ("panoptic",),
}


@dataclass(frozen=True)
class Job:
    """What to predict on and what to write.

    Attributes:
        pictures: The images.
        out: A folder, or the one results file (``.json``, ``.json.gz``).
        formats: Some of "json" (one results file), "panoptic" (maps and one COCO panoptic file),
            "ids" and "npz" (one file for each image, and an index), "semantic", "drawings" and
            "binary" (one file for each image).
        batch_size: Number of images of one padded size that go through the network together.
        air: Turbulent air through which the images are seen; None for none.
    """

    pictures: Sequence[Picture]
    out: Path
    formats: tuple[str, ...]
    batch_size: int = 1
    air: Air | None = None

    def __post_init__(self) -> None:
        if self.is_file and self.formats != ("json",):
            what = f"{', '.join(self.formats)} are many files."
            raise InputError(self.out, "", what, "Name a folder.")
        if self.formats != ("json",):
            check_names((ImageInfo(p.image_id, p.file_name, 0, 0) for p in self.pictures), "images")

    @property
    def is_file(self) -> bool:
        """True if the output is one file."""
        return _is_one_file(self.out)


def _is_one_file(out: Path) -> bool:
    return out.name.endswith((".json", ".json.gz"))


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
        for batch in _batches(predictor, share, job.batch_size):
            _predict_batch(predictor, job, progress, batch)
            bar.update(len(batch))
    progress.close()
    ranks.wait()
    return _finish(predictor, job, progress) if ranks.is_first else {}


def _batches(
    predictor: Predictor, pictures: Sequence[Picture], batch_size: int
) -> Iterator[list[Picture]]:
    """Group images by padded size; an image with an unreadable header is a group of its own."""
    waiting: dict[tuple[int, int], list[Picture]] = {}
    for picture in pictures:
        if batch_size == 1:
            yield [picture]
            continue
        try:
            size = image_size(picture.path, picture.size)
        except InputError:
            # It is read once more later, where the reason is recorded.
            yield [picture]
            continue
        group = waiting.setdefault(predictor.layout(*size).padded_size, [])
        group.append(picture)
        if len(group) == batch_size:
            yield group.copy()
            group.clear()
    yield from (group for group in waiting.values() if group)


def _predict_batch(
    predictor: Predictor, job: Job, progress: Progress, batch: Sequence[Picture]
) -> None:
    images: dict[int, np.ndarray] = {}
    for idx, picture in enumerate(batch):
        try:
            images[idx] = read_image(picture.path, picture.size)
            if job.air is not None:
                seed = zlib.crc32(picture.file_name.encode())
                images[idx] = distort(images[idx], job.air, seed)
        except InputError as error:
            progress.append(Finished(picture.image_id, error=str(error)))
    if not images:
        return
    names = ", ".join(str(batch[idx].path) for idx in images)
    try:
        found = predictor.predict(list(images.values()))
    except torch.OutOfMemoryError:
        raise InputError(
            names, "", f"{predictor.device} has too little memory.", "Lower --batch-size."
        ) from None
    except FloatingPointError as error:
        raise InputError(names, "", f"{error}.", "Try --precision float32.") from None
    for (idx, image), entities in zip(images.items(), found, strict=True):
        for name in job.formats:
            if name in FORMATS:
                path = FORMATS[name].path(job.out, batch[idx].file_name)
                path.parent.mkdir(parents=True, exist_ok=True)
                FORMATS[name].write(path, entities, image)
        progress.append(_row(job, batch[idx], entities))


def _row(job: Job, picture: Picture, entities: Entities) -> Finished:
    row = Finished(picture.image_id)
    if {"json", *DATASET_KINDS} & set(job.formats):
        predictions = list(entities.predictions(picture.image_id))
        row.predictions = msgspec.Raw(msgspec.json.encode(predictions))
    return row


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
        dataset = _dataset(predictor, rows)
        for kind in kinds:
            write_predictions(dataset, job.out, kind)
    progress.remove()
    return failures


def _dataset(predictor: Predictor, rows: Mapping[Picture, msgspec.Raw]) -> EntityDataset:
    """Make a data set of the predictions from the records of each image."""
    images, annotations = [], []
    for picture, records in rows.items():
        height, width = image_size(picture.path, picture.size)
        images.append(ImageInfo(picture.image_id, picture.file_name, height, width))
        for one in msgspec.json.decode(records, type=list[Prediction]):
            annotations.append(
                Annotation(
                    id=len(annotations) + 1,
                    image_id=picture.image_id,
                    category_id=one.category_id,
                    segmentation=one.segmentation,
                    area=rle.area(one.segmentation),
                    bbox=one.bbox or tuple(rle.bbox(one.segmentation)),
                    extra={"score": one.score},
                )
            )
    return EntityDataset(images, annotations, predictor.categories, predictor.config.task)


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
    images = "image, folder, pattern, list (.txt), COCO JSON, dataset"
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
    add("--precision", choices=("float32", "bfloat16", "float16"), default="float32")
    return parser


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
    file = args.out if _is_one_file(args.out) else args.out / "results.json"
    check_writable(file, makes_folders=True)
    predictor = Predictor(
        _model(args, ranks),
        args.weights,
        threshold=args.threshold,
        min_area=args.min_area,
        top_k=args.top_k,
        scores=args.scores,
        device=ranks.device(args.device),
        precision=args.precision,
    )
    formats = tuple(args.write or DEFAULT_FORMATS[predictor.config.task])
    pictures = list_pictures(
        args.images,
        args.image_root,
        task=predictor.config.task,
        split=args.split,
        resolution=args.resolution,
    )
    if Path(args.images).is_dir() and real_path(args.out).is_relative_to(real_path(args.images)):
        raise InputError(args.out, "", "it lies in the folder of the images.", "Name another.")
    air = None if args.distance is None else Air(args.distance)
    job = Job(pictures, args.out, formats, args.batch_size, air)
    with contextlib.closing(Progress(args.out, ranks.rank)) as progress:
        refusal = None
        if ranks.is_first:
            try:
                progress.begin(_settings(args, predictor, job))
            except InputError as error:
                refusal = str(error)
        refusal = ranks.tell(refusal)
        if refusal is not None:
            raise ValueError(refusal)
        if not ranks.is_first:
            progress.join()
        return run(predictor, job, progress, ranks)


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


def _settings(args: argparse.Namespace, predictor: Predictor, job: Job) -> dict[str, object]:
    """Return all settings that results depend on, so that two runs are never mixed."""
    return {
        "model": config_to_dict(predictor.config),
        "weights": sha256(find_weights(args.weights)),
        "images": digest(list(job.pictures)),
        "write": sorted(job.formats),
        "threshold": args.threshold,
        "min_area": args.min_area,
        "top_k": args.top_k,
        "scores": args.scores,
        "precision": args.precision,
        "version": __version__,
        "distance": args.distance,
    }


if __name__ == "__main__":
    sys.exit(main())
