"""From files, or what a program holds, to numbers: both sides read, checked and scored."""

from entityseg_bench.score.files import (
    BENCHMARK,
    SCHEMA,
    Scoring,
    Sides,
    evaluate_files,
    evaluate_sides,
    overlap_record,
    parameters_record,
    plain,
    read_checked,
    read_predictions,
    read_sides,
    result_record,
)

__all__ = [
    "BENCHMARK",
    "SCHEMA",
    "Scoring",
    "Sides",
    "evaluate_files",
    "evaluate_sides",
    "overlap_record",
    "parameters_record",
    "plain",
    "read_checked",
    "read_predictions",
    "read_sides",
    "result_record",
]
