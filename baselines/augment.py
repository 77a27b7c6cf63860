"""Random transforms of a training image, on the image and its masks together.

All random choices are made first, as plain numbers (`Framing`). Then each view is made by one
framing: mirror, cut out a box, resize, cut out a window, pad. Pillow resizes the image. Masks are
resized to the nearest pixel, so it is enough to index them with a list of rows and a list of
columns.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from baselines.crops import corner_boxes_xyxy, resized_size
from baselines.train_config import AugmentConfig

__all__ = ["Framing", "frame_image", "frame_masks", "jitter_colour", "plan_framings"]

Size = tuple[int, int]
Box = tuple[int, int, int, int]

# The value that fills the canvas of large-scale jitter around the image, as in the original. It is
# near the mean colour but, unlike other padding, not exactly 0 after normalisation.
CANVAS_GREY = 128


@dataclass(frozen=True)
class Framing:
    """Describe how one view is cut out of an image.

    Attributes:
        mirror: True to swap left and right first.
        box_xyxy: The part of the (mirrored) image that is used, in pixels of the image.
        size: (height, width) to which the box is resized, in pixels.
        window_xyxy: The part of the resized box that is kept, in pixels of the resized box.
        padded_size: (height, width) of the result; the window lies in its upper left corner.
    """

    mirror: bool
    box_xyxy: Box
    size: Size
    window_xyxy: Box
    padded_size: Size


def plan_framings(
    height: int,
    width: int,
    config: AugmentConfig,
    rng: np.random.Generator,
    crop_ratio: float = 0.7,
) -> list[Framing]:
    """Decide how the views of an image are cut: the full image, then the corner crops.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        config: The ranges to draw from.
        rng: Makes the random choices; the same state gives the same framings.
        crop_ratio: Side of a corner crop divided by the side of the image.
    """
    mirror = bool(rng.random() < config.flip)
    whole = (0, 0, width, height)
    if config.canvas is not None:
        return [_jittered(mirror, whole, config, rng)]
    short_side = int(rng.choice(config.short_sides))
    corners = corner_boxes_xyxy(height, width, crop_ratio)
    picked = rng.choice(len(corners), config.corner_crops, replace=False)
    framings = []
    for box in (whole, *(corners[idx] for idx in picked)):
        size = resized_size(box[3] - box[1], box[2] - box[0], short_side, config.max_side)
        framings.append(Framing(mirror, box, size, (0, 0, size[1], size[0]), size))
    if config.window is None:
        return framings
    return [_windowed(framing, config.window, rng) for framing in framings]


def _jittered(mirror: bool, box: Box, config: AugmentConfig, rng: np.random.Generator) -> Framing:
    """Scale into a square of random size and cut a window of the canvas's size."""
    height, width = box[3], box[2]
    side = config.canvas * rng.uniform(*config.scale_range)
    scale = min(side / height, side / width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return _windowed(Framing(mirror, box, size, (0, 0, 0, 0), size), config.canvas, rng)


def _windowed(framing: Framing, side: int, rng: np.random.Generator) -> Framing:
    """Cut a random square out of a framing, padded where the framing is smaller."""
    height, width = framing.size
    y0, x0 = (round(max(0, extent - side) * rng.random()) for extent in (height, width))
    window = (x0, y0, min(x0 + side, width), min(y0 + side, height))
    return Framing(framing.mirror, framing.box_xyxy, framing.size, window, (side, side))


def frame_image(image: np.ndarray, framing: Framing) -> np.ndarray:
    """Cut a view out of an image (H, W, 3) uint8.

    Returns:
        (h, w, 3) uint8: the window without its padding.
    """
    x0, y0, x1, y1 = framing.box_xyxy
    if framing.mirror:
        x0, x1 = image.shape[1] - x1, image.shape[1] - x0
    box = Image.fromarray(image[y0:y1, x0:x1])
    if framing.mirror:
        # Much faster than reversing the array, whose pixels are three bytes.
        box = box.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    resized = np.asarray(box.resize(framing.size[::-1], Image.Resampling.BILINEAR))
    x0, y0, x1, y1 = framing.window_xyxy
    return resized[y0:y1, x0:x1]


def frame_masks(masks: np.ndarray, framing: Framing) -> np.ndarray:
    """Cut a view out of masks (N, H, W) bool.

    Returns:
        (N, h, w) bool: the window without its padding. No entity covers the padding; in the
        original's large-scale jitter every mask does.
    """
    width = masks.shape[2]
    (box_x0, box_y0, box_x1, box_y1), (x0, y0, x1, y1) = framing.box_xyxy, framing.window_xyxy
    rows = box_y0 + _nearest(box_y1 - box_y0, framing.size[0])[y0:y1]
    cols = box_x0 + _nearest(box_x1 - box_x0, framing.size[1])[x0:x1]
    if framing.mirror:
        cols = width - 1 - cols
    return masks.take(rows, axis=1).take(cols, axis=2)


def _nearest(length: int, new_length: int) -> np.ndarray:
    """Return the pixels that Pillow's nearest resizing takes along one side."""
    # Pillow adds the step from pixel to pixel. Multiplying instead would sometimes round
    # differently.
    step = length / new_length
    steps = np.full(new_length, step)
    steps[0] = step * 0.5
    return np.minimum(steps.cumsum().astype(np.int64), length - 1)


def jitter_colour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast, saturation and hue, each with probability 1/2.

    Args:
        image: (H, W, 3) uint8.
        rng: Makes the random choices.

    Source: Liu et al., SSD, arXiv 1512.02325; ranges of the published semantic models.
    """
    pixels = image.astype(np.float32)
    if rng.random() < 0.5:
        pixels = np.clip(pixels + rng.uniform(-32, 32), 0, 255)
    contrast_first = rng.random() < 0.5
    if contrast_first and rng.random() < 0.5:
        pixels = np.clip(pixels * rng.uniform(0.5, 1.5), 0, 255)
    hsv = np.array(Image.fromarray(pixels.astype(np.uint8)).convert("HSV"))
    if rng.random() < 0.5:
        saturation = hsv[..., 1] * rng.uniform(0.5, 1.5)
        hsv[..., 1] = np.clip(saturation, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        # OpenCV has 180 steps of hue, Pillow 255: 18 of the first are 25.5 of the second.
        hsv[..., 0] += np.uint8(round(rng.uniform(-25.5, 25.5)) % 256)
    image = np.array(Image.fromarray(hsv, "HSV").convert("RGB"))
    if not contrast_first and rng.random() < 0.5:
        image = np.clip(image * rng.uniform(0.5, 1.5), 0, 255).astype(np.uint8)
    return image
