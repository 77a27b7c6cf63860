"""What `merge` and `evaluate --engine` print and write of a merged scoring."""

from pathlib import Path

from entityseg_bench.io import write_json
from entityseg_bench.resampling import interval_record, interval_table, state_intervals
from entityseg_bench.scale.saved import SavedScoring

__all__ = ["BOUNDARY_TITLE", "tell"]

BOUNDARY_TITLE = "By boundaries: the lesser of mask IoU and boundary IoU (2 % of the diagonal)"


def tell(merged: SavedScoring, n_resamples: int | None, json: str | None) -> None:
    """Print the tables and write the result, with intervals from some resamples if asked."""
    result = merged.state.finish()
    boundary = merged.boundary.finish() if merged.boundary else None
    print(result)
    record = merged.record(result, boundary)
    if n_resamples is not None:
        intervals = state_intervals(merged.state, result, n_resamples)
        print(f"\n{interval_table(intervals, n_resamples)}")
        record["intervals"] = interval_record(intervals, n_resamples)
    if boundary:
        print(f"\n{BOUNDARY_TITLE}\n{boundary}")
    if record["own_metrics"]:
        print(f"\n{record['own_metrics']['left_out']}: score the whole set in one process for it.")
    if json:
        write_json(Path(json), record, indent=2)
