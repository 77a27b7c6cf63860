"""The face of DETR's ``CocoEvaluator``, which its descendants call after each batch.

RT-DETR, D-FINE, torchvision's references and others carry a copy of it: one import changed, they
score with this package, with the same numbers.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from entity_api.coco import COCO
from entity_api.cocoeval import COCOeval
from entity_api.columns import plain
from entity_api.dense import array_of, code_masks, scores_of
from entity_api.distributed import gather
from entity_api.rle import RLEError

__all__ = ["CocoEvaluator"]

Record = dict[str, Any]


class CocoEvaluator:
    """Gather the predictions of batches, then evaluate as COCO does, over all ranks.

    As in the original, only images that were predicted are scored, and an image that comes again is
    left out. Masks are coded as soon as they come.

    Args:
        coco_gt: Ground truth: `COCO`, pycocotools' or torchvision's object, a dictionary or a path.
        iou_types: Some of "bbox", "segm", "keypoints".

    Attributes:
        coco_eval: One `COCOeval` an IoU type; its ``params`` may be set before `accumulate`, its
            ``stats`` are read after `summarize`.
        img_ids: Ids of the images that were predicted, ascending after
            `synchronize_between_processes`.

    >>> gt = {"images": [{"id": 7, "height": 9, "width": 9}], "categories": [{"id": 1}],
    ...       "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9],
    ...                        "area": 81, "iscrowd": 0}]}
    >>> evaluator = CocoEvaluator(gt, ["bbox"])
    >>> evaluator.update({7: {"boxes": [[0, 0, 9, 9]], "scores": [0.5], "labels": [1]}})
    >>> evaluator.synchronize_between_processes()
    >>> evaluator.accumulate()
    >>> float(evaluator.coco_eval["bbox"].eval["recall"].max())
    1.0
    """

    def __init__(self, coco_gt: Any, iou_types: Iterable[str]) -> None:
        self.coco_gt = _coco(coco_gt)
        self.iou_types = list(iou_types)
        if not self.iou_types or isinstance(iou_types, str):
            raise ValueError(f"iou_types are a list of bbox, segm and keypoints: {iou_types!r}")
        for iou_type in self.iou_types:
            if iou_type not in FIELDS:
                raise ValueError(f"iou_type {iou_type!r} is not one of {', '.join(FIELDS)}")
        self.coco_eval: dict[str, COCOeval] = {}
        self.img_ids: list[Any] = []
        self._records: dict[Any, dict[str, list[Record]]] = {}
        self.cleanup()

    def cleanup(self) -> None:
        """Forget all predictions and results, and the parameters that were set."""
        self.coco_eval = {k: COCOeval(self.coco_gt, iouType=k) for k in self.iou_types}
        self.img_ids, self._records = [], {}

    def update(self, predictions: Mapping[Any, Mapping[str, Any]]) -> None:
        """Take in the predictions of a batch.

        Args:
            predictions: Image id -> ``scores`` (N,) and ``labels`` (N,), beside them ``boxes`` (N,
                4) as corners in pixels, ``masks`` (N, 1, H, W) or (N, H, W) of bool or
                probabilities, of which those over 0.5 are in, or as run-length codes (also under
                ``masks_rle``), or ``keypoints`` (N, K, 3), as the IoU types need. Arrays and
                tensors of any device. An empty dictionary is an image without predictions.

        Raises:
            ValueError: An unknown image, or a field that is missing or of another shape; nothing of
                the batch is taken in then.
        """
        taken = {}
        for image_id, found in predictions.items():
            image_id = plain(image_id)
            if image_id not in self.coco_gt.imgs:
                raise ValueError(f"image {image_id!r} is not among the images of the ground truth")
            if image_id not in self._records:
                try:
                    taken[image_id] = {
                        k: self._prepared(image_id, found, k) for k in self.iou_types
                    }
                except RLEError as error:
                    raise ValueError(f"image {image_id!r}, mask {error.idx}: {error}") from None
                except ValueError as error:
                    raise ValueError(f"image {image_id!r}: {error}") from None
        self._records.update(taken)
        self.img_ids += list(taken)

    def _prepared(self, image_id: Any, found: Mapping[str, Any], iou_type: str) -> list[Record]:
        """Return the predictions of an image as COCO results of one IoU type."""
        if not len(found):
            return []
        labels = array_of(found.get("labels"))
        listed = (found.get("labels") if labels is None else labels.tolist()) or ()
        scores = scores_of(found.get("scores", ()), len(listed)).tolist()
        key, values = FIELDS[iou_type]
        shapes = values(found, self.coco_gt.imgs[image_id])
        if len(shapes) != len(scores):
            raise ValueError(f"there are {len(scores)} scores and {len(shapes)} of {iou_type}")
        return [
            {"image_id": image_id, "category_id": plain(label), key: shape, "score": score}
            for label, shape, score in zip(listed, shapes, scores, strict=True)
        ]

    def synchronize_between_processes(self) -> None:
        """Give every rank of torch.distributed the predictions of all; all must call it.

        Of an image that several ranks have, that of the lowest rank counts, as in the original.
        """
        together: dict[Any, dict[str, list[Record]]] = {}
        for records in gather(self._records):
            together = {**records, **together}
        self.img_ids = list(np.unique(list(together))) if together else []
        self._records = {image_id: together[image_id] for image_id in self.img_ids}

    def accumulate(self) -> None:
        """Match the images that were predicted, and put the arrays into each ``eval``."""
        for iou_type, scoring in self.coco_eval.items():
            records = [one for own in self._records.values() for one in own[iou_type]]
            scoring.cocoDt = self.coco_gt.loadRes(records)
            scoring.params.imgIds = list(self._records)
            scoring.evaluate()
            scoring.accumulate()

    def summarize(self) -> None:
        """Print pycocotools' lines of each IoU type, and keep them in its ``stats``."""
        for iou_type, scoring in self.coco_eval.items():
            print(f"IoU metric: {iou_type}")
            scoring.summarize()


def _coco(source: Any) -> COCO:
    if isinstance(source, COCO):
        return source
    return COCO(getattr(source, "dataset", source))


def _boxes(found: Mapping[str, Any], image: Mapping[str, Any]) -> list[list[float]]:
    """Turn corners into x, y, width, height."""
    boxes = _numbers(found, "boxes")
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes are (N, 4), not {boxes.shape}")
    # In the precision of the model's output, as in the original.
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    listed: list[list[float]] = boxes.tolist()
    return listed


def _masks(found: Mapping[str, Any], image: Mapping[str, Any]) -> list[Record]:
    """Code masks; of probabilities those over 0.5 are in."""
    size = (int(image["height"]), int(image["width"]))
    if "masks_rle" in found:
        return code_masks(found["masks_rle"], size)
    if "masks" not in found:
        raise ValueError(f"there are no masks, but {', '.join(found)}")
    stack = array_of(found["masks"])
    if stack is not None:
        return code_masks(stack > 0.5, size)
    masks = ((one, array_of(one)) for one in found["masks"])
    return code_masks([one if array is None else array > 0.5 for one, array in masks], size)


def _keypoints(found: Mapping[str, Any], image: Mapping[str, Any]) -> list[list[float]]:
    """List x, y and visibility of all points in a row."""
    points = _numbers(found, "keypoints")
    if points.ndim < 2:
        raise ValueError(f"keypoints are (N, K, 3), not {points.shape}")
    listed: list[list[float]] = points.reshape(len(points), -1).tolist()
    return listed


def _numbers(found: Mapping[str, Any], key: str) -> Any:
    if key not in found:
        raise ValueError(f"there are no {key}, but {', '.join(found)}")
    values = array_of(found[key])
    listed = np.asarray(found[key], np.float64) if values is None else values
    return listed.reshape(0, 4) if key == "boxes" and not listed.size else listed


# IoU type -> field of a COCO result, and how its values are taken from a model's output.
FIELDS: dict[str, tuple[str, Callable[[Mapping[str, Any], Mapping[str, Any]], list[Any]]]] = {
    "bbox": ("bbox", _boxes),
    "segm": ("segmentation", _masks),
    "keypoints": ("keypoints", _keypoints),
}
