"""The two sides of an evaluation as columns: ground truth and detections."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api.columns import (
    RecordError,
    Side,
    areas_of,
    boxes_of,
    categories_of,
    check_positions,
    counts_of,
    crowds_of,
    locate,
    plain,
    rows_of,
    settle,
)
from entity_api.counts import Codes, RLEError
from entity_api.dense import array_of, code_masks, scores_of
from entity_api.loading import loaded
from entity_api.shown import Shown

__all__ = ["Detections", "GroundTruth"]

# Beyond it stand the infinities, and whole numbers that no float holds; nan compares with nothing.
MAX_SCORE = float(np.finfo(np.float64).max)


@dataclasses.dataclass(frozen=True, repr=False)
class GroundTruth(Shown):
    """Hold the images of an evaluation and their G annotated segments.

    Columns may be given as lists or tensors; they become arrays.

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

    Raises:
        RecordError: A segment of an image beyond the last one.
        ValueError: Columns of other kinds or lengths.

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

    def __post_init__(self) -> None:
        settle(self, "ground truth", boxes=self.boxes is not None)
        if not isinstance(self.image_ids, Sequence) and np.ndim(self.image_ids) != 1:
            kind = type(self.image_ids).__name__
            raise ValueError(f"ground truth: image_ids are a list, not {kind}")
        n_images = len(self.image_ids)
        if len(self.sizes) != n_images:
            raise ValueError(f"ground truth has {n_images} image ids and {len(self.sizes)} sizes")
        check_positions(self.image_idx, n_images, "gt")

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

    Columns may be given as lists or tensors; they become arrays.

    Attributes:
        image_idx: (D,) position of each one's image in the ground truth.
        counts: (D,) as those of the ground truth.
        category_ids: (D,), read only by class-aware scoring.
        scores: (D,) finite, higher is surer.
        boxes: (D, 4) COCO xywh in pixels, for box AP only.
        areas: (D,) pixels that put each into its area range; the mask's own, or the box's, if None.

    Raises:
        RecordError: A score that is not finite.
        ValueError: Columns of other kinds or lengths.

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

    def __post_init__(self) -> None:
        settle(self, "detections", boxes=self.boxes is not None)
        if not np.isfinite(self.scores).all():
            idx = int(np.flatnonzero(~np.isfinite(self.scores))[0])
            raise RecordError("dt", idx, f"score {self.scores[idx]} is not finite")

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
