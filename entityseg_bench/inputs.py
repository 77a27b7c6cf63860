"""What a scoring is of: what the user says of the two sides, and what they turned out to be."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from entityseg_bench.coco_records import FileRecords
from entityseg_bench.io import fingerprint

if TYPE_CHECKING:
    from entityseg_bench.categories import Task
    from entityseg_bench.contents.layout import Resolution, Split
    from entityseg_bench.rules import Problem
    from entityseg_bench.typed.own_metrics import OwnMetrics

__all__ = ["PANOPTIC_MARK", "Inputs", "PredFormat", "Sides"]

PredFormat = Literal["results", "panoptic", "semantic", "id-png", "npz"]

# Bytes that tell panoptic JSON from COCO's other kinds.
PANOPTIC_MARK = b'"segments_info"'


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Say what the two sides of a scoring are, where their files do not.

    Attributes:
        task: Type of the ground truth; None looks.
        split: Of a data set's folder.
        resolution: Of a data set's folder.
        parts: Some of "01", "02", "03" of a data set's folder; None for all that are there.
        gt_maps: Folder of the maps of panoptic JSON or of a semantic list; None looks beside it.
        pred_maps: The same for predictions.
        pred_format: None looks.
    """

    task: "Task | None" = None
    split: "Split" = "val"
    resolution: "Resolution" = "high"
    parts: tuple[str, ...] | None = None
    gt_maps: Path | None = None
    pred_maps: Path | None = None
    pred_format: PredFormat | None = None


@dataclasses.dataclass(frozen=True)
class Sides:
    """Hold what is scored.

    Attributes:
        task: Type of the ground truth.
        gt: Its segments.
        dt: Predictions; of semantic and panoptic types cut to the labelled pixels.
        class_fault: Why predictions cannot be scored by category; empty when they can, or nobody
            asked.
        own: The type's own metric, where it is counted from maps.
        notes: What the user should know of how the predictions were read.
        read: Side -> files and folders it was read from.
        predicted_ids: Images with predictions; None for those with records.
    """

    task: "Task"
    gt: FileRecords
    dt: FileRecords
    class_fault: str
    own: "OwnMetrics | None"
    notes: list["Problem"]
    read: dict[str, list[Path]]
    predicted_ids: list[Any] | None = None

    def predicted(self) -> list[Any]:
        """Return the ids of the images that have predictions."""
        if self.predicted_ids is not None:
            return self.predicted_ids
        return [self.gt.images[idx].id for idx in np.flatnonzero(self.dt.records_per_image)]

    def files(self) -> dict[str, dict[str, str]]:
        """Name and hash what each side was read from."""
        return {
            side: {"name": paths[0].name, "sha256": fingerprint(paths)}
            for side, paths in self.read.items()
        }
