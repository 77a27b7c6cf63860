"""Pictures of masks: fills, outlines, ids and scores, any number of entities."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import rle
from entity_api.boundary import column_runs, inner_border
from entityseg_bench.check import within
from entityseg_bench.formats.png import read_rgb
from entityseg_bench.io import InputError
from entityseg_bench.types import ImageInfo

__all__ = [
    "colour",
    "draw",
    "matching_colours",
    "read_pixels",
    "side_by_side",
]

RLEDict = Mapping[str, Any]

GOLDEN_ANGLE = np.pi * (3 - 5**0.5)

# OKLab to linear sRGB: Ottosson, "A perceptual color space for image processing", 2020.
OKLAB_TO_LMS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728],
     [1, -0.0894841775, -1.2914855480]]
)  # fmt: skip
LMS_TO_RGB = np.array(
    [[4.0767416621, -3.3077115913, 0.2309699292], [-1.2684380046, 2.6097574011, -0.3413193965],
     [-0.0041960863, -0.7034186147, 1.7076147010]]
)  # fmt: skip

# Text smaller than this many pixels cannot be read, whatever the image.
LEAST_FONT, GREATEST_FONT = 10, 40
GAP = 6


def colour(idx: int) -> tuple[int, int, int]:
    """Return the RGB colour, 0..255, that stands for entity ``idx`` in every picture.

    Hues turn by the golden angle, so that the first n are spread evenly for every n; lightness and
    chroma go round on their own, so that hues that come close again still differ.
    """
    hue = idx * GOLDEN_ANGLE
    lightness = 0.58 + 0.28 * (idx * 0.732051 % 1)
    chroma = 0.11 + 0.09 * (idx * 0.414214 % 1)
    lab = np.array([lightness, chroma * np.cos(hue), chroma * np.sin(hue)])
    linear = np.clip(LMS_TO_RGB @ (OKLAB_TO_LMS @ lab) ** 3, 0, 1)
    # The transfer curve of sRGB (IEC 61966-2-1).
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = np.round(255 * curved).astype(int).tolist()
    return red, green, blue


def draw(
    image: NDArray[np.uint8],
    rles: Sequence[RLEDict],
    *,
    ids: Sequence[int | str] | None = None,
    scores: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
    colour_idxs: Sequence[int] | None = None,
    colours: Sequence[tuple[int, int, int]] | None = None,
    alpha: float = 0.5,
    contours: bool = True,
) -> NDArray[np.uint8]:
    """Draw N masks over an image.

    Where masks overlap the one with the higher score lies on top, of equal ones the earlier, or the
    later one without scores; outlines go around each whole mask. Labels are set from the largest
    mask down, and one that would lie on another, or does not fit the image, is left out.

    Args:
        image: (H, W, 3) uint8 RGB; it stays as it is.
        rles: N masks of the image's size.
        ids: (N,) numbers to write on the masks.
        scores: (N,) to write behind them.
        names: (N,) words to write behind those.
        colour_idxs: (N,) which colour each mask has; its position when left out.
        colours: (N,) RGB, 0..255, in place of those.
        alpha: Strength of the fills in [0, 1]; 0 leaves outlines alone.
        contours: Whether to draw outlines.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: An image that is not (H, W, 3) uint8, labels of another number than masks, an
            alpha out of range.
    """
    image = np.asarray(image)
    _check(image, len(rles), (ids, scores, names, colour_idxs, colours), alpha)
    if not rles or image.size == 0:
        return image.copy()
    order = range(len(rles)) if scores is None else from_lowest(scores)
    numbers = range(len(rles)) if colour_idxs is None else colour_idxs
    palette = np.array(colours or [colour(k) for k in numbers], np.uint8)
    drawn = _fill(image, rles, order, palette, alpha)
    if contours:
        height, width = image.shape[:2]
        borders = [inner_border(rles[k], line_width(height, width)) for k in order]
        edge = rle.paint_id_map(borders, list(order), height, width, background=-1)
        drawn[edge >= 0] = palette[edge[edge >= 0]]
    texts = _texts(len(rles), ids, scores, names)
    return _write_labels(drawn, rles, texts) if texts else drawn


def from_lowest(scores: Sequence[float]) -> list[int]:
    """Order masks for drawing, (N,): the highest score last, of equal ones the earlier."""
    return sorted(range(len(scores)), key=lambda idx: (scores[idx], -idx))


def _check(
    image: NDArray[Any], n: int, labels: Sequence[Sequence[Any] | None], alpha: float
) -> None:
    """Stop at what cannot be drawn; see `draw`."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")
    for what in labels:
        if what is not None and len(what) != n:
            raise ValueError(f"there are {n} masks but {len(what)} labels for them")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is from 0 to 1, not {alpha}")


def _fill(
    image: NDArray[np.uint8],
    rles: Sequence[RLEDict],
    order: Sequence[int],
    palette: NDArray[np.uint8],
    alpha: float,
) -> NDArray[np.uint8]:
    """Lay the colour of each mask, (N, 3), over its pixels, later in the order over earlier."""
    from PIL import Image

    height, width = image.shape[:2]
    owner = rle.paint_id_map([rles[k] for k in order], list(order), height, width, background=-1)
    fill = palette[owner]
    bare = owner < 0
    fill[bare] = image[bare]
    return np.array(Image.blend(Image.fromarray(image), Image.fromarray(fill), alpha))


def matching_colours(dt: Sequence[RLEDict], gt: Sequence[RLEDict]) -> list[int]:
    """Give each of D predictions the colour number of the ground truth it finds, (D,).

    A prediction finds the mask with which its IoU is the greatest, if that is above 0.5; of several
    that find the same the one of the greatest IoU has its colour. All others take numbers that no
    ground truth has.
    """
    numbers = [len(gt) + k for k in range(len(dt))]
    if not dt or not gt:
        return numbers
    iou = rle.iou(dt, gt)
    for g, k in enumerate(iou.argmax(axis=0).tolist()):
        if iou[k, g] > 0.5 and iou[k].argmax() == g:
            numbers[k] = g
    return numbers


def line_width(height: int, width: int) -> int:
    """Return the width of outlines in pixels: one, and one more for every 800 pixels."""
    return 1 + max(height, width) // 800


def _texts(
    n: int,
    ids: Sequence[int | str] | None,
    scores: Sequence[float] | None,
    names: Sequence[str] | None,
) -> list[str]:
    """Join what is to be written on each of n masks; empty when there is nothing."""
    parts = []
    if ids is not None:
        parts.append([str(k) for k in ids])
    if scores is not None:
        parts.append([f"{score:.2f}" for score in scores])
    if names is not None:
        parts.append(list(names))
    return [" ".join(words) for words in zip(*parts, strict=True)] if parts else []


def _write_labels(
    image: NDArray[np.uint8], rles: Sequence[RLEDict], texts: Sequence[str]
) -> NDArray[np.uint8]:
    """Write one text inside each mask where there is room."""
    from PIL import Image, ImageDraw

    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    largest = font_of(height, width).size
    taken = np.zeros((height, width), bool)
    areas = rle.runs_of(rles).areas()
    for k in np.argsort(-areas, kind="stable"):
        if areas[k] == 0:
            continue
        y, x = inner_point(rles[k])
        # A small mask gets a small label, which hides less of what is around it.
        font = sized_font(min(areas[k] ** 0.5 / 6, largest))
        stroke = max(1, round(font.size / 14))
        left, top, right, bottom = (
            round(edge) for edge in pen.textbbox((0, 0), texts[k], font, stroke_width=stroke)
        )
        text_h, text_w = bottom - top, right - left
        y0, x0 = max(y - text_h // 2, 0), max(x - text_w // 2, 0)
        y0, x0 = min(y0, height - text_h), min(x0, width - text_w)
        box = np.s_[max(y0, 0) : y0 + text_h, max(x0, 0) : x0 + text_w]
        if min(y0, x0) < 0 or taken[box].any():
            continue
        taken[box] = True
        at = (x0 - left, y0 - top)
        pen.text(at, texts[k], "white", font, stroke_width=stroke, stroke_fill="black")
    return np.asarray(picture)


def font_of(height: int, width: int) -> Any:
    """Return Pillow's own font in a size that suits an image."""
    return sized_font(min(height, width) / 40)


def sized_font(size: float) -> Any:
    """Return Pillow's own font in a size that can be read and is not too large."""
    from PIL import ImageFont

    return ImageFont.load_default(min(max(round(size), LEAST_FONT), GREATEST_FONT))


def inner_point(mask: RLEDict) -> tuple[int, int]:
    """Return (y, x) of a pixel well inside a mask that is not empty.

    It is the middle of a column's run that is nearly as long as the longest, and of those the one
    nearest to the mask's middle.
    """
    height, _ = rle.size_of(mask)
    runs = column_runs(mask)
    x, top = np.divmod(runs[:, 0], height)
    lengths = runs[:, 1] - runs[:, 0]
    middle = (lengths * x).sum() / lengths.sum()
    long = np.flatnonzero(lengths >= 0.8 * lengths.max())
    best = long[np.argmin(np.abs(x[long] - middle))]
    return int(top[best] + lengths[best] // 2), int(x[best])


def side_by_side(
    pictures: Sequence[NDArray[np.uint8]], titles: Sequence[str] | None = None
) -> NDArray[np.uint8]:
    """Put pictures next to each other, top edges level, with titles above.

    Args:
        pictures: (H, W, 3) uint8 RGB each; sizes may differ.
        titles: One a picture, smaller where it is narrow; cut where they are still wider.
    """
    from PIL import Image, ImageDraw

    if not pictures:
        raise ValueError("there is no picture to put side by side")
    if titles is not None and len(titles) != len(pictures):
        raise ValueError(f"there are {len(pictures)} pictures but {len(titles)} titles")
    tallest = max(picture.shape[0] for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + GAP * (len(pictures) - 1)
    font = font_of(tallest, max(picture.shape[1] for picture in pictures))
    head = round(1.6 * font.size) if titles is not None else 0
    sheet = Image.new("RGB", (max(width, 1), tallest + head), "white")
    x = 0
    for k, picture in enumerate(pictures):
        if titles is not None:
            strip = Image.new("RGB", (max(picture.shape[1], 1), head), "white")
            pen, own = ImageDraw.Draw(strip), font
            while own.size > LEAST_FONT and pen.textlength(titles[k], own) > strip.width - 4:
                own = sized_font(own.size - 1)
            pen.text((2, head // 8), titles[k], "black", own)
            sheet.paste(strip, (x, 0))
        sheet.paste(Image.fromarray(picture), (x, head))
        x += picture.shape[1] + GAP
    return np.asarray(sheet)


def read_pixels(path: Path, image: ImageInfo) -> NDArray[np.uint8]:
    """Read an image as (H, W, 3) uint8 RGB and check its size."""
    with within(f"image {image.id}"):
        pixels = read_rgb(path)
    if pixels.shape[:2] != (image.height, image.width):
        raise InputError(
            path,
            f"image {image.id}",
            f"it is {pixels.shape[0]} x {pixels.shape[1]} pixels, and the annotations are for "
            f"{image.height} x {image.width}.",
            "Name the image folder of the same resolution.",
        )
    return pixels
