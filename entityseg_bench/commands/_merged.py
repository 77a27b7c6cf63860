"""What `merge` and `evaluate --engine` print and write of a merged scoring."""

from pathlib import Path

from entity_api.report import text_table
from entityseg_bench.io import write_json
from entityseg_bench.resampling import (
    Sample,
    interval_record,
    interval_table,
    sample_intervals,
)
from entityseg_bench.scale.saved import SavedScoring
from entityseg_bench.score.type_metrics import type_table

__all__ = ["BOUNDARY_TITLE", "tell"]

BOUNDARY_TITLE = "By boundaries: the lesser of mask IoU and boundary IoU (2 % of the diagonal)"


def tell(merged: SavedScoring, n_resamples: int | None, json: str | None) -> None:
    """Print the tables and write the result, with intervals from some resamples if asked."""
    result = merged.state.finish()
    boundary = merged.boundary.finish() if merged.boundary else None
    print(text_table(result))
    record = merged.record(result, boundary)
    if n_resamples is not None:
        intervals = sample_intervals(Sample.of_state(merged.state, result), n_resamples)
        print(f"\n{interval_table(intervals, n_resamples)}")
        record["intervals"] = interval_record(intervals, n_resamples)
    if merged.own:
        print(f"\n{type_table(merged.own.metrics())}")
    if boundary:
        print(f"\n{BOUNDARY_TITLE}\n{text_table(boundary)}")
    if json:
        write_json(Path(json), record, indent=2)
