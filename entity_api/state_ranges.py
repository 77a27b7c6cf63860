"""The detections of a state by ranges of scores: an accumulation holds one range at a time."""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from entity_api.curves import Ranked
from entity_api.groups import Idx, by_score_descending, repeated
from entity_api.state_arrays import ABSENT, StateArrays
from entity_api.state_room import Room

__all__ = ["AT_ONCE", "RankedState"]

# Detections of a range, about; and the most ranges, each of which looks at every score.
AT_ONCE, MOST_RANGES = 1 << 18, 64
# Scores of which as many as these tell where to cut.
SAMPLE = 1 << 16


class RankedState:
    """Give the detections of a pass of a state, by category and score descending.

    Args:
        state: As it was merged.
        removed: With overlaps removed, or as submitted.
    """

    def __init__(self, state: StateArrays, removed: bool) -> None:
        self._state = state
        self._outcomes = np.ascontiguousarray(
            np.moveaxis(state.patterns[:, int(removed)], 0, -1)
        ).view(np.int8)
        self._ranks = pass_ranks(state, removed)
        ends = np.cumsum(state.n_dt)
        n_groups = np.searchsorted(state.group_category, np.arange(len(state.category_ids) + 1))
        self._starts = np.concatenate([[0], ends])[n_groups]

    def category(self, k: int) -> Iterator[Ranked]:
        """Yield the detections of a category in ranges of scores, as `precision_and_recall` takes.

        Of equal scores the image of the lowest id comes first, and in an image the better rank.
        """
        scores = self._state.scores
        start, end = self._starts[k : k + 2].tolist()
        for low, high in score_ranges(scores[start:end]):
            held: list[Idx] = []
            is_one = low == np.nextafter(high, -np.inf)
            for at in range(start, end, AT_ONCE):
                own = scores[at : min(at + AT_ONCE, end)]
                held.append(at + np.flatnonzero((own > low) & (own <= high)))
                # Equal scores stand in their order already.
                if is_one and sum(map(len, held)) >= AT_ONCE:
                    yield self._ranked(np.concatenate(held))
                    held = []
            found = np.concatenate(held) if held else np.zeros(0, np.int64)
            yield self._ranked(found if is_one else found[by_score_descending(scores[found])])

    def _ranked(self, at: Idx) -> Ranked:
        state, outcomes = self._state, self._outcomes
        codes = state.codes[at].astype(np.int64)
        return Ranked(codes, state.scores[at], self._ranks[at], lambda a, t: outcomes[a, t])


def pass_ranks(state: StateArrays, removed: bool) -> NDArray[np.integer]:
    """Rank the detections of each group in a pass, (N,), 0 = highest score.

    Those that have no rank, or none that counts, get the number of detections that count.
    """
    most = max(state.params.max_dets)
    ranks = Room().array(len(state.scores), np.min_scalar_type(most))
    has_rank = state.patterns[:, int(removed), 0, 0] != ABSENT
    starts = np.concatenate([[0], np.cumsum(state.n_dt)])
    cuts = np.searchsorted(starts, np.arange(0, len(ranks), AT_ONCE)).tolist()
    for first, last in itertools.pairwise([*cuts, len(starts) - 1]):
        at = slice(starts[first], starts[last])
        own = has_rank[state.codes[at]]
        seen = np.concatenate([[0], np.cumsum(own)])
        before = seen[starts[first:last] - starts[first]]
        rank = seen[:-1] - repeated(before, state.n_dt[first:last])
        ranks[at] = np.where(own, np.minimum(rank, most), most)
    return ranks


def score_ranges(scores: NDArray[np.float64]) -> Iterator[tuple[float, float]]:
    """Cut scores into ranges of about as many, from the highest on: above ``low``, up to ``high``.

    A score that fills a range, or several, is a range of its own.
    """
    n_ranges = min(-(-len(scores) // AT_ONCE), MOST_RANGES)
    sample = np.sort(scores[:: max(1, len(scores) // SAMPLE)])[::-1]
    cuts = sample[np.arange(1, n_ranges) * len(sample) // max(n_ranges, 1)]
    values, counts = np.unique(cuts, return_counts=True)
    edges = {np.inf, -np.inf, *values.tolist()}
    edges |= set(np.nextafter(values[counts > 1], -np.inf).tolist())
    for high, low in itertools.pairwise(sorted(edges, reverse=True)):
        yield low, high
