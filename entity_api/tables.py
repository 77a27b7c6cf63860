"""The two sides of an evaluation as columns: ground truth and detections."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from entity_api import rle as rle_codes
from entity_api.counts import Codes

__all__ = ["Detections", "GroundTruth", "RecordError"]

Side = Literal["gt", "dt"]

# Beyond it stand the infinities, and whole numbers that no float holds; nan compares with nothing.
MAX_SCORE = float(np.finfo(np.float64).max)


class RecordError(ValueError):
    """Say which record of which side cannot be scored; ``idx`` is its position in the file."""

    def __init__(self, side: Side, idx: int, what: str) -> None:
        super().__init__(f"{side} record {idx}: {what}")
        self.side = side
        self.idx = idx
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        # Without it an error of another process could not be read: it is made from its message.
        return type(self), (self.side, self.idx, self.what)


@dataclasses.dataclass(frozen=True)
class GroundTruth:
    """Hold the images of an evaluation and their G annotated segments.

    Attributes:
        image_ids: (I,) ids from the file, each once.
        sizes: (I, 2) height and width in pixels.
        image_idx: (G,) position of each segment's image.
        counts: (G,) compressed run-length counts (str, bytes or buffers, or the places of such);
            [] with boxes only.
        category_ids: (G,).
        iscrowd: (G,) bool.
        areas: (G,) pixels as the file says, nan where it says nothing: the mask's own area.
        ids: (G,) annotation ids, for reports only: matching goes by position, so an id of 0 counts.
        boxes: (G, 4) COCO xywh in pixels, for box AP only.
        void: (I,) counts of the pixels that belong to no segment and must not count against a
            detection, None where there are none. A detection is cut to the other pixels, and one
            that has none of those is ignored.
    """

    image_ids: Sequence[Any]
    sizes: NDArray[np.int64]
    image_idx: NDArray[np.int64]
    counts: list[Any] | Codes
    category_ids: NDArray[np.int64]
    iscrowd: NDArray[np.bool_]
    areas: NDArray[np.float64]
    ids: Sequence[Any] | NDArray[np.int64]
    boxes: NDArray[np.float64] | None = None
    void: Sequence[Any] | None = None

    @classmethod
    def from_coco(cls, content: Mapping[str, Any], boxes: bool = False) -> "GroundTruth":
        """Read a COCO dictionary (``images``, ``annotations``); it stays as it is.

        Args:
            content: Segmentations may be polygons, plain or compressed RLE.
            boxes: Take ``bbox`` instead of ``segmentation``.

        Raises:
            RecordError: An annotation of an image that is not listed, or with a broken mask.
        """
        if not isinstance(content, Mapping):
            raise ValueError(f"ground truth is a COCO dictionary, not {type(content).__name__}")
        images = rows_of(content.get("images"), "images of the ground truth")
        records = rows_of(content.get("annotations"), "annotations of the ground truth", "gt")
        for idx, image in enumerate(images):
            for key in ("height", "width"):
                side = image.get(key, 0)
                if not isinstance(side, int | np.integer) or not 0 <= side < 2**32:
                    raise ValueError(f"image {idx} of the ground truth has {key} {side!r}")
            if not isinstance(image.get("id"), int | str | np.integer):
                raise ValueError(f"image {idx} of the ground truth has id {image.get('id')!r}")
        sizes = np.array([[im.get("height", 0), im.get("width", 0)] for im in images], np.int64)
        sizes = sizes.reshape(-1, 2)
        image_idx = locate([im["id"] for im in images], [r.get("image_id") for r in records], "gt")
        return cls(
            image_ids=[im["id"] for im in images],
            sizes=sizes,
            image_idx=image_idx,
            counts=[] if boxes else counts_of(records, sizes[image_idx], "gt"),
            category_ids=categories_of(records, "gt"),
            iscrowd=np.array([bool(r.get("iscrowd", 0)) for r in records], bool),
            areas=areas_of(records),
            ids=[r.get("id", idx) for idx, r in enumerate(records)],
            boxes=boxes_of(records, "gt") if boxes else None,
        )


@dataclasses.dataclass(frozen=True)
class Detections:
    """Hold D predicted segments.

    Attributes:
        image_idx: (D,) position of each one's image in the ground truth.
        counts: (D,) as those of the ground truth.
        category_ids: (D,), read only by class-aware scoring.
        scores: (D,) finite, higher is surer.
        boxes: (D, 4) COCO xywh in pixels, for box AP only.
        areas: (D,) pixels that put each into its area range; the mask's own, or the box's, if None.
    """

    image_idx: NDArray[np.int64]
    counts: list[Any] | Codes
    category_ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64] | None = None
    areas: NDArray[np.float64] | None = None

    @classmethod
    def from_coco(
        cls, records: Sequence[Mapping[str, Any]], gt: GroundTruth, boxes: bool = False
    ) -> "Detections":
        """Read a list of COCO results (``image_id``, ``segmentation``, ``score``); it stays as is.

        Raises:
            RecordError: An unknown image, a score that is no finite number, a broken mask.
        """
        records = rows_of(records, "detections", "dt")
        image_idx = locate(gt.image_ids, [r.get("image_id") for r in records], "dt")
        scores = np.zeros(len(records))
        for idx, record in enumerate(records):
            score = record.get("score")
            score = score.item() if isinstance(score, np.generic) else score
            if isinstance(score, bool) or not isinstance(score, int | float):
                raise RecordError("dt", idx, f"score {score!r} is not a number")
            if not -MAX_SCORE <= score <= MAX_SCORE:
                raise RecordError("dt", idx, f"score {score} is not finite")
            scores[idx] = score
        return cls(
            image_idx=image_idx,
            counts=[] if boxes else counts_of(records, gt.sizes[image_idx], "dt"),
            category_ids=categories_of(records, "dt"),
            scores=scores,
            boxes=boxes_of(records, "dt") if boxes else None,
        )


def rows_of(rows: Any, what: str, side: Side | None = None) -> list[Mapping[str, Any]]:
    """Return rows as a list, once each is seen to be a mapping.

    Raises:
        RecordError: One of a side's is none.
        ValueError: They are no sequence, or one of another list is no mapping.
    """
    if isinstance(rows, str | bytes | Mapping) or not hasattr(rows, "__iter__"):
        raise ValueError(f"{what} are a list, not {type(rows).__name__}")
    listed = list(rows)
    for idx, row in enumerate(listed):
        if not isinstance(row, Mapping):
            text = f"it is {type(row).__name__}, and not a mapping"
            if side:
                raise RecordError(side, idx, text)
            raise ValueError(f"{what}, {idx}: {text}")
    return listed


def locate(image_ids: Sequence[Any], wanted: Sequence[Any], side: Side) -> NDArray[np.int64]:
    """Return the position of each wanted id among the image ids."""
    where = {image_id: idx for idx, image_id in enumerate(image_ids)}
    if len(where) != len(image_ids):
        raise ValueError("an image id stands twice among the images of the ground truth")
    try:
        return np.array([where[image_id] for image_id in wanted], np.int64)
    except (KeyError, TypeError):  # unknown, or of a type that cannot be a key
        known = list(where)
        idx = next(i for i, image_id in enumerate(wanted) if image_id not in known)
        raise RecordError(
            side, idx, f"image_id {wanted[idx]!r} is not among the images of the ground truth"
        ) from None


def counts_of(
    records: Sequence[Mapping[str, Any]], sizes: NDArray[np.int64], side: Side
) -> list[str]:
    """Bring each record's segmentation to compressed counts of its image's size."""
    out = []
    for idx, (record, (height, width)) in enumerate(zip(records, sizes.tolist(), strict=True)):
        try:
            out.append(rle_codes.to_rle(record.get("segmentation"), height, width)["counts"])
        except rle_codes.RLEError as error:
            raise RecordError(side, idx, str(error)) from None
    return out


def categories_of(records: Sequence[Mapping[str, Any]], side: Side) -> NDArray[np.int64]:
    """Gather the category of each record, (N,), -1 where it names none."""
    out = np.full(len(records), -1)
    for idx, record in enumerate(records):
        category_id = record.get("category_id")
        if category_id is None:
            continue
        if not isinstance(category_id, int | np.integer) or abs(int(category_id)) >= 2**63:
            raise RecordError(side, idx, f"category_id {category_id!r} is not a whole number")
        out[idx] = category_id
    return out


def areas_of(records: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Gather the area that each annotation states, (N,) in pixels, nan where it states none."""
    out = np.full(len(records), np.nan)
    for idx, record in enumerate(records):
        area = record.get("area")
        if area is None:
            continue
        if not isinstance(area, int | float | np.number):
            raise RecordError("gt", idx, f"area {area!r} is not a number")
        out[idx] = area
    return out


def boxes_of(records: Sequence[Mapping[str, Any]], side: Side) -> NDArray[np.float64]:
    """Gather the boxes of all records, (N, 4) xywh."""
    for idx, record in enumerate(records):
        if len(record.get("bbox") or ()) != 4:
            raise RecordError(side, idx, "it has no bbox of four numbers")
    return np.array([r["bbox"] for r in records], np.float64).reshape(-1, 4)
