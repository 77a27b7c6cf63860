"""Points at which masks are compared, in place of whole masks.

Source: Kirillov et al., PointRend, arXiv 1912.08193. Points are (x, y) in [0, 1], where the corners
of the unit square are the outer corners of the corner pixels.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "PointSource",
    "RandomPoints",
    "most_uncertain",
    "sample_flags",
    "sample_flags_of",
    "sample_masks",
]


class PointSource(Protocol):
    """Give the points of a loss."""

    def matching(self, image_idx: int) -> Tensor:
        """Return the points (P, 2) at which all masks of an image are compared for matching."""

    def loss(self, image_idx: int, logits: Tensor) -> Tensor:
        """Give each of M masks, logits (M, h, w), its own points (M, P, 2) for the loss."""


class RandomPoints:
    """Draw uniform points for matching, and mostly uncertain points for the loss.

    Every image has its own generator, so that its points do not depend on the other images of its
    batch or its process.

    Args:
        seeds: One seed for each image, or for each view where views are images of their own.
        num_points: Number of points, P.
        oversample: Number of candidates divided by the number of points.
        importance: Share of the points that are the most uncertain candidates.
        device: Where the points are drawn.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        num_points: int,
        oversample: float,
        importance: float,
        device: torch.device | str,
    ) -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.num_points = num_points
        self.num_candidates = int(num_points * oversample)
        self.num_uncertain = int(num_points * importance)

    def matching(self, image_idx: int) -> Tensor:
        """See :class:`PointSource`."""
        return self._draw(image_idx, self.num_points)

    def loss(self, image_idx: int, logits: Tensor) -> Tensor:
        """See :class:`PointSource`."""
        candidates = self._draw(image_idx, len(logits), self.num_candidates)
        others = self._draw(image_idx, len(logits), self.num_points - self.num_uncertain)
        return most_uncertain(logits, candidates, others, self.num_uncertain)

    def _draw(self, image_idx: int, *shape: int) -> Tensor:
        generator = self.generators[image_idx]
        return torch.rand(*shape, 2, generator=generator, device=generator.device)


def sample_masks(masks: Tensor, points: Tensor) -> Tensor:
    """Read masks at points, bilinearly; outside of a mask is 0.

    Args:
        masks: (M, h, w) float.
        points: (M, P, 2), or (1, P, 2) for the same points in each mask.

    Returns:
        (M, P).
    """
    if len(masks) == 0:
        # grid_sample refuses to sample nothing; the product keeps the masks in the graph.
        return masks.flatten(1).sum(1, keepdim=True) * points[..., 0]
    points = points.to(masks.dtype)
    if len(points) == 1:
        # The masks are passed as channels, so that the weights are computed once for all.
        sampled = F.grid_sample(masks[None], 2 * points[:, None] - 1, align_corners=False)
        return sampled[0, :, 0]
    return F.grid_sample(masks[:, None], 2 * points[:, None] - 1, align_corners=False)[:, 0, 0]


def sample_flags(masks: Tensor, points: Tensor) -> Tensor:
    """Read masks of bools at the same points, as `sample_masks` would after a cast to float.

    Only the pixels beside a point are cast, never whole masks.

    Args:
        masks: (..., H, W) bool.
        points: (P, 2).

    Returns:
        (..., P) float32.
    """
    flat = masks.flatten(-2)
    return sum(weight * flat[..., at] for at, weight in _neighbours(points, *masks.shape[-2:]))


def sample_flags_of(masks: Tensor, idxs: Tensor, points: Tensor) -> Tensor:
    """Read some masks of bools, each at points of its own, as `sample_flags` does.

    Args:
        masks: (N, V, H, W) bool.
        idxs: (M,) positions in [0, N).
        points: (M * V, P, 2), the views of one mask one after another.

    Returns:
        (M * V, P) float32.
    """
    views = masks.shape[1]
    flat = masks.flatten(-2)
    rows = idxs.repeat_interleave(views)[:, None]
    view = torch.arange(views, device=idxs.device).repeat(len(idxs))[:, None]
    neighbours = _neighbours(points, *masks.shape[-2:])
    return sum(weight * flat[rows, view, at] for at, weight in neighbours)


def _neighbours(points: Tensor, height: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the four pixels around each point: flat positions, and weights, 0 outside the mask."""
    # The arithmetic is grid_sample's, so that weights agree to the last bits.
    x, y = (
        ((2 * points[..., axis].float() - 1 + 1) * side - 1) / 2
        for axis, side in enumerate((width, height))
    )
    left, top = x.floor(), y.floor()
    for row, row_weight in ((top, top + 1 - y), (top + 1, y - top)):
        for column, column_weight in ((left, left + 1 - x), (left + 1, x - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            at = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            yield at.long(), row_weight * column_weight * inside


@torch.no_grad()
def most_uncertain(
    logits: Tensor, candidates: Tensor, others: Tensor, num_uncertain: int
) -> Tensor:
    """Pick the candidates where a mask's logit is nearest to 0, and add other points.

    Args:
        logits: (M, h, w).
        candidates: (M, C, 2).
        others: (M, R, 2).
        num_uncertain: Number of candidates to pick, the most uncertain first.

    Returns:
        (M, num_uncertain + R, 2).
    """
    distance = sample_masks(logits, candidates).abs()
    picked = distance.topk(num_uncertain, dim=1, largest=False).indices
    return torch.cat([candidates.gather(1, picked[..., None].expand(-1, -1, 2)), others], dim=1)
