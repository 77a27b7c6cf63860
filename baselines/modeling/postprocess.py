"""Turn class and mask logits into the segments of an image, for the four tasks.

Every function takes the model's output for one image, ``pred_logits`` (Q, K+1), whose last class
is "no object", and a `MaskCanvas` over ``pred_masks``. None of them holds more than one tile of
float masks at the size of the image.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from baselines.modeling.painting import (
    EPSILON,
    argmax_owners,
    filtered_tiles,
    paint,
    renumbered,
    sums_of_ids,
    whole_masks,
)
from baselines.modeling.paste import MaskCanvas, Tile
from baselines.modeling.runs import blank_canvas, encode_map, encode_masks
from entityseg_bench.types import RLE

__all__ = [
    "Instance",
    "ScoreKind",
    "SegmentMap",
    "disjoint_segments",
    "overlapping_instances",
    "panoptic_segments",
    "semantic_segments",
    "semantic_tiles",
]

ScoreKind = Literal["faithful", "calibrated"]


@dataclass(frozen=True)
class SegmentMap:
    """Hold segments of which no two overlap.

    Attributes:
        id_map: (H, W) int32, where the logits are; n + 1 where segment n is, 0 where none is.
        scores: (N,) float64 in [0, 1].
        class_idxs: (N,) int64, positions in the model's classes.
    """

    id_map: Tensor
    scores: np.ndarray
    class_idxs: np.ndarray

    def encode(self) -> tuple[np.ndarray, list[RLE]]:
        """Return the segments that have a pixel: their positions (M,), ascending, and masks."""
        ids, masks = encode_map(self.id_map)
        shown = int(np.searchsorted(ids, 1))
        return ids[shown:] - 1, masks[shown:]


@dataclass(frozen=True)
class Instance:
    """One mask that may overlap others, its score in [0, 1] and its position in the classes."""

    segmentation: RLE
    score: float
    class_idx: int


def disjoint_segments(
    pred_logits: Tensor,
    canvas: MaskCanvas,
    *,
    top_k: int | None = None,
    scores: ScoreKind = "faithful",
) -> SegmentMap:
    """Assign each pixel to the entity with the highest class score that holds it (the entity task).

    Queries are painted in ascending order of class score, later ones over earlier ones. The score
    of a segment is its class score times the mean of a mask quality over its visible pixels.

    Args:
        pred_logits: (Q, K+1).
        canvas: Masks of the Q queries.
        top_k: Number of (query, class) pairs of highest class score that are painted; None for Q.
            The published Mask2Former keeps 100, CropFormer all its queries.
        scores: Mask quality, "faithful" or "calibrated". The published models apply the sigmoid to
            a probability, so their quality lies in [0.62, 0.73] and scores rank almost by class
            alone; "calibrated" takes the probability itself. Masks do not depend on it.

    Returns:
        One segment for each painted pair, in descending order of class score. A segment without a
        visible pixel has score 0. Golden: crop_infer/nonoverlap_n1.npz, nonoverlap_n2_topk.npz,
        whole_views_w1.npz.
    """
    class_scores, query_idxs, class_idxs = _best_pairs(pred_logits, top_k or len(pred_logits))
    device = canvas.logits.device
    id_map = blank_canvas(canvas.size, torch.int32, device)
    quality_sums = torch.zeros(len(query_idxs) + 1, dtype=torch.float64, device=device)
    areas = torch.zeros_like(quality_sums)
    for masks, positions, queries in filtered_tiles(canvas, query_idxs):
        ids, probability = paint(canvas, masks, positions, queries)
        quality = probability.sigmoid_() if scores == "faithful" else probability
        quality_sums += sums_of_ids(ids, len(areas), quality)
        areas += sums_of_ids(ids, len(areas))
        id_map[masks.tile.within(0, 0)] = ids
    # In float32 as in the original, where the constant is lost for areas above a few pixels.
    quality_means = quality_sums[1:] / (areas[1:].float() + EPSILON)
    return SegmentMap(
        id_map, (class_scores.double() * quality_means).cpu().numpy(), class_idxs.cpu().numpy()
    )


def overlapping_instances(
    pred_logits: Tensor, canvas: MaskCanvas, *, top_k: int = 100
) -> list[Instance]:
    """Return the `top_k` (query, class) pairs of highest class score (the instance task).

    Masks are whole, so they may overlap, and one query may occur with several classes. The score is
    the class score times the mean probability over the mask. Instances are sorted by class score,
    descending, which is not the order of the scores. One full-size mask is held at a time, on a GPU
    a few.
    """
    class_scores, query_idxs, class_idxs = _best_pairs(pred_logits, top_k)
    tiles = [canvas.tile_masks(tile) for tile in canvas.tiles()]
    may_hold = torch.stack([masks.may_hold() for masks in tiles]).cpu().numpy()
    wanted = np.unique(query_idxs.cpu().numpy())
    segmentations: list[RLE] = []
    qualities = []
    step = canvas.whole_count()
    for chosen in (wanted[start : start + step] for start in range(0, len(wanted), step)):
        reached = zip(tiles, may_hold[:, chosen], strict=True)
        masks, quality = whole_masks(canvas, reached, chosen)
        segmentations += encode_masks(masks)
        qualities.append(quality)
    found = dict(
        zip(wanted, zip(segmentations, torch.cat(qualities).tolist(), strict=True), strict=True)
    )
    return [
        Instance(found[query_idx][0], class_score * found[query_idx][1], class_idx)
        for class_score, query_idx, class_idx in zip(
            class_scores.tolist(), query_idxs.tolist(), class_idxs.tolist(), strict=True
        )
    ]


def semantic_tiles(pred_logits: Tensor, canvas: MaskCanvas) -> Iterator[tuple[Tile, Tensor]]:
    """Yield (tile, class scores (K, H, W) float32) until the image is covered.

    A class's score at a pixel sums class probability times mask probability over the queries. As
    in the published semantic models, the sum is made at the size of the model's input and then
    resized to the image.
    """
    class_probabilities = pred_logits.float().softmax(-1)[:, :-1]
    for tile in canvas.tiles(max(class_probabilities.shape)):
        yield tile, canvas.tile_masks(tile).mix(class_probabilities)


def semantic_segments(pred_logits: Tensor, canvas: MaskCanvas) -> SegmentMap:
    """Label every pixel with its best class (the semantic task): one segment per class present.

    Segments stand in ascending order of class. A score is the mean, over the segment, of its
    class's share of the pixel's class scores.
    """
    num_classes = pred_logits.shape[-1] - 1
    device = canvas.logits.device
    label_map = blank_canvas(canvas.size, torch.int32, device)
    sums = torch.zeros(2, num_classes, dtype=torch.float64, device=device)
    for tile, class_scores in semantic_tiles(pred_logits, canvas):
        best, labels = class_scores.max(0)
        share = best / class_scores.sum(0).clamp_(min=EPSILON)
        sums[0] += sums_of_ids(labels, num_classes, share)
        sums[1] += sums_of_ids(labels, num_classes)
        label_map[tile.within(0, 0)] = labels.int()
    share_sums, areas = sums.cpu().numpy()
    (present,) = areas.nonzero()
    number = np.zeros(num_classes, np.int32)
    number[present] = np.arange(1, len(present) + 1)
    return SegmentMap(renumbered(label_map, number), share_sums[present] / areas[present], present)


def panoptic_segments(
    pred_logits: Tensor,
    canvas: MaskCanvas,
    *,
    thing_class_idxs: Collection[int],
    class_threshold: float = 0.8,
    overlap_threshold: float = 0.8,
) -> SegmentMap:
    """Divide the image into things and stuff (the panoptic task), as Mask2Former does.

    Each pixel goes to the query of highest class score times mask probability, and stays
    unassigned where that probability is below 0.5. A query loses everything where less than
    `overlap_threshold` of its own mask came to it. Queries of one stuff class are one segment.

    Args:
        pred_logits: (Q, K+1).
        canvas: Masks of the Q queries.
        thing_class_idxs: Classes whose queries stay apart; all others are stuff.
        class_threshold: Queries whose best class is not above it are dropped.
        overlap_threshold: In [0, 1].

    Returns:
        Segments in order of their (first) query; a score is that query's class score.
    """
    class_scores, class_idxs = pred_logits.float().softmax(-1).max(-1)
    keep = (class_idxs != pred_logits.shape[-1] - 1) & (class_scores > class_threshold)
    query_idxs = keep.nonzero().flatten()
    class_scores, class_idxs = class_scores[keep], class_idxs[keep]
    kept_map, won, own, held = argmax_owners(canvas, query_idxs, class_scores)
    number = np.zeros(len(query_idxs) + 1, np.int32)
    stuff_numbers: dict[int, int] = {}
    first_idxs: list[int] = []
    for kept_idx, class_idx in enumerate(class_idxs.tolist()):
        if held[kept_idx] == 0 or won[kept_idx] / own[kept_idx] < overlap_threshold:
            continue
        if class_idx in stuff_numbers:
            number[kept_idx + 1] = stuff_numbers[class_idx]
            continue
        first_idxs.append(kept_idx)
        number[kept_idx + 1] = len(first_idxs)
        if class_idx not in thing_class_idxs:
            stuff_numbers[class_idx] = len(first_idxs)
    return SegmentMap(
        renumbered(kept_map, number),
        class_scores.double().cpu().numpy()[first_idxs],
        class_idxs.cpu().numpy()[first_idxs],
    )


def _best_pairs(pred_logits: Tensor, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Give class scores, query and class of the best pairs, in descending order of class score.

    Of equal scores the later pair comes first: painting it last is what a stable ascending sort
    does in the original.
    """
    class_scores = pred_logits.float().softmax(-1)[:, :-1]
    pairs = class_scores.flatten()
    order = pairs.sort(stable=True).indices.flip(0)[:top_k]
    return pairs[order], order // class_scores.shape[1], order % class_scores.shape[1]
