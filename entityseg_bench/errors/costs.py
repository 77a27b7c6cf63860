"""What each kind of error costs: AP with the errors of one kind corrected, minus AP as it is.

As in TIDE (Bolya et al., ECCV 2020), an oracle corrects one kind at a time and leaves the rest:

- **spurious**, **duplicate**: the predictions are taken away;
- **localisation**, **boundary**: the prediction of the highest score takes its entity's shape and
  counts; the others with the same entity, or with one that is found already, are taken away;
- **split**: the pieces become one prediction with the highest of their scores;
- **merged**: the prediction becomes one for each entity that it covers and that is not found
  already, all with its score;
- **missed**: the entities are no longer asked for.

Costs do not add up to what AP lacks. AP is no sum: correcting one kind moves the ranks of all the
rest, so two kinds corrected together give more, or less, than the two apart. What is rare can cost
much where its scores are high, and many false positives nothing where theirs are low.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from entityseg_bench.errors.judgements import Judgements
from entityseg_bench.errors.kinds import (
    BOUNDARY,
    FOUND,
    KINDS,
    LOCALISATION,
    MERGED,
    MISSED,
    NONE,
    SPLIT,
)
from entityseg_bench.resampling.weighted import precision_at_recall

__all__ = ["Cost", "Oracle", "Part"]

# The two blunt oracles of TIDE beside the kinds.
ALL_WRONG, ALL_UNFOUND = "false_positives", "false_negatives"

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Cost:
    """Hold how often a kind of error occurs and what it costs, over all thresholds and at IoU 0.5.

    Attributes:
        cost: AP that correcting the errors would gain, mean over the IoU thresholds, each with its
            own errors; a fraction, nan where no entity would be left.
        n_predictions: With an error of the kind, mean over the thresholds.
        n_entities: The same.
        cost50: As ``cost``, at IoU 0.5.
        n_predictions50: At IoU 0.5.
        n_entities50: The same.
    """

    cost: float
    n_predictions: float
    n_entities: float
    cost50: float
    n_predictions50: int
    n_entities50: int


@dataclasses.dataclass(frozen=True)
class Part:
    """Choose some of the predictions, (N,) by column, and some of the entities, (G,)."""

    columns: Bools
    entities: Bools


class Oracle:
    """Mend errors of what was judged."""

    def __init__(self, judged: Judgements) -> None:
        found = judged.found
        self.judged, self.params, self.errors = judged, judged.params, found
        # Of equal scores those of the image with the lowest id come first, as in AP itself.
        self.order = np.argsort(-judged.scores, kind="stable")
        self.n_gt = int(np.count_nonzero(judged.counted))
        half = np.flatnonzero(np.isclose(self.params.iou_thrs, 0.5))
        if not half.size:
            raise ValueError("errors are counted at IoU 0.5, which must be among the thresholds")
        self.half = int(half[0])
        self.rank = np.empty_like(self.order)
        self.rank[self.order] = np.arange(len(self.order))
        # Sorted by score, descending.
        self.ranked = found.kind[:, self.order]
        self.right = self.ranked == FOUND
        self.wrong = (self.ranked >= 0) & ~self.right
        self.everything = Part(
            np.ones(found.kind.shape[1], bool), np.ones(found.entity_kind.shape[1], bool)
        )
        self.base = np.array([self.ap(t, self.wrong[t], 0) for t in range(len(found.kind))])

    def ap(self, t: int, wrong: Bools, n_dropped: int, won: Ints | None = None) -> float:
        """Compute AP at one threshold.

        Args:
            t: Position of the threshold.
            wrong: (N,) the false positives, sorted by score.
            n_dropped: Entities that are not asked for.
            won: Columns that stand for one more true positive, once for each.
        """
        n_gt = self.n_gt - n_dropped
        if n_gt < 1:
            return math.nan
        at, hits = np.flatnonzero(self.right[t]), None
        if won is not None and len(won):
            at, hits = np.unique(np.concatenate([at, self.rank[won]]), return_counts=True)
        found = np.arange(1, len(at) + 1) if hits is None else np.cumsum(hits)
        counted = found + np.cumsum(wrong, dtype=np.int32)[at]
        curve = precision_at_recall(found[None], counted[None], np.array([n_gt]), self.params)
        return float(curve.mean())

    def corrected(self, t: int, kind: str, part: Part) -> float:
        """Return AP at one threshold with the errors of a kind corrected in a part of the set."""
        chosen, won, dropped = self.correcting(t, kind, part)
        if not (chosen.any() or dropped.any()):
            return float(self.base[t])
        wrong = self.wrong[t].copy()
        wrong[self.rank[chosen]] = False
        return self.ap(t, wrong, int(np.count_nonzero(dropped)), won)

    def correcting(self, t: int, kind: str, part: Part) -> tuple[Bools, Ints, Bools]:
        """Find what correcting the errors of a kind changes in a part of the set at one threshold.

        Returns:
            (N,) columns that are no longer false positives; the columns that stand for one more
            true positive, once for each; (G,) entities that are no longer asked for.
        """
        own, entity = self.errors.kind[t], self.errors.entity_kind[t]
        none_won = np.zeros(0, np.int64)
        if kind == ALL_WRONG:
            return (own >= 0) & (own != FOUND) & part.columns, none_won, np.zeros(len(entity), bool)
        if kind == ALL_UNFOUND:
            unfound = (entity != FOUND) & (entity != NONE)
            return np.zeros(len(own), bool), none_won, unfound & part.entities
        code = KINDS.index(kind)
        if code == MISSED:
            return np.zeros(len(own), bool), none_won, (entity == code) & part.entities
        chosen = (own == code) & part.columns
        return chosen, self.winners(t, code, chosen), np.zeros(len(entity), bool)

    def winners(self, t: int, code: int, chosen: Bools) -> Ints:
        """Return the column that each entity's corrected prediction stands in.

        Only entities that are not found gain by it, each from the chosen column of highest score.
        """
        if code in (LOCALISATION, BOUNDARY, SPLIT):
            columns = np.flatnonzero(chosen)
            targets = self.errors.target[t, columns]
        elif code == MERGED:
            columns, targets = self.errors.covered[chosen[self.errors.covered[:, 0]]].T
        else:
            return np.zeros(0, np.int64)
        free = self.errors.entity_kind[t, targets] != FOUND
        columns, targets = columns[free], targets[free]
        # Columns of an image are sorted by score descending, so the first of each entity has the
        # highest score.
        return np.asarray(columns[np.unique(targets, return_index=True)[1]])

    def cost(self, kind: str, part: Part | None = None) -> Cost:
        """Count the errors of a kind in a part of the set and compute what they cost."""
        part = part or self.everything
        gains = [self.corrected(t, kind, part) - base for t, base in enumerate(self.base)]
        own, entity = self.errors.kind, self.errors.entity_kind
        if kind in KINDS:
            columns, entities = own == KINDS.index(kind), entity == KINDS.index(kind)
        else:
            columns, entities = ((rows >= 0) & (rows != FOUND) for rows in (own, entity))
        n_columns = (columns & part.columns).sum(axis=1) * (kind != ALL_UNFOUND)
        n_entities = (entities & part.entities).sum(axis=1) * (kind != ALL_WRONG)
        return Cost(
            cost=float(np.mean(gains)),
            n_predictions=float(n_columns.mean()),
            n_entities=float(n_entities.mean()),
            cost50=float(gains[self.half]),
            n_predictions50=int(n_columns[self.half]),
            n_entities50=int(n_entities[self.half]),
        )

    def costs(self, kinds: Sequence[str], parts: Mapping[str, Part]) -> dict[str, dict[str, Cost]]:
        """Compute the costs of each kind in each part: label -> kind -> cost."""
        return {
            label: {kind: self.cost(kind, part) for kind in kinds} for label, part in parts.items()
        }
