"""From tensors to launches of the kernels in ``kernels/deformable_attention.cu``.

Nothing here asks where the kernels came from or what runs them: a :class:`Kernels` is told a name,
a grid and the arguments. On a card that is the driver (``load.py``); in the tests, where tensors
lie in the CPU's memory, the kernels' source compiled for the CPU.
"""

import ctypes
import functools
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = [
    "CHANNELS",
    "DTYPES",
    "MOST_LEVELS",
    "Arguments",
    "Grid",
    "Kernels",
    "backward",
    "forward",
    "refusal",
]

DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
CHANNELS = (8, 16, 32, 64)  # a head
MOST_LEVELS = 8
_WARP = 32
_BLOCK = 256  # threads; MOST_WARPS of the source
_SMALL_BLOCK = 64
# Fewer blocks than this leave multiprocessors idle (an H100 has 132); small ones spread the work.
_ENOUGH_BLOCKS = 264
_TILE = 8
_MOST_ROWS = 65535  # of a grid
_INT = 2**31

# How `places` and `weights` are to be read; `Form` of the source.
_LOCATIONS, _OFFSETS_FLOAT, _OFFSETS_AS_VALUE = 0, 1, 2


class _Level(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("height", "width", "start", "first_tile")]


class Arguments(ctypes.Structure):
    """The one parameter of every kernel, field by field that of the source."""

    _fields_ = [
        *(
            (name, ctypes.c_void_p)
            for name in (
                "value", "places", "weights", "reference", "grad", "out",
                "grad_value", "grad_places", "grad_weights",
            )
        ),
        ("reference_strides", ctypes.c_int * 5),
        *(
            (name, ctypes.c_int)
            for name in (
                "batch", "positions", "queries", "heads", "levels", "points",
                "slots", "tiled", "form",
            )
        ),
        ("levels_a_point", ctypes.c_float),
        ("level", _Level * MOST_LEVELS),
    ]  # fmt: skip


class Grid(NamedTuple):
    """How many blocks there are, across and down, and how many threads a block has."""

    across: int
    down: int
    threads: int


class Kernels(Protocol):
    """Whatever can run a kernel by its name."""

    def launch(self, name: str, grid: Grid, arguments: Arguments, device: torch.device) -> None:
        """Start a kernel in the device's current stream."""


def refusal(
    value: Tensor, places: Tensor, shapes: Sequence[int], reference: Tensor | None = None
) -> str | None:
    """Say why no kernel can serve these arguments; None: one can."""
    if value.dtype not in DTYPES:
        return f"there is no kernel for values of {str(value.dtype).removeprefix('torch.')}"
    if value.shape[3] not in CHANNELS:
        return f"there is no kernel for {value.shape[3]} channels a head, only for {CHANNELS}"
    if places.dtype == torch.float64:
        return "there is no kernel for locations in float64"
    if len(shapes) // 2 > MOST_LEVELS:
        return f"{len(shapes) // 2} levels are more than a kernel takes ({MOST_LEVELS})"
    too_many = (
        value.shape[1] >= _INT
        or places.shape[1] * places.shape[2] >= _INT
        or (reference is not None and reference.numel() >= _INT)
    )
    return "positions, or queries and heads, exceed 2^31" if too_many else None


def forward(
    kernels: Kernels,
    value: Tensor,
    places: Tensor,
    weights: Tensor,
    shapes: Sequence[int],
    reference: Tensor | None = None,
) -> Tensor:
    """Compute the operator; with a reference, places are offsets and weights logits.

    Shapes and the meaning of the arguments are those of the two operators; what :func:`refusal`
    refuses must not come here.
    """
    batch, _, heads, channels = value.shape
    out = value.new_empty(batch, places.shape[1], heads * channels)
    if not out.numel():
        return out
    if not (value.shape[1] and places.shape[3] * places.shape[4]):
        return out.zero_()
    value = _aligned(value)
    arguments, kept = _arguments(value, places, weights, shapes, reference)
    arguments.value, arguments.out = value.data_ptr(), out.data_ptr()
    lanes = channels * value.element_size() // 16
    grid = _grid(arguments, lanes, _levels(tuple(shapes))[1])
    kernels.launch(f"forward_{DTYPES[value.dtype]}_{channels}", grid, arguments, value.device)
    del kept  # the launch is in the stream; what it reads may now be reused by later work there
    return out


def backward(
    kernels: Kernels,
    grad: Tensor,
    value: Tensor,
    places: Tensor,
    weights: Tensor,
    shapes: Sequence[int],
    reference: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients of value, places and weights from that of the output (B, Q, H * C)."""
    grad_value = torch.zeros(value.shape, dtype=torch.float32, device=value.device)
    grad_places = torch.empty(places.shape, dtype=torch.float32, device=value.device)
    grad_weights = torch.empty(weights.shape, dtype=torch.float32, device=value.device)
    if weights.numel() and value.numel():
        value, grad = _aligned(value), _aligned(grad.to(value.dtype))
        arguments, kept = _arguments(value, places, weights, shapes, reference)
        arguments.value, arguments.grad = value.data_ptr(), grad.data_ptr()
        arguments.grad_value = grad_value.data_ptr()
        arguments.grad_places = grad_places.data_ptr()
        arguments.grad_weights = grad_weights.data_ptr()
        channels = value.shape[3]
        grid = _grid(arguments, channels // 4, _levels(tuple(shapes))[1])
        kernels.launch(f"backward_{DTYPES[value.dtype]}_{channels}", grid, arguments, value.device)
        del kept
    else:
        grad_places.zero_()
        grad_weights.zero_()
    return grad_value.to(value.dtype), grad_places.to(places.dtype), grad_weights.to(weights.dtype)


def _arguments(
    value: Tensor,
    places: Tensor,
    weights: Tensor,
    shapes: Sequence[int],
    reference: Tensor | None,
) -> tuple[Arguments, tuple[Tensor | None, ...]]:
    """Fill in what forward and backward have in common.

    Returns the tensors that the pointers point into, too: the caller keeps them until the launch.
    """
    form = _LOCATIONS
    if reference is not None:
        narrow = value.dtype != torch.float32 and places.dtype == weights.dtype == value.dtype
        form = _OFFSETS_AS_VALUE if narrow else _OFFSETS_FLOAT
        reference = reference.float().expand(places.shape)
        if reference.stride(5) != 1:
            reference = reference.contiguous()
    if form != _OFFSETS_AS_VALUE:
        places, weights = places.float(), weights.float()
    places, weights = _aligned(places), _aligned(weights)
    arguments = Arguments(
        places=places.data_ptr(),
        weights=weights.data_ptr(),
        batch=value.shape[0],
        positions=value.shape[1],
        queries=places.shape[1],
        heads=places.shape[2],
        levels=places.shape[3],
        points=places.shape[4],
        form=form,
        levels_a_point=1 / places.shape[4],
        level=_levels(tuple(shapes))[0],
    )
    if reference is not None:
        arguments.reference = reference.data_ptr()
        arguments.reference_strides = (ctypes.c_int * 5)(*reference.stride()[:5])
    return arguments, (places, weights, reference)


def _aligned(tensor: Tensor) -> Tensor:
    """Return the tensor in memory order from a multiple of 16 bytes on."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


@functools.lru_cache(maxsize=64)
def _levels(shapes: tuple[int, ...]) -> tuple[ctypes.Array, int]:
    """Lay out the levels; returns them and the number of 8 x 8 tiles."""
    levels = (_Level * MOST_LEVELS)()
    start = tile = 0
    for level, height, width in zip(levels, shapes[::2], shapes[1::2], strict=False):
        level.height, level.width, level.start, level.first_tile = height, width, start, tile
        start += height * width
        tile += -(-height // _TILE) * -(-width // _TILE)
    return levels, tile


def _grid(arguments: Arguments, lanes: int, tiles: int) -> Grid:
    """Cut the work into blocks, and tell the kernel how (`tiled`, `slots`).

    Where there are as many queries as positions, as in self-attention, blocks take 8 x 8 of them.
    If they are not the levels' pixels after all, that is a choice of order like any other.
    """
    rows = min(arguments.batch, _MOST_ROWS)
    if arguments.queries == arguments.positions:
        arguments.tiled, arguments.slots = 1, _TILE * _TILE
        return Grid(tiles * arguments.heads, rows, min(_BLOCK, lanes * _TILE * _TILE))
    pairs = arguments.queries * arguments.heads
    threads = _BLOCK
    if pairs * rows * lanes < _ENOUGH_BLOCKS * _BLOCK:
        threads = _SMALL_BLOCK
    arguments.tiled, arguments.slots = 0, threads // lanes
    return Grid(-(-pairs // arguments.slots), rows, threads)
