"""One-to-one matching of queries and entities.

Source: Carion et al., DETR, arXiv 2005.12872; Cheng et al., Mask2Former, arXiv 2112.01527. Views
are an axis of the masks: what is compared is a query's masks in all views with an entity's.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from baselines.modeling.point_sampling import sample_masks

__all__ = ["assign", "matching_cost"]


@torch.no_grad()
def matching_cost(
    logits: Tensor,
    masks: Tensor,
    labels: Tensor,
    sampled_targets: Tensor,
    points: Tensor,
    weights: tuple[float, float, float],
) -> Tensor:
    """Compute the cost of each pair of query and entity in one image.

    Args:
        logits: (Q, K + 1) class logits.
        masks: (Q, V, h, w) mask logits.
        labels: (N,) classes of the entities.
        sampled_targets: (N, V, P) in [0, 1], the entities' masks at the points.
        points: (P, 2); the same in each mask and view.
        weights: Of class probability, binary cross entropy and dice.

    Returns:
        (Q, N) float32.
    """
    x = sample_masks(masks.flatten(0, 1).float(), points[None])
    x, t = x.unflatten(0, masks.shape[:2]).flatten(1), sampled_targets.flatten(1)
    probability = x.sigmoid()
    # Cross entropy of logit x with target t is softplus(x) - x t.
    cross_entropy = (F.softplus(x).sum(1)[:, None] - x @ t.T) / x.shape[1]
    overlap = 2 * probability @ t.T
    dice = 1 - (overlap + 1) / (probability.sum(1)[:, None] + t.sum(1) + 1)
    class_cost = -logits.float().softmax(-1)[:, labels]
    return weights[0] * class_cost + weights[1] * cross_entropy + weights[2] * dice


def assign(
    costs: Sequence[Tensor], entities: Sequence[np.ndarray] | None = None
) -> list[tuple[Tensor, Tensor]]:
    """Match queries to entities at the least total cost, in any number of images.

    Costs of all images come from their device in one transfer, and matches go there in one.

    Args:
        costs: One (Q, N) an image, on one device.
        entities: The positions of those that take part, ascending, for each image; None: all do.

    Returns:
        For each image, on the costs' device: positions of queries, ascending, and of their
        entities; as many as there are of the fewer.

    Raises:
        FloatingPointError: A cost is not finite.
    """
    if not costs:
        return []
    flat = torch.cat([cost.flatten() for cost in costs]).cpu().numpy()
    if not np.isfinite(flat).all():
        raise FloatingPointError("the model's predictions are not finite")
    parts = np.split(flat, np.cumsum([cost.numel() for cost in costs])[:-1])
    pairs = []
    for idx, (cost, part) in enumerate(zip(costs, parts, strict=True)):
        chosen = np.arange(cost.shape[1]) if entities is None else entities[idx]
        query_idx, entity_idx = linear_sum_assignment(part.reshape(cost.shape)[:, chosen])
        pairs.append(np.stack([query_idx, chosen[entity_idx]]))
    matches = torch.from_numpy(np.concatenate(pairs, axis=1)).to(costs[0].device)
    return [tuple(part) for part in matches.split([pair.shape[1] for pair in pairs], dim=1)]
