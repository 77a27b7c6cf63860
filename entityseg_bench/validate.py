"""Every problem of a ground-truth and a prediction file, of any type."""

from collections.abc import Iterator
from pathlib import Path

from entityseg_bench.inputs import Inputs
from entityseg_bench.io import read_bytes
from entityseg_bench.rules import Problem, coco_problems
from entityseg_bench.sides import read_as_coco

__all__ = ["Problem", "validate"]


def validate(
    gt_path: str | Path,
    dt_path: str | Path | None = None,
    class_aware: bool = False,
    inputs: Inputs | None = None,
) -> Iterator[Problem]:
    """Name every problem of ground truth and, if given, of predictions for it.

    Args:
        gt_path: Ground truth of any type, as `entityseg_bench.evaluate.evaluate_files` takes it.
        dt_path: Predictions of any format, likewise.
        class_aware: Check the categories too.
        inputs: What the two sides are, where they do not say it.

    Raises:
        InputError: A file cannot be opened at all.
    """
    gt, dt, inputs = Path(gt_path), Path(dt_path) if dt_path else None, inputs or Inputs()
    if read_as_coco(gt, dt, inputs):
        yield from coco_problems(gt, dt, class_aware)
        return
    from entityseg_bench.typed.listing import typed_problems

    for path in (gt, dt):
        if path and not path.is_dir():
            read_bytes(path)
    yield from typed_problems(gt, dt, inputs, class_aware)
