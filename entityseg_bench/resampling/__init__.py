"""How sure a metric is: weighted sets of images, intervals and paired permutation over them."""

from entityseg_bench.resampling.bootstrap import (
    Interval,
    bounds,
    confidence_intervals,
    image_metrics,
    image_weights,
    interval_record,
    interval_table,
    permutation_test,
    resampled_metrics,
    sample_intervals,
)
from entityseg_bench.resampling.sample import Sample

__all__ = [
    "Interval",
    "Sample",
    "bounds",
    "confidence_intervals",
    "image_metrics",
    "image_weights",
    "interval_record",
    "interval_table",
    "permutation_test",
    "resampled_metrics",
    "sample_intervals",
]
