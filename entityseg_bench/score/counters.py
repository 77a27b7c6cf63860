"""Count images for the type's metric: each counter adds images, and what others have counted."""

from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalResult, EvalState, panoptic, semantic
from entityseg_bench.formats.maps import Painted, paint, painting_order
from entityseg_bench.score.type_metrics import Row, TypeMetrics, instance_metrics
from entityseg_bench.table import Segments
from entityseg_bench.types import RLE, Category

__all__ = [
    "COUNTERS",
    "PAINTED",
    "Counter",
    "ImageSegments",
    "InstanceCounter",
    "PanopticCounter",
    "SemanticCounter",
]

Ints = NDArray[np.int64]


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

    def __init__(self, categories: Sequence[Category]) -> None:
        self._n_classes = max((category.id for category in categories), default=0) + 1
        self._counts = np.zeros((self._n_classes + 1, self._n_classes), np.int64)

    def add(
        self,
        image: int,
        size: tuple[int, int],
        gt: ImageSegments,
        dt: ImageSegments,
        by_class: bool,
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

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Write the counts: (n, 2) cells of the table that are not 0, and their pixels."""
        cells = np.flatnonzero(self._counts)
        return {"cells": np.stack([cells, self._counts.reshape(-1)[cells]], axis=1)}

    def take(self, arrays: Mapping[str, NDArray[Any]], positions: Ints) -> None:
        """Add what `arrays` wrote of other images."""
        cells, pixels = arrays["cells"].T
        np.add.at(self._counts.reshape(-1), cells, pixels)


class PanopticCounter:
    """Count matched segments by category and by none, for PQ.

    Sums of IoU depend on their order in the last bits, so images are added by rising id.

    Args:
        categories: Of the segments; without types there are no things and stuff to tell apart.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        typed = all(category.type for category in categories)
        self._is_thing = {c.id: c.type == "thing" for c in categories} if typed else None
        # Of each image and category: image, category, whether by class, tp, fp, fn; and IoU.
        self._counts: list[tuple[int, ...]] = []
        self._ious: list[float] = []

    def add(
        self,
        image: int,
        size: tuple[int, int],
        gt: ImageSegments,
        dt: ImageSegments,
        by_class: bool,
    ) -> None:
        """Count an image of (height, width); where predictions overlap the higher score wins.

        Args:
            image: Its place among all images by rising id.
            size: (height, width).
            gt: Its annotations.
            dt: Its predictions.
            by_class: Whether to count by category, too.
        """
        sides = (*_segments(gt, size), *_segments(dt, size))
        # panopticapi's rule of one crowd a category stands for its own numbers only.
        self._keep(image, 0, panoptic.tally(*sides, class_agnostic=True, every_crowd=True))
        if by_class:
            self._keep(image, 1, panoptic.tally(*sides))

    def _keep(self, image: int, by_class: int, found: Mapping[int, panoptic.Tally]) -> None:
        for category_id, own in found.items():
            self._counts.append((image, category_id, by_class, own.tp, own.fp, own.fn))
            self._ious.append(own.iou)

    def result(self, left_out: str = "") -> TypeMetrics:
        """Summarise what was counted."""
        agnostic = {"class_agnostic": _quality(panoptic.summarize(self._tallies(0)).all)}
        if left_out:
            return TypeMetrics("panoptic", agnostic, {}, left_out)
        found = panoptic.summarize(self._tallies(1), self._is_thing)
        groups = {"all": _quality(found.all)}
        if self._is_thing is not None:
            groups |= {"things": _quality(found.things), "stuff": _quality(found.stuff)}
        each = {
            k: {"PQ": one.PQ, "SQ": one.SQ, "RQ": one.RQ} for k, one in found.per_category.items()
        }
        return TypeMetrics("panoptic", groups | agnostic, each)

    def _tallies(self, by_class: int) -> list[dict[int, panoptic.Tally]]:
        """List the counts of one kind by rising image."""
        rows = zip(self._counts, self._ious, strict=True)
        own = sorted((counts, iou) for counts, iou in rows if counts[2] == by_class)
        return [{row[1]: panoptic.Tally(row[3], row[4], row[5], iou)} for row, iou in own]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Write the counts, (n, 6), and their sums of IoU, (n,)."""
        counts = np.array(self._counts, np.int64).reshape(-1, 6)
        return {"counts": counts, "ious": np.array(self._ious, np.float64)}

    def take(self, arrays: Mapping[str, NDArray[Any]], positions: Ints) -> None:
        """Add what `arrays` wrote of other images, which now stand at some positions."""
        counts = np.array(arrays["counts"], np.int64)
        counts[:, 0] = positions[counts[:, 0]]
        self._counts += map(tuple, counts.tolist())
        self._ious += arrays["ious"].tolist()


class InstanceCounter:
    """Hold what class-aware AP is computed from.

    Args:
        categories: Not needed.
        found: Evaluated by category; None where that could not be.
        state: What is left of it.
    """

    def __init__(
        self,
        categories: Sequence[Category] = (),
        found: EvalResult | None = None,
        state: EvalState | None = None,
    ) -> None:
        self._found, self._states = found, [state] if state else []

    def result(self, left_out: str = "") -> TypeMetrics:
        """Summarise what was matched."""
        if left_out:
            return TypeMetrics("instance", {}, {}, left_out)
        return instance_metrics(self._found or self._merged().finish())

    def _merged(self) -> EvalState:
        ids = sorted({key for state in self._states for key in state.category_ids})
        return EvalState.merge([state.with_categories(ids) for state in self._states])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Write the state; nothing where there is none."""
        return self._merged().arrays() if self._states else {}

    def take(self, arrays: Mapping[str, NDArray[Any]], positions: Ints) -> None:
        """Add what `arrays` wrote of other images."""
        if arrays:
            self._states.append(EvalState.of_arrays(arrays))


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


def _quality(found: panoptic.Quality) -> Row:
    return {"PQ": found.PQ, "SQ": found.SQ, "RQ": found.RQ, "n": found.n}


Counter = SemanticCounter | PanopticCounter | InstanceCounter
# Those that look at the pixels of each image; instances are matched as entities are.
PAINTED: dict[str, type[SemanticCounter] | type[PanopticCounter]] = {
    "semantic": SemanticCounter,
    "panoptic": PanopticCounter,
}
COUNTERS: dict[str, type[Counter]] = {**PAINTED, "instance": InstanceCounter}
