"""Some segments of a table, or several tables chained; masks stay where they are."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entityseg_bench.masks import JoinedExtras, JoinedMasks, PickedExtras
from entityseg_bench.table import Segments
from entityseg_bench.types import ImageInfo, Origin

__all__ = ["join", "rows_of", "take"]

COLUMNS = ("image_idx", "ids", "category_ids", "scores", "areas", "boxes", "iscrowd")


def take(
    table: Segments, picked: NDArray[np.int64], category_ids: Iterable[int] | None = None
) -> Segments:
    """Return the segments of some images and categories; masks stay where they are.

    Args:
        table: Of I images.
        picked: Positions of the images that stay, in their new order.
        category_ids: Categories that stay; None keeps all.
    """
    where = np.full(len(table.images) + 1, -1, np.int64)
    where[picked] = np.arange(len(picked))
    keep = where[table.image_idx] >= 0
    if category_ids is not None:
        keep &= np.isin(table.category_ids, list(category_ids))
    kept = rows_of(table, np.flatnonzero(keep))
    return kept.replace(
        images=[table.images[idx] for idx in picked.tolist()], image_idx=where[kept.image_idx]
    )


def rows_of(table: Segments, rows: NDArray[np.int64]) -> Segments:
    """Return some segments of a table, of the same images."""
    origin = table.origin.take(rows) if table.origin else Origin.in_file(table.where_from, rows)
    columns: dict[str, Any] = {name: getattr(table, name) for name in COLUMNS}
    unknown = {
        at: table.unknown[row] for at, row in enumerate(rows.tolist()) if row in table.unknown
    }
    return table.replace(
        **{
            name: [column[row] for row in rows.tolist()]
            if isinstance(column, list)
            else column[rows]
            for name, column in columns.items()
        },
        masks=table.masks.take(rows),
        extras=None if table.extras is None else PickedExtras(table.extras, rows),
        unknown=unknown,
        origin=origin,
    )


def join(parts: Sequence[Segments], images: Sequence[ImageInfo]) -> Segments:
    """Chain tables whose images, in this order, are ``images``; segments are numbered from 1."""
    ends = np.cumsum([len(part) for part in parts])
    first_images = np.cumsum([0, *(len(part.images) for part in parts[:-1])]).tolist()
    moved = [part.image_idx + first for part, first in zip(parts, first_images, strict=True)]
    has_extras = any(part.extras is not None for part in parts)
    tables = [part.categories for part in parts]
    return parts[0].replace(
        images=images,
        image_idx=np.concatenate(moved),
        masks=JoinedMasks([part.masks for part in parts], ends),
        ids=np.arange(1, ends[-1] + 1, dtype=np.int64),
        category_ids=np.concatenate([part.category_ids for part in parts]),
        areas=np.concatenate([part.areas for part in parts]),
        boxes=np.concatenate([part.boxes for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        iscrowd=np.concatenate([part.iscrowd for part in parts]),
        extras=JoinedExtras([part.extras for part in parts], ends) if has_extras else None,
        categories=list({row.id: row for table in tables for row in table}.values()),
        where_from=", ".join(part.where_from for part in parts),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )
