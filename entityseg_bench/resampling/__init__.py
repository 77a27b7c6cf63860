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
    state_intervals,
)

__all__ = [
    "Interval",
    "bounds",
    "confidence_intervals",
    "image_metrics",
    "image_weights",
    "interval_record",
    "interval_table",
    "permutation_test",
    "resampled_metrics",
    "state_intervals",
]
