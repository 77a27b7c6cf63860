"""One-to-one matching of queries and entities.

Source: Carion et al., DETR, arXiv 2005.12872; Cheng et al., Mask2Former, arXiv 2112.01527. Views
are an axis of the masks: what is compared is a query's masks in all views with an entity's.
"""

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
    target_masks: Tensor,
    points: Tensor,
    weights: tuple[float, float, float],
) -> Tensor:
    """Compute the cost of each pair of query and entity in one image.

    Args:
        logits: (Q, K + 1) class logits.
        masks: (Q, V, h, w) mask logits.
        labels: (N,) classes of the entities.
        target_masks: (N, V, H, W) in [0, 1], float.
        points: (P, 2); the same in each mask and view.
        weights: Of class probability, binary cross entropy and dice.

    Returns:
        (Q, N) float32.
    """
    views = masks.shape[1]
    x, t = (
        sample_masks(m.flatten(0, 1).float(), points[None]).unflatten(0, (-1, views)).flatten(1)
        for m in (masks, target_masks)
    )
    probability = x.sigmoid()
    # Cross entropy of logit x with target t is softplus(x) - x t.
    cross_entropy = (F.softplus(x).sum(1)[:, None] - x @ t.T) / x.shape[1]
    overlap = 2 * probability @ t.T
    dice = 1 - (overlap + 1) / (probability.sum(1)[:, None] + t.sum(1) + 1)
    class_cost = -logits.float().softmax(-1)[:, labels]
    return weights[0] * class_cost + weights[1] * cross_entropy + weights[2] * dice


def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Match queries to entities at the least total cost.

    Args:
        cost: (Q, N).

    Returns:
        Positions of min(Q, N) queries, ascending, and of their entities; on the cost's device.

    Raises:
        FloatingPointError: A cost is not finite.
    """
    if not cost.isfinite().all():
        raise FloatingPointError("the model's predictions are not finite")
    query_idx, entity_idx = linear_sum_assignment(cost.cpu().numpy())
    return (
        torch.from_numpy(query_idx).to(cost.device),
        torch.from_numpy(entity_idx).to(cost.device),
    )
