"""The two sides of an evaluation as columns: ground truth and detections."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from entity_api.counts import Codes, RLEError
from entity_api.dense import array_of, code_mask, code_masks, scores_of
from entity_api.loading import loaded
from entity_api.shown import Shown

__all__ = ["Detections", "GroundTruth", "RecordError"]

Side = Literal["gt", "dt"]

# Beyond it stand the infinities, and whole numbers that no float holds; nan compares with nothing.
MAX_SCORE = float(np.finfo(np.float64).max)


class RecordError(ValueError):
    """Say which record of which side cannot be scored; ``idx`` is its position in the file.

    Examples:
        >>> from entity_api import RecordError, evaluate
        >>> truth = {"images": [{"id": 7, "height": 2, "width": 2}], "annotations": []}
        >>> try:
        ...     evaluate(truth, [{"image_id": 8, "score": 0.9}])
        ... except RecordError as error:
        ...     print(error.side, error.idx, error.what, sep=": ")
        dt: 0: image_id 8 is not among the images of the ground truth
    """

    def __init__(self, side: Side, idx: int, what: str) -> None:
        super().__init__(f"{side} record {idx}: {what}")
        self.side = side
        self.idx = idx
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        # Without it an error of another process could not be read: it is made from its message.
        return type(self), (self.side, self.idx, self.what)


@dataclasses.dataclass(frozen=True, repr=False)
class GroundTruth(Shown):
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

    Examples:
        >>> from entity_api import GroundTruth
        >>> gt = GroundTruth(image_ids=[7], sizes=np.array([[2, 2]]), image_idx=np.array([0]),
        ...                  counts=["22"], category_ids=np.array([1]), iscrowd=np.array([False]),
        ...                  areas=np.array([2.0]), ids=[1])
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
    def from_coco(
        cls, content: Mapping[str, Any] | str | Path, boxes: bool = False
    ) -> "GroundTruth":
        """Read a COCO dictionary (``images``, ``annotations``), or its file; it stays as it is.

        Args:
            content: A path and a `COCO` object will do, too. Segmentations may be polygons, plain
                or compressed RLE, or dense masks (H, W) as arrays or tensors.
            boxes: Take ``bbox`` instead of ``segmentation``.

        Raises:
            RecordError: An annotation of an image that is not listed, or with a broken mask.

        Examples:
            >>> mask = rle.encode(np.array([[0, 1], [0, 1]]))
            >>> truth = {"images": [{"id": 7, "height": 2, "width": 2}],
            ...          "annotations": [{"id": 1, "image_id": 7, "segmentation": mask}]}
            >>> gt = GroundTruth.from_coco(truth)
            >>> gt.image_ids, gt.counts
            ([7], ['22'])
        """
        content = loaded(content, "ground truth")
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
            iscrowd=crowds_of(records),
            areas=areas_of(records),
            ids=[r.get("id", idx) for idx, r in enumerate(records)],
            boxes=boxes_of(records, "gt") if boxes else None,
        )

    @classmethod
    def from_masks(
        cls, masks: Sequence[Any], image_ids: Sequence[int | str] | None = None
    ) -> "GroundTruth":
        """Take the entities of I images as dense masks or run-length codes.

        Args:
            masks: One entry an image: an array or tensor (N, H, W), or a list of N masks (H, W);
                an image without entities is an array of shape (0, H, W), which tells its size.
            image_ids: (I,) their ids; 0, 1, 2 ... by default.

        Raises:
            RecordError: A mask of another size than the others of its image, or one that is no
                mask, with image and position.
            ValueError: An image whose size nothing tells, or not an id for each.

        >>> GroundTruth.from_masks([np.ones((2, 4, 6), bool)]).sizes.tolist()
        [[4, 6]]
        """
        ids = list(range(len(masks))) if image_ids is None else list(image_ids)
        if len(ids) != len(masks):
            raise ValueError(f"there are {len(masks)} images of masks and {len(ids)} image ids")
        records: list[dict[str, Any]] = []
        images = []
        for image_id, own in zip(ids, masks, strict=True):
            codes = _codes_of_image(own, None, "gt", len(records), image_id)
            stack = array_of(own)
            size = codes[0]["size"] if codes else None if stack is None else stack.shape[-2:]
            if size is None:
                what = "an image without masks is an array of shape (0, height, width)"
                raise ValueError(f"image {image_id!r} of the ground truth has no size: {what}")
            images.append({"id": image_id, "height": int(size[0]), "width": int(size[1])})
            records += [{"image_id": image_id, "segmentation": code} for code in codes]
        return cls.from_coco({"images": images, "annotations": records})


@dataclasses.dataclass(frozen=True, repr=False)
class Detections(Shown):
    """Hold D predicted segments.

    Attributes:
        image_idx: (D,) position of each one's image in the ground truth.
        counts: (D,) as those of the ground truth.
        category_ids: (D,), read only by class-aware scoring.
        scores: (D,) finite, higher is surer.
        boxes: (D, 4) COCO xywh in pixels, for box AP only.
        areas: (D,) pixels that put each into its area range; the mask's own, or the box's, if None.

    Examples:
        >>> from entity_api import Detections
        >>> dt = Detections(image_idx=np.array([0]), counts=["22"], category_ids=np.array([1]),
        ...                 scores=np.array([0.9]))
    """

    image_idx: NDArray[np.int64]
    counts: list[Any] | Codes
    category_ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64] | None = None
    areas: NDArray[np.float64] | None = None

    @classmethod
    def from_coco(
        cls, records: Sequence[Mapping[str, Any]] | str | Path, gt: GroundTruth, boxes: bool = False
    ) -> "Detections":
        """Read a list of COCO results (``image_id``, ``segmentation``, ``score``), or its file.

        The list stays as it is.

        Raises:
            RecordError: An unknown image, a score that is no finite number, a broken mask.

        Examples:
            >>> gt = GroundTruth.from_coco({"images": [{"id": 7, "height": 2, "width": 2}],
            ...                             "annotations": []})
            >>> mask = rle.encode(np.array([[0, 1], [0, 1]]))
            >>> dt = Detections.from_coco([{"image_id": 7, "segmentation": mask, "score": 0.9}], gt)
            >>> dt.image_idx.tolist(), dt.scores.tolist()
            ([0], [0.9])
        """
        records = rows_of(loaded(records, "detections"), "detections", "dt")
        image_idx = locate(gt.image_ids, [r.get("image_id") for r in records], "dt")
        scores = np.zeros(len(records))
        for idx, record in enumerate(records):
            score = plain(record.get("score"))
            where = f"(image_id {record.get('image_id')!r})"
            if isinstance(score, bool) or not isinstance(score, int | float):
                raise RecordError("dt", idx, f"score {score!r} is not a number {where}")
            if not -MAX_SCORE <= score <= MAX_SCORE:
                raise RecordError("dt", idx, f"score {score} is not finite {where}")
            scores[idx] = score
        return cls(
            image_idx=image_idx,
            counts=[] if boxes else counts_of(records, gt.sizes[image_idx], "dt"),
            category_ids=categories_of(records, "dt"),
            scores=scores,
            boxes=boxes_of(records, "dt") if boxes else None,
        )

    @classmethod
    def from_masks(
        cls, found: Mapping[int | str, tuple[Any, Any]], gt: GroundTruth
    ) -> "Detections":
        """Take predictions as dense masks or run-length codes, with their scores.

        Args:
            found: Image id -> masks, an array or tensor (N, H, W) or a list of N masks (H, W), and
                scores (N,).
            gt: Their ground truth.

        Raises:
            RecordError: A mask that is not of its image's size or no mask, or a score that is no
                finite number, with image and position.
            ValueError: An unknown image, or not a score for each mask.

        >>> gt = GroundTruth.from_masks([np.ones((1, 4, 6), bool)])
        >>> Detections.from_masks({0: (np.ones((2, 4, 6), bool), [0.9, 0.3])}, gt).scores.tolist()
        [0.9, 0.3]
        """
        position = {image_id: idx for idx, image_id in enumerate(gt.image_ids)}
        records: list[dict[str, Any]] = []
        for image_id, (masks, scores) in found.items():
            if image_id not in position:
                raise ValueError(f"image {image_id!r} is not among the images of the ground truth")
            height, width = gt.sizes[position[image_id]].tolist()
            codes = _codes_of_image(masks, (height, width), "dt", len(records), image_id)
            try:
                own = scores_of(scores, len(codes))
            except ValueError as error:
                raise ValueError(f"image {image_id!r}: {error}") from None
            records += [
                {"image_id": image_id, "segmentation": code, "score": score}
                for code, score in zip(codes, own.tolist(), strict=True)
            ]
        return cls.from_coco(records, gt)


def _codes_of_image(
    masks: Any, size: tuple[int, int] | None, side: Side, n_before: int, image_id: Any
) -> list[dict[str, Any]]:
    """Code the masks of an image; all are of ``size``, or of the size of the first."""
    try:
        codes = code_masks(masks, size)
        for idx, code in enumerate(codes):
            if code["size"] != codes[0]["size"]:
                raise RLEError(f"its size {code['size']} is not {codes[0]['size']}", idx)
    except RLEError as error:
        what = f"image_id {image_id!r}, mask {error.idx}: {error}"
        raise RecordError(side, n_before + error.idx, what) from None
    return codes


def plain(value: Any) -> Any:
    """Return a number of an array's or a tensor's kind as Python's own, all else as it is."""
    own = isinstance(value, int | float | str) and not isinstance(value, np.generic)
    if value is None or own:
        return value
    found = array_of(value)
    if found is None or found.size != 1 or found.dtype.hasobject:
        return value
    return found.reshape(-1)[0].item()


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
    wanted = [plain(image_id) for image_id in wanted]
    if len(where) != len(image_ids):
        raise ValueError("an image id stands twice among the images of the ground truth")
    try:
        # True is 1 as a key, and no id.
        if bool not in set(map(type, wanted)):
            return np.array([where[image_id] for image_id in wanted], np.int64)
    except (KeyError, TypeError):  # unknown, or of a type that cannot be a key
        pass
    known = list(where)
    idx = next(i for i, k in enumerate(wanted) if isinstance(k, bool) or k not in known)
    what = f"image_id {wanted[idx]!r} is not among the images of the ground truth"
    raise RecordError(side, idx, what)


def counts_of(
    records: Sequence[Mapping[str, Any]], sizes: NDArray[np.int64], side: Side
) -> list[str]:
    """Bring each record's segmentation to compressed counts of its image's size."""
    out = []
    for idx, (record, (height, width)) in enumerate(zip(records, sizes.tolist(), strict=True)):
        try:
            out.append(code_mask(record.get("segmentation"), (height, width))["counts"])
        except RLEError as error:
            what = f"{error} (image_id {record.get('image_id')!r})"
            raise RecordError(side, idx, what) from None
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
        out[idx] = area if abs(area) != np.inf else np.nan
    return out


def crowds_of(records: Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
    """Gather which annotations are crowds, (N,); a missing flag, None and nan are none."""
    out = np.zeros(len(records), bool)
    for idx, record in enumerate(records):
        flag = record.get("iscrowd")
        if flag is None:
            continue
        if not isinstance(flag, int | float | np.number | np.bool_) or abs(flag) == np.inf:
            raise RecordError("gt", idx, f"iscrowd {flag!r:.40} is not 0 or 1")
        out[idx] = bool(flag) and flag == flag
    return out


def boxes_of(records: Sequence[Mapping[str, Any]], side: Side) -> NDArray[np.float64]:
    """Gather the boxes of all records, (N, 4) xywh."""
    for idx, record in enumerate(records):
        if len(record.get("bbox") or ()) != 4:
            raise RecordError(side, idx, "it has no bbox of four numbers")
    return np.array([r["bbox"] for r in records], np.float64).reshape(-1, 4)
