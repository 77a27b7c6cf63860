"""COCO panoptic: maps of ids with JSON beside them, and lists of other tools."""

from entityseg_bench.formats.panoptic.files import (
    PanopticMasks,
    open_dt,
    open_gt,
    read_panoptic,
    write_panoptic,
)

__all__ = [
    "PanopticMasks",
    "open_dt",
    "open_gt",
    "read_panoptic",
    "write_panoptic",
]
