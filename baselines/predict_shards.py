"""Predict shard by shard: on all cores or GPUs of a machine, or of a cluster."""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tqdm import tqdm

from baselines.inference import Job, dataset_of, predict_pictures
from baselines.pictures import Picture, pictures_in
from baselines.predictor import Predictor
from baselines.progress import Finished
from entityseg_bench.formats.arrow import write_arrow
from entityseg_bench.io import InputError
from entityseg_bench.numbered import Numbered
from entityseg_bench.parallel import Journal
from entityseg_bench.scale.engines import Engine, in_order
from entityseg_bench.scale.ids import hashes_of, shards_that_share

__all__ = ["Shard", "cut", "predict_shards"]


@dataclass(frozen=True)
class Shard:
    """Hold some of the images: those that are listed, or all of an archive.

    Attributes:
        pictures: The images; an archive's are listed only where they are predicted on.
        archive: The archive.
    """

    pictures: tuple[Picture, ...] = ()
    archive: Path | None = None

    def list(self) -> Sequence[Picture]:
        """List the images in their order.

        Raises:
            InputError: The archive is broken.
        """
        return pictures_in(self.archive) if self.archive else self.pictures


def cut(pictures: Sequence[Picture], size: int) -> list[Shard]:
    """Cut a list of images into shards of so many, the last one of what is left."""
    return [Shard(tuple(pictures[k : k + size])) for k in range(0, len(pictures), size)]


class Done(msgspec.Struct):
    """Hold what the journal says of a shard that is written: each image that failed, and why."""

    shard: int
    failures: dict[str, str]


class ShardPredictor:
    """Hold a model, and write the predictions of one shard after the other.

    Args:
        make: Makes the predictor.
        job: How images are seen.
    """

    def __init__(self, make: Callable[[], Predictor], job: Job) -> None:
        self._predictor, self._job = make(), job

    def __call__(self, shard: Shard, path: Path) -> dict[str, str]:
        """Predict on the images of a shard and write what is found as Parquet, whole or not at all.

        Returns:
            Image -> reason, for every image without a result.

        Raises:
            InputError: The archive is broken, or the model cannot go on.
        """
        pictures = shard.list()
        rows: list[Finished] = []
        for _ in predict_pictures(self._predictor, pictures, self._job, rows):
            pass
        found = {row.image_id: row for row in rows}
        failures = {str(p.path): found[p.image_id].error for p in pictures}
        kept = {p: found[p.image_id].predictions for p in pictures if not failures[str(p.path)]}
        write_arrow(dataset_of(self._predictor, kept), path)
        return {name: error for name, error in failures.items() if error}


def predict_shards(
    make: Callable[[], Predictor],
    job: Job,
    shards: Sequence[Shard],
    engine: Engine,
    settings: Mapping[str, Any],
    workers: int | None = None,
    on_gpu: bool = False,
) -> dict[str, str]:
    """Write a Parquet file of predictions for each shard. A run that broke off goes on.

    Args:
        make: Makes the predictor, once in each process.
        job: The folder to write into, and how images are seen.
        shards: The images; the files are numbered in their order.
        engine: Runs the shards.
        settings: All that results depend on, so that two runs are never mixed.
        workers: Processes; None for as many as the engine has cores or GPUs.
        on_gpu: Whether each process has a GPU.

    Returns:
        Image -> reason, for every image without a result.

    Raises:
        InputError: An image is in two shards, an archive is broken, the model cannot go on, or an
            unfinished run of other settings is in the folder.
    """
    n_images = _check_ids(shards, engine)
    job.out.mkdir(parents=True, exist_ok=True)
    files = Numbered(job.out, "", ".parquet", len(shards))
    files.refuse_sources(shard.archive for shard in shards if shard.archive)
    paths = files.paths
    with Journal(job.out / ".predict.journal", dict(settings), Done) as journal:
        done = {
            one.shard
            for one in journal.results()
            if not one.failures and paths[one.shard].is_file()
        }
        left = [k for k in range(len(shards)) if k not in done]
        failures: dict[int, dict[str, str]] = {}
        results = engine.run_made(
            functools.partial(ShardPredictor, make, job),
            [(shards[k], paths[k]) for k in left],
            workers,
            on_gpu,
        )
        bar = tqdm(
            total=sum(n_images),
            initial=sum(n_images[k] for k in done),
            unit="image",
            disable=not sys.stderr.isatty(),
        )
        with bar:
            for at, failed in results:
                journal.append(Done(left[at], failed))
                failures[left[at]] = failed
                bar.update(n_images[left[at]])
        files.remove_others()
        journal.finish()
    return {name: why for k in sorted(failures) for name, why in failures[k].items()}


def _check_ids(shards: Sequence[Shard], engine: Engine) -> list[int]:
    """See that no image is in two shards; return how many each has."""
    hashes = in_order(engine, _hashes, [(shard,) for shard in shards])
    for one, other in shards_that_share(hashes):
        names = {picture.image_id: picture for picture in shards[one].list()}
        for picture in shards[other].list():
            first = names.get(picture.image_id, picture)
            if first is not picture:
                what = f"its id {picture.image_id!r} is that of {first.path}, too."
                raise InputError(picture.path, "", what, "Ids must differ.")
    return [len(own) for own in hashes]


def _hashes(shard: Shard) -> np.ndarray:
    return hashes_of(picture.image_id for picture in shard.list())
