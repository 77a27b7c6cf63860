"""From class and mask logits to the segments of an image, for the four tasks.

Every function takes the model's output for one image, ``pred_logits`` (Q, K+1), whose last class
is "no object", and a `MaskCanvas` over ``pred_masks``. None of them holds more than one tile of
float masks at the size of the image.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from baselines.modeling.paste import MaskCanvas, Tile, TileMasks
from entity_api import rle
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

# Keeps the mean over an empty mask at 0; the original's constant, visible in small masks' scores.
EPSILON = 1e-6


@dataclass(frozen=True)
class SegmentMap:
    """Segments of which no two overlap.

    Attributes:
        id_map: (H, W) int32; n + 1 where segment n is, 0 where none is.
        scores: (N,) float64 in [0, 1].
        class_idxs: (N,) int64, positions in the model's classes.
    """

    id_map: np.ndarray
    scores: np.ndarray
    class_idxs: np.ndarray


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
    """Give each pixel to the surest entity that holds it (the entity task).

    Queries are painted in ascending order of class score, later ones over earlier ones. A
    segment's score is its class score times the mean, over its visible pixels, of a mask quality.

    Args:
        pred_logits: (Q, K+1).
        canvas: Masks of the Q queries.
        top_k: How many (query, class) pairs of highest class score are painted; None for Q of
            them. The published Mask2Former keeps 100, CropFormer all its queries.
        scores: Mask quality, "faithful" or "calibrated". The published models apply the sigmoid to
            a probability, so their quality lies in [0.62, 0.73] and scores rank almost by class
            alone; "calibrated" takes the probability itself. Masks do not depend on it.

    Returns:
        One segment per painted pair, in descending order of class score, with score 0 where
        nothing of it is visible. Golden: crop_infer/nonoverlap_n1.npz, nonoverlap_n2_topk.npz,
        whole_views_w1.npz.
    """
    class_scores, query_idxs, class_idxs = _best_pairs(pred_logits, top_k or len(pred_logits))
    device = canvas.logits.device
    id_map = np.zeros(canvas.size, np.int32)
    quality_sums = torch.zeros(len(query_idxs) + 1, dtype=torch.float64, device=device)
    areas = torch.zeros(len(query_idxs) + 1, dtype=torch.int64, device=device)
    for tile in canvas.tiles():
        ids, probability = _paint(canvas, canvas.look(tile), query_idxs)
        quality = probability.sigmoid_() if scores == "faithful" else probability
        quality_sums += torch.bincount(
            ids.flatten(), quality.flatten().double(), minlength=len(quality_sums)
        )
        areas += torch.bincount(ids.flatten(), minlength=len(areas))
        id_map[tile.within(0, 0)] = ids.cpu().numpy()
    quality_means = quality_sums[1:] / (areas[1:] + EPSILON)
    return SegmentMap(
        id_map, (class_scores.double() * quality_means).cpu().numpy(), class_idxs.cpu().numpy()
    )


def overlapping_instances(
    pred_logits: Tensor, canvas: MaskCanvas, *, top_k: int = 100
) -> list[Instance]:
    """Give the `top_k` (query, class) pairs of highest class score (the instance task).

    Masks are whole, so they may overlap, and one query may stand under several classes. A score is
    the class score times the mean probability over the mask. The order is that of descending
    class score, which ranks unlike the score. One full-size mask is held at a time.
    """
    class_scores, query_idxs, class_idxs = _best_pairs(pred_logits, top_k)
    looks = [canvas.look(tile) for tile in canvas.tiles()]
    may_hold = torch.stack([look.may_hold() for look in looks]).T.tolist()
    masks = {}
    for query_idx in query_idxs.unique().tolist():
        reached = [look for look, may in zip(looks, may_hold[query_idx], strict=True) if may]
        mask, quality = _whole_mask(canvas, reached, query_idx)
        masks[query_idx] = rle.encode(mask), quality
    return [
        Instance(masks[query_idx][0], class_score * masks[query_idx][1], class_idx)
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
        yield tile, canvas.look(tile).mix(class_probabilities)


def semantic_segments(pred_logits: Tensor, canvas: MaskCanvas) -> SegmentMap:
    """Label every pixel with its best class (the semantic task): one segment per class present.

    Segments stand in ascending order of class. A score is the mean, over the segment, of its
    class's share of the pixel's class scores.
    """
    num_classes = pred_logits.shape[-1] - 1
    label_map = np.empty(canvas.size, np.int32)
    share_sums = np.zeros(num_classes)
    for tile, class_scores in semantic_tiles(pred_logits, canvas):
        best, labels = class_scores.max(0)
        share = best / class_scores.sum(0).clamp_(min=EPSILON)
        share_sums += np.bincount(
            labels.flatten().cpu(), share.flatten().cpu(), minlength=num_classes
        )
        label_map[tile.within(0, 0)] = labels.cpu().numpy()
    areas = np.bincount(label_map.ravel(), minlength=num_classes)
    (present,) = areas.nonzero()
    number = np.zeros(num_classes, np.int32)
    number[present] = np.arange(1, len(present) + 1)
    return SegmentMap(number[label_map], share_sums[present] / areas[present], present)


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
    kept_map, won, own, held = _contest(canvas, query_idxs, class_scores)
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
        number[kept_map],
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


def _paint(canvas: MaskCanvas, masks: TileMasks, query_idxs: Tensor) -> tuple[Tensor, Tensor]:
    """Find who holds each pixel of a tile when earlier queries hide later ones.

    Returns:
        ids (H, W) int32, the holder's position in `query_idxs` plus 1, or 0; and the holder's mask
        probability (H, W) float32, 0 where there is none.
    """
    device = query_idxs.device
    ids = torch.zeros(masks.tile.shape, dtype=torch.int32, device=device)
    held_values = torch.full(masks.tile.shape, -torch.inf, device=device)
    free = torch.ones(masks.tile.shape, dtype=torch.bool, device=device)
    candidates = masks.may_hold()[query_idxs].nonzero().flatten().tolist()
    step = canvas.chunk_size(masks.tile)
    for start in range(0, len(candidates), step):
        chunk = candidates[start : start + step]
        for position, values in zip(chunk, masks.values(query_idxs[chunk]), strict=True):
            holds = (values > canvas.threshold).logical_and_(free)
            ids.masked_fill_(holds, position + 1)
            held_values = torch.where(holds, values, held_values)
            free.logical_xor_(holds)
        if not bool(free.any()):
            break
    probability = held_values.clamp_(min=0) if canvas.is_fused else held_values.sigmoid_()
    return ids, probability


def _whole_mask(
    canvas: MaskCanvas, looks: Sequence[TileMasks], query_idx: int
) -> tuple[np.ndarray, float]:
    """Compute one query's mask (H, W) bool on some tiles, and the mean probability over it."""
    mask = np.zeros(canvas.size, bool)
    query_idxs = torch.tensor([query_idx], device=canvas.logits.device)
    total, area = 0.0, 0
    for masks in looks:
        values = masks.values(query_idxs)[0]
        holds = values > canvas.threshold
        held = values[holds]
        total += float((held if canvas.is_fused else held.sigmoid()).sum(dtype=torch.float64))
        area += len(held)
        mask[masks.tile.within(0, 0)] = holds.cpu().numpy()
    return mask, total / (area + EPSILON)


def _contest(
    canvas: MaskCanvas, query_idxs: Tensor, class_scores: Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Let queries contest each pixel by class score times mask probability.

    Returns:
        The winner's position plus 1 where its probability is >= 0.5, else 0, (H, W) int32; and
        for each query three pixel counts (Q,): won, own (its probability is >= 0.5), and both.
    """
    num = len(query_idxs)
    kept_map = np.zeros(canvas.size, np.int32)
    won, own, held = (np.zeros(num, np.int64) for _ in range(3))
    if num == 0:
        return kept_map, won, own, held
    for tile in canvas.tiles(num):
        probabilities = canvas.look(tile).probabilities(query_idxs)
        is_own = probabilities >= 0.5
        winner = (probabilities.mul_(class_scores[:, None, None])).argmax(0, keepdim=True)
        is_held = is_own.gather(0, winner)[0]
        ids = torch.where(is_held, winner[0] + 1, 0)
        won += torch.bincount(winner.flatten(), minlength=num).cpu().numpy()
        own += is_own.sum((1, 2)).cpu().numpy()
        held += torch.bincount(ids.flatten(), minlength=num + 1)[1:].cpu().numpy()
        kept_map[tile.within(0, 0)] = ids.cpu().numpy()
    return kept_map, won, own, held
