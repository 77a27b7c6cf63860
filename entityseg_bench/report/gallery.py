"""The images of a report: pictures under their ids, and the list of all."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from entityseg_bench.report.blocks import Cell, number, points
from entityseg_bench.report.findings import Side
from entityseg_bench.report.pictures import Picture, Pictures

__all__ = ["Group", "ListedImage", "gallery", "image_list", "link", "list_heads"]

# The most images that the list of all images names.
MOST_LISTED = 5000


class Shown(NamedTuple):
    """Hold one image of the gallery."""

    anchor: str
    caption: str
    pictures: Sequence[Picture]


class Group(NamedTuple):
    """Hold images under a heading."""

    title: str
    images: Sequence[Shown]


class ListedImage(NamedTuple):
    """Hold one line of the list: position, cells, and the numbers that it is sorted by."""

    idx: int
    name: Cell
    file_name: str
    cells: Sequence[str]
    values: Sequence[float | None]


def anchor(image_id: int | str) -> str:
    """Return the fragment that names an image."""
    return "image-" + quote(str(image_id), safe="")


def link(image_id: int | str, is_shown: bool) -> Cell:
    """Write an image's id, as a link where its picture is on the page."""
    return Cell(str(image_id), f"#{anchor(image_id)}" if is_shown else "")


def gallery(
    sides: Sequence[Side], groups: Mapping[str, Sequence[int]], pictures: Pictures
) -> list[Group]:
    """Draw images with ground truth beside predictions, each under its id, once."""
    found, done = [], set()
    for title, idxs in groups.items():
        fresh = [idx for idx in idxs if idx not in done]
        done.update(fresh)
        if fresh:
            found.append(Group(title, [_shown(sides, idx, pictures) for idx in fresh]))
    return found


def _shown(sides: Sequence[Side], idx: int, pictures: Pictures) -> Shown:
    image = sides[0].scoring.gt.images[idx]
    values = "; ".join(f"{side.name} AP^e {number(side.per_image[idx])}" for side in sides)
    about = f"image {image.id}, {image.file_name}, {image.height} \u00d7 {image.width}"
    return Shown(anchor(image.id), f"{about}: {values}", list(pictures.of_image(idx)))


def list_heads(sides: Sequence[Side]) -> list[str]:
    """Name the columns of the list after image and file."""
    heads = ["entities"]
    for side in sides:
        name = f"{side.name}, " if len(sides) > 1 else ""
        heads += [f"{name}predictions", f"{name}AP^e"]
    return [*heads, *(["difference"] if len(sides) == 2 else [])]


def image_list(sides: Sequence[Side], shown: Collection[int]) -> list[ListedImage]:
    """List every image, lowest AP^e of the first file first."""
    gt = sides[0].scoring.gt
    order = np.argsort(np.nan_to_num(sides[0].per_image, nan=2.0), kind="stable").tolist()
    rows = []
    for idx in order[:MOST_LISTED]:
        values = [float(gt.n_per_image[idx])]
        cells = [str(gt.n_per_image[idx])]
        for side in sides:
            values += [float(side.scoring.dt.n_per_image[idx]), float(side.per_image[idx])]
            cells += [str(side.scoring.dt.n_per_image[idx]), number(side.per_image[idx])]
        if len(sides) == 2:
            values.append(float(sides[1].per_image[idx] - sides[0].per_image[idx]))
            cells.append(points(values[-1], "+"))
        known = [None if math.isnan(value) else round(value, 6) for value in values]
        name = link(gt.images[idx].id, idx in shown)
        rows.append(ListedImage(idx, name, gt.images[idx].file_name, cells, known))
    return rows
