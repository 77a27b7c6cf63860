"""The data set: its files and layouts, its annotations as columns, parts and resolutions."""

from entityseg_bench.contents.contents import LazyAnnotations
from entityseg_bench.dataset.entity_dataset import EntityDataset, one_of

__all__ = ["EntityDataset", "LazyAnnotations", "one_of"]
