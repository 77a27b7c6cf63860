"""The metrics of weighted sets of images, by the names that results give them."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams
from entity_api.names import MARKS, averages
from entityseg_bench.resampling.weighted import Evidence

__all__ = ["Measure", "measure", "measures"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Measure:
    """Say what a metric averages: AP at some thresholds, or AR at some number of detections."""

    mark: str
    area: int
    thresholds: tuple[int, ...] = ()
    max_det: int | None = None


def measures(params: EvalParams, alike: bool = False) -> dict[str, Measure]:
    """Name every metric of `entity_api.result.summarize` and what it averages.

    Args:
        params: Of the result.
        alike: Nothing overlaps, so that the metrics of both kinds come from the same matches.
    """
    thrs, found = np.array(params.iou_thrs), {}
    for mark in MARKS:
        for name, own in averages(list(params.area_ranges)[1:], params.max_dets, mark).items():
            kind = "" if alike else mark
            if own.kind == "AR":
                found[name] = Measure(kind, own.area, max_det=own.max_det or params.ap_limit)
                continue
            at = thrs > 0 if own.iou_thr is None else np.isclose(thrs, own.iou_thr)
            found[name] = Measure(kind, own.area, tuple(np.flatnonzero(at).tolist()))
    return found


def measure(
    params: EvalParams,
    names: Sequence[str],
    evidence: Callable[[str, int], Sequence[Evidence]],
    weights: Ints,
    alike: bool = False,
) -> dict[str, Floats]:
    """Compute metrics of weighted sets.

    Args:
        params: Of the result.
        names: Of the metrics.
        evidence: Gives that of each category for a mark ("" or "e") and an area range.
        weights: (B, S).
        alike: As for `measures`.

    Returns:
        Name -> (B,), the mean over the categories that each set measures, nan where there is none.
    """
    known = measures(params, alike)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"there is no metric {unknown[0]!r}; there are {', '.join(known)}")
    found = {}
    wanted = {(known[name].mark, known[name].area) for name in names}
    for mark, area in sorted(wanted):
        own = [name for name in names if (known[name].mark, known[name].area) == (mark, area)]
        precise = [name for name in own if known[name].max_det is None]
        parts = [known[name].thresholds for name in precise]
        sums = {name: np.zeros((2, len(weights))) for name in own}
        for category in evidence(mark, area):
            averages = category.average_precision(weights, parts)
            values = dict(zip(precise, averages, strict=True))
            for name in own:
                max_det = known[name].max_det
                if max_det is not None:
                    values[name] = category.average_recall(weights, max_det)
                is_measured = ~np.isnan(values[name])
                sums[name] += np.where(is_measured, values[name], 0), is_measured
        for name, (total, n) in sums.items():
            found[name] = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
    return {name: found[name] for name in names}
