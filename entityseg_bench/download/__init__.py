"""Get the data set: what is asked for, where it lies, and how it comes here whole."""

from entityseg_bench.download.plan import LICENCE, RELEASE, Item, Plan, get, make_plan

__all__ = ["LICENCE", "RELEASE", "Item", "Plan", "get", "make_plan"]
