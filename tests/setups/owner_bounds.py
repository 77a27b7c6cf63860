"""Which queries may own a pixel, when a model's logits are known up to an error only.

Where logits lie near a threshold, it depends on the processor which of them a rounding moves
across. So the tests of other precisions do not count equal pixels. They ask of every pixel whether
its owner is possible: another owner than in float32 is, where the margins of the float32 logits,
to the threshold and between competing scores, are below the errors that the precision can make.
"""

from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from baselines.crops import ViewLayout
from baselines.modeling import constants
from baselines.modeling.paste import MaskCanvas, Tile
from baselines.modeling.postprocess import _best_pairs, disjoint_segments
from baselines.predictor import Entities, Predictor

__all__ = [
    "Errors",
    "Observation",
    "Output",
    "impossible_pixels",
    "observe",
    "owners",
    "rounding_errors",
]

# Half the distance between neighbouring numbers, relative to them.
ROUNDING = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
# Errors of roundings add up to a bell curve, nearly: of a million pixels one may lie this far out.
DEVIATIONS = 5.0


class Output(NamedTuple):
    """Logits for one image by a model of one class.

    Attributes:
        classes: (Q, 2) logits of the class and of "no object".
        masks: (Q, V, h, w) mask logits.
    """

    classes: Tensor
    masks: Tensor

    def confidence(self) -> Tensor:
        """Return what queries are ranked by, (Q,): the logit of the class score."""
        return (self.classes[:, 0] - self.classes[:, 1]).float()


class Errors(NamedTuple):
    """How far an output may be from the float32 one.

    Attributes:
        confidence: of the queries' confidence, () for all of them alike.
        masks: of the mask logits, (Q, V).
    """

    confidence: Tensor
    masks: Tensor


class Observation(NamedTuple):
    """What a predictor's network saw and made on the way to an image's entities.

    Attributes:
        entities: of the image.
        images: (1, V, 3, H, W), the network's input.
        output: the network's output, which may be of a lower precision.
        layout: of the views.
    """

    entities: Entities
    images: Tensor
    output: Output
    layout: ViewLayout


def observe(predictor: Predictor, image: np.ndarray) -> Observation:
    """Predict the entities of an image, (H, W, 3) uint8, and keep what the network made."""
    calls: list[tuple[Tensor, dict[str, Tensor]]] = []
    hook = predictor.model.register_forward_hook(
        lambda _, inputs, outputs: calls.append((inputs[0], outputs))
    )
    entities = predictor(image)
    hook.remove()
    ((images, outputs),) = calls
    output = Output(outputs["pred_logits"][0], outputs["pred_masks"][0])
    return Observation(entities, images, output, predictor.layout(*image.shape[:2]))


class _Roundings(TorchDispatchMode):
    """Change what every operator computes by a random relative error, as rounding would."""

    def __init__(self, seed: int, device: torch.device, dtype: torch.dtype):
        super().__init__()
        self._most = ROUNDING[dtype]
        self._random = torch.Generator(device).manual_seed(seed)

    def change(self, tensor: Tensor) -> Tensor:
        if tensor.dtype != torch.float32:
            return tensor
        noise = torch.empty_like(tensor).uniform_(-self._most, self._most, generator=self._random)
        return tensor * noise.add_(1)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        # Views and assignments compute nothing.
        if any(returned.alias_info for returned in func._schema.returns):
            return result
        return tree_map_only(Tensor, self.change, result)


@torch.no_grad()
def rounding_errors(
    model: nn.Module,
    images: Tensor,
    want: Output,
    runs: int = 8,
    dtype: torch.dtype = torch.bfloat16,
) -> Errors:
    """Estimate what a precision can make of an output, whatever the processor.

    The float32 model runs several times. Each time its weights and the results of all operators
    are changed at random, by at most as much as rounding to the precision changes a
    number.

    Args:
        model: the model, in float32.
        images: (1, V, 3, H, W) float32.
        want: what the model makes of them in float32.
        runs: how many times it runs.
        dtype: the precision, bfloat16 or float16.
    """
    confidence, masks = [], []
    for seed in range(runs):
        roundings = _Roundings(seed, images.device, dtype)
        weights = {name: roundings.change(weight) for name, weight in model.named_parameters()}
        # Positions are kept for all models of a process. Those with random changes in them must not
        # be: other tests would then see a wrong model.
        with patch.dict(constants._kept, clear=True), roundings:
            outputs = torch.func.functional_call(model, weights, (images,))
        got = Output(outputs["pred_logits"][0], outputs["pred_masks"][0])
        confidence.append((got.confidence() - want.confidence()).square().mean())
        masks.append((got.masks - want.masks).square().mean((-2, -1)))
    root_mean_squares = [torch.stack(squares).mean(0).sqrt() for squares in (confidence, masks)]
    return Errors(*(DEVIATIONS * root for root in root_mean_squares))


def owners(output: Output, layout: ViewLayout) -> Tensor:
    """Return the query that owns each pixel, (H, W) int64; -1 where none does."""
    # The order that the ids stand for, ties included.
    _, order, _ = _best_pairs(output.classes, len(output.classes))
    ids = disjoint_segments(output.classes, MaskCanvas(output.masks, layout)).id_map
    return torch.cat([order.new_tensor([-1]), order])[ids.long()]


def impossible_pixels(owner: Tensor, want: Output, errors: Errors, layout: ViewLayout) -> Tensor:
    """Find the pixels whose owner cannot come of the errors, (H, W) bool.

    A query may own a pixel if its mask may hold it and no query that must outrank it must hold it.
    No query may own it if none must hold it.

    Args:
        owner: what to judge, (H, W) int64 as of :func:`owners`.
        want: the float32 output.
        errors: how far another output may be from it.
        layout: of the views.
    """
    # Nothing between logits and masks ever turns larger logits into smaller masks.
    error = errors.masks[:, :, None, None]
    must_hold, may_hold = (_holds(want.masks + sign * error, layout) for sign in (-1, 1))
    confidence = want.confidence()
    outranked = (
        confidence[:, None] + 2 * errors.confidence < confidence[None]
    )  # (Q, Q) by the second
    hidden = torch.einsum("qr,rhw->qhw", outranked.float(), must_hold.float()) > 0
    possible = torch.cat([may_hold & ~hidden, ~must_hold.any(0, keepdim=True)])
    # The last row is that of no query, which owner's -1 points to.
    return ~possible.gather(0, (owner % len(possible))[None])[0]


def _holds(masks: Tensor, layout: ViewLayout) -> Tensor:
    """Say which pixels each mask holds, (Q, H, W) bool."""
    canvas, (height, width) = MaskCanvas(masks, layout), layout.size
    queries = torch.arange(len(masks), device=masks.device)
    return canvas.tile_masks(Tile(0, height, 0, width)).values(queries) > canvas.threshold
