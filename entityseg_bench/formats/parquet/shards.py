"""Parquet shards with a dataset card, which plain `datasets.load_dataset` opens; and back."""

import functools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from entityseg_bench import categories
from entityseg_bench.categories import TASKS, Task
from entityseg_bench.check import Report, stop
from entityseg_bench.formats.coco import category_row
from entityseg_bench.formats.coco.tables import to_category
from entityseg_bench.formats.identity import identity
from entityseg_bench.formats.opened import Inputs, Opened, agree
from entityseg_bench.formats.parquet.size import check_footer
from entityseg_bench.formats.rows import features, from_row, image_bytes, to_row
from entityseg_bench.io import (
    InputError,
    atomic_path,
    decode_json,
    open_regular,
    read_bytes,
    write_json,
)
from entityseg_bench.layout import SPLITS, Resolution, Split
from entityseg_bench.numbered import Numbered, check_complete, check_finished
from entityseg_bench.parallel import Journal
from entityseg_bench.table import AnnotatedImages, Segments
from entityseg_bench.types import Annotation, ImageInfo

__all__ = [
    "SplitImages",
    "holds_annotations",
    "read_parquet",
    "read_shard",
    "write_about",
    "write_parquet",
    "write_rows",
]

# Where a shard holds in its own schema what a row has no place for, so that it can be read alone.
META = b"entityseg"

# Images a shard: a few hundred megabytes either way. A row group is what a reader holds at once.
SHARD, GROUP = 4096, 256
SHARD_EMBEDDED, GROUP_EMBEDDED = 128, 16

NOTICE = """\
The annotations of EntitySeg (Qi et al., "High-Quality Entity Segmentation", ICCV 2023) are
under the Adobe Research License: non-commercial research use, and a copy of that licence goes with
every redistribution. Its text: https://github.com/adobe-research/EntitySeg-Dataset

The images belong to third parties. Whoever passes on an export with embedded images answers for it.

The code that wrote these files is under another licence and puts no terms on them.
"""

# Of a card that describes EntitySeg; other data sets have licences that are not known here.
OF_ENTITYSEG = """\
pretty_name: EntitySeg
license: other
license_name: adobe-research-license
license_link: LICENSE-NOTICE.txt
"""

TERMS = """\

High-quality entity segmentation (Qi et al., ICCV 2023). The annotations are under the Adobe
Research License (non-commercial); see LICENSE-NOTICE.txt.
"""

CARD = """\
---
{head}task_categories:
- image-segmentation
configs:
{configs}
---

Written by `entityseg convert --to parquet`.

One row is one image; `annotations` holds its segments with masks as COCO run-length codes.
`category_id` is the id of the data set's table, `category` the same as a class label. Masks decode
with `entity_api.rle.decode` or `pycocotools.mask.decode`. `extra` holds further fields as JSON.
{terms}"""


class SplitImages(AnnotatedImages, Protocol):
    """What is written as Parquet: images of a known split, with their files."""

    @property
    def split(self) -> Split | None: ...
    @property
    def resolution(self) -> Resolution: ...
    def image_path(self, image: ImageInfo, /) -> Path:
        """Return the file of an image."""


class Meta(msgspec.Struct):
    """Hold what a row has no place for."""

    task: str
    split: Split
    resolution: Resolution
    categories: list[dict[str, Any]]
    info: dict[str, Any] = {}


def write_parquet(
    dataset: SplitImages,
    folder: str | Path,
    embed_images: bool = False,
    jobs: int = 1,
    label: str | None = None,
    licences: Path | None = None,
) -> dict[str, int]:
    """Write a dataset as Parquet shards below ``folder/<task>``, with card and licence notice.

    Other tasks and splits in the same folder stay, and stand in the card. A run that broke off
    goes on with the next shard. Nothing is lost; without embedded images rows have no ``image``,
    and `file_name` says which it is.

    Args:
        dataset: With its split.
        folder: Where to write.
        embed_images: Put the bytes of the image files into the shards.
        jobs: Processes.
        label: Title of a progress bar.
        licences: Folder whose LICENSE files are copied along.

    Raises:
        InputError: No split is known, or an image file is missing.
    """
    folder = Path(folder)
    if dataset.split is None:
        raise InputError(dataset.where_from or "dataset", "", "nothing says of which split it is.")
    size = SHARD_EMBEDDED if embed_images else SHARD
    total = max(-(-len(dataset.images) // size), 1)
    own = folder / dataset.task
    own.mkdir(parents=True, exist_ok=True)
    images = [dataset.image_path(image) for image in dataset.images] if embed_images else []
    made = {**identity(dataset, "parquet", images), "embedded": embed_images}
    files = Numbered(own, f"{dataset.split}-", ".parquet", total)
    files.refuse_sources(map(Path, dataset.where_from.split(", ")))
    work = functools.partial(_write_shard, dataset, files.paths, embed_images)
    with Journal(own / f".{dataset.split}.journal", made, int) as journal:
        journal.run(work, total, jobs, label)
        write_about(dataset, folder, licences)
        files.remove_others()
        journal.finish()
    return {}


def write_about(dataset: SplitImages, folder: Path, licences: Path | None) -> None:
    """Write what stands beside the shards of a data set: its table, the card, the notice."""
    if dataset.split is not None:
        path = folder / dataset.task / f"{dataset.split}.meta.json"
        write_json(path, _meta(dataset, dataset.split))
    _write_card(folder, _is_entityseg(dataset))
    _copy_licences(licences, folder)


def _is_entityseg(dataset: SplitImages) -> bool:
    """Tell whether all categories are of the published table of the annotation type."""
    published = {row.id: row.name for row in categories.table(dataset.task)}
    own = dataset.categories
    return bool(own) and all(published.get(one.id) == one.name for one in own)


def _meta(dataset: SplitImages, split: Split) -> Meta:
    rows = [category_row(category) for category in dataset.categories]
    return Meta(dataset.task, split, dataset.resolution, rows, dataset.info)


def _copy_licences(source: Path | None, folder: Path) -> None:
    for path in sorted(source.glob("LICEN[CS]E*")) if source else ():
        if path.is_file() and not path.is_symlink():
            with atomic_path(folder / path.name) as temporary:
                shutil.copyfile(path, temporary)


def _write_shard(
    dataset: SplitImages, paths: Sequence[Path], embed_images: bool, shard: int
) -> int:
    """Write one shard; return its number of rows."""
    size = SHARD_EMBEDDED if embed_images else SHARD
    rows = range(shard * size, min((shard + 1) * size, len(dataset.images)))
    write_rows(dataset, paths[shard], rows, embed_images)
    return len(rows)


def write_rows(dataset: SplitImages, path: Path, images: range, embed_images: bool = False) -> None:
    """Write some images of a data set as a shard, row group by row group.

    Args:
        dataset: With its split.
        path: The file.
        images: Positions of the images.
        embed_images: Put the bytes of the image files into it.
    """
    import pyarrow as pa
    from pyarrow import parquet

    group = GROUP_EMBEDDED if embed_images else GROUP
    schema = features(dataset, embed_images).arrow_schema
    meta = msgspec.json.encode(_meta(dataset, dataset.split)) if dataset.split else b""
    schema = schema.with_metadata({**(schema.metadata or {}), META: meta})
    # Opened here: the library takes no name that is not UTF-8.
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        parquet.ParquetWriter(file, schema) as writer,
    ):
        for start in range(0, max(len(images), 1), group):
            rows = [_row(dataset, idx, embed_images) for idx in images[start : start + group]]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _row(dataset: SplitImages, idx: int, embed_images: bool) -> dict[str, Any]:
    row = to_row(dataset, idx)
    if embed_images:
        image = dataset.images[idx]
        path = dataset.image_path(image)
        row["image"] = {"bytes": image_bytes(path), "path": image.file_name}
    return row


def _write_card(folder: Path, is_entityseg: bool) -> None:
    """Write the card for all tasks and splits that are there, and EntitySeg's notice."""
    lines = []
    for task in TASKS:
        splits = [s for s in SPLITS if (folder / task / f"{s}.meta.json").is_file()]
        if splits:
            lines += [f"- config_name: {task}", "  data_files:"]
            for split in splits:
                lines += [f"  - split: {split}", f"    path: {task}/{split}-*.parquet"]
    head, terms = (OF_ENTITYSEG, TERMS) if is_entityseg else ("", "")
    texts = {"README.md": CARD.format(head=head, configs="\n".join(lines), terms=terms)}
    if is_entityseg:
        texts["LICENSE-NOTICE.txt"] = NOTICE
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


class ReadParquet(NamedTuple):
    """Hold what a Parquet export says of one task and split."""

    segments: Segments
    split: Split
    resolution: Resolution


def read_parquet(folder: str | Path, task: Task, split: str) -> ReadParquet:
    """Read shards of `write_parquet` back; embedded images are not touched.

    Raises:
        InputError: The task or split is not there, or a shard is missing or broken.
    """
    folder = Path(folder)
    path = folder / task / f"{split}.meta.json"
    meta = decode_json(path, read_bytes(path), msgspec.json.Decoder(Meta))
    return _table(path, meta, _rows(folder / task, split))


def read_shard(path: Path) -> ReadParquet:
    """Read one shard of an export alone.

    Raises:
        InputError: It is broken, or not of an export.
    """
    found = _schema(path).metadata or {}
    if META in found:
        meta = decode_json(path, found[META], msgspec.json.Decoder(Meta))
    else:
        # Exports of earlier versions say it beside the shards alone.
        beside = path.with_name(f"{path.name.partition('-')[0]}.meta.json")
        if not beside.is_file():
            what = "it is no shard of an export: its schema says no type nor categories."
            raise InputError(path, "", what, "entityseg convert --to parquet writes them.")
        meta = decode_json(beside, read_bytes(beside), msgspec.json.Decoder(Meta))
    return _table(path, meta, _rows_of(path))


def _schema(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with open_regular(path) as file:
            return parquet.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise InputError(path, "", f"the shard is broken: {error}.", "Copy it again.") from None


def _table(path: Path, meta: Meta, rows: Iterator[tuple[Path, dict[str, Any]]]) -> ReadParquet:
    """Make the table of rows; ``path`` is what says ``meta``."""
    if meta.task not in TASKS:
        raise InputError(path, "task", f"{meta.task!r} is none of {', '.join(TASKS)}.")
    pairs = list(_pairs(rows))
    segments = Segments.from_annotations(
        [annotation for _, annotations in pairs for annotation in annotations],
        [image for image, _ in pairs],
        categories=[to_category(row, path, idx) for idx, row in enumerate(meta.categories)],
        task=meta.task,
        info=meta.info,
        where_from=str(path),
    )
    return ReadParquet(segments, meta.split, meta.resolution)


def holds_annotations(path: Path) -> bool:
    """Tell a shard of an export from a file of predictions."""
    return "annotations" in _schema(path).names


def _pairs(
    rows: Iterator[tuple[Path, dict[str, Any]]],
) -> Iterator[tuple[ImageInfo, list[Annotation]]]:
    """Yield each image with its annotations.

    Raises:
        InputError: A shard is missing or broken, or a row has not the columns of `write_parquet`.
    """
    for number, (path, row) in enumerate(rows):
        try:
            image, annotations = from_row(row)
            known = isinstance(image.id, int | str) and isinstance(image.file_name, str)
            sizes = (image.height, image.width)
            if not known or not all(type(n) is int and n >= 0 for n in sizes):
                raise TypeError("image_id, file_name, height or width")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"its columns are not those of an export: {error}."
            raise InputError(path, f"row {number}", what, "Export it again.") from None
        yield image, annotations


def _rows(folder: Path, split: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the rows of all shards with their file, without images."""
    shards = sorted(folder.glob(f"{split}-*-of-*.parquet"))
    if not shards:
        raise InputError(folder, split, "0 of 1 shards are here.", "Copy the others too.")
    check_finished(folder)
    check_complete(folder, [path.name for path in shards])
    for path in shards:
        yield from _rows_of(path)


def _rows_of(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the rows of a shard with its file, without images."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with open_regular(path) as opened:
            file = parquet.ParquetFile(opened)
            names = [name for name in file.schema_arrow.names if name != "image"]
            check_footer(path, opened, file, names)
            batches = file.iter_batches(GROUP, columns=names)
            while (batch := next(batches, None)) is not None:
                yield from [(path, row) for row in batch.to_pylist()]
    except InputError:
        raise
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        OverflowError,
        KeyError,
        TypeError,
    ) as error:
        what = f"the shard is broken: {' '.join(str(error).split())[:300]}."
        raise InputError(path, "", what, "Copy it again.") from None


def open_gt(path: Path, inputs: Inputs, *, whole: bool = True, report: Report = stop) -> Opened:
    """Open one task and split of an export, or a shard; see `entityseg_bench.formats.open`."""
    if path.is_file():
        found_alone = read_shard(path).segments
        agree(path, found_alone.task, inputs.task)
        return Opened(found_alone, [path])
    tasks = [inputs.task] if inputs.task else list(TASKS)
    found = [task for task in tasks if (path / task / f"{inputs.split}.meta.json").is_file()]
    if not found:
        what = f"no Parquet export of {' or '.join(tasks)} {inputs.split} is here."
        raise InputError(path, "", what)
    if len(found) > 1:
        what = f"the export has annotations of the types {', '.join(found)}."
        raise InputError(path, "", what, f"Say which: --task {'|'.join(found)}.")
    return Opened(read_parquet(path, found[0], inputs.split).segments, [path])
