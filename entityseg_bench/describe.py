"""Describe a folder of EntitySeg in numbers, and list its faults."""

import itertools
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entityseg_bench import layout
from entityseg_bench.categories import TASKS
from entityseg_bench.check import MAPS_MISSING
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.png import image_size
from entityseg_bench.io import InputError
from entityseg_bench.resolution import low_size
from entityseg_bench.types import ImageInfo

__all__ = ["AREA_EDGES", "Summary", "TypeSummary", "describe", "describe_dataset"]

# Pixels: COCO's small and medium end at 32 and 96 squared; above, factors of four.
AREA_EDGES = (0, 16**2, 32**2, 64**2, 96**2, 192**2, 384**2, 768**2, 1536**2)
SHOWN = 20


class Numbers(msgspec.Struct):
    """Summarise a list of numbers; all are nan when it is empty."""

    least: float
    median: float
    mean: float
    greatest: float


class TypeSummary(msgspec.Struct, kw_only=True):
    """Describe one annotation type of one split and resolution.

    Counts of annotations are None for semantic maps without ``deep``, because all maps would have
    to be read. ``histogram_of_entities`` maps a number of entities to the number of images that
    have so many. ``area_histogram`` counts annotations between the edges `AREA_EDGES` in pixels;
    the last bin has no upper edge.
    """

    task: str
    split: str
    resolution: str
    files: list[str]
    n_images: int
    n_categories: int
    n_images_by_part: dict[str, int]
    sizes: dict[str, Numbers]
    most_common_sizes: list[tuple[int, int, int]]
    share_wide: float
    n_annotations: int | None = None
    n_categories_used: int | None = None
    n_crowds: int | None = None
    entities_per_image: Numbers | None = None
    histogram_of_entities: dict[int, int] = {}
    area_histogram: list[int] = []
    n_missing_images: int = 0
    problems: list[str] = []


class Summary(msgspec.Struct):
    """Describe a folder; ``in_train_and_val`` names images that are in both lists."""

    root: str
    types: list[TypeSummary]
    in_train_and_val: list[str]
    problems: list[str]


def describe(root: str | Path, deep: bool = False) -> Summary:
    """Describe everything that is in a folder.

    Args:
        root: Folder of the data set.
        deep: Read every mask and map, too.

    Raises:
        InputError: There is no annotation file.
    """
    root = Path(root)
    types, problems = [], []
    names: dict[str, set[str]] = {split: set() for split in layout.SPLITS}
    missing: InputError | None = None
    for task, split, resolution in itertools.product(TASKS, layout.SPLITS, layout.RESOLUTIONS):
        try:
            sources = layout.find_sources(root, task, split, resolution)
        except InputError as error:
            missing = missing or error
            if error.code == MAPS_MISSING:
                problems.append(str(error))
            continue
        try:
            dataset = EntityDataset.open(root, task, split, resolution)
            types.append(describe_dataset(dataset, deep))
        except InputError as error:
            problems.append(str(error))
            continue
        types[-1].files = [str(source.annotations.relative_to(root)) for source in sources]
        names[split] |= {_key(image, dataset) for image in dataset.images}
    if not types and not problems and missing:
        raise missing
    both = sorted(names["train"] & names["val"])
    return Summary(str(root), types, both, problems)


def _key(image: ImageInfo, dataset: EntityDataset) -> str:
    """Name an image the same in all lists: its part where known, and its base name."""
    files = dataset.image_files
    part = layout.part_of(image.file_name) or (files.part if files else None)
    name = PurePosixPath(layout.portable(image.file_name)).name
    return f"{layout.PART_FOLDERS[part]}/{name}" if part else name


def describe_dataset(dataset: EntityDataset, deep: bool = False) -> TypeSummary:
    """Describe one dataset; ``deep`` reads every mask and map."""
    sizes = np.array([(i.height, i.width) for i in dataset.images], np.int64).reshape(-1, 2)
    common = Counter(map(tuple, sizes.tolist())).most_common(5)
    parts = Counter(_key(image, dataset).split("/")[0] for image in dataset.images)
    summary = TypeSummary(
        task=dataset.task,
        split=dataset.split or "",
        resolution=dataset.resolution,
        files=[dataset.where],
        n_images=len(dataset),
        n_categories=len(dataset.categories),
        n_images_by_part={p: n for p, n in parts.items() if p in layout.PART_FOLDERS.values()},
        sizes={"height": numbers(sizes[:, 0]), "width": numbers(sizes[:, 1])},
        most_common_sizes=[(height, width, n) for (height, width), n in common],
        share_wide=float((sizes[:, 1] >= 2000).mean()) if len(sizes) else float("nan"),
    )
    problems = list(_image_problems(dataset, summary))
    if dataset.task != "semantic" or deep:
        broken = list(_deep_problems(dataset)) if deep else []
        problems += broken
        if dataset.task != "semantic" or not broken:
            _count(dataset, summary)
            problems += _record_problems(dataset)
    summary.problems = problems
    return summary


def _count(dataset: EntityDataset, summary: TypeSummary) -> None:
    rows = dataset.records
    per_image = rows.n_per_image
    summary.n_annotations = len(rows)
    summary.n_categories_used = len(np.unique(rows.category_ids))
    summary.n_crowds = int(rows.iscrowd.sum())
    summary.entities_per_image = numbers(per_image)
    values, often = np.unique(per_image, return_counts=True)
    summary.histogram_of_entities = dict(zip(values.tolist(), often.tolist(), strict=True))
    edges = np.array([*AREA_EDGES, np.inf])
    summary.area_histogram = np.histogram(rows.areas[~np.isnan(rows.areas)], edges)[0].tolist()


def numbers(values: NDArray[Any]) -> Numbers:
    """Summarise numbers."""
    if not len(values):
        return Numbers(*[float("nan")] * 4)
    found = (values.min(), np.median(values), values.mean(), values.max())
    return Numbers(*(float(value) for value in found))


def _image_problems(dataset: EntityDataset, summary: TypeSummary) -> Iterator[str]:
    """Compare the image files with the sizes in the annotations; count those missing."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda image: _image_problem(dataset, image), dataset.images))
    missing = [what for is_missing, what in found if is_missing]
    summary.n_missing_images = len(missing)
    # A folder without any image is no problem. A folder in which some are missing is.
    if len(missing) < len(dataset):
        yield from _shown([what for _, what in found if what])


def _image_problem(dataset: EntityDataset, image: ImageInfo) -> tuple[bool, str]:
    try:
        path = dataset.image_path(image)
    except InputError as error:
        return True, str(error)
    try:
        height, width = image_size(path)
    except InputError as error:
        return False, str(error)
    if (height, width) == (image.height, image.width):
        return False, ""
    stated = f"{image.height} x {image.width}"
    of = "its map is" if dataset.task == "semantic" else "its annotations are for"
    hint = " (that is the low resolution)" * (
        low_size(height, width) == (image.height, image.width)
    )
    return False, f"{path}: the image is {height} x {width} (height x width), {of} {stated}{hint}."


def _record_problems(dataset: EntityDataset) -> Iterator[str]:
    """Check the columns of the annotations."""
    rows = dataset.records
    sizes = np.array([(i.height, i.width) for i in dataset.images], np.float64).reshape(-1, 2)
    height, width = sizes[rows.image_idx].T if len(rows) else np.zeros((2, 0))
    x, y, w, h = rows.boxes.T
    _, first = np.unique(rows.ids, return_index=True)
    repeated = np.ones(len(rows), bool)
    repeated[first] = False
    known = [category.id for category in dataset.categories]
    slack = 1.0
    outside = (x < -slack) | (y < -slack) | (x + w > width + slack) | (y + h > height + slack)
    checks = {
        "annotation ids that stand more than once": repeated,
        "annotations whose category is not in the table": ~np.isin(rows.category_ids, known),
        "annotations without an area": np.isnan(rows.areas),
        "annotations of area 0 or less": rows.areas <= 0,
        "annotations with more area than their image": rows.areas > height * width,
        "annotations without a bbox": np.isnan(x),
        "annotations whose bbox leaves the image": outside,
    }
    for what, flags in checks.items():
        hits = np.flatnonzero(flags)
        if len(hits):
            ids = ", ".join(map(str, np.asarray(rows.ids)[hits[:5]].tolist()))
            yield f"{rows.where_from}: {len(hits)} {what} (ids {ids}{', ...' * (len(hits) > 5)})."
    empty = int((rows.n_per_image == 0).sum())
    if empty:
        yield f"{rows.where_from}: {empty} images without annotations."


def _deep_problems(dataset: EntityDataset) -> list[str]:
    """Read every mask: broken ones, maps that do not fit, areas that are not the mask's."""

    def check(image_idx: int) -> list[str]:
        image = dataset.images[image_idx]
        try:
            annotations = dataset.annotations(image_idx)
        except InputError as error:
            return [str(error)]
        return [
            f"{dataset.where}: image {image.id} ({image.file_name}), annotation {a.id}: its area "
            f"is {a.area:g}, its mask has {rle_codes.area(a.segmentation)} pixels."
            for a in annotations
            if abs(a.area - rle_codes.area(a.segmentation)) > 0.5
        ]

    with ThreadPoolExecutor() as pool:
        found = pool.map(check, range(len(dataset)))
        return _shown([what for problems in found for what in problems])


def _shown(problems: list[str]) -> list[str]:
    if len(problems) <= SHOWN:
        return problems
    return [*problems[:SHOWN], f"... and {len(problems) - SHOWN} more of this kind."]
