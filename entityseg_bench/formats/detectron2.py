"""Predictions that were pickled: detectron2's instances_predictions.pth, and lists like it."""

from pathlib import Path
from typing import Any

import numpy as np

from entity_api import rle as rle_codes
from entityseg_bench.check import Report, stop
from entityseg_bench.formats.coco import table_of_content
from entityseg_bench.formats.opened import Inputs, Opened
from entityseg_bench.formats.panoptic.lists import has_maps, records_of_maps, rows_of_images
from entityseg_bench.formats.unpickled import read_pickle
from entityseg_bench.table import Segments
from entityseg_bench.types import Tally

__all__ = ["read_detectron2"]


def read_detectron2(
    path: str | Path, inputs: Inputs | None = None, truth: Segments | None = None
) -> Segments:
    """Read pickled predictions; the pickle runs no code, and PyTorch is not needed.

    Args:
        path: A pickle, or a file of torch.save, of lists and dictionaries.
        inputs: What the user says of it.
        truth: Ground truth, which gives images and categories.

    Raises:
        InputError: It holds something else, or no predictions.
    """
    path, tally = Path(path), Tally()
    content = plain_arrays(read_pickle(path))
    rows = rows_of_images(content, tally)
    if rows is not None and has_maps(rows):
        content = list(records_of_maps(rows, path, tally))
    return table_of_content(path, content, inputs or Inputs(), truth, tally)


def plain_arrays(value: Any) -> Any:
    """Return a value with its arrays as lists; masks become run-length codes."""
    if isinstance(value, dict):
        # A map of segments may be of zeros and ones, and is no mask.
        maps = "segments_info" in value
        return {
            key: part.tolist() if maps and isinstance(part, np.ndarray) else plain_arrays(part)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [plain_arrays(part) for part in value]
    if isinstance(value, np.ndarray):
        if is_mask(value):
            return rle_codes.encode(value != 0)
        if value.ndim == 4 and value.shape[1] == 1:
            value = value[:, 0]
        if value.ndim == 3 and len(value) and all(map(is_mask, value)):
            return [rle_codes.encode(mask != 0) for mask in value]
        return value.item() if value.ndim == 0 else value.tolist()
    return value


def is_mask(value: Any) -> bool:
    """Tell whether an array is a mask: two axes, zeros and ones (or 255)."""
    if value.ndim != 2 or not value.size or value.dtype.kind not in "biuf":
        return False
    found = np.unique(value)
    binary = np.isin(found, (0, 1)).all() or np.isin(found, (0, 255)).all()
    # Boxes of one record, (1, 4), are no mask.
    return bool(binary) and (value.dtype == bool or min(value.shape) > 1)


def open_results(
    path: Path, inputs: Inputs, *, whole: bool = True, report: Report = stop
) -> Opened:
    """Open predictions without their ground truth; see `entityseg_bench.formats.open`."""
    return Opened(read_detectron2(path, inputs), [path])


def open_dt(
    path: Path, truth: Segments, inputs: Inputs, *, some_images: bool, report: Report
) -> Opened:
    """Open predictions; see `entityseg_bench.formats.open`."""
    return Opened(read_detectron2(path, inputs, truth), [path])
