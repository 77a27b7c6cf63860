"""Records of COCO JSON as columns, whether the kernel has read them or a decoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import _records
from entityseg_bench.formats.coco.masks import JsonMasks, Spans, Split

__all__ = ["Columns", "annotations", "decoded", "scanned"]


class Columns(NamedTuple):
    """Hold what N records say.

    Attributes:
        image_ids: (N,) as in the file.
        ids: (N,) likewise, None where there is none.
        category_ids: (N,) -1 where none is said.
        texts: (N,) the segmentations as JSON.
        split: What is known of them.
        scores: (N,) of predictions.
        areas: (N,) of annotations, nan where none is said.
        iscrowd: (N,) of annotations.
        notes: What was odd in them.
    """

    image_ids: Sequence[Any] | NDArray[np.int64]
    ids: Sequence[Any] | NDArray[np.int64]
    category_ids: NDArray[np.int64]
    texts: Sequence[Any]
    split: Split | None = None
    scores: NDArray[np.float64] | None = None
    areas: NDArray[np.float64] | None = None
    iscrowd: NDArray[np.bool_] | None = None
    notes: Sequence[str] = ()

    def masks(self, path: Path, data: bytes, plain: bytes | None = None) -> JsonMasks:
        """Return the masks of the records: they lie in the file, or in what was made of it."""
        return JsonMasks(path, self.texts, None if plain else data, plain, self.split)


def scanned(found: _records.Records, data: bytes, **columns: Any) -> Columns:
    """Return the columns of records that the kernel has read."""
    # Of no records a decoder says the same.
    ids = found.ids if found.ids is not None else [None] * found.n or np.zeros(0, np.int64)
    split = found.codes, found.sizes, list[int]()
    texts = Spans(data, found.places)
    return Columns(found.image_ids, ids, found.category_ids, texts, split, **columns)


def decoded(rows: Sequence[Any], **columns: Any) -> Columns:
    """Return the columns of records that were decoded."""
    category_ids = [-1 if row.category_id is None else row.category_id for row in rows]
    return Columns(
        [row.image_id for row in rows],
        _whole_ids([row.id for row in rows]),
        np.array(category_ids, np.int64),
        [row.segmentation for row in rows],
        **columns,
    )


def _whole_ids(ids: list[Any]) -> NDArray[np.int64] | list[Any]:
    """Return ids as an array where all are whole numbers that it holds."""
    if not set(map(type, ids)) <= {int}:
        return ids
    try:
        return np.array(ids, np.int64)
    except OverflowError:
        return ids


def annotations(rows: Sequence[Any]) -> Columns:
    """Return the columns of annotations that were decoded."""
    odd = [row.iscrowd for row in rows if row.iscrowd not in (0, 1)]
    notes = []
    if odd:
        n = f"{len(odd)} annotations" if len(odd) > 1 else "an annotation"
        notes.append(f"iscrowd is {odd[0]} in {n}: taken as 1, a crowd, as pycocotools does.")
    return decoded(
        rows,
        notes=notes,
        areas=np.array([np.nan if r.area is None else r.area for r in rows], np.float64),
        iscrowd=np.array([bool(row.iscrowd) for row in rows], bool),
    )
