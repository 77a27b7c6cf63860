"""What the error viewer of a report shows: every image's masks as outlines, and its pixels.

The page holds a line for each image: masks as JSON, deflated and in base64, then the image itself
or the path of its file. Nothing of it is read before it is looked at.
"""

import base64
import bisect
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import numpy as np
from numpy.typing import NDArray

from entity_api.counts import pack
from entityseg_bench.errors import KINDS
from entityseg_bench.errors.signs import COLOURS, MEANINGS, SIGNS
from entityseg_bench.errors.visible import counted_records
from entityseg_bench.io import atomic_path
from entityseg_bench.layout import ImageFiles
from entityseg_bench.report.findings import Side
from entityseg_bench.report.outlines import grid_size, outlines_of
from entityseg_bench.report.pictures import shrunk
from entityseg_bench.table import Segments
from entityseg_bench.visualize import read_pixels

__all__ = ["ViewerData", "index_of", "packed", "thresholds_of"]

# Longest sides of the grids that outlines are drawn on, and how far outlines are straightened, in
# cells; from the most bytes to the least.
GRIDS = (
    (640, 0.8), (480, 0.9), (440, 0.95), (400, 1.0), (380, 1.1), (360, 1.2),
    (340, 1.3), (320, 1.4), (288, 1.55), (256, 1.7), (200, 1.8), (160, 1.6), (120, 1.2),
)  # fmt: skip
# How many images, spread over the set, foretell what all of them take.
N_FORETOLD = 32
# Of what the viewer may take, the part of the masks; the images get what they leave.
MASKS_SHARE = 0.5
# Outlines shrink by 1 in 12 more at level 5, in twice the time.
DEFLATE_LEVEL = 2
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
        "ap": [side.per_image.round(4).tolist() for side in sides],
        "errors": [
            {
                # (K, 7, I, S), so that what is zero throughout shrinks to nothing.
                "counts": side.by_image.counts.tolist(),
                "costs": side.by_image.costs.round(4).tolist(),
                "scores": side.by_image.scores.round(3).tolist(),
            }
            for side in sides
        ],
    }


def thresholds_of(side: Side) -> list[str]:
    """Name the IoU thresholds at which the viewer shows errors, as they are printed."""
    thrs = side.result.params.iou_thrs
    return [f"{thrs[t]:.2f}".removeprefix("0") for t in side.by_image.thrs]


def packed(value: Any) -> str:
    """Write JSON, deflated and in base64, as the page's script reads it; nan is null."""
    return base64.b64encode(zlib.compress(msgspec.json.encode(value), DEFLATE_LEVEL)).decode()


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
        self.size = 0
        self.told = [Told.of(side) for side in sides]

    def lines(self, progress: Callable[[int, int], None] | None = None) -> list[str]:
        """Write a line for each image.

        Raises:
            InputError: An image file is missing or of another size.
        """
        n = len(self.gt.images)
        inline = self.files is not None and self.assets is None
        lines = self._masks(int(self.budget * MASKS_SHARE) if inline else self.budget, progress)
        if self.files is None:
            return lines
        left = self.budget - sum(map(len, lines)) - n
        for idx in range(n):
            pixels = self._pixels(self.files, idx, left // (n - idx) - 1)
            lines[idx] += f" {pixels}"
            left -= len(pixels) + 1
            if progress:
                progress(idx + 1, n)
        return lines

    def _masks(self, budget: int, progress: Callable[[int, int], None] | None) -> list[str]:
        """Write all images' masks on the finest grid on which they fit, by what a few foretell.

        Where these were wrong, lines are written anew on a coarser grid, the longest first, until
        all fit.
        """
        n = len(self.gt.images)
        n_few = min(n, N_FORETOLD)
        few = [(2 * k + 1) * n // (2 * n_few) for k in range(n_few)]

        def fits(at: int) -> bool:
            return sum(len(self._line(idx, at)) + 1 for idx in few) * n <= budget * n_few

        at = bisect.bisect_left(range(len(GRIDS) - 1), True, key=fits)
        lines = []
        for idx in range(n):
            lines.append(self._line(idx, at))
            if progress:
                progress(idx + 1, n)
        left = budget - sum(map(len, lines)) - n
        longest = sorted(range(n), key=lambda idx: -len(lines[idx]))
        while left < 0 and at < len(GRIDS) - 1:
            # The next grid saves so little that nearly every line would be written anew.
            at = min(at + 2, len(GRIDS) - 1)
            for idx in longest:
                if left >= 0:
                    break
                left += len(lines[idx])
                lines[idx] = self._line(idx, at)
                left -= len(lines[idx])
        return lines

    def _line(self, image_idx: int, at: int) -> str:
        return packed(self.record(image_idx, *GRIDS[at]))

    def _pixels(self, files: ImageFiles, image_idx: int, share: int) -> str:
        image = self.gt.images[image_idx]
        pixels = read_pixels(files.find(image), image)
        if self.assets is None:
            # A quarter is lost to base64.
            data, self.size = shrunk(pixels, share * 3 // 4 - 2, max(self.size - 1, 0))
            return base64.b64encode(data).decode()
        data, _ = shrunk(pixels, ASSET_BYTES)
        name = f"{image_idx}.webp"
        with atomic_path(self.assets / name) as temporary:
            temporary.write_bytes(data)
        return f"{quote(os.fsencode(self.assets.name))}/{name}"

    def record(self, image_idx: int, longest: int, tolerance: float) -> dict[str, Any]:
        """Gather an image's masks, with outlines on a grid of that longest side, straightened.

        Returns:
            ``size`` of the grid as [width, height]; ``gt``: id, category and outline of each
            annotation; ``files``: of each file ``gt``, kinds and IoU of each annotation, and
            ``dt``: record, kinds, score, IoU and outline of each prediction that is visible, and of
            a merged one the positions in ``gt`` of what it covers; kinds as `Told` has them.
        """
        gt, rows = self.gt, self.gt.of_image(image_idx)
        size = gt.size_of_image(image_idx)
        grid = grid_size(*size, longest)
        masks = pack(gt.counts, size, rows)
        # Small entities lie over large ones, should they overlap.
        paths = outlines_of(masks, size, grid, np.argsort(-masks.areas(), kind="stable"), tolerance)
        names = [self.names.get(category, "") for category in gt.category_ids[rows].tolist()]
        place = {row: k for k, row in enumerate(rows.tolist())}
        files = []
        for side, told in zip(self.sides, self.told, strict=True):
            records = counted_records(side.scoring, image_idx)
            masks = pack(side.result.dt.counts, size, records)
            # The surest lie on top, as overlaps are removed.
            order = np.arange(masks.n - 1, -1, -1)
            seen = outlines_of(masks, size, grid, order, tolerance)
            files.append({"gt": told.entities(rows), "dt": told.predictions(records, seen, place)})
        entities = [[_id(gt, row), *own] for row, *own in zip(place, names, paths, strict=True)]
        return {"size": grid[::-1], "gt": entities, "files": files}


class Told(NamedTuple):
    """Hold what the viewer says of the records of one file.

    Attributes:
        of_dt: (D,) kinds of the predictions, a digit for each threshold: the position in ``KINDS``,
            7 for what is found, 8 for what counts neither way.
        of_gt: (G,) likewise of the annotations.
        scores: (D,) rounded.
        dt_iou: (D,) of each prediction with its best entity, rounded.
        gt_iou: (G,) of each annotation with its best prediction, rounded.
        merged: Prediction record -> annotation records that it merges.
    """

    of_dt: list[str]
    of_gt: list[str]
    scores: NDArray[np.float64]
    dt_iou: NDArray[np.float64]
    gt_iou: NDArray[np.float64]
    merged: dict[int, list[int]]

    @classmethod
    def of(cls, side: Side) -> "Told":
        """Write the kinds of all records of a file."""
        code = {kind: str(k) for k, kind in enumerate((*KINDS, "found", ""))}
        at_thrs = [side.errors.kinds_at(t) for t in side.by_image.thrs]
        of_dt, of_gt = (
            list(map("".join, zip(*(map(code.get, own.tolist()) for own in kinds), strict=True)))
            for kinds in zip(*at_thrs, strict=True)
        )
        return cls(
            of_dt,
            of_gt,
            side.result.dt.scores.round(4),
            np.nan_to_num(side.errors.prediction_iou).round(3),
            side.errors.entity_iou.round(3),
            side.errors.merged_entities(),
        )

    def entities(self, rows: NDArray[np.int64]) -> list[tuple[str, float]]:
        """List kinds and IoU of some annotations."""
        kinds = [self.of_gt[row] for row in rows.tolist()]
        return list(zip(kinds, self.gt_iou[rows].tolist(), strict=True))

    def predictions(
        self, records: NDArray[np.int64], paths: Sequence[str], place: Mapping[int, int]
    ) -> list[list[Any]]:
        """List what `ViewerData.record` says of an image's predictions.

        Args:
            records: (N,) of the image.
            paths: (N,) their outlines; those without are left out.
            place: Annotation record -> its position in the image.
        """
        scores, ious = self.scores[records].tolist(), self.dt_iou[records].tolist()
        drawn = zip(records.tolist(), scores, ious, paths, strict=True)
        listed = [
            [row, self.of_dt[row], score, iou, path] for row, score, iou, path in drawn if path
        ]
        for one in listed:
            if one[0] in self.merged:
                one.append([place[row] for row in self.merged[one[0]]])
        return listed


def _id(gt: Segments, row: int) -> str:
    own = gt.extra(row).get("segment_id", gt.ids[row])
    return "" if own is None else str(own)
