"""Name every problem of both sides, not the first alone."""

from entityseg_bench.check import Problem
from entityseg_bench.validate.problems import validate

__all__ = ["Problem", "validate"]
