"""The leaderboard: result files and published rows, and everything computed from them."""

from entityseg_bench.leaderboard.build import render, stale, write
from entityseg_bench.leaderboard.entries import add, read_model, read_models, read_published
from entityseg_bench.leaderboard.tables import collect
from entityseg_bench.leaderboard.verify import verify

__all__ = [
    "add",
    "collect",
    "read_model",
    "read_models",
    "read_published",
    "render",
    "stale",
    "verify",
    "write",
]
