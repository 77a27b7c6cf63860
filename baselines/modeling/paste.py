"""Mask logits at the size of the image, one tile at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from math import ceil, isqrt

import torch
from torch import Tensor

from baselines.crops import ViewLayout
from baselines.modeling.resize import Axis, Resize

__all__ = ["MaskCanvas", "Tile", "TileMasks", "tiles"]

Ranges = tuple[tuple[int, int], tuple[int, int]]

# Floats of one mask on one tile (512 KiB), and of the masks computed in one step on a CPU (4 MiB).
# Among the powers of two these took the least CPU time on images of 2 to 24 megapixels.
TILE_BUDGET = 1 << 17
STEP_BUDGET = 1 << 20
# Tiles of other devices are larger (4 MiB), so that each kernel launch has enough work.
DEVICE_TILE_BUDGET = 1 << 20
# Floats of all masks of a tile (64 MiB), for steps that need them together.
DEPTH_BUDGET = 1 << 24
# Pixels of the whole masks that are held together (256 MiB); on a CPU it is one mask.
WHOLE_BUDGET = 1 << 28


@dataclass(frozen=True)
class Tile:
    """Hold a rectangle of the image: rows [y0, y1) and columns [x0, x1), in pixels."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.y1 - self.y0, self.x1 - self.x0

    def cut(self, box_xyxy: tuple[int, int, int, int]) -> "Tile | None":
        """Return the part inside a box, still in pixels of the image; None where there is none."""
        x0, y0, x1, y1 = box_xyxy
        part = Tile(max(self.y0, y0), min(self.y1, y1), max(self.x0, x0), min(self.x1, x1))
        return part if part.y0 < part.y1 and part.x0 < part.x1 else None

    def within(self, y0: int, x0: int) -> tuple[slice, slice]:
        """Return the slices of this tile in an array whose first pixel is (y0, x0)."""
        return slice(self.y0 - y0, self.y1 - y0), slice(self.x0 - x0, self.x1 - x0)


def tiles(size: tuple[int, int], pixels: int) -> Iterator[Tile]:
    """Cover an image of `size` (height, width) with tiles of at most `pixels` pixels."""
    height, width = size
    tile_width = min(width, isqrt(pixels) if height > 1 else pixels)
    tile_height = min(height, max(1, pixels // tile_width))
    for y0 in range(0, height, tile_height):
        for x0 in range(0, width, tile_width):
            yield Tile(y0, min(y0 + tile_height, height), x0, min(x0 + tile_width, width))


@dataclass(frozen=True)
class _Window:
    """Describe how one rectangle of one view is made from the view's low-resolution logits.

    The original resizes logits to the padded input, cuts the padding off, and resizes again to the
    view's size in the image. Both steps are done here, too, because one direct resize gives
    different numbers (golden: tiny/m2f_swin case B). A step that does not change the size is None.

    Attributes:
        source: Rows and columns of the logits that the rectangle depends on.
        to_input: Rows and columns of the resize to the model's input.
        to_image: Rows and columns of the resize to the image.
    """

    source: tuple[slice, slice]
    to_input: tuple[Axis, Axis] | None
    to_image: tuple[Axis, Axis] | None

    def cut(self, logits: Tensor) -> Tensor:
        """Cut the source out of the logits (..., h, w) of the view."""
        return logits[(..., *self.source)]


def _resize(values: Tensor, step: tuple[Axis, Axis] | None) -> Tensor:
    """Resize (..., h, w), columns first, as torch's own bilinear kernel does."""
    if step is None:
        return values
    rows, columns = step
    return rows.apply(columns.apply(values, -1), -2)


class MaskCanvas:
    """Compute the masks of one image at full size, one tile at a time.

    With one view the value of a mask is a logit. With several views it is the mean of the
    probabilities of the views that cover the pixel. A query holds a pixel where its value exceeds
    `threshold`.

    Args:
        logits: Mask logits (Q, V, h, w) of any floating type and any h, w.
        layout: Layout of the V views.
    """

    def __init__(self, logits: Tensor, layout: ViewLayout) -> None:
        if logits.dim() != 4 or logits.shape[1] != len(layout.boxes_xyxy):
            raise ValueError(
                f"mask logits have shape {tuple(logits.shape)}; "
                f"this layout needs (Q, {len(layout.boxes_xyxy)}, h, w)"
            )
        self.logits = logits.float()
        self.layout = layout
        self.size = layout.size
        self.is_fused = len(layout.boxes_xyxy) > 1
        self.threshold = 0.5 if self.is_fused else 0.0
        # Once for all tiles, and for views of one size.
        self._resize = cache(partial(Resize, device=logits.device))

    def tile_masks(self, tile: Tile) -> "TileMasks":
        """Prepare to compute masks on one tile."""
        parts = []
        for view_idx, box_xyxy in enumerate(self.layout.boxes_xyxy):
            part = tile.cut(box_xyxy)
            if part is not None:
                parts.append((view_idx, part, self._window(view_idx, part)))
        return TileMasks(self.logits, tile, parts, self.is_fused)

    def tiles(self, depth: int = 1) -> Iterator[Tile]:
        """Cover the image with tiles small enough to hold `depth` float masks of each at once."""
        budget = TILE_BUDGET if self._on_cpu else DEVICE_TILE_BUDGET
        return tiles(self.size, max(1, min(budget, DEPTH_BUDGET // depth) // self._growth))

    def chunk_size(self, tile: Tile) -> int:
        """Give how many masks of a tile to compute in one step: few on CPU, for its caches."""
        height, width = tile.shape
        budget = STEP_BUDGET if self._on_cpu else DEPTH_BUDGET
        return max(1, budget // (height * width * self._growth))

    def whole_count(self) -> int:
        """Give how many masks (H, W) bool to hold at once."""
        return 1 if self._on_cpu else max(1, WHOLE_BUDGET // (self.size[0] * self.size[1]))

    @property
    def _on_cpu(self) -> bool:
        return self.logits.device.type == "cpu"

    @cached_property
    def _growth(self) -> int:
        """Pixels of the model's input per pixel of the image, at least 1 (above for small ones)."""
        return max(
            ceil(height * width / ((y1 - y0) * (x1 - x0)))
            for (height, width), (x0, y0, x1, y1) in zip(
                self.layout.view_sizes, self.layout.boxes_xyxy, strict=True
            )
        )

    def _window(self, view_idx: int, part: Tile) -> _Window:
        """Trace a part of a view back to the low-resolution logits."""
        x0, y0, x1, y1 = self.layout.boxes_xyxy[view_idx]
        ranges = (part.y0 - y0, part.y1 - y0), (part.x0 - x0, part.x1 - x0)
        to_image, ranges = self._step(self.layout.view_sizes[view_idx], (y1 - y0, x1 - x0), ranges)
        to_input, ranges = self._step(self.logits.shape[-2:], self.layout.padded_size, ranges)
        return _Window((slice(*ranges[0]), slice(*ranges[1])), to_input, to_image)

    def _step(
        self, before: Sequence[int], after: Sequence[int], ranges: Ranges
    ) -> tuple[tuple[Axis, Axis] | None, Ranges]:
        """Return a resize for output rows and columns in `ranges`, and the inputs that it reads."""
        if tuple(before) == tuple(after):
            return None, ranges
        rows, columns = (
            self._resize(in_size, out_size).cut(*span)
            for in_size, out_size, span in zip(before, after, ranges, strict=True)
        )
        return (rows, columns), ((rows.start, rows.stop), (columns.start, columns.stop))


class TileMasks:
    """Compute the masks of all queries on one tile; `MaskCanvas.tile_masks` makes it."""

    def __init__(
        self,
        logits: Tensor,
        tile: Tile,
        parts: list[tuple[int, Tile, _Window]],
        is_fused: bool,
    ) -> None:
        self.tile = tile
        self._logits = logits
        self._parts = parts
        self._is_fused = is_fused

    @cached_property
    def _count(self) -> Tensor:
        """How many views cover each pixel, (H, W) float32."""
        count = self._logits.new_zeros(self.tile.shape)
        for _, part, _ in self._parts:
            count[part.within(self.tile.y0, self.tile.x0)] += 1
        return count

    def may_hold(self) -> Tensor:
        """Find the queries that may exceed the threshold somewhere on this tile: (Q,) bool.

        No query is lost: where all logits are <= 0, so is every interpolation of them, and every
        mean of their probabilities is <= 0.5.
        """
        peaks = [window.cut(self._logits[:, v]).amax((-2, -1)) for v, _, window in self._parts]
        return torch.stack(peaks).amax(0) > 0

    def values(self, query_idxs: Tensor) -> Tensor:
        """Compute masks (len(query_idxs), H, W) float32: logits, or mean probabilities if fused."""
        if not self._is_fused:
            (_, _, window) = self._parts[0]
            return self._logits_at_image(0, window, query_idxs)
        total = None
        for view_idx, part, window in self._parts:
            probabilities = self._logits_at_image(view_idx, window, query_idxs).sigmoid_()
            if total is None:
                # View 0 is the full image, hence the whole tile.
                total = probabilities
            else:
                total[(slice(None), *part.within(self.tile.y0, self.tile.x0))] += probabilities
        return total.div_(self._count)

    def probabilities(self, query_idxs: Tensor) -> Tensor:
        """Compute mask probabilities (len(query_idxs), H, W) float32 in [0, 1]."""
        values = self.values(query_idxs)
        return values if self._is_fused else values.sigmoid_()

    def mix(self, weights: Tensor) -> Tensor:
        """Sum mask probabilities at the size of the model's input, weighted, then resize the sums.

        Args:
            weights: (Q, K).

        Returns:
            (K, H, W) float32.

        Raises:
            ValueError: With several views, for which such sums are not defined.
        """
        if self._is_fused:
            raise ValueError("weighted sums of masks are defined for one view only")
        (_, _, window) = self._parts[0]
        probabilities = _resize(window.cut(self._logits[:, 0]), window.to_input).sigmoid()
        return _resize(torch.einsum("qk,qhw->khw", weights, probabilities), window.to_image)

    def _logits_at_image(self, view_idx: int, window: _Window, query_idxs: Tensor) -> Tensor:
        source = window.cut(self._logits[:, view_idx])[query_idxs]
        return _resize(_resize(source, window.to_input), window.to_image)
