"""From a model's output for one image to what detectron2's models return.

The same masks, scores and classes as `baselines.Predictor` finds, in detectron2's types. Masks are
dense there: an image of 24 megapixels with 100 entities takes 2.4 GB (the original's float masks,
9.6 GB), and ``sem_seg`` 4 bytes for each pixel and class. `baselines.Predictor` keeps neither.
"""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from detectron2.structures import BitMasks, Instances
from torch import Tensor

from baselines.config import ModelConfig
from baselines.modeling.paste import MaskCanvas
from baselines.modeling.postprocess import (
    disjoint_segments,
    overlapping_instances,
    panoptic_segments,
    semantic_tiles,
)
from entity_api import rle

__all__ = ["RESULTS"]

Things = Collection[int]


def _entity(
    config: ModelConfig, things: Things, logits: Tensor, canvas: MaskCanvas
) -> dict[str, Any]:
    """Give "instances" that do not overlap, those of which something is visible."""
    top_k = None if config.num_views > 1 else config.max_predictions
    found = disjoint_segments(logits, canvas, top_k=top_k)
    ids = [n for n in found.id_map.unique().tolist() if n > 0]
    masks = torch.stack([found.id_map == n for n in ids]) if ids else None
    idxs = np.array(ids, np.int64) - 1
    return _instances(canvas, masks, found.scores[idxs], found.class_idxs[idxs])


def _instance(
    config: ModelConfig, things: Things, logits: Tensor, canvas: MaskCanvas
) -> dict[str, Any]:
    """Give "instances" that may overlap."""
    found = overlapping_instances(logits, canvas, top_k=config.max_predictions)
    found = [one for one in found if rle.area(one.segmentation)]
    masks = [torch.from_numpy(rle.decode(one.segmentation)) for one in found]
    return _instances(
        canvas,
        torch.stack(masks) if masks else None,
        np.array([one.score for one in found], np.float64),
        np.array([one.class_idx for one in found], np.int64),
    )


def _semantic(
    config: ModelConfig, things: Things, logits: Tensor, canvas: MaskCanvas
) -> dict[str, Any]:
    """Give "sem_seg", class scores (K, H, W) float32."""
    scores = torch.empty(config.num_classes, *canvas.size, device=logits.device)
    for tile, class_scores in semantic_tiles(logits, canvas):
        scores[(slice(None), *tile.within(0, 0))] = class_scores
    return {"sem_seg": scores}


def _panoptic(
    config: ModelConfig, things: Things, logits: Tensor, canvas: MaskCanvas
) -> dict[str, Any]:
    """Give "panoptic_seg": ids (H, W) int32, 0 where there is none, and ``segments_info``."""
    found = panoptic_segments(
        logits,
        canvas,
        thing_class_idxs=things,
        class_threshold=config.panoptic_score_threshold,
        overlap_threshold=config.panoptic_overlap_threshold,
    )
    infos = [
        {
            "id": n,
            "isthing": class_idx in things,
            "category_id": class_idx,
            "score": score,
        }
        for n, (class_idx, score) in enumerate(
            zip(found.class_idxs.tolist(), found.scores.tolist(), strict=True), start=1
        )
    ]
    return {"panoptic_seg": (found.id_map, infos)}


def _instances(
    canvas: MaskCanvas, masks: Tensor | None, scores: np.ndarray, class_idxs: np.ndarray
) -> dict[str, Any]:
    """Build ``Instances`` on the model's device; boxes are those around the masks."""
    device = canvas.logits.device
    if masks is None:
        masks = torch.zeros(0, *canvas.size, dtype=torch.bool)
    result = Instances(canvas.size)
    result.pred_masks = masks.to(device)
    result.pred_boxes = BitMasks(masks).get_bounding_boxes().to(device)
    result.scores = torch.from_numpy(scores).to(device)
    result.pred_classes = torch.from_numpy(class_idxs).to(device)
    return {"instances": result}


# Task -> from the model's configuration, the positions of the classes that are things, class logits
# (Q, K + 1) and the masks' canvas to what detectron2's models return.
RESULTS: dict[str, Callable[[ModelConfig, Things, Tensor, MaskCanvas], dict[str, Any]]] = {
    "entity": _entity,
    "instance": _instance,
    "semantic": _semantic,
    "panoptic": _panoptic,
}
