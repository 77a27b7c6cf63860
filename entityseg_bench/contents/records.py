"""Annotations as columns, their masks left where they are until someone asks."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entityseg_bench.io import InputError
from entityseg_bench.types import RLE, Annotation, ImageInfo

__all__ = [
    "Extras",
    "ListMasks",
    "Masks",
    "Records",
    "join",
    "positions",
    "take",
]


class Masks(Protocol):
    """Give the mask of an annotation by its position."""

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx``, checked against its image's (height, width)."""

    def counts(self, idx: int, size: tuple[int, int]) -> Any:
        """Return its compressed counts in any form that `entity_api.counts.pack` reads."""


class Extras(Protocol):
    """Give the fields of an annotation that have no column."""

    def __getitem__(self, idx: int) -> dict[str, Any] | None: ...


class ListMasks:
    """Hold masks in memory."""

    def __init__(self, masks: Sequence[RLE]) -> None:
        self._masks = masks

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx``."""
        if tuple(self._masks[idx]["size"]) != size:
            raise rle_codes.RLEError(
                f"size {self._masks[idx]['size']} is not the image's [height, width] {list(size)}"
            )
        return self._masks[idx]

    def counts(self, idx: int, size: tuple[int, int]) -> str:
        """Return its compressed counts."""
        return self.rle(idx, size)["counts"]


class JoinedMasks:
    """Chain the masks of several files; ``lengths`` says how many each has."""

    def __init__(self, parts: Sequence[Masks], lengths: Sequence[int]) -> None:
        self._parts = parts
        self._ends = np.cumsum(lengths)
        self._starts = self._ends - np.asarray(lengths)

    def _locate(self, idx: int) -> tuple[Masks, int]:
        part = int(np.searchsorted(self._ends, idx, side="right"))
        return self._parts[part], idx - int(self._starts[part])

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return mask ``idx`` of the chain."""
        masks, at = self._locate(idx)
        return masks.rle(at, size)

    def counts(self, idx: int, size: tuple[int, int]) -> Any:
        """Return its compressed counts."""
        masks, at = self._locate(idx)
        return masks.counts(at, size)


class JoinedExtras:
    """Chain the extra fields of several files."""

    def __init__(self, parts: Sequence[Extras | None], lengths: Sequence[int]) -> None:
        self._parts = parts
        self._ends = np.cumsum(lengths)
        self._starts = self._ends - np.asarray(lengths)

    def __getitem__(self, idx: int) -> dict[str, Any] | None:
        part = int(np.searchsorted(self._ends, idx, side="right"))
        extras = self._parts[part]
        return None if extras is None else extras[idx - int(self._starts[part])]


@dataclasses.dataclass(frozen=True)
class Records:
    """Hold N annotations.

    Attributes:
        ids: (N,) as in the file.
        image_idx: (N,) position of each one's image.
        category_ids: (N,).
        areas: (N,) pixels as the file says, nan where it does not.
        boxes: (N, 4) COCO xywh in pixels, nan where the file says nothing.
        iscrowd: (N,) bool.
        masks: Where the masks come from.
        extras: Where other fields come from; None when there are none.
        where: Name of the file, for errors.
    """

    ids: NDArray[np.int64]
    image_idx: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    areas: NDArray[np.float64]
    boxes: NDArray[np.float64]
    iscrowd: NDArray[np.bool_]
    masks: Masks
    extras: Extras | None = None
    where: str = ""
    _by_image: tuple[NDArray[np.int64], NDArray[np.int64]] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        order = np.argsort(self.image_idx, kind="stable")
        object.__setattr__(self, "_by_image", (order, self.image_idx[order]))

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def from_annotations(
        cls, annotations: Iterable[Annotation], images: Sequence[ImageInfo], where: str = ""
    ) -> "Records":
        """Gather annotations into columns.

        Raises:
            InputError: An annotation of an image that is not listed.
        """
        rows = list(annotations)
        position = {image.id: idx for idx, image in enumerate(images)}
        return cls(
            ids=np.array([row.id for row in rows], np.int64),
            image_idx=positions(position, [row.image_id for row in rows], where),
            category_ids=np.array([row.category_id for row in rows], np.int64),
            areas=np.array([row.area for row in rows], np.float64),
            boxes=np.array([row.bbox for row in rows], np.float64).reshape(-1, 4),
            iscrowd=np.array([row.iscrowd for row in rows], bool),
            masks=ListMasks([row.segmentation for row in rows]),
            extras=[row.extra for row in rows] if any(row.extra for row in rows) else None,
            where=where,
        )

    def of_image(self, image_idx: int) -> NDArray[np.int64]:
        """Return the positions of an image's annotations in file order."""
        order, sorted_idx = self._by_image
        start, end = np.searchsorted(sorted_idx, [image_idx, image_idx + 1])
        return order[start:end]

    def counts_per_image(self, n_images: int) -> NDArray[np.int64]:
        """Count the annotations of each image, (I,)."""
        return np.bincount(self.image_idx, minlength=n_images)

    def with_categories(self, category_ids: NDArray[np.int64]) -> "Records":
        """Return the same annotations with other categories, (N,)."""
        changed = {"category_ids": category_ids}
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}
        return Records(**{**fields, **changed})

    def rle(self, idx: int, image: ImageInfo) -> RLE:
        """Return one mask.

        Raises:
            InputError: A mask that is broken or not of its image's size, with its record.
        """
        try:
            return self.masks.rle(idx, (image.height, image.width))
        except rle_codes.RLEError as error:
            raise self.error(idx, image, str(error)) from None

    def counts(self, idx: int, image: ImageInfo) -> Any:
        """Return one mask's compressed counts in any form that the evaluator reads.

        Raises:
            InputError: A mask that is not of its image's size, with its record.
        """
        try:
            return self.masks.counts(idx, (image.height, image.width))
        except rle_codes.RLEError as error:
            raise self.error(idx, image, str(error)) from None

    def error(self, idx: int, image: ImageInfo, what: str) -> InputError:
        """Make the error of one record: it names file, image and annotation."""
        return InputError(
            self.where or "annotations",
            f"image {image.id} ({image.file_name}), annotation {self.ids[idx]} (record {idx})",
            f"{what}.",
            "Correct this record or take it out.",
        )

    def annotation(self, idx: int, image: ImageInfo) -> Annotation:
        """Build one annotation; area and bbox come from the mask where the file has none."""
        mask = self.rle(idx, image)
        area = float(self.areas[idx])
        x, y, w, h = self.boxes[idx].tolist()
        return Annotation(
            id=int(self.ids[idx]),
            image_id=image.id,
            category_id=int(self.category_ids[idx]),
            segmentation=mask,
            area=area if area == area else float(rle_codes.area(mask)),
            bbox=(x, y, w, h) if x == x else _box(mask),
            iscrowd=bool(self.iscrowd[idx]),
            extra=self.extras[idx] if self.extras is not None else None,
        )


def _box(mask: RLE) -> tuple[float, float, float, float]:
    x, y, w, h = rle_codes.bbox(mask)
    return x, y, w, h


def positions(position: dict[Any, int], image_ids: Sequence[Any], where: str) -> NDArray[np.int64]:
    """Turn image ids into positions.

    Raises:
        InputError: An id that is not among the images, with its record.
    """
    try:
        return np.fromiter(map(position.__getitem__, image_ids), np.int64, len(image_ids))
    except KeyError:
        idx = next(i for i, image_id in enumerate(image_ids) if image_id not in position)
        raise InputError(
            where or "annotations",
            f"annotation record {idx}",
            f"its image_id {image_ids[idx]!r} is not among the images.",
            "Add the image or take the annotation out.",
        ) from None


class PickedMasks:
    """Show some masks of another source, in another order."""

    def __init__(self, masks: Masks, picks: NDArray[np.int64]) -> None:
        self._masks = masks
        self._picks = picks

    def rle(self, idx: int, size: tuple[int, int]) -> RLE:
        """Return pick ``idx``."""
        return self._masks.rle(int(self._picks[idx]), size)

    def counts(self, idx: int, size: tuple[int, int]) -> Any:
        """Return its compressed counts."""
        return self._masks.counts(int(self._picks[idx]), size)


class PickedExtras:
    """Show the extra fields of some annotations of another source."""

    def __init__(self, extras: Extras, picks: NDArray[np.int64]) -> None:
        self._extras = extras
        self._picks = picks

    def __getitem__(self, idx: int) -> dict[str, Any] | None:
        return self._extras[int(self._picks[idx])]


def take(
    records: Records,
    picked: NDArray[np.int64],
    n_images: int,
    category_ids: Iterable[int] | None = None,
) -> Records:
    """Return the annotations of some images and categories; masks stay where they are.

    Args:
        records: Of ``n_images`` images.
        picked: Positions of the images that stay, in their new order.
        n_images: Of the records.
        category_ids: Categories that stay; None keeps all.
    """
    where = np.full(n_images, -1, np.int64)
    where[picked] = np.arange(len(picked))
    keep = where[records.image_idx] >= 0
    if category_ids is not None:
        keep &= np.isin(records.category_ids, list(category_ids))
    rows = np.flatnonzero(keep)
    return Records(
        ids=records.ids[rows],
        image_idx=where[records.image_idx[rows]],
        category_ids=records.category_ids[rows],
        areas=records.areas[rows],
        boxes=records.boxes[rows],
        iscrowd=records.iscrowd[rows],
        masks=PickedMasks(records.masks, rows),
        extras=None if records.extras is None else PickedExtras(records.extras, rows),
        where=records.where,
    )


def join(parts: Sequence[Records], first_images: Sequence[int]) -> Records:
    """Chain records whose images begin at ``first_images``; annotations are numbered from 1."""
    lengths = [len(part) for part in parts]
    total = sum(lengths)
    extras = None
    if any(part.extras is not None for part in parts):
        extras = JoinedExtras([part.extras for part in parts], lengths)
    moved = [part.image_idx + first for part, first in zip(parts, first_images, strict=True)]
    return Records(
        ids=np.arange(1, total + 1, dtype=np.int64),
        image_idx=np.concatenate(moved),
        category_ids=np.concatenate([part.category_ids for part in parts]),
        areas=np.concatenate([part.areas for part in parts]),
        boxes=np.concatenate([part.boxes for part in parts]),
        iscrowd=np.concatenate([part.iscrowd for part in parts]),
        masks=JoinedMasks([part.masks for part in parts], lengths),
        extras=extras,
        where=", ".join(part.where for part in parts),
    )
