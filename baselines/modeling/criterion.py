"""The training loss of Mask2Former and CropFormer.

Source: Cheng et al., Mask2Former, arXiv 2112.01527; Qi et al., CropFormer, arXiv 2211.05776. One
criterion serves both: masks carry a view axis, and CropFormer's pass on each view is the same loss
with every view as an image of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.modeling.matcher import assign, matching_cost
from baselines.modeling.point_sampling import PointSource, sample_masks

__all__ = ["Criterion", "LossConfig", "Target", "Totals", "count_targets"]

VIEW_PREFIX = "view_"


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
    """What is in one image.

    Attributes:
        labels: (N,) int64, positions of the entities' classes.
        masks: (N, V, H, W) bool, in the model's padded input; view 0 is the full image.
            An entity that a view does not show is empty there.
    """

    labels: Tensor
    masks: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> "Target":
        """Move to a device."""
        return Target(
            self.labels.to(device, non_blocking=non_blocking),
            self.masks.to(device, non_blocking=non_blocking),
        )

    def by_view(self) -> list["Target"]:
        """Give each view as an image of its own, with the entities that it shows."""
        shown = self.masks.flatten(2).any(-1)
        return [
            Target(self.labels[shown[:, v]], self.masks[shown[:, v], v : v + 1])
            for v in range(self.masks.shape[1])
        ]


@dataclass(frozen=True)
class Totals:
    """What the losses of a batch are divided by; totals of its parts add up.

    A loss divided by the totals of the whole batch, over all processes and accumulated parts, does
    not depend on how the batch is cut. The original divides the class loss by the weights of each
    process's own part instead, which is the same with one process.

    Attributes:
        entities: How many.
        class_weight: Sum of the class loss's weights over all queries.
    """

    entities: float
    class_weight: float

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(self.entities + other.entities, self.class_weight + other.class_weight)


def count_targets(targets: Sequence[Target], num_queries: int, no_object_weight: float) -> Totals:
    """Count the totals of a batch, which are known before the model has run."""
    entities = sum(len(target.labels) for target in targets)
    matched = sum(min(len(target.labels), num_queries) for target in targets)
    unmatched = len(targets) * num_queries - matched
    return Totals(entities, matched + no_object_weight * unmatched)


class Criterion:
    """Compute the weighted losses of a model's output.

    Args:
        config: Weights.
    """

    def __init__(self, config: LossConfig = LossConfig()) -> None:
        self.config = config

    def totals(self, targets: Sequence[Target], num_queries: int) -> dict[str, Totals]:
        """Count the totals of the joint pass ("") and of the pass on each view ("view_")."""
        views = [view for target in targets for view in target.by_view()]
        weight = self.config.no_object_weight
        return {
            "": count_targets(targets, num_queries, weight),
            VIEW_PREFIX: count_targets(views, num_queries, weight),
        }

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
            outputs: Of the model, with auxiliary outputs.
            targets: One an image.
            points: Of the B images.
            view_points: Of the B x V views, for a CropFormer.
            totals: What the losses are divided by; this batch's own by default.

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
        return losses | self._heads_losses(_heads(outputs), targets, points, totals[""])

    def _heads_losses(
        self, heads: list[Mapping], targets: Sequence[Target], points: PointSource, totals: Totals
    ) -> dict[str, Tensor]:
        # Once for all heads: points are read from float masks.
        targets = [Target(target.labels, target.masks.float()) for target in targets]
        losses = {}
        for head, suffix in zip(
            heads, ["", *(f"_{k}" for k in range(len(heads) - 1))], strict=True
        ):
            found = self._head_losses(head, targets, points, totals)
            losses |= {name + suffix: loss for name, loss in found.items()}
        return losses

    def _head_losses(
        self, head: Mapping, targets: Sequence[Target], points: PointSource, totals: Totals
    ) -> dict[str, Tensor]:
        config = self.config
        weights = (config.class_weight, config.mask_weight, config.dice_weight)
        matches = []
        for idx, (logits, masks, target) in enumerate(
            zip(head["pred_logits"], head["pred_masks"], targets, strict=True)
        ):
            at = points.matching(idx)
            cost = matching_cost(logits, masks, target.labels, target.masks, at, weights)
            matches.append(assign(cost))
        class_loss = _class_loss(head["pred_logits"], targets, matches, config.no_object_weight)
        mask_loss, dice_loss = _mask_losses(head["pred_masks"], targets, matches, points)
        entities = totals.entities or 1
        return {
            "class": config.class_weight * class_loss / totals.class_weight,
            "mask": config.mask_weight * mask_loss / entities,
            "dice": config.dice_weight * dice_loss / entities,
        }


def _heads(outputs: Mapping) -> list[Mapping]:
    """Give the last layer's prediction, then those before it in their order."""
    return [outputs, *outputs["aux_outputs"]]


def _as_images(head: Mapping) -> dict[str, Tensor]:
    """Make each view an image: (B, V, Q, h, w) to (B * V, Q, 1, h, w)."""
    return {
        "pred_logits": head["pred_logits"].flatten(0, 1),
        "pred_masks": head["pred_masks"].flatten(0, 1)[:, :, None],
    }


def _class_loss(
    logits: Tensor, targets: Sequence[Target], matches: Sequence, no_object_weight: float
) -> Tensor:
    """Sum the weighted cross entropy of all queries, (B, Q, K + 1)."""
    no_object = logits.shape[-1] - 1
    wanted = torch.full(logits.shape[:2], no_object, device=logits.device)
    for row, target, (query_idx, entity_idx) in zip(wanted, targets, matches, strict=True):
        row[query_idx] = target.labels[entity_idx]
    logits = _widened(logits)
    weight = logits.new_ones(no_object + 1)
    weight[no_object] = no_object_weight
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight, reduction="sum")


def _mask_losses(
    masks: Tensor, targets: Sequence[Target], matches: Sequence, points: PointSource
) -> tuple[Tensor, Tensor]:
    """Sum binary cross entropy and dice of the matched masks, over entities and views.

    A mask's cross entropy is its mean over the points. Sums over V views are divided by the number
    of entities, not of masks: so the original weighs them.
    """
    sampled, wanted = [], []
    for idx, (target, (query_idx, entity_idx)) in enumerate(zip(targets, matches, strict=True)):
        own = _widened(masks[idx, query_idx].flatten(0, 1))
        at = points.loss(idx, own.detach())
        sampled.append(sample_masks(own, at))
        wanted.append(sample_masks(target.masks[entity_idx].flatten(0, 1), at).to(own.dtype))
    x, t = torch.cat(sampled), torch.cat(wanted)
    cross_entropy = F.binary_cross_entropy_with_logits(x, t, reduction="none").mean(1).sum()
    probability = x.sigmoid()
    overlap = 2 * (probability * t).sum(1)
    dice = 1 - (overlap + 1) / (probability.sum(1) + t.sum(1) + 1)
    return cross_entropy, dice.sum()


def _widened(x: Tensor) -> Tensor:
    """Give 16-bit numbers as float32; sums over thousands of points need it."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
