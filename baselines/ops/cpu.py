"""The operators on a CPU: a kernel that is compiled with the package, in threads.

It serves values of float32 and bfloat16. Other values, the backward pass, and all with
``ENTITYSEG_OPS=definition`` are PyTorch's. No result depends on the number of threads.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.ops import _deformable, fused
from baselines.ops.deformable_attention import check
from baselines.ops.deformable_attention import forward as plain_forward
from baselines.ops.load import forced_path

__all__ = ["SERVED", "forward", "fused_forward", "info"]

SERVED = (torch.float32, torch.bfloat16)

# So many heads of queries make work for a thread of its own.
_HEADS_AT_ONCE = 4096


def forward(value: Tensor, locations: Tensor, weights: Tensor, shapes: Sequence[int]) -> Tensor:
    """Run the operator from locations and weights, by the kernel where it serves."""
    if not _is_served(value, locations):
        return plain_forward(value, locations, weights, shapes)
    check(value, locations, weights, shapes)
    none = weights.new_empty(1, 0, 1, 1, 1, 2)
    return _attend(value, locations, none, weights, shapes, with_softmax=False)


def fused_forward(
    value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor, shapes: Sequence[int]
) -> Tensor:
    """Run the operator from offsets and logits, by the kernel where it serves."""
    if not _is_served(value, reference) or offsets.dtype != logits.dtype:
        return fused.forward(value, reference, offsets, logits, shapes)
    fused.check(reference, offsets, logits, shapes)
    check(value, offsets, logits, shapes)
    reference = reference.expand(offsets.shape)
    return _attend(value, reference, offsets, logits, shapes, with_softmax=True)


def info() -> str:
    """Say what serves a CPU."""
    if forced_path() == "definition":
        return "definition (PyTorch)"
    dtypes = " and ".join(str(dtype).removeprefix("torch.") for dtype in SERVED)
    return f"kernel of {dtypes} (compiled with the package)"


def _is_served(value: Tensor, places: Tensor) -> bool:
    given = (value.dtype, places.dtype)
    return (
        given[0] in SERVED
        and given[1] == torch.float32
        and value.numel() > 0
        and forced_path() != "definition"
    )


def _attend(
    value: Tensor,
    reference: Tensor,
    offsets: Tensor,
    weights: Tensor,
    shapes: Sequence[int],
    *,
    with_softmax: bool,
) -> Tensor:
    batch, queries, heads = weights.shape[:3]
    out = value.new_empty(batch, queries, heads, value.shape[3])
    if weights.dtype not in SERVED:
        offsets, weights = offsets.float(), weights.float()
    columns = (
        _array(value.contiguous()),
        _array(reference),
        _array(offsets.contiguous()),
        _array(weights.contiguous()),
        np.array(shapes, np.longlong).reshape(-1, 2),
        _array(out),
    )
    n = batch * queries
    threads = min(torch.get_num_threads(), n * heads // _HEADS_AT_ONCE)
    if threads < 2:
        _deformable.attend(*columns, 0, n, with_softmax)
        return out.flatten(2)
    ends = np.linspace(0, n, 4 * threads + 1).astype(int).tolist()

    def run(k: int) -> None:
        _deformable.attend(*columns, ends[k], ends[k + 1], with_softmax)

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(run, range(4 * threads)):
            pass
    return out.flatten(2)


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """View a tensor as an array, bfloat16 as its bits."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()


torch.library.impl("entityseg::deformable_attention", "cpu", forward)
torch.library.impl("entityseg::deformable_attention_fused", "cpu", fused_forward)
