"""Score a results file that is larger than memory: image by image, wherever its records lie.

The file is read twice: once to find its records, and once in parts that hold all predictions of
some images. The states of the parts merge to the result of the whole, to the last bit.
"""

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import EvalParams
from entityseg_bench import formats
from entityseg_bench.check import NOTE, refuse
from entityseg_bench.formats import Inputs
from entityseg_bench.formats.coco.index import ResultsIndex, index_results
from entityseg_bench.io import InputError, collector_paused, fingerprint
from entityseg_bench.masks import CodedMasks
from entityseg_bench.rules import broken_masks, problems
from entityseg_bench.scale.parts import images_at
from entityseg_bench.scale.saved import SavedScoring
from entityseg_bench.score import Sides, on_void, score_sides
from entityseg_bench.set_rules import of_all
from entityseg_bench.table import Segments
from entityseg_bench.types import Tally

__all__ = ["evaluate_streamed"]

# Bytes that a prediction takes until the end: its place, its image, its outcome, and merging them.
BYTES_A_PREDICTION = 160
# A part takes several times its text, in pieces, joined and as columns; and an image that is
# matched many times its own, as runs, also of what is visible.
TEXTS_A_PART, TEXTS_AN_IMAGE = 5, 20
LEAST_PART = 1 << 20

Ints = NDArray[np.int64]


def evaluate_streamed(
    gt_path: str | Path,
    dt_path: str | Path,
    max_memory: int,
    params: EvalParams | None = None,
    inputs: Inputs | None = None,
    boundary: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SavedScoring:
    """Score a results file by parts, equal to scoring it at once.

    Args:
        gt_path: Ground truth of any type, which is held whole.
        dt_path: A plain JSON list of COCO results, in any order.
        max_memory: Bytes that the process may take, about: an image is never divided.
        params: What to measure; class-agnostic.
        inputs: What the files are, where they do not say it.
        boundary: Whether to measure Boundary AP, too.
        progress: Called with (images finished, images).

    Raises:
        InputError: A bad record; a file that cannot be read by parts; too little memory.
    """
    inputs, path = inputs or Inputs(), Path(dt_path)
    if inputs.image_id is not None or inputs.score_from not in (None, "score"):
        what = "--max-memory reads image_id and score as they stand in the records."
        raise InputError("arguments", "", what)
    params = dataclasses.replace(params or EvalParams(), keep_matches=False)
    with collector_paused():
        opened = formats.open(gt_path, inputs, whole=False)
        gt = opened.segments.read()
        index = index_results(path)
        dt = index.table(gt)
        warnings = list(problems(gt, dt, max_det=params.max_dets[-1]))
        refuse(warnings)
        # The rules have read the masks of the ground truth: each part takes its own from them.
        read = gt.replace(masks=CodedMasks(gt.counts))
        work = _Work(read, dt, index, params, boundary)
        scored, done = [], 0
        text = np.bincount(dt.image_idx, np.diff(index.places)[:, 0], len(gt.images))
        room = room_for(max_memory, len(dt), text, params.threads)
        for images in parts_of(dt, text, room):
            scored.append(work.score(images))
            done += len(images)
            if progress:
                progress(done, len(gt.images))
    sides = {"ground_truth": opened.read, "predictions": [path]}
    files = {
        side: {"name": paths[0].name, "sha256": fingerprint(paths)} for side, paths in sides.items()
    }
    found = [*warnings, *(of_all(dt, note, "", NOTE) for note in work.tally.notes())]
    if work.n_on_void:
        found.append(on_void(dt, work.n_on_void))
    return dataclasses.replace(
        SavedScoring.merge(scored),
        shards=[files],
        warnings=[str(one) for one in found],
    )


def room_for(max_memory: int, n: int, text: NDArray[Any], threads: int) -> int:
    """Return how many bytes of text a part may have.

    Args:
        max_memory: Bytes that the process may take.
        n: Number of predictions.
        text: (I,) bytes of the records of each image.
        threads: Images that are matched at once.

    Raises:
        InputError: There is not enough memory for any.
    """
    at_once = np.sort(text)[-threads:].sum()
    taken = _memory_taken() + BYTES_A_PREDICTION * n + TEXTS_AN_IMAGE * int(at_once)
    room = (max_memory - taken) // TEXTS_A_PART
    if room < LEAST_PART:
        least = -(-(taken + TEXTS_A_PART * LEAST_PART) // 10**6)
        what = f"{max_memory / 1e6:.0f} MB are too little: the ground truth and what is kept of "
        what += f"{n:,} predictions, or of an image while it is scored, take {taken / 1e6:.0f} MB."
        raise InputError("arguments", "--max-memory", what, f"Give {least} MB or more.")
    return room


def _memory_taken() -> int:
    """Return how many bytes the process takes, or has taken at most; 0 where it cannot be told."""
    if sys.platform == "win32":
        return 0
    status = Path("/proc/self/status")
    if status.exists():
        # What getrusage says is of the past, and of the process that this one was forked from.
        found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text(encoding="utf-8"))
        return 1024 * int(found[1]) if found else 0
    import resource

    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return taken if sys.platform == "darwin" else 1024 * taken


def parts_of(dt: Segments, text: NDArray[Any], room: int) -> Iterator[Ints]:
    """Divide the images into parts of so much text, in the order of the file; each at least one."""
    n_images = len(dt.images)
    first = np.full(n_images, len(dt), np.int64)
    rows = np.arange(len(dt))
    # Of several assignments to one place numpy keeps the last.
    first[dt.image_idx[::-1]] = rows[::-1]
    order = np.argsort(first, kind="stable")
    start = 0
    while start < n_images:
        filled = np.cumsum(text[order[start:]])
        n = max(int(np.searchsorted(filled, room, side="right")), 1)
        yield np.sort(order[start : start + n])
        start += n


@dataclasses.dataclass
class _Work:
    """Hold both sides, and score parts of them.

    Attributes:
        gt: Ground truth, its masks read.
        dt: Predictions, their masks unread.
        index: Where they lie.
        params: What to measure.
        boundary: Whether to measure Boundary AP, too.
        tally: What was done to read masks.
        n_on_void: How many predictions lay on unlabelled pixels alone.
    """

    gt: Segments
    dt: Segments
    index: ResultsIndex
    params: EvalParams
    boundary: bool
    tally: Tally = dataclasses.field(default_factory=Tally)
    n_on_void: int = 0

    def score(self, images: Ints) -> SavedScoring:
        """Score some images, whose positions rise."""
        where = np.zeros(len(self.gt.images) + 1, bool)
        where[images] = True
        part = self.index.part(np.flatnonzero(where[self.dt.image_idx]), self.dt)
        refuse(list(broken_masks(part)))
        if own := part.masks.tally():
            self.tally.update(own)
        sides = Sides(images_at(self.gt, images), images_at(part, images), "some", [], {})
        scoring = score_sides(sides, self.params, boundary=self.boundary, is_part=True)
        self.n_on_void += int(scoring.result.on_void.sum())
        return SavedScoring.of(scoring)
