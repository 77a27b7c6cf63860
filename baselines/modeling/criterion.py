"""The training loss of Mask2Former and CropFormer.

Source: Cheng et al., Mask2Former, arXiv 2112.01527; Qi et al., CropFormer, arXiv 2211.05776. One
criterion serves both: masks carry a view axis, and CropFormer's pass on each view is the same loss
with every view as an image of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.modeling.matcher import assign, matching_cost
from baselines.modeling.point_sampling import (
    PointSource,
    sample_flags,
    sample_flags_of,
    sample_masks,
)

__all__ = ["Criterion", "LossConfig", "Target", "TargetImage", "Totals", "count_targets"]

VIEW_PREFIX = "view_"

# Positions of queries, and of the entities they are matched to.
Match = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class LossConfig:
    """Weights and points of the loss, as published."""

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1  # of the class loss where a query has no entity
    view_weight: float = 0.5  # of CropFormer's pass on each view, beside 1 for the joint pass
    num_points: int = 12_544  # 112 x 112
    oversample: float = 3.0
    importance: float = 0.75


@dataclass(frozen=True)
class Target:
    """Hold the entities of one image.

    Attributes:
        labels: (N,) int64, positions of the entities' classes.
        masks: (N, V, H, W) bool at the size of the model's padded input; view 0 is the full image.
            Where a view does not show an entity, its mask is empty.
        shown: (N, V) bool on the CPU, true where a view shows the entity; None to look at the
            masks.
    """

    labels: Tensor
    masks: Tensor
    shown: Tensor | None = None

    def to(self, device: torch.device, non_blocking: bool = False) -> "Target":
        """Move to a device, except `shown`, which is read on the CPU before."""
        return Target(
            self.labels.to(device, non_blocking=non_blocking),
            self.masks.to(device, non_blocking=non_blocking),
            self._shown() if self.masks.shape[1] > 1 else None,
        )

    def whole(self) -> "TargetImage":
        """Return the image with all its entities, for the joint pass."""
        return TargetImage(self.labels, self.masks, np.arange(len(self.labels)))

    def by_view(self) -> list["TargetImage"]:
        """Return each view as an image of its own, with the entities that it shows."""
        shown = self._shown().numpy()
        return [
            TargetImage(self.labels, self.masks[:, v : v + 1], shown[:, v].nonzero()[0])
            for v in range(self.masks.shape[1])
        ]

    def _shown(self) -> Tensor:
        return self.masks.flatten(2).any(-1).cpu() if self.shown is None else self.shown


class TargetImage(NamedTuple):
    """Hold the part of an image that one pass is compared with.

    Attributes:
        labels: (N,) int64.
        masks: (N, V, H, W) bool.
        entities: Positions of the entities that take part, ascending.
    """

    labels: Tensor
    masks: Tensor
    entities: np.ndarray


@dataclass(frozen=True)
class Totals:
    """Hold the numbers that the losses of a batch are divided by. Totals of parts can be added.

    A loss divided by the totals of the whole batch, over all processes and accumulated parts, does
    not depend on how the batch is cut. The original divides the class loss by the weights of each
    process's own part instead, which is the same with one process.

    Attributes:
        entities: Number of entities.
        class_weight: Sum of the class loss's weights over all queries.
    """

    entities: float
    class_weight: float

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(self.entities + other.entities, self.class_weight + other.class_weight)


def count_targets(
    images: Sequence[TargetImage], num_queries: int, no_object_weight: float
) -> Totals:
    """Count the totals of a batch, which are known before the model has run."""
    counts = [len(image.entities) for image in images]
    matched = sum(min(count, num_queries) for count in counts)
    unmatched = len(images) * num_queries - matched
    return Totals(sum(counts), matched + no_object_weight * unmatched)


class Criterion:
    """Compute the weighted losses of a model's output.

    Args:
        config: Weights of the losses.
    """

    def __init__(self, config: LossConfig = LossConfig()) -> None:
        self.config = config

    def totals(self, targets: Sequence[Target], num_queries: int) -> dict[str, Totals]:
        """Count the totals of the joint pass ("") and of the pass on each view ("view_").

        With one view there is no pass on each, and its totals are 0.
        """
        images = {"": [target.whole() for target in targets], VIEW_PREFIX: []}
        if any(target.masks.shape[1] > 1 for target in targets):
            images[VIEW_PREFIX] = [view for target in targets for view in target.by_view()]
        weight = self.config.no_object_weight
        return {k: count_targets(found, num_queries, weight) for k, found in images.items()}

    def __call__(
        self,
        outputs: Mapping[str, Any],
        targets: Sequence[Target],
        points: PointSource,
        view_points: PointSource | None = None,
        totals: Mapping[str, Totals] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            outputs: Outputs of the model, with auxiliary outputs.
            targets: One target for each image.
            points: Points of the B images.
            view_points: Points of the B x V views, for a CropFormer.
            totals: The numbers that the losses are divided by; those of this batch by default.

        Returns:
            "class", "mask" and "dice", weighted; with "_k" behind it for the learnable queries (k =
            0) and for layer k; with "view_" before it for the pass on each view. Their sum is the
            loss.

        Raises:
            FloatingPointError: The model's predictions are not finite.
        """
        if totals is None:
            totals = self.totals(targets, outputs["pred_logits"].shape[1])
        losses = {}
        if "view_outputs" in outputs:
            views = [view for target in targets for view in target.by_view()]
            heads = [_as_images(head) for head in _heads(outputs["view_outputs"])]
            found = self._heads_losses(heads, views, view_points, totals[VIEW_PREFIX])
            for name, loss in found.items():
                losses[VIEW_PREFIX + name] = self.config.view_weight * loss
        images = [target.whole() for target in targets]
        return losses | self._heads_losses(_heads(outputs), images, points, totals[""])

    def _heads_losses(
        self, heads: list[Mapping], images: list[TargetImage], points: PointSource, totals: Totals
    ) -> dict[str, Tensor]:
        losses = {}
        suffixes = ["", *(f"_{k}" for k in range(len(heads) - 1))]
        matches = self._match(heads, images, points)
        for head, found, suffix in zip(heads, matches, suffixes, strict=True):
            own = self._head_losses(head, images, found, points, totals)
            losses |= {name + suffix: loss for name, loss in own.items()}
        return losses

    @torch.no_grad()
    def _match(
        self, heads: list[Mapping], images: list[TargetImage], points: PointSource
    ) -> list[list[Match]]:
        """Match the queries of all heads in all images; returns one list a head, of B matches."""
        config = self.config
        weights = (config.class_weight, config.mask_weight, config.dice_weight)
        drawn = [[points.matching(idx) for idx in range(len(images))] for _ in heads]
        costs = []
        for idx, image in enumerate(images):
            # The masks of an image are read once, at the points of all heads together.
            at = torch.cat([own[idx] for own in drawn])
            wanted = sample_flags(image.masks, at).chunk(len(heads), dim=-1)
            for head, own, sampled in zip(heads, drawn, wanted, strict=True):
                logits, masks = head["pred_logits"][idx], head["pred_masks"][idx]
                costs.append(matching_cost(logits, masks, image.labels, sampled, own[idx], weights))
        found = assign(costs, [image.entities for image in images for _ in heads])
        return [found[k :: len(heads)] for k in range(len(heads))]

    def _head_losses(
        self,
        head: Mapping,
        images: list[TargetImage],
        matches: list[Match],
        points: PointSource,
        totals: Totals,
    ) -> dict[str, Tensor]:
        config = self.config
        class_loss = _class_loss(head["pred_logits"], images, matches, config.no_object_weight)
        mask_loss, dice_loss = _mask_losses(head["pred_masks"], images, matches, points)
        entities = totals.entities or 1
        return {
            "class": config.class_weight * class_loss / totals.class_weight,
            "mask": config.mask_weight * mask_loss / entities,
            "dice": config.dice_weight * dice_loss / entities,
        }


def _heads(outputs: Mapping) -> list[Mapping]:
    """Return the last layer's prediction, then those before it in their order."""
    return [outputs, *outputs["aux_outputs"]]


def _as_images(head: Mapping) -> dict[str, Tensor]:
    """Make each view an image: (B, V, Q, h, w) to (B * V, Q, 1, h, w)."""
    return {
        "pred_logits": head["pred_logits"].flatten(0, 1),
        "pred_masks": head["pred_masks"].flatten(0, 1)[:, :, None],
    }


def _class_loss(
    logits: Tensor, images: list[TargetImage], matches: list[Match], no_object_weight: float
) -> Tensor:
    """Sum the weighted cross entropy of all queries, (B, Q, K + 1)."""
    no_object = logits.shape[-1] - 1
    wanted = torch.full(logits.shape[:2], no_object, device=logits.device)
    for row, image, (query_idx, entity_idx) in zip(wanted, images, matches, strict=True):
        row[query_idx] = image.labels[entity_idx]
    logits = _widened(logits)
    weight = logits.new_ones(no_object + 1)
    weight[no_object] = no_object_weight
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight, reduction="sum")


def _mask_losses(
    masks: Tensor, images: list[TargetImage], matches: list[Match], points: PointSource
) -> tuple[Tensor, Tensor]:
    """Sum binary cross entropy and dice of the matched masks, over entities and views.

    The cross entropy of a mask is the mean over its points. Sums over V views are divided by the
    number of entities and not of masks, which is the original's weighting.
    """
    sampled, wanted = [], []
    for idx, (image, (query_idx, entity_idx)) in enumerate(zip(images, matches, strict=True)):
        own = _widened(masks[idx, query_idx].flatten(0, 1))
        at = points.loss(idx, own.detach())
        sampled.append(sample_masks(own, at))
        wanted.append(sample_flags_of(image.masks, entity_idx, at).to(own.dtype))
    x, t = torch.cat(sampled), torch.cat(wanted)
    cross_entropy = F.binary_cross_entropy_with_logits(x, t, reduction="none").mean(1).sum()
    probability = x.sigmoid()
    overlap = 2 * (probability * t).sum(1)
    dice = 1 - (overlap + 1) / (probability.sum(1) + t.sum(1) + 1)
    return cross_entropy, dice.sum()


def _widened(x: Tensor) -> Tensor:
    """Give 16-bit numbers as float32; sums over thousands of points need it."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
