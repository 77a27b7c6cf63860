"""Convert any format that is read to any format that is written."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from entityseg_bench import formats, layout
from entityseg_bench.categories import TASKS, Task
from entityseg_bench.coco_entity import coco_entity
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats import FORMATS, Inputs, sniff
from entityseg_bench.formats.coco import write_coco, write_results
from entityseg_bench.io import InputError, check_folder, check_writable
from entityseg_bench.layout import ImageFiles, Resolution, Split
from entityseg_bench.names import real_path
from entityseg_bench.resolution import to_low, write_low_images
from entityseg_bench.subset import subset

__all__ = ["SOURCES", "TARGETS", "Options", "convert", "open_sources"]

SOURCES = tuple(FORMATS)
# The annotation types, the low resolution, and the formats that are written whatever the type.
WRITTEN = tuple(
    name for name, one in FORMATS.items() if one.target and name not in (*TASKS, "coco")
)
TARGETS = (*TASKS, "low", "coco-entity", *WRITTEN)

Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Options:
    """Set up a conversion.

    Attributes:
        source: Format of the source; None to tell it from the content.
        tasks: Annotation types to take from a data set's folder. Empty for entity, or for all types
            that exist if the target is low or parquet.
        splits: Splits to take; empty for all that exist.
        resolution: Resolution of the source.
        parts: Some of "01", "02", "03"; None for all that exist.
        images: Folder of the image files, if they are not in the folder of the source.
        gt: Ground truth of predictions. It gives names, sizes, and images without predictions.
        embed_images: Write the image files into Parquet.
        write_images: Write images, too, if the target is low.
        connected: Split the classes of ADE20K into connected parts.
        image_id: Id of the image, for predictions that name none.
        score_from: The field that holds the score of predictions
            (`formats.tolerant.score_from.ScoreFrom`).
        jobs: Number of processes.
        progress: Show progress bars.
        notes: Called with what was done to read the source.
    """

    source: str | None = None
    tasks: Sequence[Task] = ()
    splits: Sequence[Split] = ()
    resolution: Resolution = "high"
    parts: Sequence[str] | None = None
    images: Path | None = None
    gt: Path | None = None
    embed_images: bool = False
    write_images: bool = True
    connected: bool = False
    image_id: str | None = None
    score_from: str | None = None
    jobs: int = 1
    progress: bool = False
    notes: list[str] = dataclasses.field(default_factory=list)

    def label(self, text: str) -> str | None:
        """Return the title of a bar, or None without bars."""
        return text if self.progress else None


def open_sources(path: Path, target: str, options: Options) -> Iterator[EntityDataset]:
    """Open what a conversion reads, one data set after the other.

    Raises:
        InputError: What is asked for does not exist, or is broken.
    """
    source = source_format(path, options)
    if source == "entityseg":
        yield from _open_folder(path, target, options)
        return
    if source == "parquet" and path.is_dir():
        yield from _open_parquet(path, options)
        return
    yield _with_images(_open_one(path, source, options), options)


def source_format(path: Path, options: Options) -> str:
    """Tell the format of a source; what has ground truth beside it holds predictions.

    Raises:
        InputError: It cannot be told.
    """
    if options.source is not None:
        return options.source
    predicted = options.gt is not None
    found = sniff(path, "dt" if predicted and path.is_file() else None)
    # Any other folder is taken for a data set's.
    return sniff(path, "dt") if predicted and found == "entityseg" else found


def _open_one(path: Path, source: str, options: Options) -> EntityDataset:
    """Open a source that holds one dataset."""
    said = Inputs(image_id=options.image_id, score_from=options.score_from)
    form = FORMATS[source]
    if form.records and options.gt is not None:
        own = dataclasses.replace(options, source=None, gt=None)
        truth = next(open_sources(options.gt, "entity", own))
        inputs = dataclasses.replace(said, pred_format=source)
        found = formats.open(path, inputs, truth.records.replace(predicted=False))
        options.notes.extend(found.notes)
        return EntityDataset.of(found.segments, categories=truth.categories, task="entity")
    if form.records and not form.gt and form.opener == "open_gt":
        what = f"{source} predictions do not say which images they are of."
        raise InputError(path, "", what, "Name their ground truth: --gt FILE.")
    task = options.tasks[0] if options.tasks and source == "coco" else None
    inputs = dataclasses.replace(said, task=task, gt_format=source, connected=options.connected)
    opened = formats.open(path, inputs)
    options.notes.extend(opened.notes)
    folder = path if path.is_dir() else path.parent
    files = ImageFiles(folder, options.resolution)
    # A COCO file is entity annotations unless it is said to be another type.
    about = {"task": task or "entity"} if source == "coco" else {}
    return EntityDataset.of(opened.segments, image_files=files, **about)


def _with_images(dataset: EntityDataset, options: Options) -> EntityDataset:
    changes: dict[str, Any] = {}
    if options.images:
        changes["image_files"] = ImageFiles(options.images, options.resolution)
    if options.splits and dataset.split is None:
        changes["split"] = options.splits[0]
    return dataset.replace(**changes) if changes else dataset


def _open_folder(root: Path, target: str, options: Options) -> Iterator[EntityDataset]:
    """Open the types and splits of a data set that the target is made from."""
    tasks: Sequence[Task] = options.tasks
    if not tasks:
        tasks = TASKS if target in ("low", "parquet") else ("entity",)
    failure: InputError | None = None
    found = False
    for task, split in itertools.product(tasks, options.splits or layout.SPLITS):
        parts = options.parts
        if parts is None and task == "entity" and target in ("instance", "semantic", "panoptic"):
            # Only part 01 has class labels.
            parts = ("01",)
        try:
            layout.find_sources(root, task, split, options.resolution, parts)
        except InputError as error:
            failure = failure or error
            continue
        found = True
        dataset = EntityDataset.open(root, task, split, options.resolution, parts)
        yield _with_images(dataset, options)
    if not found and failure:
        raise failure


def _open_parquet(folder: Path, options: Options) -> Iterator[EntityDataset]:
    from entityseg_bench.formats.parquet import read_parquet

    present = [
        (task, split)
        for task, split in itertools.product(
            options.tasks or TASKS, options.splits or layout.SPLITS
        )
        if (folder / task / f"{split}.meta.json").is_file()
    ]
    if not present:
        raise InputError(folder, "", "no Parquet export of the tasks and splits wanted is here.")
    for task, split in present:
        found = read_parquet(folder, task, split)
        dataset = EntityDataset.of(found.segments, split=found.split, resolution=found.resolution)
        yield _with_images(dataset, options)


def convert(
    source: str | Path,
    target_path: str | Path,
    target: str,
    options: Options | None = None,
    report: Report = print,
) -> None:
    """Convert a source. A run that was interrupted continues where it stopped.

    A data set's folder becomes a folder of the documented layout. One file or folder of another
    format becomes one file (with its maps beside it) or one folder.

    Args:
        source: A data set's folder, or anything of `SOURCES`.
        target_path: The folder to write, or the name of the JSON file.
        target: Format or type to write.
        options: The settings; their defaults if None.
        report: Called with each line about what was written and what was lost.

    Raises:
        InputError: The source is missing, broken, or cannot be converted to the target.
    """
    options = options or Options()
    source, target_path = Path(source), Path(target_path)
    if real_path(target_path) == real_path(source):
        raise InputError(source, "", "source and target are the same.", "Name another target.")
    if target == "results" and target_path.name in ("", ".."):
        raise InputError(target_path, "", "it is a folder.", "Name the JSON file to write.")
    if target_path.is_file():
        check_writable(target_path, inputs=[options.gt])
    else:
        check_folder(target_path)
    many = source.is_dir() and source_format(source, options) in ("entityseg", "parquet")
    drawn: set[Path] = set()
    for dataset in open_sources(source, target, options):
        label = options.label(f"{dataset.task} {dataset.split or ''}".strip())
        place = Place(target_path, many, source, label, options, drawn)
        made, lost = _write(dataset, target, place)
        n = len(dataset)
        name = f"{made} {dataset.split}" if dataset.split else made
        report(f"{name}: {n} image{'s' * (n != 1)} -> {target_path}")
        for what, often in lost.items():
            report(f"  lost: {often} {what}")
        for note in dict.fromkeys((*options.notes, *dataset.notes)):
            report(f"  note: {note}")


class Place(NamedTuple):
    """Hold where and how one data set is written.

    Attributes:
        many: True if there are several data sets, in a folder.
        drawn: Takes the images that the run has written, which several annotation types share.
    """

    path: Path
    many: bool
    source: Path
    label: str | None
    options: Options
    drawn: set[Path]


def _write(dataset: EntityDataset, target: str, place: Place) -> tuple[str, dict[str, int]]:
    """Write one dataset; return what it became and what was lost."""
    from entityseg_bench.formats.arrow import write_arrow
    from entityseg_bench.formats.id_maps import write_id_png
    from entityseg_bench.formats.npz import write_npz
    from entityseg_bench.formats.parquet import write_parquet

    jobs, label = place.options.jobs, place.label
    if target == "low":
        return f"{dataset.task} (low)", _write_low(dataset, place)
    if target == "parquet" and dataset.predicted:
        return "predictions", write_arrow(dataset, place.path)
    if target == "parquet":
        licences = place.source if place.source.is_dir() else None
        embed = place.options.embed_images
        return dataset.task, write_parquet(dataset, place.path, embed, jobs, label, licences)
    if target == "coco-entity":
        if place.many:
            what = "COCO-Entity is made of one panoptic JSON, not of a data set's folder."
            raise InputError(place.source, "", what, "Name the file.")
        made = coco_entity(dataset)
        lost = _write_type(made.dataset, place)
        crowds = {"crowd segments: the recipe drops them": made.n_crowds} if made.n_crowds else {}
        return target, {**lost, **crowds}
    if target in TASKS:
        derived = subset(dataset, target)
        lost = dict(derived.lost)
        lost.update(_write_type(derived.dataset, place))
        return target, lost
    own = place.path / f"{dataset.task}_{dataset.split}" if place.many else place.path
    if target == "results":
        return target, write_results(dataset, own.with_suffix(".json"))
    writer = write_id_png if target == "id-png" else write_npz
    return target, writer(dataset, own, jobs, label)


def _write_type(dataset: EntityDataset, place: Place) -> dict[str, int]:
    """Write one of the four annotation types, in the documented layout or by itself."""
    from entityseg_bench.formats.panoptic import write_panoptic
    from entityseg_bench.formats.semantic import write_semantic

    file, maps = place.path, place.path.with_suffix("")
    if place.many:
        if dataset.split is None:
            raise InputError(dataset.where, "", "its split is not known.")
        found = layout.documented(
            place.path, dataset.task, dataset.split, dataset.resolution, _part(dataset, place)
        )
        file, maps = found.annotations, found.maps or maps
    elif dataset.task == "semantic":
        file, maps = place.path / "maps.txt", place.path / "maps"
    elif file.suffix not in (".json", ".gz"):
        raise InputError(file, "", "the target is one JSON file.", "Let its name end in .json.")
    if dataset.task == "semantic":
        return write_semantic(dataset, file, maps, place.options.jobs, place.label)
    if dataset.task == "panoptic":
        # The data set's own files name the image there, COCO's the map.
        named: Literal["images", "maps"] = "images" if place.many else "maps"
        return write_panoptic(dataset, file, maps, place.options.jobs, place.label, named)
    return write_coco(dataset, file, place.options.jobs, place.label)


def _part(dataset: EntityDataset, place: Place) -> str | None:
    """Return the part that a dataset is of, None for several."""
    if place.options.parts and len(place.options.parts) == 1:
        return place.options.parts[0]
    return dataset.image_files.part if dataset.image_files else None


def _write_low(dataset: EntityDataset, place: Place) -> dict[str, int]:
    """Write annotations and, where they are, images in low resolution."""
    if dataset.resolution == "low":
        raise InputError(dataset.where, "", "this is low resolution already.")
    low = to_low(dataset)
    lost = _write_type(low, place)
    if dataset.task != "semantic" and place.many and dataset.split:
        part = _part(dataset, place)
        written = EntityDataset.open(
            place.path, dataset.task, dataset.split, "low", [part] if part else None
        )
        n_gone = len(dataset.records) - len(written.records)
        if n_gone:
            lost["annotations dropped: too small to keep a pixel"] = n_gone
    if dataset.images and place.options.write_images:
        jobs = place.options.jobs
        write_low_images(dataset, place.path / "images_lr", jobs, place.label, place.drawn)
    return lost
