"""What became of every prediction and entity of some images; parts join to that of the whole."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams, StateError
from entityseg_bench.errors.kinds import FOUND, NONE
from entityseg_bench.errors.sorting import SortedErrors, sort_errors
from entityseg_bench.resampling.weighted import matches_of
from entityseg_bench.score import Scoring

__all__ = ["Judgements"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Array -> its type, in memory and in the file; first those of `SortedErrors`.
OF_ERRORS: dict[str, Any] = {
    "kind": np.int8, "target": np.int32, "entity_kind": np.int8, "covered": np.int64,
    "best": np.int32, "iou": np.float64, "area": np.int64, "entity_iou": np.float64,
}  # fmt: skip
OF_TABLE: dict[str, Any] = {
    "scores": np.float64, "image": np.int64, "entity_image": np.int64, "ignored": np.uint8,
    "counted": np.uint8, "category_ids": np.int64,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Judgements:
    """Hold what the costs of errors are computed from, and no mask.

    Attributes:
        params: Of the scoring.
        overlaps_removed: Whether the masks of AP^e were judged.
        names: Category id -> name; empty where the ground truth has no categories.
        scores: (N,) of the predictions that count, by image and score descending.
        image: (N,) position of the image of each.
        found: Their errors, and those of the entities.
        entity_image: (G,) position of the image of each entity.
        ignored: (A, G) crowds, and entities outside of each area range.
        counted: (G,) entities that are asked for.
        category_ids: (G,).
    """

    params: EvalParams
    overlaps_removed: bool
    names: dict[int, str]
    scores: Floats
    image: Ints
    found: SortedErrors
    entity_image: Ints
    ignored: Bools
    counted: Bools
    category_ids: Ints

    @classmethod
    def of(cls, scoring: Scoring, removed: bool, found: SortedErrors) -> "Judgements":
        """Gather what a scoring says beside its sorted errors.

        Args:
            scoring: Class-agnostic.
            removed: Whether the masks of AP^e were judged.
            found: As `sort_errors` gives them.
        """
        result = scoring.result
        records = matches_of(result, "e" if removed else "").records
        ignored = result.matches.gt_ignored
        return cls(
            params=result.params,
            overlaps_removed=removed,
            names={category.id: category.name for category in scoring.gt.categories},
            scores=result.dt.scores[records],
            image=result.dt.image_idx[records],
            found=found,
            entity_image=scoring.gt.image_idx,
            ignored=ignored,
            counted=~ignored[0] & (result.groups.gt_category >= 0),
            category_ids=scoring.gt.category_ids,
        )

    @classmethod
    def judge(
        cls,
        scoring: Scoring,
        overlaps_removed: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> "Judgements":
        """Judge the predictions and entities of a scoring.

        Args:
            scoring: Class-agnostic, by masks, with its matches kept.
            overlaps_removed: Judge AP^e, where the scoring has it.
            progress: Called with (images finished, images to judge).

        Raises:
            ValueError: A scoring of another sort.
        """
        result = scoring.result
        removed = overlaps_removed and result.disjoint is not None
        # Cut to the labelled pixels, as they were scored.
        gt, dt = scoring.gt.ground_truth(), result.dt
        return cls.of(scoring, removed, sort_errors(gt, dt, result, removed, progress))

    @property
    def n_gt(self) -> Ints:
        """(I,) entities of each image that are asked for, up to the last image that has any."""
        most = max(self.image.max(initial=-1), self.entity_image.max(initial=-1)) + 1
        return np.bincount(self.entity_image[self.counted], minlength=int(most))

    def at(self, positions: Ints) -> "Judgements":
        """Return the same with the images at other positions, in which order all then stands."""
        return self.merge([self], [positions])

    @staticmethod
    def merge(parts: "Sequence[Judgements]", positions: Sequence[Ints]) -> "Judgements":
        """Join the judgements of parts.

        Args:
            parts: Of disjoint images.
            positions: Of each part's images among all.

        Raises:
            StateError: Some are of AP and some of AP^e, or a category has two names.
        """
        if len({part.overlaps_removed for part in parts}) > 1:
            raise StateError("errors of some states are those of AP^e, of others those of AP")
        names: dict[int, str] = {}
        for part in parts:
            for category_id, name in part.names.items():
                if names.setdefault(category_id, name) != name:
                    raise StateError(f"category {category_id} has several names")
        image, order = _ordered([part.image for part in parts], positions)
        entity_image, entities = _ordered([part.entity_image for part in parts], positions)
        return Judgements(
            params=parts[0].params,
            overlaps_removed=parts[0].overlaps_removed,
            names=names,
            scores=np.concatenate([part.scores for part in parts])[order],
            image=image,
            found=_join([part.found for part in parts], order, entities),
            entity_image=entity_image,
            ignored=np.concatenate([part.ignored for part in parts], axis=1)[:, entities],
            counted=np.concatenate([part.counted for part in parts])[entities],
            category_ids=np.concatenate([part.category_ids for part in parts])[entities],
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Write the judgements as named arrays; `about` has the rest."""
        fields = {name: getattr(self, name) for name in OF_TABLE}
        fields |= {name: getattr(self.found, name) for name in OF_ERRORS}
        types = OF_TABLE | OF_ERRORS
        return {name: np.asarray(own, types[name]) for name, own in fields.items()}

    def about(self) -> dict[str, Any]:
        """Return what is no array, as JSON can hold it."""
        names = [[category_id, name] for category_id, name in self.names.items()]
        return {"overlaps_removed": self.overlaps_removed, "names": names}

    @classmethod
    def of_file(
        cls, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], params: EvalParams
    ) -> "Judgements":
        """Read what `about` and `arrays` wrote of a scoring with some parameters.

        Raises:
            StateError: They do not fit each other.
        """
        table = {name: np.asarray(arrays[name], dtype) for name, dtype in OF_TABLE.items()}
        errors = {name: np.asarray(arrays[name], dtype) for name, dtype in OF_ERRORS.items()}
        for name in ("ignored", "counted"):
            table[name] = table[name].astype(bool)
        read = cls(
            params=params,
            overlaps_removed=bool(about["overlaps_removed"]),
            names={int(category_id): str(name) for category_id, name in about["names"]},
            found=SortedErrors(**errors),
            **table,
        )
        read.check()
        return read

    def check(self) -> None:
        """Refuse arrays that do not fit each other.

        Raises:
            StateError: What is wrong.
        """
        n, n_gt, found = len(self.scores), len(self.entity_image), self.found
        n_thrs, n_areas = len(self.params.iou_thrs), len(self.params.area_ranges)
        shapes: dict[str, tuple[int, ...]] = {
            "kind": (n_thrs, n), "target": (n_thrs, n), "entity_kind": (n_thrs, n_gt),
            "covered": (len(found.covered), 2), "best": (n,), "iou": (n,), "area": (n,),
            "entity_iou": (n_gt,), "image": (n,), "ignored": (n_areas, n_gt),
            "counted": (n_gt,), "category_ids": (n_gt,),
        }  # fmt: skip
        for name, shape in shapes.items():
            have = getattr(found if name in OF_ERRORS else self, name).shape
            if have != shape:
                raise StateError(f"{name} of shape {have}, not {shape}")
        ranges = {
            "kind": (NONE, FOUND), "entity_kind": (NONE, FOUND), "target": (-1, n_gt - 1),
            "best": (-1, n_gt - 1),
        }  # fmt: skip
        for name, (least, most) in ranges.items():
            values = getattr(found, name)
            if values.size and (values.min() < least or values.max() > most):
                raise StateError(f"{name} holds numbers outside of {least} to {most}")
        columns, covered = found.covered.T
        if columns.size and (
            min(columns.min(), covered.min()) < 0 or columns.max() >= n or covered.max() >= n_gt
        ):
            raise StateError("covered holds pairs of what is not there")
        if (np.diff(self.image) < 0).any() or not np.isfinite(self.scores).all():
            raise StateError("predictions are out of order, or have no scores")


def _ordered(images: Sequence[Ints], positions: Sequence[Ints]) -> tuple[Ints, Ints]:
    """Give rows of parts the positions of their images among all, and order them by these."""
    moved = np.concatenate([own[at] for at, own in zip(images, positions, strict=True)])
    order = np.argsort(moved, kind="stable")
    return moved[order], order


def _join(parts: Sequence[SortedErrors], order: Ints, entities: Ints) -> SortedErrors:
    """Chain the errors of parts; columns and entities take another order."""
    n = np.cumsum([0, *(own.kind.shape[1] for own in parts)])
    n_gt = np.cumsum([0, *(own.entity_kind.shape[1] for own in parts)])
    # Where each column and entity comes to stand; a position of -1, none, stays.
    column, entity = np.empty(len(order), np.int64), np.full(len(entities) + 1, -1, np.int64)
    column[order], entity[entities] = np.arange(len(order)), np.arange(len(entities))

    def moved(name: str) -> list[NDArray[Any]]:
        arrays = [getattr(own, name) for own in parts]
        return [
            entity[np.where(own >= 0, own + start, -1)].astype(np.int32)
            for own, start in zip(arrays, n_gt, strict=False)
        ]

    def chained(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(own, name) for own in parts], axis=-1)

    covered = np.concatenate(
        [
            np.stack([column[own.covered[:, 0] + at], entity[own.covered[:, 1] + start]], axis=1)
            for own, at, start in zip(parts, n, n_gt, strict=False)
        ]
    )
    return SortedErrors(
        kind=chained("kind")[:, order],
        target=np.concatenate(moved("target"), axis=1)[:, order],
        entity_kind=chained("entity_kind")[:, entities],
        covered=covered[np.lexsort(covered.T[::-1])],
        best=np.concatenate(moved("best"))[order],
        iou=chained("iou")[order],
        area=chained("area")[order],
        entity_iou=chained("entity_iou")[entities],
    )
