"""Which ground truth the names of data sets on the board stand for.

The sizes of EntitySeg's splits are not published reliably, so what is known is a least number of
images: no split of the data set is as small, and the demo set, a subset or a part is.
"""

from pathlib import Path
from typing import NamedTuple

from entityseg_bench.io import InputError
from entityseg_bench.layout import Split
from entityseg_bench.leaderboard.schema import ResultFile

__all__ = ["KNOWN", "Known", "check_known"]


class Known(NamedTuple):
    """Say how ground truth is known: by the hash of its files, or by its number of images."""

    least_images: int
    sha256: tuple[str, ...] = ()


KNOWN: dict[tuple[str, Split], Known] = {
    ("EntitySeg", "val"): Known(least_images=500),
    ("EntitySeg", "train"): Known(least_images=5000),
}


def check_known(path: Path, dataset: str, split: Split, result: ResultFile) -> None:
    """See that a result is on the data set that it is filed under.

    Args:
        path: Of the result, for errors.
        dataset: Name on the board; nothing is known of names that are not in `KNOWN`.
        split: Of the data set.
        result: What is filed.

    Raises:
        InputError: Its ground truth cannot be that of the data set.
    """
    known = KNOWN.get((dataset, split))
    gt, n = result.files.ground_truth, result.counts.images
    if known is None or gt.sha256 in known.sha256 or n >= known.least_images:
        return
    raise InputError(
        path,
        "counts.images",
        f"{gt.name} has {n} images: {dataset} {split} has at least {known.least_images}.",
        "File it under a data set of its own: --dataset demo.",
    )
