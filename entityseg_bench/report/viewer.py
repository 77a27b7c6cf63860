"""What the error viewer of a report shows: every image's masks as outlines, and its pixels.

The page holds a line for each image: masks as JSON, deflated and in base64, then the image itself
or the path of its file. Nothing of it is read before it is looked at.
"""

import base64
import json
import math
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from entity_api._rle import Runs
from entity_api.counts import pack
from entityseg_bench.errors import KINDS, ErrorReport
from entityseg_bench.errors.signs import COLOURS, MEANINGS, SIGNS
from entityseg_bench.errors.visible import counted_records
from entityseg_bench.io import atomic_path
from entityseg_bench.layout import ImageFiles
from entityseg_bench.report.findings import Side
from entityseg_bench.report.outlines import grid_size, sample, trace
from entityseg_bench.report.pictures import shrunk
from entityseg_bench.table import Segments
from entityseg_bench.visualize import read_pixels

__all__ = ["ViewerData", "index_of", "packed", "thresholds_of"]

# Longest sides of the grids that outlines are drawn on, and how far outlines are straightened, in
# cells; tried in turn until they fit their share.
GRIDS = ((640, 0.8), (400, 1.0), (320, 1.4), (256, 1.7), (200, 1.8), (160, 1.6), (120, 1.2))
# Of what the viewer may take, the part of the masks; the images get what they leave.
MASKS_SHARE = 0.5
# After how many images the next finer grid is tried in any case, and how much more than the share
# a text may seem to take before it is deflated all the same.
REMEASURED, UNSURE = 16, 1.05
# Outlines shrink by 1 in 25 more at level 9, in four times the time.
DEFLATE_LEVEL = 5
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
    return deflated(as_json(value))


def as_json(value: Any) -> bytes:
    """Write JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def deflated(text: bytes) -> str:
    """Deflate a text and write it in base64."""
    return base64.b64encode(zlib.compress(text, DEFLATE_LEVEL)).decode()


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
        # How much longer a text is on each grid than on the next, and how far it is deflated.
        self.growth, self.shrinks = [1.0] * len(GRIDS), 0.0
        self.told = [Told.of(side) for side in sides]

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
        """Write an image's masks on the finest grid that fits, as far as can be foreseen.

        The grid is that of the last image, or the next finer one where the masks seem to fit on it
        too; a text that is foreseen not to fit is not deflated.
        """
        drawn, at = DrawnImage(self.sides, self.told, image_idx, self.names), self.grid
        text = as_json(drawn.record(*GRIDS[at]))
        fits_finer = at and len(text) * self.growth[at - 1] * self.shrinks <= share
        if fits_finer or (at and image_idx % REMEASURED == 0):
            at -= 1
            finer = as_json(drawn.record(*GRIDS[at]))
            self.growth[at] = len(finer) / len(text)
            text = finer
        while True:
            is_last = at == len(GRIDS) - 1
            if is_last or len(text) * self.shrinks <= UNSURE * share:
                line = deflated(text)
                self.shrinks = len(line) / len(text)
                if is_last or len(line) <= share:
                    break
            at += 1
            finer, text = text, as_json(drawn.record(*GRIDS[at]))
            self.growth[at - 1] = len(finer) / len(text)
        self.grid = at
        return line

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


class Told(NamedTuple):
    """Hold what the viewer says of the records of one file.

    Attributes:
        of_dt: (D,) kinds of the predictions, a digit for each threshold: the position in ``KINDS``,
            7 for what is found, 8 for what counts neither way.
        of_gt: (G,) likewise of the annotations.
        merged: Prediction record -> annotation records that it merges.
    """

    of_dt: list[str]
    of_gt: list[str]
    merged: dict[int, list[int]]

    @classmethod
    def of(cls, side: Side) -> "Told":
        """Write the kinds of all records of a file."""
        code = {kind: str(k) for k, kind in enumerate((*KINDS, "found", ""))}
        own = [side.errors.kinds_at(t) for t in side.by_image.thrs]
        both = (zip(*(kinds[part].tolist() for kinds in own), strict=True) for part in (0, 1))
        of_dt, of_gt = (["".join(code[kind] for kind in kinds) for kinds in rows] for rows in both)
        return cls(of_dt, of_gt, side.errors.merged_entities())


class DrawnImage:
    """Hold an image's masks and what is known of each, to be drawn on several grids.

    Args:
        sides: One to five prediction files on the same ground truth.
        told: Of each file, what is said of its records.
        image_idx: Position of the image.
        names: Of the categories, by id.
    """

    def __init__(
        self, sides: Sequence[Side], told: Sequence[Told], image_idx: int, names: Mapping[int, str]
    ) -> None:
        gt = sides[0].scoring.gt
        self.size = gt.size_of_image(image_idx)
        rows = gt.of_image(image_idx)
        self.gt_masks = pack(gt.counts, self.size, rows)
        # Small entities lie over large ones, should they overlap.
        self.gt_order = np.argsort(-self.gt_masks.areas(), kind="stable")
        self.gt_heads = [[_id(gt, row), names.get(int(gt.category_ids[row]), "")]
                         for row in rows.tolist()]  # fmt: skip
        self.found = [_found(side.errors, own, rows) for side, own in zip(sides, told, strict=True)]
        records = [counted_records(side.scoring, image_idx) for side in sides]
        self.dt_masks = [
            pack(side.result.dt.counts, self.size, own)
            for side, own in zip(sides, records, strict=True)
        ]
        self.dt_heads = [
            _predicted(side, of, own) for side, of, own in zip(sides, told, records, strict=True)
        ]
        # Of a merged prediction, which of the image's entities it covers.
        place = {row: k for k, row in enumerate(rows.tolist())}
        self.dt_covers = [
            [[[place[row] for row in of.merged[dt]]] if dt in of.merged else []
             for dt in own.tolist()]
            for of, own in zip(told, records, strict=True)
        ]  # fmt: skip

    def record(self, longest: int, tolerance: float) -> dict[str, Any]:
        """Gather the masks, with outlines on a grid of that longest side, straightened.

        Returns:
            ``size`` of the grid as [width, height]; ``gt``: id, category and outline of each
            annotation; ``files``: of each file ``gt``, kinds and IoU of each annotation, and
            ``dt``: record, kinds, score, IoU and outline of each prediction that is visible, and of
            a merged one the positions in ``gt`` of what it covers; kinds as `Told` has them.
        """
        grid = grid_size(*self.size, longest)
        gt_paths = self._outlines(self.gt_masks, self.gt_order, grid, tolerance)
        files = []
        for found, masks, heads, covers in zip(
            self.found, self.dt_masks, self.dt_heads, self.dt_covers, strict=True
        ):
            # The surest lie on top, as overlaps are removed.
            paths = self._outlines(masks, np.arange(masks.n - 1, -1, -1), grid, tolerance)
            drawn = zip(heads, paths, covers, strict=True)
            seen = [[*head, path, *over] for head, path, over in drawn if path]
            files.append({"gt": found, "dt": seen})
        gt = [[*head, path] for head, path in zip(self.gt_heads, gt_paths, strict=True)]
        return {"size": grid[::-1], "gt": gt, "files": files}

    def _outlines(
        self, masks: Runs, order: NDArray[np.int64], grid: tuple[int, int], tolerance: float
    ) -> list[str]:
        return trace(sample(masks, self.size, grid, order), masks.n, tolerance)


def _id(gt: Segments, row: int) -> str:
    own = gt.extra(row).get("segment_id", gt.ids[row])
    return "" if own is None else str(own)


def _found(errors: ErrorReport, told: Told, rows: NDArray[np.int64]) -> list[list[Any]]:
    """List kinds and IoU of each annotation."""
    ious = errors.entity_iou[rows].tolist()
    return [[told.of_gt[row], round(iou, 3)] for row, iou in zip(rows.tolist(), ious, strict=True)]


def _predicted(side: Side, told: Told, records: NDArray[np.int64]) -> list[list[Any]]:
    """List record, kinds, score and IoU of each prediction."""
    ious = np.nan_to_num(side.errors.prediction_iou[records]).tolist()
    scores = side.result.dt.scores[records].tolist()
    return [[row, told.of_dt[row], round(score, 4), round(iou, 3)]
            for row, score, iou in zip(records.tolist(), scores, ious, strict=True)]  # fmt: skip
