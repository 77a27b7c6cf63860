"""Annotations as the evaluator's ground truth."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from entity_api import rle as rle_codes
from entity_api.tables import GroundTruth
from entityseg_bench.contents.records import Records
from entityseg_bench.types import RLE, ImageInfo

__all__ = ["ground_truth"]


def ground_truth(images: Sequence[ImageInfo], rows: Records, has_void: bool) -> GroundTruth:
    """Return annotations as columns, their masks read in threads (maps decode without the lock).

    Args:
        images: All of them.
        rows: Their annotations.
        has_void: Whether pixels of no annotation are void, and count against no prediction.

    Raises:
        InputError: A broken mask, or a map that does not fit, with file, image and record.
    """
    counts: list[Any] = [None] * len(rows)
    void: list[Any] = [None] * len(images)

    def read(image_idx: int) -> None:
        image = images[image_idx]
        own = rows.of_image(image_idx)
        for row in own:
            counts[row] = rows.counts(int(row), image)
        if has_void:
            void[image_idx] = _void([rows.rle(int(row), image) for row in own], image)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(read, range(len(images))):
            pass
    sizes = [(image.height, image.width) for image in images]
    return GroundTruth(
        image_ids=[image.id for image in images],
        sizes=np.array(sizes, np.int64).reshape(-1, 2),
        image_idx=rows.image_idx,
        counts=counts,
        category_ids=rows.category_ids,
        iscrowd=rows.iscrowd,
        areas=rows.areas,
        ids=rows.ids.tolist(),
        boxes=rows.boxes,
        void=void if has_void else None,
    )


def _void(masks: list[RLE], image: ImageInfo) -> str | None:
    """Return the counts of the pixels that no mask covers, None where there are none."""
    painted = rle_codes.paint_id_map(masks, [1] * len(masks), image.height, image.width)
    void = painted == 0
    return rle_codes.encode(void)["counts"] if void.any() else None
