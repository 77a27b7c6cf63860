"""Predictions that come image by image: scored in parts, their masks forgotten, parts merged.

What is left of a prediction is its score, its category and its outcome in the state.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams, EvalResult, Overlap, StateError
from entity_api.state_arrays import bare
from entityseg_bench.check import refuse
from entityseg_bench.formats.opened import Classes
from entityseg_bench.io import InputError
from entityseg_bench.masks import CodedMasks, Masks, Rows
from entityseg_bench.rules import problems
from entityseg_bench.scale.parts import images_at
from entityseg_bench.scale.saved import SavedScoring
from entityseg_bench.score import Scoring, Sides, on_void, score_sides
from entityseg_bench.table import Segments
from entityseg_bench.types import RLE

__all__ = ["Condensed", "Predicted", "classes_of", "table_of"]


class Predicted(NamedTuple):
    """Hold what was predicted on an image.

    Attributes:
        counts: (N,) run-length codes; None once they are forgotten.
        scores: (N,).
        category_ids: (N,), -1 for none.
        digest: Hash of all of it, by which two predictions are told apart.
    """

    counts: list[str] | None
    scores: NDArray[np.float64]
    category_ids: NDArray[np.int64]
    digest: bytes

    @classmethod
    def of(
        cls, counts: list[str], scores: NDArray[np.float64], category_ids: NDArray[np.int64]
    ) -> "Predicted":
        """Hold masks, scores and categories."""
        digest = hashlib.blake2b("\n".join(counts).encode(), digest_size=16)
        digest.update(scores.tobytes() + category_ids.tobytes())
        return cls(counts, scores, category_ids, digest.digest())


def table_of(gt: Segments, found: Mapping[int, Predicted]) -> Segments:
    """Put predictions together, by image in the order of the ground truth.

    Args:
        gt: Ground truth.
        found: Position of an image -> what was predicted on it.
    """
    own = [(idx, found[idx]) for idx in sorted(found)]
    sizes = [len(one.scores) for _, one in own]
    none = np.zeros(0)
    return Segments.make(
        gt.images,
        np.repeat(np.array([idx for idx, _ in own], np.int64), sizes),
        CodedMasks([code for _, one in own for code in one.counts or ()]),
        np.array([k for n in sizes for k in range(n)], np.int64),
        category_ids=np.concatenate([none, *(one.category_ids for _, one in own)]).astype(np.int64),
        scores=np.concatenate([none, *(one.scores for _, one in own)]),
        predicted=True,
        categories=gt.categories,
        task=gt.task,
        where_from="EntityMetric",
        kind="prediction",
    )


def classes_of(dt: Segments) -> Classes:
    """Say what categories are worth; no prediction lacks its own where there is none."""
    return "some" if not len(dt) or (dt.category_ids >= 0).any() else "none"


@dataclasses.dataclass(frozen=True)
class Condensed:
    """Hold what is left of the predictions on some images, small and mergeable.

    Attributes:
        found: Position of each image -> what was predicted, without its masks.
        scored: The images' state.
        n_on_void: How many predictions lie on unlabelled pixels alone.
    """

    found: dict[int, Predicted]
    scored: SavedScoring
    n_on_void: int

    @classmethod
    def of(
        cls, gt: Segments, found: Mapping[int, Predicted], params: EvalParams, only: bool
    ) -> "Condensed":
        """Score the predictions on some images, and forget their masks.

        Args:
            gt: All ground truth.
            found: Position of an image -> what was predicted on it.
            params: What to measure.
            only: Whether images without predictions are left out.

        Raises:
            InputError: Something that cannot be scored.
        """
        images = np.array(sorted(found), np.int64)
        params = dataclasses.replace(_of_all(params, gt), keep_matches=False)
        if only:
            ids = [gt.images[idx].id for idx in images.tolist() if len(found[idx].scores)]
            params = dataclasses.replace(params, image_ids=ids)
        part = images_at(gt, images), images_at(table_of(gt, found), images)
        scoring = score_sides(
            Sides(*part, "some", [], {}), params, predicted_images_only=only, is_part=True
        )
        bare_found = {idx: one._replace(counts=None) for idx, one in found.items()}
        return cls(bare_found, SavedScoring.of(scoring), int(scoring.result.on_void.sum()))

    @staticmethod
    def merge(parts: "Sequence[Condensed]") -> "Condensed":
        """Join what is left of disjoint images.

        Raises:
            InputError: They were scored by other parameters.
        """
        try:
            scored = SavedScoring.merge([part.scored for part in parts])
        except StateError as error:
            hint = "Give all metrics the same params."
            raise InputError("EntityMetric", "merge", f"{error}.", hint) from None
        found = {idx: one for part in parts for idx, one in part.found.items()}
        return Condensed(found, scored, sum(part.n_on_void for part in parts))

    def check_params(self, params: EvalParams, gt: Segments) -> None:
        """Refuse parameters that it was not scored by.

        Raises:
            InputError: They are others.
        """
        if bare(_of_all(params, gt)) != self.scored.state.params:
            what = "its predictions were scored by other params when they were merged or condensed."
            raise InputError("EntityMetric", "", what, "Give params to the constructor.")

    def scoring(self, sides: Sides, params: EvalParams, only: bool) -> Scoring:
        """Finish the scoring of all images; its matches are empty, and it has no masks.

        Args:
            sides: Ground truth, and what `table_of` makes of ``found``.
            params: By which it was scored.
            only: Whether images without predictions are left out.

        Raises:
            InputError: A rule of ``entityseg evaluate`` is broken.
        """
        gt, dt = sides.gt, sides.dt
        rest = {idx: _nothing() for idx in range(len(gt.images)) if idx not in self.found}
        merged = self
        if rest and not only:
            merged = Condensed.merge([self, Condensed.of(gt, rest, params, only)])
        found = [*sides.notes, *problems(gt, dt, params.class_aware, params.max_dets[-1])]
        refuse(found)
        if merged.n_on_void:
            found.append(on_void(dt, merged.n_on_void))
        own = merged.scored.own
        if own:
            own = dataclasses.replace(own, classes=frozenset({sides.classes}))
        dt = dt.replace(masks=Forgotten())
        return Scoring(
            gt,
            dt,
            _finished(merged.scored, gt, params, only),
            found,
            dataclasses.replace(sides, dt=dt),
            own.metrics() if own else None,
            None,
            own,
        )


def _of_all(params: EvalParams, gt: Segments) -> EvalParams:
    """Name the categories of all ground truth: a part of it may lack some."""
    if not params.class_aware or params.category_ids is not None:
        return params
    return dataclasses.replace(params, category_ids=tuple(np.unique(gt.category_ids).tolist()))


def _nothing() -> Predicted:
    return Predicted.of([], np.zeros(0), np.zeros(0, np.int64))


def _finished(scored: SavedScoring, gt: Segments, params: EvalParams, only: bool) -> EvalResult:
    """Finish a state, its images in the order of the ground truth."""
    result, ids = scored.state.finish(), scored.state.image_ids
    params = dataclasses.replace(params, keep_matches=False, image_ids=ids if only else None)
    overlap = result.overlap
    if overlap is not None:
        position = {image.id: idx for idx, image in enumerate(gt.images)}
        columns = np.zeros((4, len(gt.images)), np.int64)
        columns[:, [position[image_id] for image_id in ids]] = dataclasses.astuple(overlap)
        overlap = Overlap(*columns)
    return dataclasses.replace(result, params=params, overlap=overlap)


class Forgotten(Masks):
    """Stand for masks that are no longer held."""

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Say so."""
        self._refuse()

    def read_all(self, table: Rows) -> Any:
        """Say so."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        what = "the masks were forgotten when predictions were merged or condensed."
        hint = "Write the predictions to a file and score it."
        raise InputError("EntityMetric", "", what, hint)
