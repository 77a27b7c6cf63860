"""What the type's metric of some images is computed from: counts that add up, part by part."""

import dataclasses
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalResult, EvalState, StateError, panoptic, semantic
from entity_api.groups import rising
from entityseg_bench.check import Report, reported
from entityseg_bench.formats.opened import Classes
from entityseg_bench.io import InputError
from entityseg_bench.score.counters import (
    COUNTERS,
    PAINTED,
    Counter,
    ImageSegments,
    InstanceCounter,
)
from entityseg_bench.score.type_metrics import TypeMetrics, class_fault
from entityseg_bench.table import Segments
from entityseg_bench.types import Category

__all__ = ["TypeCounts", "class_ids", "count_instances", "count_type"]

Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class TypeCounts:
    """Hold the counts of some images, and whether they can be taken by category.

    Attributes:
        task: instance, semantic or panoptic.
        categories: Of the ground truth.
        classes: What the categories of the predictions are worth, of each part.
        used: Category ids that occur in the predictions.
        present: Category ids that occur in the ground truth.
        counter: The counts.
    """

    task: str
    categories: list[Category]
    classes: frozenset[Classes]
    used: frozenset[int]
    present: frozenset[int]
    counter: Counter

    @classmethod
    def uncounted(cls, gt: Segments, dt: Segments, classes: Classes) -> "TypeCounts":
        """Return what can be said before any image was counted."""
        # The categories of maps need no look: their format is one of classes.
        used, present = (
            frozenset(np.unique(side.category_ids).tolist() if classes == "some" else ())
            for side in (dt, gt)
        )
        table = list(gt.categories)
        counter = COUNTERS[gt.task](table)
        return cls(gt.task, table, frozenset({classes}), used, present, counter)

    @property
    def left_out(self) -> str:
        """Why the predictions cannot be scored by category, empty where they can."""
        if "none" in self.classes:
            return f"these predictions do not have the {self.task} categories"
        return class_fault(set(self.used), self.categories, set(self.present))

    @property
    def is_countable(self) -> bool:
        """Whether a part may be counted by category, whatever becomes of the whole.

        Predictions that all have one category may be a part of those that have several.
        """
        known = {category.id for category in self.categories}
        return "none" not in self.classes and self.used <= known

    def metrics(self) -> TypeMetrics:
        """Summarise what was counted."""
        return self.counter.result(self.left_out)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Write the counts as named arrays; `about` has the rest."""
        return self.counter.arrays()

    def at(self, positions: Ints) -> "TypeCounts":
        """Return the counts with the images at other positions."""
        return self.merge([self], [positions])

    def about(self) -> dict[str, Any]:
        """Return all but the counts, as JSON can hold it."""
        return {
            "task": self.task,
            "categories": [[own.id, own.name, own.type] for own in self.categories],
            "classes": sorted(self.classes),
            "used": sorted(self.used),
            "present": sorted(self.present),
        }

    @classmethod
    def of_file(
        cls, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], n_images: int
    ) -> Self:
        """Read what `about` and `arrays` wrote of some images.

        Raises:
            StateError: Numbers that are no counts.
            LookupError: Counts of images that are not there.
        """
        table = [Category(int(k), str(name), type=kind) for k, name, kind in about["categories"]]
        counter = COUNTERS[about["task"]](table)
        for name in ("cells", "counts", "ious"):
            own = arrays.get(name, np.zeros((0, 2)))
            # Of counts the second column is a category, which may be any number.
            counted = np.delete(own, 1, axis=1) if name == "counts" else own
            if not (counted >= 0).all():
                raise StateError(f"{name} holds numbers that are no counts")
        counter.take(arrays, np.arange(n_images))
        facts = {name: frozenset(about[name]) for name in ("classes", "used", "present")}
        return cls(str(about["task"]), table, counter=counter, **facts)

    @staticmethod
    def merge(parts: "Sequence[TypeCounts]", positions: Sequence[Ints]) -> "TypeCounts":
        """Add up the counts of parts.

        Args:
            parts: Of disjoint images.
            positions: Of each part's images among all.

        Raises:
            StateError: Their ground truth has other categories.
        """
        first = parts[0]
        tables = [[(own.id, own.name, own.type) for own in part.categories] for part in parts]
        if any(table != tables[0] for table in tables):
            raise StateError("states are of ground truth of several tables of categories")
        counter = COUNTERS[first.task](first.categories)
        for part, own in zip(parts, positions, strict=True):
            counter.take(part.counter.arrays(), own)
        return dataclasses.replace(
            first,
            classes=frozenset(own for part in parts for own in part.classes),
            used=frozenset(own for part in parts for own in part.used),
            present=frozenset(own for part in parts for own in part.present),
            counter=counter,
        )


def count_type(
    gt: Segments,
    dt: Segments,
    classes: Classes,
    only_predicted: bool,
    report: Report,
    progress: Callable[[int, int], None],
    is_part: bool = False,
) -> TypeCounts | None:
    """Count the metric of semantic and panoptic ground truth; None for other types.

    Args:
        gt: Ground truth.
        dt: Predictions.
        classes: What their categories are worth.
        only_predicted: Leave out images without predictions.
        report: Takes the faults of images.
        progress: Called with (images counted, images to count).
        is_part: Whether the counts will be merged: then by category wherever it can be.
    """
    if gt.task not in PAINTED:
        return None
    counted = TypeCounts.uncounted(gt, dt, classes)
    counter = counted.counter
    assert not isinstance(counter, InstanceCounter)
    known = {category.id for category in gt.categories}
    by_class = counted.is_countable if is_part else not counted.left_out
    # Without categories every prediction counts, for the class-agnostic numbers.
    predicted: Container[int] = known if classes == "all" else Everything()
    places = np.argsort(rising([image.id for image in gt.images])).tolist()
    for image_idx, image in enumerate(gt.images):
        with reported(report):
            own = ImageSegments.of(dt, image_idx, predicted)
            if own.masks or not only_predicted:
                truth = ImageSegments.of(gt, image_idx, known)
                size = gt.size_of_image(image_idx)
                try:
                    counter.add(places[image_idx], size, truth, own, by_class)
                except (panoptic.PanopticError, semantic.SemanticError) as error:
                    place = f"image {image.id} ({image.file_name})"
                    raise InputError(gt.where_from, place, f"{error}.") from None
        progress(image_idx + 1, len(gt.images))
    return counted


def count_instances(
    gt: Segments,
    dt: Segments,
    classes: Classes,
    score: Callable[..., EvalResult],
    is_part: bool = False,
) -> TypeCounts:
    """Score instances by category, where that can be.

    Args:
        gt: Ground truth.
        dt: Predictions.
        classes: What their categories are worth.
        score: Scores both with some parameters changed.
        is_part: As for `count_type`.
    """
    counted = TypeCounts.uncounted(gt, dt, classes)
    by_class = {"class_aware": True, "remove_overlaps": False}
    if not is_part:
        found = None if counted.left_out else score(**by_class)
        return dataclasses.replace(counted, counter=InstanceCounter(found=found))
    if not counted.is_countable:
        return counted
    found = score(**by_class, category_ids=class_ids(gt))
    state = EvalState.of(found, [image.id for image in gt.images])
    return dataclasses.replace(counted, counter=InstanceCounter(found=found, state=state))


def class_ids(gt: Segments) -> tuple[int, ...]:
    """List the categories of ground truth, those too that have no segment in it."""
    listed = {category.id for category in gt.categories}
    return tuple(sorted(listed | set(np.unique(gt.category_ids).tolist())))


class Everything(Container[int]):
    """Hold every category."""

    def __contains__(self, _: object) -> bool:
        return True
