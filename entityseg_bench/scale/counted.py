"""What rules of a whole set need of each of its shards: numbers, and no segments."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entityseg_bench.categories import Task
from entityseg_bench.table import Segments
from entityseg_bench.types import ImageInfo

__all__ = ["Share", "Side"]

Ints = NDArray[np.int64]


class Share(NamedTuple):
    """Count the segments of a shard.

    Attributes:
        images: (K,) positions of the images that it has some of, rising.
        n: (K,) how many of each.
        scores: Least and greatest score; nothing where there is no segment.
        iscrowd: Whether all are crowds, likewise.
    """

    images: Ints
    n: Ints
    scores: NDArray[np.float64]
    iscrowd: NDArray[np.bool_]

    @classmethod
    def of(cls, table: Segments) -> "Share":
        """Count the segments of a table."""
        images = np.flatnonzero(table.n_per_image)
        ends = np.array([table.scores.argmin(), table.scores.argmax()] if len(table) else [], int)
        crowds = np.array([table.iscrowd.all()] if len(table) else [], bool)
        return cls(images, table.n_per_image[images], table.scores[ends], crowds)

    def n_of(self, n_images: int) -> Ints:
        """Return how many segments each image has."""
        n = np.zeros(n_images, np.int64)
        n[self.images] = self.n
        return n


@dataclasses.dataclass(frozen=True)
class Side:
    """Stand for all segments of a side in the rules of a set (`set_rules.Counted`).

    Attributes:
        images: All (I,) images.
        task: Type of the ground truth.
        where_from: What the user calls the side.
        n_per_image: (I,) number of segments of each.
        scores: Some of all scores: the ends of each shard.
        iscrowd: For each shard, whether all its segments are crowds.
    """

    images: Sequence[ImageInfo]
    task: Task
    where_from: str
    n_per_image: Ints
    scores: NDArray[np.float64]
    iscrowd: NDArray[np.bool_]

    @classmethod
    def of(cls, shares: Iterable[Share], images: Segments, path: str | Path) -> "Side":
        """Put the shares of all shards together."""
        own = list(shares)
        n_per_image = np.zeros(len(images.images), np.int64)
        for share in own:
            n_per_image[share.images] += share.n
        none = Share.of(images)
        return cls(
            images.images,
            images.task,
            str(path),
            n_per_image,
            np.concatenate([none.scores, *(share.scores for share in own)]),
            np.concatenate([none.iscrowd, *(share.iscrowd for share in own)]),
        )

    def __len__(self) -> int:
        return int(self.n_per_image.sum())
