"""The images of a report: pictures under their ids, and the list of all."""

import math
from collections.abc import Collection, Sequence
from html import escape
from urllib.parse import quote

import numpy as np

from entityseg_bench.report.findings import Side
from entityseg_bench.report.pictures import Pictures
from entityseg_bench.report.style import table

__all__ = ["SUP", "gallery", "image_list", "link", "number"]

SUP = "<sup>e</sup>"
# The most images that the list of all images names.
MOST_LISTED = 2000
GALLERY = (
    f"<p>Ground truth, and beside it what AP{SUP} sees: predictions with overlaps removed. A "
    "prediction has the colour of the entity that it finds (IoU above 0.5); what finds nothing "
    "has a colour of its own.</p>"
)


def number(value: float) -> str:
    """Print a fraction as a percentage, a dash where nothing was measured."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def anchor(image_id: int | str) -> str:
    """Return the fragment that names an image."""
    return "image-" + quote(str(image_id), safe="")


def link(image_id: int | str, is_shown: bool) -> str:
    """Write an image's id, as a link where its picture is on the page."""
    text = escape(str(image_id))
    return f'<a href="#{anchor(image_id)}">{text}</a>' if is_shown else text


def gallery(sides: Sequence[Side], groups: dict[str, list[int]], pictures: Pictures) -> str:
    """Show images with ground truth beside predictions, each under its id, once."""
    parts, done = [GALLERY], set()
    for title, idxs in groups.items():
        fresh = [idx for idx in idxs if idx not in done]
        if not fresh:
            continue
        done.update(fresh)
        parts.append(f"<h3>{escape(title)}</h3>")
        for idx in fresh:
            parts.append(_picture(sides, idx, pictures))
    return "\n".join(parts)


def _picture(sides: Sequence[Side], idx: int, pictures: Pictures) -> str:
    image = sides[0].scoring.gt.images[idx]
    values = "; ".join(f"{side.name} AP^e {number(side.per_image[idx])}" for side in sides)
    values = escape(values).replace("AP^e", f"AP{SUP}")
    cells = "".join(
        f'<div><img src="{picture.uri}" width="{picture.width}" height="{picture.height}" '
        f'alt="image {escape(str(image.id))} with masks, {escape(picture.title)}">'
        f'<div class="muted">{escape(picture.title)}</div></div>'
        for picture in pictures.of_image(idx)
    )
    return (
        f'<figure id="{anchor(image.id)}"><figcaption>image {escape(str(image.id))}, '
        f"{escape(image.file_name)}, {image.height} &times; {image.width}: {values}</figcaption>"
        f'<div class="pictures">{cells}</div></figure>'
    )


def image_list(sides: Sequence[Side], shown: Collection[int]) -> str:
    """List every image, lowest AP^e of the first file first, folded up."""
    gt = sides[0].scoring.gt
    order = np.argsort(np.nan_to_num(sides[0].per_image, nan=2.0), kind="stable").tolist()
    heads = ["image", "entities"]
    for side in sides:
        name = escape(side.name) + ", " if len(sides) > 1 else ""
        heads += [f"{name}predictions", f"{name}AP{SUP}"]
    if len(sides) > 1:
        heads.append("difference")
    rows = []
    for idx in order[:MOST_LISTED]:
        cells = [link(gt.images[idx].id, idx in shown), str(gt.n_per_image[idx])]
        for side in sides:
            cells += [str(side.scoring.dt.n_per_image[idx]), number(side.per_image[idx])]
        if len(sides) > 1:
            moved = sides[1].per_image[idx] - sides[0].per_image[idx]
            cells.append("-" if math.isnan(moved) else f"{100 * moved:+.1f}")
        rows.append(cells)
    what = "All" if len(rows) == len(order) else f"The lowest {len(rows):,} of"
    title = f"{what} {len(order):,} images by AP{SUP} of {escape(sides[0].name)}"
    return (
        f"<details><summary>{title}</summary>{table(heads, rows, 'AP^e of each image')}</details>"
    )
