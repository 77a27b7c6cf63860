"""Where AP is lost: errors by kind and what each costs, scores, categories."""

from entityseg_bench.errors.find import (
    KINDS,
    CategoryRecall,
    ErrorReport,
    ErrorSummary,
    error_record,
    find_errors,
    summarize,
)

__all__ = [
    "KINDS",
    "CategoryRecall",
    "ErrorReport",
    "ErrorSummary",
    "error_record",
    "find_errors",
    "summarize",
]
