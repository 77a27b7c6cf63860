"""Parquet shards with a data set card, and what a Parquet file becomes in memory."""

from entityseg_bench.formats.parquet.shards import (
    SplitImages,
    holds_annotations,
    open_gt,
    read_parquet,
    read_shard,
    write_about,
    write_parquet,
    write_rows,
)

__all__ = [
    "SplitImages",
    "holds_annotations",
    "open_gt",
    "read_parquet",
    "read_shard",
    "write_about",
    "write_parquet",
    "write_rows",
]
