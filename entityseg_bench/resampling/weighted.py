"""AP of a weighted set of images: image i counts w_i times.

Masks are matched within an image, so a set that holds images several times, or not at all, needs
no new matching: an image that is drawn w times adds each of its detections and entities w times.
Detections are put in order once; every weighted set is then a cumulative sum of weights.

The metric equals, to the last bit, that of a file in which image i is written w_i times under new
ids that keep the order of the images, as long as no two detections *of one image* have equal
scores. Where they do, the copies of the first come before the copies of the second here, while in
such a file each copy of the image would have them in turn.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams, EvalResult, _resample
from entity_api.result import Matches

__all__ = ["Columns", "Evidence", "matches_of", "precision_at_recall"]

TRUE_POSITIVE, IGNORED = 1, 2

# Weighted sets that one step computes: their precision arrays stay small.
CHUNK = 64

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def matches_of(result: EvalResult, mark: str) -> Matches:
    """Return the matches behind AP (mark ``""``) or AP^e (mark ``"e"``)."""
    if mark == "" or result.disjoint is None:
        return result.submitted.matches
    return result.disjoint.matches


def precision_at_recall(hits: Ints, counted: Ints, n_gt: Ints, params: EvalParams) -> Floats:
    """Interpolate precision at the recall thresholds from the true positives alone.

    Between two true positives precision only falls, so its highest value from some recall on is
    always that at a true positive, and after the last of several that stand together.

    Args:
        hits: (B, P) true positives so far, at each true positive by falling score.
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


@dataclasses.dataclass(frozen=True)
class Columns:
    """Hold what one result says about one category at one area range, in the result's order.

    Attributes:
        records: (N,) detection record.
        image_idx: (N,) position of its image.
        place: (N,) of its image among all by rising id.
        ranks: (N,) place in its image by falling score.
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
        place = np.repeat(groups.group_keys, lengths)[own] % max(n_images, 1)
        gt_image = np.empty(len(groups.gt_order), np.int64)
        gt_image[groups.gt_order] = np.repeat(np.arange(n_images), np.diff(groups.gt_start))
        counts = ~matches.gt_ignored[area] & (groups.gt_category == k)
        return cls(
            records=groups.records[own],
            image_idx=np.argsort(groups.place)[place],
            place=place,
            ranks=groups.ranks[own],
            outcome=matches.outcome[area, :, own],
            n_gt=np.bincount(gt_image[counts], minlength=n_images),
        )


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Hold the detections of one category and area range by falling score, ready to be weighted.

    A *source* is an image of one of the files: image i of file f is source f x I + i.

    Attributes:
        source: (n,) of each detection that counts at some threshold.
        ranks: (n,) place in its image.
        hits: (T,) lists of positions of the true positives.
        ignored: (T,) lists of positions of the ignored.
        n_gt: (S,) entities that count.
        params: Of the results.
    """

    source: Ints
    ranks: Ints
    hits: list[Ints]
    ignored: list[Ints]
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
        ranks = np.concatenate([own.ranks for own in files])
        outcome = np.concatenate([own.outcome for own in files], axis=1)
        order = np.lexsort((ranks, place, np.concatenate(keys)))
        order = order[(outcome[:, order] != IGNORED).any(axis=0)]
        outcome = outcome[:, order]
        return cls(
            source=source[order],
            ranks=ranks[order],
            hits=[np.flatnonzero(row == TRUE_POSITIVE) for row in outcome],
            ignored=[np.flatnonzero(row == IGNORED) for row in outcome],
            n_gt=np.concatenate([own.n_gt for own in files]),
            params=params,
        )

    def precision(self, weights: Ints) -> Iterator[tuple[slice, Floats]]:
        """Yield the precision of weighted sets in parts: rows of ``weights`` and (b, T, R)."""
        per_source = np.bincount(self.source, minlength=len(self.n_gt))
        if (weights @ per_source).max(initial=0) >= 2**31:
            raise ValueError("a weighted set of 2**31 detections or more is too large")
        rec_thrs = np.array(self.params.rec_thrs)
        source = self.source.astype(np.int32)
        for start in range(0, len(weights), CHUNK):
            part = weights[start : start + CHUNK]
            out = np.zeros((len(part), len(self.hits), len(rec_thrs)))
            _resample.weighted_precision(
                np.ascontiguousarray(part, np.int32),
                source,
                *self._lists(self.hits, part),
                *self._lists(self.ignored, part),
                hits_needed(rec_thrs, part @ self.n_gt),
                out,
            )
            yield slice(start, start + CHUNK), out

    def _lists(self, lists: Sequence[Ints], weights: Ints) -> tuple[NDArray[np.int32], Ints, Ints]:
        """Join the lists of all thresholds; say where each begins, and what it weighs, (B, T)."""
        n = len(self.n_gt)
        per_source = [np.bincount(self.source[at], minlength=n) for at in lists]
        joined = np.concatenate(lists).astype(np.int32)
        starts = np.cumsum([0, *map(len, lists)])
        return joined, starts, np.ascontiguousarray(weights @ np.stack(per_source, axis=1))

    def precision_by_definition(self, weights: Ints) -> Floats:
        """Compute `precision` in the readable way, for the tests to compare the kernel with."""
        weight = weights[:, self.source]
        total = np.cumsum(weight, axis=1)
        rows = []
        for hits, ignored in zip(self.hits, self.ignored, strict=True):
            skipped = np.cumsum(np.pad(weight[:, ignored], ((0, 0), (1, 0))), axis=1)
            counted = total[:, hits] - skipped[:, np.searchsorted(ignored, hits)]
            found = np.cumsum(weight[:, hits], axis=1)
            rows.append(precision_at_recall(found, counted, weights @ self.n_gt, self.params))
        return np.stack(rows, axis=1)

    def best(self, max_det: int) -> "Evidence":
        """Leave out the detections of an image that rank below the first ``max_det``."""
        kept = self.ranks < max_det
        if kept.all():
            return self
        position = np.cumsum(kept) - 1
        hits, ignored = ([position[at[kept[at]]] for at in lists]
                         for lists in (self.hits, self.ignored))  # fmt: skip
        source, ranks = self.source[kept], self.ranks[kept]
        return Evidence(source, ranks, hits, ignored, self.n_gt, self.params)

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
        recall = np.empty((len(weights), len(self.hits)))
        for t, hits in enumerate(self.hits):
            kept = self.source[hits[self.ranks[hits] < max_det]]
            recall[:, t] = weights @ np.bincount(kept, minlength=len(self.n_gt))
        with np.errstate(invalid="ignore"):
            return (recall / n_gt[:, None]).mean(axis=1)
