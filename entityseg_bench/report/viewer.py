"""What the error viewer of a report shows: every image's masks as outlines, and its pixels.

The page holds a line for each image: masks as JSON, deflated and in base64, then the image itself
or the path of its file. Nothing of it is read before it is looked at.
"""

import base64
import json
import math
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from entity_api import rle
from entityseg_bench.errors import KINDS
from entityseg_bench.errors.signs import COLOURS, MEANINGS, SIGNS
from entityseg_bench.errors.visible import counted_masks
from entityseg_bench.io import atomic_path
from entityseg_bench.layout import ImageFiles
from entityseg_bench.report.findings import Side
from entityseg_bench.report.outlines import grid_size, sample, trace
from entityseg_bench.report.pictures import shrunk
from entityseg_bench.visualize import read_pixels

__all__ = ["ViewerData", "index_of", "packed", "thresholds_of"]

# Longest sides of the grids that outlines are drawn on, and how far outlines are straightened, in
# cells; tried in turn until they fit their share.
GRIDS = ((640, 0.8), (400, 1.0), (320, 1.4), (256, 1.7), (200, 1.8), (160, 1.6), (120, 1.2))
# Of what the viewer may take, the part of the masks; the images get what they leave.
MASKS_SHARE = 0.5
# Longest side of the images that lie beside the page, in bytes each at most.
ASSET_BYTES = 400_000


def index_of(sides: Sequence[Side]) -> dict[str, Any]:
    """Make what the list is filtered by: for each file and image its errors by kind and size."""
    gt = sides[0].scoring.gt
    return {
        "kinds": [[kind, SIGNS[kind], COLOURS[kind], MEANINGS[kind]] for kind in KINDS],
        "sizes": sides[0].by_image.sizes,
        "thrs": thresholds_of(sides[0]),
        "files": [side.name for side in sides],
        "ids": [str(image.id) for image in gt.images],
        "names": [image.file_name for image in gt.images],
        "ap": [_rounded(side.per_image, 4) for side in sides],
        "errors": [
            {
                # (K, 7, I, S), so that what is zero throughout shrinks to nothing.
                "counts": side.by_image.counts.tolist(),
                "costs": [_rounded(row, 4) for row in side.by_image.costs],
                "scores": [[_rounded(row, 3) for row in own] for own in side.by_image.scores],
            }
            for side in sides
        ],
    }


def thresholds_of(side: Side) -> list[str]:
    """Name the IoU thresholds at which the viewer shows errors, as they are printed."""
    thrs = side.result.params.iou_thrs
    return [f"{thrs[t]:.2f}".removeprefix("0") for t in side.by_image.thrs]


def packed(value: Any) -> str:
    """Write JSON, deflated and in base64, as the page's script reads it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _rounded(values: Any, digits: int) -> list[float | None]:
    return [None if math.isnan(value) else round(value, digits) for value in values.tolist()]


class ViewerData:
    """Write the lines of all images within a budget of bytes.

    Args:
        sides: One to five prediction files on the same ground truth.
        folder: Of the images; None leaves them out.
        budget: Bytes that all lines together may take.
        assets: Folder for the images, where they do not stand in the page.
    """

    def __init__(
        self, sides: Sequence[Side], folder: Path | None, budget: int, assets: Path | None = None
    ) -> None:
        self.sides = sides
        self.gt = sides[0].scoring.gt
        self.names = {one.id: one.name.strip() for one in self.gt.categories}
        self.files = ImageFiles(folder) if folder else None
        self.assets = assets
        self.budget = budget
        self.grid = self.size = 0
        self.kinds = [digits_of(side) for side in sides]
        self.merged = [side.errors.merged_entities() for side in sides]

    def lines(self, progress: Callable[[int, int], None] | None = None) -> list[str]:
        """Write a line for each image.

        Raises:
            InputError: An image file is missing or of another size.
        """
        n = len(self.gt.images)
        own_share = self.budget // max(n, 1)
        inline = self.files is not None and self.assets is None
        masks_share = int(own_share * MASKS_SHARE) if inline else own_share
        lines, left = [], self.budget
        for idx in range(n):
            masks = self._masks(idx, masks_share)
            share = left // (n - idx) - len(masks) - 2
            pixels = self._pixels(idx, share)
            lines.append(f"{masks} {pixels}".rstrip())
            left -= len(lines[-1]) + 1
            if progress:
                progress(idx + 1, n)
        return lines

    def _masks(self, image_idx: int, share: int) -> str:
        """Write an image's masks on the finest grid that fits, from that of the last image on."""
        line = ""
        for at in range(max(self.grid - 1, 0), len(GRIDS)):
            line, self.grid = packed(self.record(image_idx, *GRIDS[at])), at
            if len(line) <= share:
                break
        return line

    def record(self, image_idx: int, longest: int, tolerance: float) -> dict[str, Any]:
        """Gather an image's masks, with outlines on a grid of that longest side, straightened.

        Returns:
            ``size`` of the grid as [width, height]; ``gt``: id, category, pixels and outline of
            each annotation; ``files``: of each file ``gt``, kinds and IoU of each annotation, and
            ``dt``: record, kinds, score, IoU and outline of each prediction that is visible, and of
            a merged one the positions in ``gt`` of what it covers. Kinds are a digit for each
            threshold, see `digits_of`.
        """
        height, width = self.gt.size_of_image(image_idx)
        grid = grid_size(height, width, longest)
        rows = self.gt.of_image(image_idx).tolist()
        masks = [self.gt.rle(row) for row in rows]
        # Small entities lie over large ones, should they overlap.
        order = sorted(range(len(rows)), key=lambda k: -rle.area(masks[k]))
        drawn = trace(sample([masks[k] for k in order], grid), len(rows), tolerance)
        outlines = dict(zip(order, drawn, strict=True))
        gt = [
            [self._id(row), self.names.get(int(self.gt.category_ids[row]), ""), outlines[k]]
            for k, row in enumerate(rows)
        ]
        files = [
            {
                "gt": [[of_gt[row], round(float(side.errors.entity_iou[row]), 3)] for row in rows],
                "dt": [
                    [row, of_dt[row], *rest,
                     *([[rows.index(own) for own in over[row]]] if row in over else [])]
                    for row, *rest in predictions_of(side, image_idx, grid, tolerance)
                ],
            }
            for side, (of_dt, of_gt), over in zip(self.sides, self.kinds, self.merged, strict=True)
        ]  # fmt: skip
        return {"size": grid[::-1], "gt": gt, "files": files}

    def _id(self, row: int) -> str:
        own = self.gt.extra(row).get("segment_id", self.gt.ids[row])
        return "" if own is None else str(own)

    def _pixels(self, image_idx: int, share: int) -> str:
        if self.files is None:
            return ""
        image = self.gt.images[image_idx]
        pixels = read_pixels(self.files.find(image), image)
        if self.assets is None:
            # A quarter is lost to base64.
            data, self.size = shrunk(pixels, share * 3 // 4 - 2, max(self.size - 1, 0))
            return base64.b64encode(data).decode()
        data, _ = shrunk(pixels, ASSET_BYTES)
        name = f"{image_idx}.webp"
        with atomic_path(self.assets / name) as temporary:
            temporary.write_bytes(data)
        return f"{quote(os.fsencode(self.assets.name))}/{name}"


def predictions_of(
    side: Side, image_idx: int, grid: tuple[int, int], tolerance: float
) -> list[tuple[int, float, float, str]]:
    """List the predictions of which something can be seen: record, score, IoU and outline."""
    counted = counted_masks(side.scoring, image_idx)
    # The surest lie on top, as overlaps are removed.
    masks = [mask for _, mask in counted[::-1]]
    outlines = trace(sample(masks, grid), len(masks), tolerance)[::-1]
    scores, ious = side.result.dt.scores, np.nan_to_num(side.errors.prediction_iou)
    return [
        (row, round(float(scores[row]), 4), round(float(ious[row]), 3), path)
        for (row, _), path in zip(counted, outlines, strict=True) if path
    ]  # fmt: skip


def digits_of(side: Side) -> tuple[list[str], list[str]]:
    """Write the kinds of all predictions and entities, a digit for each threshold.

    A digit is the position in ``KINDS``, 7 for what is found, 8 for what counts neither way.
    """
    code = {kind: str(k) for k, kind in enumerate((*KINDS, "found", ""))}
    own = [side.errors.kinds_at(t) for t in side.by_image.thrs]
    both = (zip(*(kinds[part].tolist() for kinds in own), strict=True) for part in (0, 1))
    of_dt, of_gt = (["".join(code[kind] for kind in kinds) for kinds in rows] for rows in both)
    return of_dt, of_gt
