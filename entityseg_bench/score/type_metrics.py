"""The metric that each annotation type has beside AP^e: class-aware AP, mIoU, PQ."""

import dataclasses
import math
from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalResult, panoptic, semantic
from entity_api.names import Metric, as_submitted
from entity_api.shown import html_table
from entityseg_bench.check import Report, reported
from entityseg_bench.formats.maps import Painted, paint, painting_order
from entityseg_bench.formats.opened import Classes
from entityseg_bench.io import InputError
from entityseg_bench.table import Segments
from entityseg_bench.types import RLE, Category

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "PanopticCounter",
    "SemanticCounter",
    "TypeMetrics",
    "class_fault",
    "count_type",
    "instance_metrics",
    "type_table",
    "why_not_by_class",
]

Row = dict[str, float]
Task = Literal["instance", "semantic", "panoptic"]

TITLES: dict[Task, str] = {
    "instance": "class-aware AP",
    "semantic": "semantic classes",
    "panoptic": "panoptic quality",
}
SEGMENTS: dict[Task, str] = {
    "instance": "instance",
    "semantic": "class of an image",
    "panoptic": "panoptic segment",
}
UNLIKE = "not to be compared with published AP^e, which is over all entities"


@dataclasses.dataclass(frozen=True, repr=False)
class TypeMetrics:
    """Hold the metric of an annotation type: fractions in [0, 1], nan where nothing is measured.

    Attributes:
        task: instance, semantic or panoptic.
        groups: Group of categories -> metric -> value; ``n`` is the number of categories averaged.
            instance: ``all`` -> AP AP50 ... AR100 ARl. semantic: ``all`` -> mIoU fwIoU mACC pACC.
            panoptic: ``all`` ``things`` ``stuff`` ``class_agnostic`` -> PQ SQ RQ.
        per_category: Category id -> metric -> value, of those that were measured: AP; IoU and ACC;
            PQ, SQ and RQ.
        left_out: Why the metrics that need categories are not there, empty where they are.
    """

    task: Task
    groups: dict[str, Row]
    per_category: dict[int, Row]
    left_out: str = ""

    def __repr__(self) -> str:
        return type_table(self)

    def _repr_html_(self) -> str:
        names = [name for row in self.groups.values() for name in row if not name.startswith("AR")]
        names = list(dict.fromkeys(names))
        rows = [[TITLES[self.task], *names]]
        for group, row in self.groups.items():
            cells = (_percent(row.get(n, math.nan)) for n in names if n != "n")
            rows.append([group.replace("_", "-"), *cells, f"{row.get('n', 0):.0f}"])
        return html_table(rows) if self.groups else html_table([[type_table(self)]])

    def to_frame(self) -> "pd.DataFrame":
        """List the categories that were measured, a row each, fractions, where pandas is."""
        import pandas as pd

        return pd.DataFrame.from_dict(self.per_category, orient="index").rename_axis("category_id")

    def record(self) -> dict[str, Any]:
        """Return what the result JSON holds, nan as null."""

        def plain(row: Mapping[str, float]) -> dict[str, float | None]:
            return {name: None if math.isnan(value) else value for name, value in row.items()}

        return {
            **{name: plain(row) for name, row in self.groups.items()},
            "per_category": {str(k): plain(row) for k, row in self.per_category.items()},
            "left_out": self.left_out or None,
        }


def class_fault(
    used: set[int], categories: Sequence[Any], present: set[int], side: str = "predictions"
) -> str:
    """Say why predictions cannot be scored by category, or return an empty string.

    Args:
        used: Category ids that occur in the predictions, -1 for none.
        categories: Of the ground truth, with ``id``.
        present: Category ids that occur in the ground truth.
        side: How to call the predictions.
    """
    known = {category.id for category in categories}
    if not used:
        return ""
    strange = sorted(used - known)
    if strange:
        name = "none" if strange[0] == -1 else f"{strange[0]}"
        return f"category_id {name} of the {side} is not among the categories of the ground truth"
    if len(used) == 1 and len(present) > 1:
        return f"all {side} have category_id {min(used)}, as class-agnostic ones do"
    return ""


def instance_metrics(result: EvalResult) -> TypeMetrics:
    """Take class-aware AP, masks as submitted, from an evaluation grouped by category."""
    each = {k: value for k, value in result.per_category().items() if not math.isnan(value)}
    plain = {name: result.metrics[name] for name in as_submitted(result.metrics)}
    per_category = {k: {"AP": value} for k, value in each.items()}
    return TypeMetrics("instance", {"all": {**plain, "n": len(each)}}, per_category)


class ImageSegments(NamedTuple):
    """Hold the segments of one image on one side, N of them.

    Attributes:
        masks: (N,) of the image's size.
        category_ids: (N,).
        iscrowd: (N,).
        scores: (N,) of predictions, None for annotations.
    """

    masks: list[RLE]
    category_ids: list[int]
    iscrowd: list[bool]
    scores: list[float] | None

    @classmethod
    def of(cls, table: Segments, image_idx: int, known: Container[int]) -> "ImageSegments":
        """Take an image's segments that can be read and are of known categories."""
        masks = table.rles(image_idx)
        rows = [row for row in masks if int(table.category_ids[row]) in known]
        return cls(
            [masks[row] for row in rows],
            table.category_ids[rows].tolist(),
            table.iscrowd[rows].tolist(),
            table.scores[rows].tolist() if table.predicted else None,
        )

    def painted(self, values: Sequence[int], size: tuple[int, int], background: int = 0) -> Painted:
        """Paint the masks with values, (N,), over each other."""
        order = painting_order(self.iscrowd, self.scores)
        return paint(self.masks, values, order, size, background)


class SemanticCounter:
    """Count pixels by class over images, for mIoU.

    Args:
        categories: Classes; their ids are the labels.
    """

    task: Task = "semantic"

    def __init__(self, categories: Sequence[Category]) -> None:
        self._n_classes = max((category.id for category in categories), default=0) + 1
        self._counts = np.zeros((self._n_classes + 1, self._n_classes), np.int64)

    def add(
        self, size: tuple[int, int], gt: ImageSegments, dt: ImageSegments, by_class: bool
    ) -> None:
        """Count an image of (height, width); where predictions overlap the higher score wins."""
        if by_class:
            truth, found = (
                side.painted(side.category_ids, size, semantic.IGNORE).pixels for side in (gt, dt)
            )
            self._counts += semantic.count(truth, found, self._n_classes)

    def result(self, left_out: str = "") -> TypeMetrics:
        """Summarise what was counted."""
        if left_out:
            return TypeMetrics("semantic", {}, {}, left_out)
        found = semantic.summarize(self._counts)
        present = np.flatnonzero(self._counts.sum(axis=0)).tolist()
        names = ("mIoU", "fwIoU", "mACC", "pACC")
        row: Row = {name: getattr(found, name) for name in names}
        each = {k: {"IoU": float(found.iou[k]), "ACC": float(found.accuracy[k])} for k in present}
        return TypeMetrics("semantic", {"all": {**row, "n": len(present)}}, each)


class PanopticCounter:
    """Count matched segments by category and by none, for PQ.

    Args:
        categories: Of the segments; without types there are no things and stuff to tell apart.
    """

    task: Task = "panoptic"

    def __init__(self, categories: Sequence[Category]) -> None:
        typed = all(category.type for category in categories)
        self._is_thing = {c.id: c.type == "thing" for c in categories} if typed else None
        self._by_class: dict[int, panoptic.Tally] = {}
        self._agnostic: dict[int, panoptic.Tally] = {}

    def add(
        self, size: tuple[int, int], gt: ImageSegments, dt: ImageSegments, by_class: bool
    ) -> None:
        """Count an image of (height, width); where predictions overlap the higher score wins."""
        sides = (*_segments(gt, size), *_segments(dt, size))
        # panopticapi's rule of one crowd a category stands for its own numbers only.
        _add(self._agnostic, panoptic.tally(*sides, class_agnostic=True, every_crowd=True))
        if by_class:
            _add(self._by_class, panoptic.tally(*sides))

    def result(self, left_out: str = "") -> TypeMetrics:
        """Summarise what was counted."""
        agnostic = {"class_agnostic": _quality(panoptic.summarize([self._agnostic]).all)}
        if left_out:
            return TypeMetrics("panoptic", agnostic, {}, left_out)
        found = panoptic.summarize([self._by_class], self._is_thing)
        groups = {"all": _quality(found.all)}
        if self._is_thing is not None:
            groups |= {"things": _quality(found.things), "stuff": _quality(found.stuff)}
        each = {
            k: {"PQ": one.PQ, "SQ": one.SQ, "RQ": one.RQ} for k, one in found.per_category.items()
        }
        return TypeMetrics("panoptic", groups | agnostic, each)


def _segments(
    side: ImageSegments, size: tuple[int, int]
) -> tuple[NDArray[np.int64], list[dict[str, Any]]]:
    """Paint an image's segments as 1..N and list those that can be seen."""
    painted = side.painted(range(1, len(side.masks) + 1), size)
    rows = zip(side.category_ids, side.iscrowd, strict=True)
    listed = [
        {"id": k, "category_id": category_id, "iscrowd": int(iscrowd)}
        for k, (category_id, iscrowd) in enumerate(rows, start=1)
        if painted.areas[k - 1]
    ]
    return painted.pixels, listed


COUNTERS: dict[str, type[SemanticCounter] | type[PanopticCounter]] = {
    "semantic": SemanticCounter,
    "panoptic": PanopticCounter,
}


def count_type(
    gt: Segments,
    dt: Segments,
    classes: Classes,
    only_predicted: bool,
    report: Report,
    progress: Callable[[int, int], None],
) -> "TypeMetrics | None":
    """Count the metric of semantic and panoptic ground truth; None for other types.

    Args:
        gt: Ground truth.
        dt: Predictions.
        classes: What their categories are worth.
        only_predicted: Leave out images without predictions.
        report: Takes the faults of images.
        progress: Called with (images counted, images to count).
    """
    if gt.task not in COUNTERS:
        return None
    table = gt.categories
    counter = COUNTERS[gt.task](table)
    known = {category.id for category in table}
    left_out = why_not_by_class(gt, dt, classes)
    # Without categories every prediction counts, for the class-agnostic numbers.
    predicted: Container[int] = known if classes == "all" else Everything()
    for image_idx, image in enumerate(gt.images):
        with reported(report):
            own = ImageSegments.of(dt, image_idx, predicted)
            if own.masks or not only_predicted:
                truth = ImageSegments.of(gt, image_idx, known)
                try:
                    counter.add(gt.size_of_image(image_idx), truth, own, not left_out)
                except (panoptic.PanopticError, semantic.SemanticError) as error:
                    place = f"image {image.id} ({image.file_name})"
                    raise InputError(gt.where_from, place, f"{error}.") from None
        progress(image_idx + 1, len(gt.images))
    return counter.result(left_out)


def why_not_by_class(gt: Segments, dt: Segments, classes: Classes) -> str:
    """Say why predictions cannot be scored by category, or return an empty string."""
    if classes == "all":
        return ""
    if classes == "none":
        return f"these predictions do not have the {gt.task} categories"
    used, present = (set(np.unique(side.category_ids).tolist()) for side in (dt, gt))
    return class_fault(used, gt.categories, present)


class Everything(Container[int]):
    """Hold every category."""

    def __contains__(self, _: object) -> bool:
        return True


def _add(total: dict[int, panoptic.Tally], more: Mapping[int, panoptic.Tally]) -> None:
    for category_id, tally in more.items():
        total[category_id] = total.get(category_id, panoptic.Tally()).plus(tally)


def _quality(found: panoptic.Quality) -> Row:
    return {"PQ": found.PQ, "SQ": found.SQ, "RQ": found.RQ, "n": found.n}


def type_table(found: TypeMetrics) -> str:
    """Lay out the metrics in percent, one row a group of categories; a dash where none was.

    Of the twelve numbers of class-aware AP the six precisions are printed.
    """
    note = f"AP^e above takes each {SEGMENTS[found.task]} as an entity: {UNLIKE}."
    if not found.groups:
        return f"{TITLES[found.task]} left out: {found.left_out}.\n{note}"
    first = next(iter(found.groups.values()))
    names = [name for name in first if name != "n" and Metric.parse(name).kind != "AR"]
    lines = [f"{TITLES[found.task]:28}" + "".join(f"{name:>8}" for name in names) + "  categories"]
    for group, row in found.groups.items():
        cells = "".join(f"{_percent(row[name]):>8}" for name in names)
        number = "" if group == "class_agnostic" else f"{row['n']:>12.0f}"
        lines.append(f"{group.replace('_', '-'):28}{cells}{number}".rstrip())
    if found.left_out:
        lines.append(f"By category left out: {found.left_out}.")
    lines.append(note)
    return "\n".join(lines)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"
