"""Find the query that owns each pixel, by order or by argmax, tile by tile on the device."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from baselines.modeling.paste import MaskCanvas, TileMasks
from baselines.modeling.runs import blank_canvas

__all__ = [
    "EPSILON",
    "argmax_owners",
    "filtered_tiles",
    "paint",
    "renumbered",
    "sums_of_ids",
    "whole_masks",
]

# Keeps the mean over an empty mask at 0. It is the original's constant, and it changes the scores
# of small masks.
EPSILON = 1e-6


def filtered_tiles(
    canvas: MaskCanvas, query_idxs: Tensor
) -> Iterator[tuple[TileMasks, list[int], Tensor]]:
    """Yield the masks of each tile with the queries that may own a pixel of it.

    Args:
        canvas: Masks of all queries.
        query_idxs: (N,) int64, the queries in their order.

    Yields:
        The tile's masks; the positions of its queries in `query_idxs`, ascending; and these
        queries themselves, (len(positions),) int64.
    """
    tiles = [canvas.tile_masks(tile) for tile in canvas.tiles()]
    may_hold = torch.stack([masks.may_hold() for masks in tiles])[:, query_idxs].cpu().numpy()
    positions = [row.nonzero()[0] for row in may_hold]
    # Two transfers for all tiles, not two for each.
    found = query_idxs[torch.from_numpy(np.concatenate(positions)).to(query_idxs.device)]
    for row, queries in zip(positions, found.split([len(row) for row in positions]), strict=True):
        # The list must drop a tile that is done, because a tile keeps what it has computed in
        # memory.
        yield tiles.pop(0), row.tolist(), queries


def paint(
    canvas: MaskCanvas, masks: TileMasks, positions: list[int], query_idxs: Tensor
) -> tuple[Tensor, Tensor]:
    """Find the owner of each pixel of a tile, where earlier queries hide later ones.

    Args:
        canvas: Masks of all queries.
        masks: Masks of the tile.
        positions: Positions of the tile's queries in the whole order, ascending.
        query_idxs: The same queries, (len(positions),) int64.

    Returns:
        ids (H, W) int32, the owner's position plus 1, or 0 without an owner; and the owner's mask
        probability (H, W) float32, 0 without an owner.
    """
    device = query_idxs.device
    ids = torch.zeros(masks.tile.shape, dtype=torch.int32, device=device)
    held_values = torch.full(masks.tile.shape, -torch.inf, device=device)
    free = torch.ones(masks.tile.shape, dtype=torch.bool, device=device)
    step = canvas.chunk_size(masks.tile)
    for start in range(0, len(positions), step):
        if start and not bool(free.any()):
            break
        chunk = slice(start, start + step)
        for position, values in zip(positions[chunk], masks.values(query_idxs[chunk]), strict=True):
            holds = (values > canvas.threshold).logical_and_(free)
            ids.masked_fill_(holds, position + 1)
            held_values = torch.where(holds, values, held_values)
            free.logical_xor_(holds)
    probability = held_values.clamp_(min=0) if canvas.is_fused else held_values.sigmoid_()
    return ids, probability


def whole_masks(
    canvas: MaskCanvas, reached: Iterable[tuple[TileMasks, np.ndarray]], query_idxs: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Compute a few queries' masks.

    Args:
        canvas: Masks of all queries.
        reached: The masks of every tile, and (N,) bool: true for queries that may own a pixel of
            it.
        query_idxs: (N,) the queries.

    Returns:
        Masks (N, H, W) bool, and the mean probability over each (N,) float64.
    """
    device, count = canvas.logits.device, len(query_idxs)
    whole = blank_canvas(canvas.size, torch.bool, device, count)
    totals = torch.zeros(2, count, dtype=torch.float64, device=device)
    for masks, may_hold in reached:
        (slots,) = may_hold.nonzero()
        step = canvas.chunk_size(masks.tile)
        for chunk in (slots[start : start + step] for start in range(0, len(slots), step)):
            values = masks.values(torch.from_numpy(query_idxs[chunk]).to(device))
            holds = values > canvas.threshold
            probability = values if canvas.is_fused else values.sigmoid_()
            sums = probability.mul_(holds).sum((1, 2), dtype=torch.float64), holds.sum((1, 2))
            totals.index_add_(1, torch.from_numpy(chunk).to(device), torch.stack(sums))
            for slot, mask in zip(chunk, holds, strict=True):
                whole[(slot, *masks.tile.within(0, 0))] = mask
    return whole, totals[0] / (totals[1] + EPSILON)


def argmax_owners(
    canvas: MaskCanvas, query_idxs: Tensor, class_scores: Tensor
) -> tuple[Tensor, np.ndarray, np.ndarray, np.ndarray]:
    """Find the owner of each pixel: the query of highest class score times mask probability.

    Returns:
        (H, W) int32, the owner's position plus 1 where its probability is >= 0.5, else 0; and three
        pixel counts (Q,) of each query: where it is the owner, where its probability is >= 0.5, and
        where both hold.
    """
    num = len(query_idxs)
    kept_map = blank_canvas(canvas.size, torch.int32, query_idxs.device)
    counts = torch.zeros(3, num, dtype=torch.float64, device=query_idxs.device)
    for tile in canvas.tiles(num) if num else ():
        probabilities = canvas.tile_masks(tile).probabilities(query_idxs)
        is_own = probabilities >= 0.5
        winner = (probabilities.mul_(class_scores[:, None, None])).argmax(0, keepdim=True)
        is_held = is_own.gather(0, winner)[0]
        ids = torch.where(is_held, winner[0] + 1, 0)
        counts += torch.stack(
            [sums_of_ids(winner, num), is_own.sum((1, 2)).double(), sums_of_ids(ids, num + 1)[1:]]
        )
        kept_map[tile.within(0, 0)] = ids.int()
    return kept_map, *counts.cpu().numpy()


def sums_of_ids(ids: Tensor, num: int, values: Tensor | None = None) -> Tensor:
    """Sum the values, or count the pixels, of each id in [0, num): (num,) float64.

    torch.bincount does the same, but stops a GPU to ask for the largest id.
    """
    sums = torch.zeros(num, dtype=torch.float64, device=ids.device)
    ids = ids.flatten()
    values = sums.new_ones(1).expand(len(ids)) if values is None else values.flatten().double()
    return sums.index_add_(0, ids, values)


def renumbered(id_map: Tensor, number: np.ndarray) -> Tensor:
    """Put number[id], int32, for each id of a map that lies column by column."""
    table = torch.from_numpy(number).to(id_map.device)
    return table.index_select(0, id_map.T.flatten()).view(id_map.T.shape).T
