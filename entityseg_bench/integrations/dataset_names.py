"""The names under which the original registers EntitySeg in detectron2, and what each one means."""

from typing import NamedTuple

from entityseg_bench.categories import Task
from entityseg_bench.layout import PARTS, RESOLUTIONS, SPLITS, SUFFIX, Resolution, Split

__all__ = ["DATASETS", "Subset"]


class Subset(NamedTuple):
    """Say which annotations of the data set a name stands for.

    Attributes:
        task: Annotation type.
        split: train or val.
        resolution: high, or low for the ``_lr`` files.
        parts: Some of "01", "02", "03"; None for all there are.
    """

    task: Task
    split: Split
    resolution: Resolution
    parts: tuple[str, ...] | None = None


def _named() -> dict[str, Subset]:
    """Build all names.

    The original has 13 of them, all in high resolution but for the two joined entity files. The
    others follow the same pattern: they are what its own base configuration asks for
    (``entityv2_entity_val_01``) and the low resolutions of the rest. Its ``_train_all_lr`` reads
    the file of the validation split; here it is the training split.
    """
    named: dict[str, Subset] = {}
    for split in SPLITS:
        for resolution in RESOLUTIONS:
            end = SUFFIX[resolution]
            for part in PARTS:
                subset = Subset("entity", split, resolution, (part,))
                named[f"entityv2_entity_{split}_{part}{end}"] = subset
            named[f"entityv2_entity_{split}_all{end}"] = Subset("entity", split, resolution)
            named[f"entityv2_instance_{split}{end}"] = Subset("instance", split, resolution)
            # The semantic validation split is called "test" there.
            called = "test" if split == "val" else split
            named[f"entityv2_sem150_{called}{end}"] = Subset("semantic", split, resolution)
            named[f"entityv2_panoptic_{split}{end}"] = Subset("panoptic", split, resolution)
    return named


DATASETS: dict[str, Subset] = _named()
