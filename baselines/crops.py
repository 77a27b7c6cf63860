"""Make the views of one image that a model sees: the full image and crops of its corners."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from baselines.config import ModelConfig

__all__ = [
    "ViewLayout",
    "corner_boxes_xyxy",
    "cut_views",
    "inference_layout",
    "plan_views",
    "resize_image",
    "resized_size",
    "stack_views",
]

Size = tuple[int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class ViewLayout:
    """Hold where the views of one image lie, in the image and in the model's input.

    Attributes:
        size: (height, width) of the image, in pixels; masks end at this size.
        boxes_xyxy: V boxes (x0, y0, x1, y1) in pixels of the image, the far side exclusive. View 0
            is the full image.
        view_sizes: V pairs (height, width) after resizing, before padding.
        padded_size: (height, width) of the model's input, the same for all views. A view lies in
            its upper left corner.
    """

    size: Size
    boxes_xyxy: tuple[Box, ...]
    view_sizes: tuple[Size, ...]
    padded_size: Size


def resized_size(height: int, width: int, short_side: int, max_side: int) -> Size:
    """Return the (height, width) at which the short side is `short_side` and none above `max_side`.

    The arithmetic follows detectron2's ResizeShortestEdge, rounding int(x + 0.5), so that sizes
    agree with the published models' (golden: crop_infer/crop_regions.json). A side is never less
    than one pixel; the original fails there (images of 1 x 10,000 pixels).
    """
    scale = short_side / min(height, width)
    new_height, new_width = (
        (short_side, scale * width) if height < width else (scale * height, short_side)
    )
    longest = max(new_height, new_width)
    if longest > max_side:
        scale = max_side / longest
        new_height, new_width = new_height * scale, new_width * scale
    return max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))


def corner_boxes_xyxy(height: int, width: int, ratio: float) -> tuple[Box, ...]:
    """Return the boxes of the four corner crops: upper left and right, lower left and right.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        ratio: Side of a crop divided by the side of the image, in (0, 1]; the published models use
            0.7.

    Returns:
        Four boxes (x0, y0, x1, y1) of int(ratio * height) x int(ratio * width) pixels, at least
        one pixel each way (images of one pixel have crops that are the image).
    """
    crop_height, crop_width = max(1, int(ratio * height)), max(1, int(ratio * width))
    return tuple(
        (x0, y0, x0 + crop_width, y0 + crop_height)
        for y0 in (0, height - crop_height)
        for x0 in (0, width - crop_width)
    )


def plan_views(
    height: int,
    width: int,
    *,
    short_side: int,
    max_side: int,
    crop_boxes_xyxy: Sequence[Box] = (),
    divisibility: int = 32,
) -> ViewLayout:
    """Lay out the full image and `crop_boxes_xyxy` as views, without touching a pixel.

    Every view is resized by the same rule. The padded size holds the largest view and is a
    multiple of `divisibility`.
    """
    boxes = ((0, 0, width, height), *crop_boxes_xyxy)
    sizes = tuple(resized_size(y1 - y0, x1 - x0, short_side, max_side) for x0, y0, x1, y1 in boxes)
    padded_height, padded_width = (
        ceil(max(side) / divisibility) * divisibility for side in zip(*sizes, strict=True)
    )
    return ViewLayout((height, width), boxes, sizes, (padded_height, padded_width))


def inference_layout(height: int, width: int, config: ModelConfig) -> ViewLayout:
    """Lay out the views of an image of this size as a model takes them at inference."""
    boxes = corner_boxes_xyxy(height, width, config.crop_ratio) if config.num_views > 1 else ()
    return plan_views(
        height,
        width,
        short_side=config.min_size_test,
        max_side=config.max_size_test,
        crop_boxes_xyxy=boxes,
        divisibility=config.size_divisibility,
    )


def resize_image(image: np.ndarray, size: Size) -> np.ndarray:
    """Resize an image (H, W, 3) uint8 with Pillow's bilinear filter, as the original did.

    Pillow widens the filter when it shrinks an image (antialiasing), unlike bilinear resizing in
    torch or OpenCV.
    """
    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def cut_views(image: np.ndarray, layout: ViewLayout) -> list[np.ndarray]:
    """Cut the views out of an image (H, W, 3) uint8 and resize them: V arrays (h, w, 3) uint8."""
    # Cropped before it is resized: Pillow's own box argument lets the filter see pixels outside.
    return [
        resize_image(image[y0:y1, x0:x1], size)
        for (x0, y0, x1, y1), size in zip(layout.boxes_xyxy, layout.view_sizes, strict=True)
    ]


def stack_views(
    views: Sequence[np.ndarray],
    padded_size: Size,
    pixel_mean: Sequence[float],
    pixel_std: Sequence[float],
) -> Tensor:
    """Normalise V views (h, w, 3) uint8 and pad them: a tensor (V, 3, H, W) float32.

    Padding comes after normalisation, so it is 0 (the mean colour), right and below.
    """
    mean = torch.tensor(pixel_mean).view(3, 1, 1)
    std = torch.tensor(pixel_std).view(3, 1, 1)
    stack = torch.zeros(len(views), 3, *padded_size)
    for slot, view in zip(stack, views, strict=True):
        height, width = view.shape[:2]
        pixels = torch.from_numpy(np.array(view.transpose(2, 0, 1), dtype=np.float32))
        slot[:, :height, :width] = (pixels - mean) / std
    return stack
