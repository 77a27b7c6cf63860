"""Prediction files side by side: metrics, paired differences, and the images that moved most."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams
from entity_api.names import TESTED, Metric
from entity_api.shown import Shown
from entityseg_bench import __version__
from entityseg_bench.formats import Inputs
from entityseg_bench.plots import Estimate, plot_estimates
from entityseg_bench.resampling.bootstrap import (
    Interval,
    bounds,
    check_pair,
    image_metrics,
    image_weights,
    permutation_test,
    resampled_metrics,
)
from entityseg_bench.score import Scoring, Sides, evaluate_files

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Comparison",
    "Difference",
    "ImageMove",
    "compare",
    "compare_files",
    "comparison_record",
]

# Version of the JSON: raised when a field changes its meaning.
SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Difference:
    """Hold a metric's change from one file to another; fractions, nan where not measured.

    Attributes:
        value: Second minus first.
        low: Lower end of the interval over images, both files resampled alike.
        high: Upper end.
        p: Of the two-sided permutation test; nan where none was made.
    """

    value: float
    low: float
    high: float
    p: float


@dataclasses.dataclass(frozen=True)
class ImageMove:
    """Hold how one image's own AP changed; fractions."""

    image_id: int | str
    file_name: str
    first: float
    second: float
    change: float
    n_gt: int


@dataclasses.dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """Hold F prediction files scored on the same images; the first is what others are held to.

    Attributes:
        labels: (F,) what the files are called.
        sides: (F,) what was read, ground truth too.
        image_ids: (I,) from the ground truth.
        file_names: (I,) likewise.
        n_gt: (I,) entities of each image that count.
        metrics: (F,) name -> metric with its interval.
        differences: (F - 1,) of file k + 1 from the first: name -> difference.
        image_values: (F, I) AP^e (AP where overlaps were left) of each image by itself; nan where
            an image has no entities.
        level: Of the intervals.
        n_resamples: Behind the intervals.
        n_permutations: Behind each p; 0 for none.
        seed: Of both.
    """

    labels: list[str]
    sides: list[Sides]
    image_ids: list[int | str]
    file_names: list[str]
    n_gt: NDArray[np.int64]
    metrics: list[dict[str, Interval]]
    differences: list[dict[str, Difference]]
    image_values: NDArray[np.float64]
    level: float
    n_resamples: int
    n_permutations: int
    seed: int

    def to_frame(self) -> "pd.DataFrame":
        """List every metric of every file, where pandas is; fractions.

        Returns:
            A row a file and metric: ``label``, ``metric``, ``value`` with ``low`` and ``high``; of
            all files but the first ``difference`` from it, with its ends and ``p``.
        """
        import pandas as pd

        rows = []
        for k, (label, metrics) in enumerate(zip(self.labels, self.metrics, strict=True)):
            for name, one in metrics.items():
                row = {"label": label, "metric": name, **dataclasses.asdict(one)}
                change = self.differences[k - 1].get(name) if k else None
                if change:
                    row |= {
                        "difference": change.value,
                        "difference_low": change.low,
                        "difference_high": change.high,
                        "p": change.p,
                    }
                rows.append(row)
        return pd.DataFrame(rows)

    def plot(self, axis: Any = None) -> Any:
        """Draw the differences from the first file, where matplotlib is; return the axis."""
        series = {}
        for label, differences in zip(self.labels[1:], self.differences, strict=True):
            tested = [(name, differences[name]) for name in TESTED if name in differences]
            series[label] = {
                Metric.parse(name).text: Estimate(100 * one.value, 100 * one.low, 100 * one.high)
                for name, one in tested
            }
        return plot_estimates(series, f"difference from {self.labels[0]}, points", axis)

    def changes(self, k: int) -> NDArray[np.float64]:
        """Return how each image's own AP changed from the first file to file ``k``, (I,)."""
        return np.asarray(self.image_values[k] - self.image_values[0])

    def moved(self, k: int, n: int = 10) -> list[ImageMove]:
        """List the images that changed most from the first file to file ``k``, most first."""
        changes = self.changes(k)
        order = np.argsort(-np.abs(changes), kind="stable")
        return [
            ImageMove(
                self.image_ids[idx],
                self.file_names[idx],
                float(self.image_values[0, idx]),
                float(self.image_values[k, idx]),
                float(changes[idx]),
                int(self.n_gt[idx]),
            )
            for idx in order[:n].tolist()
            if abs(changes[idx]) > 0
        ]


class Resampled(NamedTuple):
    """Hold a scored file and its metrics on R sets of images, (R,) each; the sets are paired."""

    scoring: Scoring
    values: Mapping[str, NDArray[np.float64]]

    def intervals(self, level: float) -> dict[str, Interval]:
        """Return each metric and between what it lies."""
        return {
            name: Interval(value, *bounds(self.values[name], value, level))
            for name, value in self.scoring.result.metrics.items()
        }

    def minus(
        self, first: "Resampled", level: float, p_values: Mapping[str, float]
    ) -> dict[str, Difference]:
        """Return how each metric differs from that of another file."""
        differences = {}
        for name, value in self.scoring.result.metrics.items():
            change = value - first.scoring.result.metrics[name]
            ends = bounds(self.values[name] - first.values[name], change, level)
            differences[name] = Difference(change, *ends, p_values.get(name, math.nan))
        return differences


def compare_files(
    gt_path: str | Path,
    dt_paths: Sequence[str | Path],
    labels: Sequence[str] | None = None,
    params: EvalParams | None = None,
    n_resamples: int = 1000,
    n_permutations: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    inputs: Inputs | None = None,
) -> Comparison:
    """Score prediction files on one ground truth and compare them.

    Args:
        gt_path: Ground truth, as for `evaluate_files`.
        dt_paths: Two or more files of predictions; the others are compared with the first.
        labels: What to call them; their file names by default.
        params: What to measure.
        n_resamples: As for `compare`.
        n_permutations: As for `compare`.
        level: As for `compare`.
        seed: As for `compare`.
        progress: Called with (images finished, images to score) for each file in turn.
        inputs: What the files are, where they do not say it.

    Raises:
        InputError: A file or record that would give a wrong number.
        ValueError: Fewer than two files.
    """
    scorings = [evaluate_files(gt_path, path, params, progress, inputs=inputs) for path in dt_paths]
    return compare(scorings, labels, n_resamples, n_permutations, level, seed)


def compare(
    scorings: Sequence[Scoring],
    labels: Sequence[str] | None = None,
    n_resamples: int = 1000,
    n_permutations: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare files that were scored on one ground truth with the same parameters.

    Args:
        scorings: Two or more; the others are compared with the first.
        labels: What to call them; their file names by default.
        n_resamples: Sets of images drawn for the intervals. Each set is drawn once for all files,
            which is what makes the differences paired: an image that is hard for all cancels out.
        n_permutations: Exchanges drawn for each test (see `resample.permutation_test`); 0 for none.
            The p values are of one test each: where several files or metrics are tested, some will
            be small by chance.
        level: Of the intervals, in (0, 1).
        seed: Of both draws.

    Raises:
        ValueError: Fewer than two files, or files scored differently.
    """
    if len(scorings) < 2:
        raise ValueError("there must be two files or more to compare")
    first = scorings[0]
    for other in scorings[1:]:
        check_pair(first.result, other.result)
    weights = image_weights(first.result.groups, n_resamples, seed)
    resampled = [
        Resampled(own, resampled_metrics(own.result, own.dt.scores, weights)) for own in scorings
    ]
    differences = [
        other.minus(resampled[0], level, _p_values(first, other.scoring, n_permutations, seed))
        for other in resampled[1:]
    ]
    images = first.gt.images
    counts = ~first.result.matches.gt_ignored[0] & (first.result.groups.gt_category >= 0)
    return Comparison(
        labels=list(labels or unique_names([own.dt.path for own in scorings])),
        sides=[own.sides for own in scorings],
        image_ids=[image.id for image in images],
        file_names=[image.file_name for image in images],
        n_gt=np.bincount(first.gt.image_idx[counts], minlength=len(images)),
        metrics=[own.intervals(level) for own in resampled],
        differences=differences,
        image_values=np.stack([image_metrics(own.result) for own in scorings]),
        level=level,
        n_resamples=n_resamples,
        n_permutations=n_permutations,
        seed=seed,
    )


def _p_values(first: Scoring, other: Scoring, n_permutations: int, seed: int) -> dict[str, float]:
    if not n_permutations:
        return {}
    names = [name for name in TESTED if name in first.result.metrics]
    scores = first.dt.scores, other.dt.scores
    return permutation_test(first.result, other.result, scores, n_permutations, seed, names)


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Call files by their names, by their whole paths where two have the same name."""
    names = [path.name.removesuffix(".gz").removesuffix(".json") for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """Make the JSON of a comparison; fractions, null where there is nothing to measure."""
    read = [sides.files() for sides in comparison.sides]
    files = zip(comparison.labels, read, comparison.metrics, strict=True)
    return {
        "schema": SCHEMA,
        "toolkit": {"name": "entityseg-bench", "version": __version__},
        "ground_truth": read[0]["ground_truth"],
        "level": comparison.level,
        "resamples": comparison.n_resamples,
        "permutations": comparison.n_permutations,
        "seed": comparison.seed,
        "files": [
            {"label": label, **own["predictions"], "metrics": _plain(metrics)}
            for label, own, metrics in files
        ],
        "differences": [
            {
                "first": comparison.labels[0],
                "second": comparison.labels[k],
                "metrics": _plain(changes),
                "images": image_counts(comparison.changes(k)),
                "moved": [_numbers(move) for move in comparison.moved(k, 20)],
            }
            for k, changes in enumerate(comparison.differences, start=1)
        ],
        "images": [
            {"image_id": image_id, "n_gt": n_gt, "values": [_number(v) for v in values]}
            for image_id, n_gt, values in zip(
                comparison.image_ids,
                comparison.n_gt.tolist(),
                comparison.image_values.T.tolist(),
                strict=True,
            )
        ],
    }


def image_counts(changes: NDArray[np.float64]) -> dict[str, int]:
    """Count the images that are better, worse, and the same."""
    return {
        "better": int(np.count_nonzero(changes > 0)),
        "worse": int(np.count_nonzero(changes < 0)),
        "same": int(np.count_nonzero(changes == 0)),
    }


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _numbers(values: Any) -> dict[str, Any]:
    return {key: _number(value) for key, value in dataclasses.asdict(values).items()}


def _plain(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: _numbers(values) for name, values in metrics.items()}
