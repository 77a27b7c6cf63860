"""AP of a weighted set of images: image i counts w_i times.

Masks are matched within an image, so a set that holds images several times, or not at all, needs
no new matching: an image that is drawn w times adds each of its detections and entities w times.
Detections are put in order once; every weighted set is then a cumulative sum of weights.

The metric equals, to the last bit, that of a file in which image i is written w_i times under new
ids that keep the order of the images, also where detections of one image have equal scores.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams, EvalResult, EvalState, _resample
from entity_api.groups import as_idx, repeated
from entity_api.result import Matches

__all__ = ["Columns", "Evidence", "image_precision", "matches_of", "precision_at_recall"]

TRUE_POSITIVE, IGNORED = 1, 2

# Marks of events beside these two: the lowest and the highest of a stretch of true positives.
LOWEST, HIGHEST = 4, 8

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def matches_of(result: EvalResult, mark: str) -> Matches:
    """Return the matches behind AP (mark ``""``) or AP^e (mark ``"e"``).

    Raises:
        ValueError: The result was finished from a state, which has none.
    """
    if not result.matches.gt_ignored.shape[1] and (result.submitted.recall >= 0).any():
        raise ValueError("the result is of a state, in which there are no matches: score the masks")
    if mark == "" or result.disjoint is None:
        return result.submitted.matches
    return result.disjoint.matches


def precision_at_recall(hits: Ints, counted: Ints, n_gt: Ints, params: EvalParams) -> Floats:
    """Interpolate precision at the recall thresholds from the true positives alone.

    Between two true positives precision only falls, so its highest value from some recall on is
    always that at a true positive, and after the last of several that stand together.

    Args:
        hits: (B, P) true positives so far, at each true positive, sorted by score descending.
        counted: (B, P) true and false positives so far.
        n_gt: (B,) entities that count.
        params: With the recall thresholds.

    Returns:
        (B, R) as `entity_api.evaluator.accumulate` has it, equal to the last bit.
    """
    rec_thrs = np.array(params.rec_thrs)
    n_rows, n = hits.shape
    if n == 0:
        return np.zeros((n_rows, len(rec_thrs)))
    # cocoapi adds the spacing of 1 to the denominator.
    precision = hits / (counted + np.spacing(1))
    needed = hits_needed(rec_thrs, n_gt)
    reached = needed <= hits[:, -1:]
    # One search serves all rows: each stands above the one before.
    above = (hits[:, -1].max() + 2) * np.arange(n_rows)[:, None]
    first = np.searchsorted((hits + above).reshape(-1), np.where(reached, needed, 0) + above)
    last = n * np.arange(1, n_rows + 1)[:, None] - 1
    first = np.where(reached, first, last)
    # Highest within each stretch between thresholds, then from each threshold on.
    starts = np.hstack([last - n + 1, first])
    highest = np.maximum.reduceat(precision.reshape(-1), starts.reshape(-1))
    highest = highest.reshape(starts.shape)[:, :0:-1]
    return np.where(reached, np.maximum.accumulate(highest, axis=1)[:, ::-1], 0.0)


def hits_needed(rec_thrs: Floats, n_gt: Ints) -> Ints:
    """Count the true positives at which recall, divided in floating point, reaches each threshold.

    Args:
        rec_thrs: (R,) in [0, 1].
        n_gt: (B,); a 0 is taken as 1.

    Returns:
        (B, R).
    """
    n_gt = np.maximum(n_gt, 1)[:, None]
    needed = np.ceil(rec_thrs * n_gt).astype(np.int64)
    # The product's rounding may be off by one from the quotient's, which is what cocoapi compares.
    needed -= (needed - 1) / n_gt >= rec_thrs
    needed += needed / n_gt < rec_thrs
    return np.maximum(needed, 0)


def image_precision(
    images: Ints, start: Ints, hits: Ints, wrong: NDArray[np.bool_], n_gt: Ints, params: EvalParams
) -> Floats:
    """Interpolate precision at the recall thresholds for images by themselves.

    Args:
        images: (M,) positions of the images wanted.
        start: (I + 1,) where each image's detections begin, which are sorted by score, descending.
        hits: (N,) how many true positives each detection stands for.
        wrong: (N,) false positives.
        n_gt: (M,) entities that count.
        params: With the recall thresholds.

    Returns:
        (M, R) as `precision_at_recall` has it of each image, equal to the last bit.
    """
    needed = hits_needed(np.array(params.rec_thrs), n_gt)
    curves = np.empty(needed.shape)
    images, start = as_idx(images), as_idx(start)
    _resample.image_precision(images, start, hits, wrong.view(np.uint8), needed, curves)
    return curves


@dataclasses.dataclass(frozen=True)
class Columns:
    """Hold what one result says about one category at one area range, in the result's order.

    Attributes:
        records: (N,) detection record.
        image_idx: (N,) position of its image.
        place: (N,) of its image among all by rising id.
        ranks: (N,) rank in its image, by score descending.
        outcome: (T, N) as in `Matches`.
        n_gt: (I,) entities that count in each image.
    """

    records: Ints
    image_idx: Ints
    place: Ints
    ranks: Ints
    outcome: NDArray[np.int8]
    n_gt: Ints

    @classmethod
    def of(cls, result: EvalResult, matches: Matches, k: int, area: int) -> "Columns":
        """Cut one category and area range out of a result."""
        groups = matches.groups
        n_images = len(groups.place)
        own = slice(int(groups.category_start[k]), int(groups.category_start[k + 1]))
        lengths = np.diff(groups.group_start)
        place = repeated(groups.group_keys, lengths)[own] % max(n_images, 1)
        gt_image = np.empty(len(groups.gt_order), np.int64)
        gt_image[groups.gt_order] = repeated(np.arange(n_images), np.diff(groups.gt_start))
        counts = ~matches.gt_ignored[area] & (groups.gt_category == k)
        return cls(
            records=groups.records[own],
            image_idx=np.argsort(groups.place)[place],
            place=place,
            ranks=groups.ranks[own],
            outcome=matches.outcome[area, :, own],
            n_gt=np.bincount(gt_image[counts], minlength=n_images),
        )

    @classmethod
    def of_state(cls, state: EvalState, removed: bool, k: int, area: int) -> "Columns":
        """Cut one category and area range out of a state, whose images stand by rising id."""
        found = state.ranked(removed)
        own = state.group_category[found.group] == k
        image_idx = state.group_image[found.group[own]]
        groups = state.group_category == k
        n_gt = np.zeros(len(state.image_ids), np.int64)
        n_gt[state.group_image[groups]] = state.n_gt[groups, area]
        return cls(
            records=found.at[own],
            image_idx=image_idx,
            place=image_idx,
            ranks=found.ranks[own],
            outcome=state.patterns[:, int(removed), area][state.codes[found.at[own]]].T.view(
                np.int8
            ),
            n_gt=n_gt,
        )


class Events(NamedTuple):
    """Hold what a sweep over detections meets, as `_resample.weighted_precision` takes it."""

    start: Ints
    thr: NDArray[np.int32]
    kind: NDArray[np.uint8]
    ties: Ints


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Hold the detections of one category and area range, by score descending, to be weighted.

    A *source* is an image of one of the files: image i of file f is source f x I + i.

    Attributes:
        source: (n,) of each detection that counts at some threshold.
        ranks: (n,) place in its image.
        outcome: (n, T) as in `Matches`.
        tied: (n,) it has the source and the score of the one before.
        n_gt: (S,) entities that count.
        params: Of the results.
    """

    source: Ints
    ranks: Ints
    outcome: NDArray[np.uint8]
    tied: NDArray[np.bool_]
    n_gt: Ints
    params: EvalParams

    @classmethod
    def of_columns(
        cls,
        files: Sequence[Columns],
        scores: Sequence[Floats],
        params: EvalParams,
        as_ranks: bool,
    ) -> "Evidence":
        """Put the detections of one or more files into one order.

        Args:
            files: Of the same category and area range.
            scores: (D,) of the records of each file.
            params: Of the results.
            as_ranks: Replace a score by the number of its file's detections that score higher.
        """
        keys = [-all_scores[own.records] for own, all_scores in zip(files, scores, strict=True)]
        if as_ranks:
            keys = [np.searchsorted(np.sort(key), key).astype(np.float64) for key in keys]
        n_images = len(files[0].n_gt)
        source = np.concatenate([own.image_idx + f * n_images for f, own in enumerate(files)])
        place = np.concatenate([own.place for own in files])
        ranks, key = np.concatenate([own.ranks for own in files]), np.concatenate(keys)
        outcome = np.concatenate([own.outcome for own in files], axis=1).T
        order = np.lexsort((ranks, place, key))
        order = order[(outcome[order] != IGNORED).any(axis=1)]
        source, key = source[order], key[order]
        return cls(
            source=source,
            ranks=ranks[order],
            outcome=np.ascontiguousarray(outcome[order], np.uint8),
            tied=(np.diff(source, prepend=-1) == 0) & (np.diff(key, prepend=np.nan) == 0),
            n_gt=np.concatenate([own.n_gt for own in files]),
            params=params,
        )

    @functools.cached_property
    def events(self) -> Events:
        """What a sweep meets; false positives are no events."""
        n, kind = len(self.source), self.outcome.copy()
        first = np.flatnonzero(~self.tied)
        last = np.append(first[1:], n) - 1
        lengths, ties = last - first + 1, []
        for t, own in enumerate(kind.T):
            # Where true and false positives of an image tie, its copies have them in turn.
            has = [np.add.reduceat(own == code, first) > 0 for code in (0, TRUE_POSITIVE) if n]
            mixed = np.flatnonzero(np.logical_and(*has)) if n else first
            ties.append(np.stack([np.full(len(mixed), t), first[mixed], last[mixed]], axis=1))
            counts = np.flatnonzero(own != IGNORED)
            if len(mixed):
                own[np.repeat(np.isin(np.arange(len(first)), mixed), lengths)] = 0
            hit = np.pad(own[counts] == TRUE_POSITIVE, 1)
            own[counts[hit[1:-1] & ~hit[2:]]] += LOWEST
            own[counts[hit[1:-1] & ~hit[:-2]]] += HIGHEST
        of_all = np.concatenate(ties)
        i, thr = np.nonzero(kind)
        start = np.concatenate([[0], np.cumsum(np.bincount(i, minlength=n))])
        return Events(
            start=start.astype(np.int64),
            thr=thr.astype(np.int32),
            kind=kind[i, thr],
            ties=as_idx(of_all[np.argsort(-of_all[:, 2], kind="stable")]),
        )

    def precision(self, weights: Ints) -> Iterator[tuple[slice, Floats]]:
        """Yield the precision of weighted sets in parts: rows of ``weights`` and (b, T, R)."""
        n_sources, n_thrs = len(self.n_gt), self.outcome.shape[1]
        n_all = weights @ np.bincount(self.source, minlength=n_sources)
        if n_all.max(initial=0) >= 2**31:
            raise ValueError("a weighted set of 2**31 detections or more is too large")
        n_hits, n_ignored = (self._weigh(weights, code) for code in (TRUE_POSITIVE, IGNORED))
        rec_thrs, n_gt = np.array(self.params.rec_thrs), weights @ self.n_gt
        source = self.source.astype(np.int32)
        for start in range(0, len(weights), _resample.N_LANES):
            rows = slice(start, min(start + _resample.N_LANES, len(weights)))
            lanes = np.zeros((n_sources, _resample.N_LANES), np.int32)
            lanes[:, : rows.stop - start] = weights[rows].T
            out = np.zeros((rows.stop - start, n_thrs, len(rec_thrs)))
            needed = hits_needed(rec_thrs, n_gt[rows])
            _resample.weighted_precision(
                lanes, source, *self.events, self.outcome,
                n_all[rows], n_hits[rows], n_ignored[rows], needed, out,
            )  # fmt: skip
            yield rows, out

    def _weigh(self, weights: Ints, code: int, chosen: NDArray[np.bool_] | None = None) -> Ints:
        """Sum the weights of the detections of an outcome, (B, T)."""
        n_sources = len(self.n_gt)
        per_source = [
            np.bincount(self.source[own if chosen is None else own & chosen], minlength=n_sources)
            for own in (self.outcome == code).T
        ]
        # Whole numbers below 2**53 are exact as floating point, whose products are much faster.
        sums = weights.astype(np.float64) @ np.stack(per_source, axis=1)
        return np.ascontiguousarray(sums.astype(np.int64))

    def precision_by_definition(self, weights: Ints) -> Floats:
        """Compute `precision` in the readable way, for the tests to compare the kernel with."""
        group = np.cumsum(~self.tied)
        sets = []
        for weight in weights:
            n_copies = weight[self.source].astype(np.intp)
            written = np.repeat(np.arange(len(n_copies)), n_copies)
            copy = np.arange(len(written)) - np.repeat(np.cumsum(n_copies) - n_copies, n_copies)
            written = written[np.lexsort((written, copy, group[written]))]
            n_gt, curves = np.array([weight @ self.n_gt]), []
            for outcome in self.outcome[written].T:
                hits = np.flatnonzero(outcome == TRUE_POSITIVE)
                found, counted = np.arange(1, len(hits) + 1), np.cumsum(outcome != IGNORED)[hits]
                curves.append(precision_at_recall(found[None], counted[None], n_gt, self.params)[0])
            sets.append(curves)
        return np.array(sets)

    def best(self, max_det: int) -> "Evidence":
        """Leave out the detections of an image that rank below the first ``max_det``."""
        kept = self.ranks < max_det
        if kept.all():
            return self
        # Equal scores of an image stand one after the other, the best ranks first: what is left of
        # them still begins with the first.
        return dataclasses.replace(
            self,
            source=self.source[kept],
            ranks=self.ranks[kept],
            outcome=self.outcome[kept],
            tied=self.tied[kept],
        )

    def average_precision(self, weights: Ints, parts: Sequence[Sequence[int]]) -> list[Floats]:
        """Average precision over recalls and some thresholds, for several choices of those.

        Args:
            weights: (B, S).
            parts: Positions of the thresholds of each choice.

        Returns:
            (B,) for each choice, nan in sets without entities.
        """
        out = [np.full(len(weights), np.nan) for _ in parts]
        counted = self.best(self.params.ap_limit)
        for rows, precision in counted.precision(weights) if any(parts) else ():
            for values, part in zip(out, parts, strict=True):
                if not part:
                    continue
                values[rows] = precision[:, list(part)].reshape(len(precision), -1).mean(axis=1)
        nothing = weights @ self.n_gt == 0
        return [np.where(nothing, np.nan, values) for values in out]

    def average_recall(self, weights: Ints, max_det: int) -> Floats:
        """Average the final recall over thresholds, (B,), nan in sets without entities."""
        n_gt = weights @ self.n_gt
        found = self._weigh(weights, TRUE_POSITIVE, self.ranks < max_det)
        with np.errstate(invalid="ignore"):
            return (found / n_gt[:, None]).mean(axis=1)
