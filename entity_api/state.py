"""What an evaluation leaves of its images, small and mergeable: parts give the whole's numbers.

A detection is its score and a code into a table of outcome patterns, of which some hundreds occur;
an image is its id, its countable ground truth and what overlapped. Images go by their ids, so it
does not matter how they were split nor in which order the parts are merged: not a bit differs.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api.curves import precision_and_recall
from entity_api.groups import as_idx, group, repeated, rising
from entity_api.overlap import Overlap
from entity_api.result import EvalResult, Matches, Scored, summarize
from entity_api.state_arrays import ABSENT, KEYS, StateArrays, bare
from entity_api.state_file import StateError
from entity_api.state_ranges import RankedState
from entity_api.state_room import Room
from entity_api.tables import Detections, GroundTruth

__all__ = ["EvalState", "Pass", "join_images"]

Ints = NDArray[np.int64]


class Pass(NamedTuple):
    """Hold the detections of one pass, by category, image and score descending.

    Attributes:
        at: (N,) positions among the detections of the state.
        ranks: (N,) place in its image, 0 = highest score.
        group: (N,) which group of the state each belongs to.
    """

    at: Ints
    ranks: Ints
    group: Ints


@dataclasses.dataclass(frozen=True, eq=False)
class EvalState(StateArrays):
    """Hold what the metrics of some images need, and no mask; `StateArrays` has the attributes.

    Examples:
        >>> from entity_api import Detections, GroundTruth, evaluate
        >>> mask, parts = np.ones((1, 8, 8), bool), []
        >>> for image_id in (7, 3):
        ...     gt = GroundTruth.from_masks([mask], image_ids=[image_id])
        ...     dt = Detections.from_masks({image_id: (mask, [0.9])}, gt)
        ...     parts.append(EvalState.of(evaluate(gt, dt), [image_id]))
        >>> result = EvalState.merge(parts).finish()
        >>> round(result.metrics["APe"], 6)
        1.0
    """

    @classmethod
    def of(cls, result: EvalResult, image_ids: Sequence[Any]) -> "EvalState":
        """Keep of a result what its metrics need.

        Args:
            result: As `entity_api.evaluate` returned it.
            image_ids: (I,) of its ground truth.

        Raises:
            StateError: Class-aware without ``EvalParams.category_ids``: a shard would leave out
                detections of the categories that its own ground truth lacks. Or ids of other images
                than were evaluated.
        """
        params, groups = result.params, result.groups
        if params.class_aware and params.category_ids is None:
            raise StateError("class-aware states need category_ids, those of the whole set")
        if len(image_ids) != len(groups.place):
            raise StateError(f"{len(image_ids)} image ids for {len(groups.place)} images")
        n_images, n_areas = len(image_ids), len(params.area_ranges)
        by_place = np.argsort(groups.place)
        is_scored = np.zeros(n_images, bool)
        is_scored[groups.images] = True
        scored = by_place[is_scored[by_place]]
        position = np.full(n_images, -1, np.int64)
        position[scored] = np.arange(len(scored))
        records, rows = _outcomes(result)
        dt_key = groups.dt_category[records] * len(scored) + position[result.dt.image_idx[records]]
        gt_image = np.empty(len(groups.gt_order), np.int64)
        gt_image[groups.gt_order] = repeated(np.arange(n_images), np.diff(groups.gt_start))
        counted = groups.gt_category >= 0
        gt_key = groups.gt_category * len(scored) + position[gt_image]
        keys = np.union1d(dt_key, gt_key[counted])
        n_gt = np.zeros((len(keys), n_areas), np.int64)
        for area, ignored in enumerate(result.matches.gt_ignored):
            at = np.searchsorted(keys, gt_key[counted & ~ignored])
            n_gt[:, area] = np.bincount(at, minlength=len(keys))
        category, image = np.divmod(keys, max(len(scored), 1))
        patterns, codes = _distinct(rows)
        removed = result.overlap is not None
        parts = dataclasses.astuple(result.overlap) if result.overlap is not None else ()
        return cls(
            params=bare(params),
            category_ids=list(groups.category_ids),
            image_ids=[image_ids[idx] for idx in scored.tolist()],
            overlap=np.stack(parts, axis=1)[scored]
            if removed
            else np.zeros((len(scored), 0), np.int64),
            group_category=category,
            group_image=image,
            n_gt=n_gt,
            n_dt=as_idx(np.bincount(np.searchsorted(keys, dt_key), minlength=len(keys))),
            scores=result.dt.scores[records],
            codes=codes.astype(np.int32),
            patterns=patterns.reshape(len(patterns), 2, n_areas, len(params.iou_thrs)),
        )

    @staticmethod
    def merge(states: "Sequence[EvalState]") -> "EvalState":
        """Join the states of parts of a set, whatever the split and the order.

        Raises:
            StateError: No state, states of different parameters, or an image in two of them.
        """
        if not states:
            raise StateError("there is no state to merge")
        first = states[0]
        for other in states[1:]:
            for key in KEYS:
                values = getattr(first.params, key), getattr(other.params, key)
                if values[0] != values[1]:
                    raise StateError(f"states differ in {key}: {values[0]} and {values[1]}")
        image_ids, positions = join_images([state.image_ids for state in states])
        group_image = np.concatenate(
            [own[state.group_image] for own, state in zip(positions, states, strict=True)]
        )
        group_category = np.concatenate([state.group_category for state in states])
        by_group = np.lexsort((group_image, group_category))
        n_dt = np.concatenate([state.n_dt for state in states])[by_group]
        # Where the detections of each group go, in the order of the parts.
        starts = np.empty(len(n_dt), np.int64)
        starts[by_group] = np.cumsum(n_dt) - n_dt
        tables = np.concatenate([_rows(state.patterns) for state in states])
        patterns, code_of = _distinct(tables)
        room = Room()
        n = int(n_dt.sum())
        scores, codes = room.array(n, np.float64), room.array(n, np.int32)
        groups = patterns_so_far = 0
        for state in states:
            at = _spread(starts[groups:][: len(state.n_dt)], state.n_dt)
            own = code_of[patterns_so_far:][: len(state.patterns)]
            scores[at], codes[at] = state.scores, own[state.codes]
            groups, patterns_so_far = groups + len(state.n_dt), patterns_so_far + len(own)
        return dataclasses.replace(
            first,
            image_ids=image_ids,
            overlap=np.concatenate([state.overlap for state in states])[
                np.argsort(np.concatenate(positions))
            ],
            group_category=group_category[by_group],
            group_image=group_image[by_group],
            n_gt=np.concatenate([state.n_gt for state in states])[by_group],
            n_dt=n_dt,
            scores=scores,
            codes=codes,
            patterns=patterns.reshape(len(patterns), *first.patterns.shape[1:]),
        )

    def kept(self, room: Room) -> "EvalState":
        """Return the state with what it has of each detection in some room."""
        return dataclasses.replace(self, scores=room.kept(self.scores), codes=room.kept(self.codes))

    def with_categories(self, category_ids: Sequence[int]) -> "EvalState":
        """Return the state as one of more categories, rising ids, of which it has nothing."""
        where = np.searchsorted(category_ids, self.category_ids)
        return dataclasses.replace(
            self,
            params=dataclasses.replace(self.params, category_ids=tuple(category_ids)),
            category_ids=list(category_ids),
            group_category=as_idx(where)[self.group_category],
        )

    def ranked(self, removed: bool) -> Pass:
        """Rank the detections of a pass, with overlaps ``removed`` or as submitted."""
        group = repeated(np.arange(len(self.n_dt), dtype=np.int64), self.n_dt)
        at = as_idx(np.flatnonzero(self.patterns[:, int(removed), 0, 0][self.codes] != ABSENT))
        group = group[at]
        first = np.flatnonzero(np.diff(group, prepend=-1))
        ranks = np.arange(len(at), dtype=np.int64)
        ranks -= np.repeat(first, np.diff(first, append=len(at)))
        return Pass(at, ranks, group)

    def finish(self) -> EvalResult:
        """Compute the metrics of all images.

        Returns:
            What `entity_api.evaluate` gives for them, equal to the last bit, but without the arrays
            of records: matches and groups are empty. `EvalResult.overlap` is in the order of
            ``image_ids``.
        """
        submitted, disjoint, overlap = self._scored(removed=False), None, None
        if self.overlap.shape[1]:
            overlap = Overlap(*np.ascontiguousarray(self.overlap.T))
            disjoint = self._scored(removed=True) if overlap.n_images else submitted
        return EvalResult(
            params=self.params,
            metrics=summarize(submitted, disjoint, self.params),
            submitted=submitted,
            disjoint=disjoint,
            overlap=overlap,
            groups=submitted.matches.groups,
            dt=_no_detections(),
            on_void=np.zeros(0, bool),
        )

    def _scored(self, removed: bool) -> Scored:
        n_areas, n_thrs = self.patterns.shape[2:]
        n_gt = np.zeros((len(self.category_ids), n_areas), np.int64)
        np.add.at(n_gt, self.group_category, self.n_gt)
        arrays = precision_and_recall(RankedState(self, removed).category, n_gt, self.params)
        gt = GroundTruth(
            [], np.zeros((0, 2), np.int64), np.zeros(0, np.int64), [], np.zeros(0, np.int64),
            np.zeros(0, bool), np.zeros(0), [],
        )  # fmt: skip
        params = self.params
        if params.class_aware:
            params = dataclasses.replace(params, category_ids=self.category_ids)
        groups = group(gt, _no_detections(), params)
        return Scored(*arrays, Matches.empty(n_areas, n_thrs, groups, 0, keep=False))


def join_images(
    parts: Sequence[Sequence[int | str]],
) -> tuple[list[int | str], list[Ints]]:
    """Put the images of parts of a set into one order, by rising id, numbers before strings.

    Returns:
        The ids of all, and for each part the positions of its images among them.

    Raises:
        StateError: An image is in two parts.

    Examples:
        >>> from entity_api.state import join_images
        >>> ids, positions = join_images([[7, "a"], [3]])
        >>> ids, [own.tolist() for own in positions]
        ([3, 7, 'a'], [[1, 2], [0]])
    """
    ids = [image_id for part in parts for image_id in part]
    order = list(rising(ids))
    for idx, after in itertools.pairwise(order):
        if ids[idx] == ids[after]:
            raise StateError(f"image {ids[idx]!r} is in two states")
    position = np.empty(len(ids), np.int64)
    position[order] = np.arange(len(ids))
    ends = np.cumsum([len(part) for part in parts])
    return [ids[idx] for idx in order], np.split(position, ends[:-1])


def _outcomes(result: EvalResult) -> tuple[Ints, NDArray[np.uint8]]:
    """Gather the detections with a rank in either pass, and their outcomes, (N, 2 x A x T).

    They stand by category, image and score descending.
    """
    groups = result.groups
    passes = [result.submitted.matches]
    if result.disjoint is not None:
        passes.append(result.disjoint.matches)
    has_rank = np.zeros(len(groups.dt_category), bool)
    for found in passes:
        has_rank[found.records] = True
    records = groups.dt_order[has_rank[groups.dt_order]]
    records = records[np.argsort(groups.dt_category[records], kind="stable")]
    where = np.full(len(has_rank), -1, np.int64)
    where[records] = np.arange(len(records))
    n_areas, n_thrs, _ = passes[0].outcome.shape
    rows = np.full((len(records), 2, n_areas * n_thrs), ABSENT, np.uint8)
    for k, found in enumerate(passes):
        rows[where[found.records], k] = found.outcome.reshape(n_areas * n_thrs, -1).T
    return records, rows.reshape(len(records), 2 * n_areas * n_thrs)


def _distinct(rows: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Ints]:
    """List the distinct rows, rising, and which of them each row is."""
    width = rows.shape[1]
    # Words of eight numbers, and one of a row's words, sort much faster than rows.
    words = np.pad(rows, ((0, 0), (0, -width % 8))).view(np.uint64)
    for seed in itertools.count():
        factors = np.random.default_rng(seed).integers(0, 2**64, words.shape[1], np.uint64)
        keys = words @ (factors | np.uint64(1))
        found = np.unique(keys)
        code = np.searchsorted(found, keys)
        first = np.empty(len(found), np.int64)
        first[code] = np.arange(len(code))
        # Rows that differ have hardly ever equal keys.
        if np.array_equal(words[first][code], words):
            break
    table, place = np.unique(rows[first], axis=0, return_inverse=True)
    return table, place.reshape(-1)[code]


def _spread(starts: Ints, lengths: Ints) -> Ints:
    """List the members of groups that begin at some positions, group after group."""
    ends = np.cumsum(lengths)
    return np.arange(int(lengths.sum())) + repeated(starts - (ends - lengths), lengths)


def _rows(patterns: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay out each pattern in one row."""
    return patterns.reshape(len(patterns), int(np.prod(patterns.shape[1:])))


def _no_detections() -> Detections:
    nothing = np.zeros(0, np.int64)
    return Detections(nothing, [], nothing, np.zeros(0))
