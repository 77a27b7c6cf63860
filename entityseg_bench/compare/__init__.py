"""Prediction files side by side: metrics, paired differences, and the images that moved most."""

from entityseg_bench.compare.comparison import (
    Compared,
    Comparison,
    Difference,
    ImageMove,
    compare,
    compare_files,
    comparison_record,
)
from entityseg_bench.compare.figures import write_figures
from entityseg_bench.compare.paper import comparison_csv, comparison_tex

__all__ = [
    "Compared",
    "Comparison",
    "Difference",
    "ImageMove",
    "compare",
    "compare_files",
    "comparison_csv",
    "comparison_record",
    "comparison_tex",
    "write_figures",
]
