"""The pictures of a report: ground truth beside predictions, as JPEG inside the page."""

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import remove_overlaps
from entity_api.rle import area
from entityseg_bench.coco_records import FileRecords
from entityseg_bench.contents.layout import ImageFiles
from entityseg_bench.report.findings import Side
from entityseg_bench.types import ImageInfo
from entityseg_bench.visualize import draw, masks_of, matching_colours, read_pixels, records_of

__all__ = ["Pictures"]

# Longest side in pixels and JPEG quality, tried in turn until a picture fits its share.
TRIES = ((720, 84), (720, 72), (560, 72), (420, 68), (300, 60), (200, 50))


class Picture(NamedTuple):
    """Hold a picture as a data URI, with its size in pixels."""

    title: str
    uri: str
    height: int
    width: int


class Pictures:
    """Draw images of one evaluation on demand.

    Args:
        sides: One or two prediction files on the same ground truth.
        folder: Of the images.
        budget: Bytes that all pictures together may take.
        n_pictures: Into how many the budget is cut.
    """

    def __init__(self, sides: Sequence[Side], folder: Path, budget: int, n_pictures: int) -> None:
        self.gt = sides[0].scoring.gt
        self.sides = sides
        self.files = ImageFiles(folder)
        self.share = budget // max(n_pictures, 1)
        self.rows = [records_of(file) for file in (self.gt, *(s.scoring.dt for s in sides))]

    def of_image(self, image_idx: int) -> Iterator[Picture]:
        """Draw the ground truth and each prediction file.

        Raises:
            InputError: The image file is missing or of another size.
        """
        image = self.gt.images[image_idx]
        info = ImageInfo(image.id, image.file_name, image.height, image.width)
        pixels = read_pixels(self.files.find(info), image)
        gt_masks = masks_of(self.gt, self.rows[0][image_idx], image)
        share = self.share // (1 + len(self.sides))
        yield encode(f"ground truth: {len(gt_masks)}", draw(pixels, gt_masks), share)
        for side, rows in zip(self.sides, self.rows[1:], strict=True):
            masks = visible_masks(side.scoring.dt, rows[image_idx], image)
            colours = matching_colours(masks, gt_masks)
            picture = draw(pixels, masks, colour_idxs=colours)
            yield encode(f"{side.name}: {len(masks)}", picture, share)


def visible_masks(dt: FileRecords, rows: Sequence[int], image: Any) -> list[dict[str, Any]]:
    """Return what AP^e sees: of the 100 surest predictions that which no surer one covers."""
    scores = dt.scores
    kept = sorted(rows, key=lambda row: -scores[row])[:100]
    masks = remove_overlaps(masks_of(dt, kept, image), scores[kept].tolist())
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
    return Picture(title, uri, picture.height, picture.width)
