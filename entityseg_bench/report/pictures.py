"""The pictures of a report: images, ground truth, predictions, within a budget of bytes."""

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import remove_overlaps
from entity_api.rle import area
from entityseg_bench.layout import ImageFiles
from entityseg_bench.report.findings import Side
from entityseg_bench.table import Segments
from entityseg_bench.visualize import draw, matching_colours, read_pixels

__all__ = ["Picture", "Pictures", "shrunk"]

# Longest side in pixels and quality, tried in turn until a picture fits its share.
TRIES = ((720, 84), (720, 72), (560, 72), (420, 68), (300, 60), (200, 50))
SMALL_TRIES = ((960, 76), (720, 70), (480, 62), (340, 54), (240, 46), (176, 38), (128, 30))


# What a picture may take of the page, (height, width) in CSS pixels.
ROOM = (336, 352)


class Picture(NamedTuple):
    """Hold a picture as a data URI, with the size at which the page shows it.

    Room is kept for a picture before it is read, so that nothing moves when it comes.
    """

    title: str
    uri: str
    height: int
    width: int


class Pictures:
    """Draw images of one evaluation on demand.

    Args:
        sides: One to five prediction files on the same ground truth.
        folder: Of the images.
        budget: Bytes that all pictures together may take.
        n_pictures: Into how many the budget is cut.
    """

    def __init__(self, sides: Sequence[Side], folder: Path, budget: int, n_pictures: int) -> None:
        self.gt = sides[0].scoring.gt
        self.sides = sides
        self.files = ImageFiles(folder)
        self.share = budget // max(n_pictures, 1)

    def of_image(self, image_idx: int) -> Iterator[Picture]:
        """Draw the ground truth and each prediction file.

        Raises:
            InputError: The image file is missing or of another size.
        """
        image = self.gt.images[image_idx]
        pixels = read_pixels(self.files.find(image), image)
        gt_masks = list(self.gt.rles(image_idx).values())
        share = self.share // (1 + len(self.sides))
        yield encode(f"ground truth: {len(gt_masks)}", draw(pixels, gt_masks), share)
        for side in self.sides:
            masks = visible_masks(side.scoring.dt, image_idx)
            colours = matching_colours(masks, gt_masks)
            picture = draw(pixels, masks, colour_idxs=colours)
            yield encode(f"{side.name}: {len(masks)}", picture, share)


def visible_masks(dt: Segments, image_idx: int) -> list[dict[str, Any]]:
    """Return what AP^e sees: of the 100 surest predictions that which no surer one covers."""
    scores = dt.detections().scores
    kept = sorted(dt.of_image(image_idx).tolist(), key=lambda row: -scores[row])[:100]
    masks = remove_overlaps([dt.rle(row) for row in kept], scores[kept].tolist())
    return [mask for mask in masks if area(mask)]


def encode(title: str, pixels: NDArray[np.uint8], budget: int) -> Picture:
    """Write a picture as a JPEG data URI within a budget of bytes, or as small as it gets."""
    from PIL import Image

    whole = Image.fromarray(pixels)
    for side, quality in TRIES:
        picture = whole.copy()
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=quality, optimize=True)
        uri = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
        if len(uri) <= budget:
            break
    scale = min(ROOM[0] / picture.height, ROOM[1] / picture.width, 1)
    return Picture(title, uri, round(picture.height * scale), round(picture.width * scale))


def shrunk(pixels: NDArray[np.uint8], budget: int, start: int = 0) -> tuple[bytes, int]:
    """Write an image as WebP, which is smaller than JPEG, within a budget of bytes.

    A Pillow that was built without WebP writes JPEG; browsers look at the bytes alone.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        budget: Bytes; what fits no size is written in the smallest.
        start: Position of the size to try first.

    Returns:
        The file, and the position of the size that it has.
    """
    from PIL import Image, features

    kind = "WEBP" if features.check("webp") else "JPEG"
    whole = Image.fromarray(pixels)
    whole.thumbnail((SMALL_TRIES[start][0],) * 2, Image.Resampling.LANCZOS, reducing_gap=2.0)
    for at in range(start, len(SMALL_TRIES)):
        side, quality = SMALL_TRIES[at]
        picture = whole.copy()
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        picture.save(out, kind, quality=quality)
        if out.tell() <= budget:
            break
    return out.getvalue(), at
