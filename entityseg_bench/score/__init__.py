"""From files, or what a program holds, to numbers: both sides read, checked and scored."""

from entityseg_bench.score.files import (
    BENCHMARK,
    Scoring,
    Sides,
    evaluate_files,
    evaluate_sides,
    on_void,
    read_checked,
    read_predictions,
    read_sides,
    score_sides,
)
from entityseg_bench.score.record import (
    SCHEMA,
    overlap_record,
    parameters_record,
    plain,
    result_record,
)

__all__ = [
    "BENCHMARK",
    "SCHEMA",
    "Scoring",
    "Sides",
    "evaluate_files",
    "evaluate_sides",
    "on_void",
    "overlap_record",
    "parameters_record",
    "plain",
    "read_checked",
    "read_predictions",
    "read_sides",
    "result_record",
    "score_sides",
]
