"""The metric that each annotation type has beside AP^e: class-aware AP, mIoU, PQ."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from entity_api import EvalResult
from entity_api.names import Metric, as_submitted
from entity_api.shown import html_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Row", "TypeMetrics", "class_fault", "instance_metrics", "type_table"]

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
