"""Ground truth in shards, converted shard by shard, here or on many machines."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entityseg_bench import __version__, formats
from entityseg_bench.categories import Task
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats import Inputs
from entityseg_bench.formats.identity import digest
from entityseg_bench.formats.parquet import write_about, write_rows
from entityseg_bench.formats.webdataset import write_webdataset
from entityseg_bench.io import InputError, atomic_path, collector_paused
from entityseg_bench.layout import ImageFiles, Split
from entityseg_bench.names import real_path
from entityseg_bench.numbered import Numbered
from entityseg_bench.parallel import Journal
from entityseg_bench.scale.addresses import is_address
from entityseg_bench.scale.engines import Engine, in_order
from entityseg_bench.scale.ids import hashes_of, shards_that_share
from entityseg_bench.scale.parts import images_at
from entityseg_bench.scale.shards import kept_images, list_images, one_table, one_type
from entityseg_bench.scale.sources import Shard, at_hand, find_shards
from entityseg_bench.types import Category

__all__ = ["TARGETS", "Wanted", "convert_shards"]

Ints = NDArray[np.int64]

# Endings of the files.
TARGETS = {"parquet": ".parquet", "webdataset": ".tar"}

CARD = """\
---
task_categories:
- image-segmentation
configs:
- config_name: default
  data_files:
  - split: {split}
    path: {split}-*.tar
---

Written by `entityseg convert --to webdataset`: of each image one JSON of its `image` and its
`annotations`, masks as COCO run-length codes.
"""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Say what is written.

    Attributes:
        target: One of `TARGETS`.
        split: Of the images.
        inputs: What the shards are, where they do not say it.
        images: Folder of the image files; None for that of each shard.
        embed_images: Write the image files, too.
    """

    target: str
    split: Split
    inputs: Inputs
    images: Path | None = None
    embed_images: bool = False


class Seen(NamedTuple):
    """Hold what the first look at a shard tells."""

    hashes: NDArray[np.int64]
    kinds: set[type]
    task: Task
    categories: Sequence[Category]


def convert_shards(
    source: str | Path,
    folder: Path,
    wanted: Wanted,
    engine: Engine,
    report: Callable[[str], None] = print,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a shard for each shard of a source. A run that broke off goes on.

    Args:
        source: A folder or pattern of shards of ground truth, paths or addresses.
        folder: Where to write: Parquet into a folder of the annotation type.
        wanted: What to write.
        engine: Runs the shards.
        report: Called with each line about what was written.
        progress: Called with (shards done, shards), twice for each.

    Raises:
        InputError: A shard that is broken or of another type, or an image that is annotated in
            two of them.
    """
    if not is_address(str(source)) and real_path(folder) == real_path(Path(source)):
        raise InputError(source, "", "source and target are the same.", "Name another target.")
    shards = find_shards(source, wanted.inputs)
    n_done = 0

    def done() -> None:
        nonlocal n_done
        n_done += 1
        if progress:
            progress(n_done, 2 * len(shards))

    found: list[Seen] = in_order(engine, look, [(shard, wanted) for shard in shards], done)
    task, categories = _agreed(shards, found, wanted)
    images = _own_images(shards, found, wanted, engine)
    n_images = [
        len(seen.hashes if own is None else own) for seen, own in zip(found, images, strict=True)
    ]
    # A shard without images would say nothing of the type of its ids.
    kept = [at for at in range(len(shards)) if n_images[at]] or [0]
    own = folder / task if wanted.target == "parquet" else folder
    own.mkdir(parents=True, exist_ok=True)
    files = Numbered(own, f"{wanted.split}-", TARGETS[wanted.target], len(kept))
    files.refuse_sources(path for shard in shards for path in shard.paths())
    with Journal(own / f".{wanted.split}.shards", _identity(shards, wanted), int) as journal:
        before = set(journal.results())
        left = [k for k, path in enumerate(files.paths) if k not in before or not path.is_file()]
        items = [
            (shards[kept[k]], wanted, categories, images[kept[k]], files.paths[k]) for k in left
        ]
        for at, _ in engine.run(write, items):
            journal.append(left[at])
            done()
        _write_about(folder, source, shards[kept[0]], wanted, categories)
        files.remove_others()
        journal.finish()
    n = sum(n_images)
    report(f"{task} {wanted.split}: {n} image{'s' * (n != 1)} -> {folder}")


def _identity(shards: Sequence[Shard], wanted: Wanted) -> dict[str, object]:
    """Say what makes two runs the same: files by name, size and time, addresses by name alone."""
    # Hashed shard by shard: a folder of SA-1B has eleven million files.
    content = digest((shards, [digest(shard.paths()) for shard in shards], wanted))
    return {"source": content, "shards": len(shards), "version": __version__}


def _agreed(
    shards: Sequence[Shard], found: Sequence[Seen], wanted: Wanted
) -> tuple[Task, list[Category]]:
    """Return the type and all categories of the shards.

    Raises:
        InputError: They are of several types, or do not go together.
    """
    task = one_type(shards, [seen.task if len(seen.hashes) else None for seen in found])
    kinds = set[type]().union(*(seen.kinds for seen in found))
    if len(kinds) > 1:
        raise InputError(str(shards[0]), "", "image ids are both numbers and text.", "Use one.")
    return task, one_table(shards, [seen.categories for seen in found])


def _own_images(
    shards: Sequence[Shard], found: Sequence[Seen], wanted: Wanted, engine: Engine
) -> list[Ints | None]:
    """Choose each shard's own images among those that several list; None for all that it has.

    Raises:
        InputError: As `kept_images`.
    """
    pairs = shards_that_share([seen.hashes for seen in found])
    several = sorted({k for pair in pairs for k in pair})
    own = [shards[k] for k in several]
    listed = in_order(engine, list_images, [(shard, wanted.inputs, False) for shard in own])
    images = [image for one in listed for image in one.images]
    kept = dict(zip(several, kept_images(own, images, listed) if own else (), strict=True))
    return [kept.get(k) for k in range(len(shards))]


def look(shard: Shard, wanted: Wanted) -> Seen:
    """Read a shard for what all shards must agree on."""
    with collector_paused(), at_hand(shard) as here:
        table = formats.open(here.path, wanted.inputs, whole=False).segments
        ids = [image.id for image in table.images]
        return Seen(hashes_of(ids), {type(one) for one in ids}, table.task, table.categories)


def write(
    shard: Shard, wanted: Wanted, categories: Sequence[Category], images: Ints | None, path: Path
) -> None:
    """Write one shard, or some of its images, whole or not at all."""
    with collector_paused(), at_hand(shard, images=wanted.embed_images) as here:
        dataset = _opened(shard, here.path, wanted, categories, images)
        if wanted.target == "webdataset":
            write_webdataset(dataset, path, wanted.embed_images)
        else:
            write_rows(dataset, path, range(len(dataset.images)), wanted.embed_images)


def _opened(
    shard: Shard,
    path: Path,
    wanted: Wanted,
    categories: Sequence[Category],
    images: Ints | None = None,
) -> EntityDataset:
    opened = formats.open(path, wanted.inputs).segments.read()
    if images is not None:
        opened = images_at(opened, images)
    folder = wanted.images
    if folder is None:
        folder = Path(shard.address) if shard.files and not is_address(shard.address) else path
    files = ImageFiles(folder if folder.is_dir() else folder.parent, wanted.inputs.resolution)
    about = {"split": wanted.split, "categories": list(categories) or None, "image_files": files}
    return EntityDataset.of(opened, **about)


def _write_about(
    folder: Path,
    source: str | Path,
    shard: Shard,
    wanted: Wanted,
    categories: Sequence[Category],
) -> None:
    """Write the card and, beside Parquet, what the shards are of."""
    if wanted.target == "webdataset":
        with atomic_path(folder / "README.md") as temporary:
            temporary.write_text(CARD.format(split=wanted.split), encoding="utf-8", newline="\n")
        return
    with at_hand(shard) as here:
        licences = Path(source) if Path(source).is_dir() else None
        write_about(_opened(shard, here.path, wanted, categories), folder, licences)
