"""Prediction files side by side: metrics, paired differences, and the images that moved most."""

from entityseg_bench.compare.comparison import (
    Comparison,
    Difference,
    ImageMove,
    compare,
    compare_files,
    comparison_record,
)

__all__ = [
    "Comparison",
    "Difference",
    "ImageMove",
    "compare",
    "compare_files",
    "comparison_record",
]
