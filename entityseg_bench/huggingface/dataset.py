"""Hugging Face `datasets`: load a folder of EntitySeg as one of its four configurations."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entityseg_bench import layout
from entityseg_bench.categories import Task
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.rows import from_row
from entityseg_bench.io import InputError, sha256
from entityseg_bench.layout import Resolution, Split
from entityseg_bench.names import real_path
from entityseg_bench.types import Category

if TYPE_CHECKING:
    import datasets

__all__ = ["from_huggingface", "load_dataset", "source_digest"]


def load_dataset(
    root: str | Path,
    task: Task = "entity",
    split: Split = "val",
    resolution: Resolution = "high",
    parts: Sequence[str] | None = None,
    images: bool = True,
    cache_dir: str | Path | None = None,
    allow_outside: bool = False,
) -> "datasets.Dataset":
    """Load a folder of EntitySeg as a Hugging Face dataset, one row an image.

    Rows hold the masks as RLE and the paths of the image files. An image is decoded when a row with
    its ``image`` is read. For loops over annotations leave this column out
    (``remove_columns("image")``, or ``images=False``). The Arrow file in the Hugging Face cache is
    made again when an annotation file changes.

    Args:
        root: As `EntityDataset.open` takes it.
        task: entity, instance, semantic or panoptic.
        split: train or val.
        resolution: high or low.
        parts: Some of "01", "02", "03"; None for all that exist.
        images: Include the image files; all of them must exist.
        cache_dir: Folder of the Arrow files; Hugging Face's own by default.
        allow_outside: Read images and maps outside of their folder, too, if files name such.

    Raises:
        InputError: As `EntityDataset.open`, and for image files that are missing.
    """
    import datasets

    from entityseg_bench.huggingface.builder import EntitySeg

    root = real_path(root)
    builder = EntitySeg(
        cache_dir=str(cache_dir) if cache_dir else None,
        config_name=task,
        data_dir=str(root),
        split=split,
        resolution=resolution,
        parts=",".join(parts) if parts is not None else "",
        images=images,
        allow_outside=allow_outside,
        digest=source_digest(root, task, split, resolution, parts),
    )
    try:
        builder.download_and_prepare()
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise
    return builder.as_dataset(split=split)


def source_digest(
    root: Path, task: Task, split: Split, resolution: Resolution, parts: Sequence[str] | None
) -> str:
    """Hash what a dataset is read from: annotation files by content, maps by name, size and time.

    Raises:
        InputError: A file is missing.
    """
    digest = hashlib.sha256()
    for source in layout.find_sources(root, task, split, resolution, parts):
        digest.update(sha256(source.annotations).encode())
        for path in sorted(source.maps.rglob("*.png")) if source.maps else ():
            stat = path.stat()
            digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def from_huggingface(
    rows: "datasets.Dataset",
    task: Task = "entity",
    categories: Sequence[Category] | None = None,
    **about: Any,
) -> EntityDataset:
    """Convert a Hugging Face dataset of this package back to an EntityDataset.

    Args:
        rows: A dataset with the columns of `load_dataset`. Images are not decoded.
        task: Its annotation type.
        categories: The package's table of the task by default: class labels alone do not hold
            ids, supercategories and types.
        about: Other arguments of `EntityDataset`: split, resolution, image_files, info.
    """
    plain = rows.select_columns([name for name in rows.column_names if name != "image"])
    pairs = [from_row(row) for row in plain.with_format(None)]
    return EntityDataset(
        [image for image, _ in pairs],
        [annotation for _, annotations in pairs for annotation in annotations],
        categories,
        task,
        **about,
    )
