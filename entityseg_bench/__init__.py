"""Load, check, convert and score the EntitySeg dataset."""

__version__ = "0.1.0"
