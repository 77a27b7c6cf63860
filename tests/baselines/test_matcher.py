"""Matching against cases a reader can check, and against trying every assignment."""

from itertools import permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from baselines.modeling.matcher import assign, matching_cost
from baselines.modeling.point_sampling import sample_flags, sample_flags_of, sample_masks

WEIGHTS = (2.0, 5.0, 5.0)


def cost_of(logits, masks, labels, target_masks, points):
    return matching_cost(logits, masks, labels, sample_flags(target_masks, points), points, WEIGHTS)


def random_image(queries, entities, views, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(queries, 4, generator=generator),
        torch.randn(queries, views, 6, 7, generator=generator),
        torch.randint(3, (entities,), generator=generator),
        torch.rand(entities, views, 12, 14, generator=generator) > 0.5,
        torch.rand(20, 2, generator=generator),
    )


@pytest.mark.parametrize("views", [1, 3])
def test_cost_equals_its_definition(views):
    logits, masks, labels, target_masks, points = random_image(4, 3, views)
    cost = cost_of(logits, masks, labels, target_masks, points)
    target_masks = target_masks.float()
    for q in range(4):
        for n in range(3):
            # The points of all views in one row.
            x = torch.cat([sample_masks(masks[q, v][None], points[None])[0] for v in range(views)])
            t = torch.cat(
                [sample_masks(target_masks[n, v][None], points[None])[0] for v in range(views)]
            )
            p = x.sigmoid()
            expected = (
                -2 * logits[q].softmax(0)[labels[n]]
                + 5 * F.binary_cross_entropy_with_logits(x, t)
                + 5 * (1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
            )
            assert cost[q, n].item() == pytest.approx(expected.item(), rel=1e-5)


def test_points_lie_between_pixel_centres():
    mask = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    # Centres of the pixels are at 1/4 and 3/4; outside of the mask is 0.
    points = torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0.0, 0.25]]])
    assert sample_masks(mask, points).tolist() == [[0.0, 1.0, 1.5, 2.0, 0.0]]


def test_assignment_by_hand():
    # Query 2 is the best for both entities; giving it to entity 0 costs less in all.
    cost = torch.tensor([[9.0, 3.0], [8.0, 8.0], [1.0, 2.0]])
    [(query_idx, entity_idx)] = assign([cost])
    assert query_idx.tolist() == [0, 2]
    assert entity_idx.tolist() == [1, 0]


@pytest.mark.parametrize("seed", range(5))
def test_no_other_assignment_costs_less(seed):
    cost = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
    [(query_idx, entity_idx)] = assign([cost])
    best = min(sum(cost[q, n] for n, q in enumerate(order)) for order in permutations(range(5), 4))
    assert cost[query_idx, entity_idx].sum().item() == pytest.approx(best.item())


@pytest.mark.parametrize(("queries", "entities", "matched"), [(3, 0, 0), (2, 5, 2), (5, 5, 5)])
def test_any_number_of_entities(queries, entities, matched):
    cost = cost_of(*random_image(queries, entities, 1))
    assert cost.shape == (queries, entities)
    [(query_idx, entity_idx)] = assign([cost])
    assert len(query_idx) == len(entity_idx) == matched


def test_a_cost_that_is_not_finite_is_refused():
    with pytest.raises(FloatingPointError, match="not finite"):
        assign([torch.zeros(1, 1), torch.tensor([[float("nan"), 1.0]])])


def test_entities_that_take_no_part_are_matched_with_nothing():
    cost = torch.tensor([[0.0, 3.0, 9.0], [0.0, 8.0, 1.0]])
    found = assign([cost, cost[:, :0], cost], [np.array([1, 2]), np.arange(0), np.array([2])])
    assert [[part.tolist() for part in match] for match in found] == [
        [[0, 1], [1, 2]],
        [[], []],
        [[1], [2]],
    ]
    assert assign([]) == []


@pytest.mark.parametrize("reach", [1.0, 1.5])
def test_flags_are_read_as_floats_are(reach):
    generator = torch.Generator().manual_seed(0)
    # A view of a larger array, as those of several views are.
    masks = (torch.rand(5, 4, 9, 14, generator=generator) > 0.5)[:, 1:3]
    points = (torch.rand(10, 50, 2, generator=generator) - 0.5) * reach + 0.5
    want = sample_masks(masks.flatten(0, 1).float(), points[:1]).unflatten(0, (5, 2))
    torch.testing.assert_close(sample_flags(masks, points[0]), want, atol=1e-5, rtol=0)
    idxs = torch.tensor([4, 0, 0, 2, 3])
    want = sample_masks(masks[idxs].flatten(0, 1).float(), points)
    torch.testing.assert_close(sample_flags_of(masks, idxs, points), want, atol=1e-5, rtol=0)
    assert sample_flags_of(masks, idxs[:0], points[:0]).shape == (0, 50)
    assert sample_flags(masks[:0], points[0]).shape == (0, 2, 50)
