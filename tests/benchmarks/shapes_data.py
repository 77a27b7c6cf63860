"""Make files of unusual shapes for `bench_shapes`: seeded ellipses, written as COCO JSON.

Each shape is named by what is many in it: masks that overlap or not, images, pixels, predictions.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entity_api import rle

Masks = list[dict[str, object]]


class Shape(NamedTuple):
    """Hold the size of all images of a set, and its images one by one.

    Attributes:
        height: In pixels.
        width: In pixels.
        images: Gives (ground truth, predictions) of each image.
    """

    height: int
    width: int
    images: Callable[[], Iterator[tuple[Masks, Masks]]]


def ellipse(
    height: int, width: int, centre: tuple[float, float], radii: tuple[float, float]
) -> dict[str, object]:
    """Code an ellipse from its columns, without drawing it; centre and radii are (y, x)."""
    first, last = centre[1] - radii[1], centre[1] + radii[1]
    x = np.arange(max(0, int(np.ceil(first))), min(width - 1, int(last)) + 1)
    half = radii[0] * np.sqrt(np.maximum(1 - ((x - centre[1]) / radii[1]) ** 2, 0))
    top = np.clip(np.ceil(centre[0] - half), 0, height).astype(np.int64)
    bottom = np.clip(np.floor(centre[0] + half) + 1, 0, height).astype(np.int64)
    bounds = np.stack([x * height + top, x * height + bottom], axis=1)[bottom > top]
    return rle.from_bounds(bounds.reshape(-1).astype(np.uint32), (height, width))


def moved(rng: np.random.Generator, n: int, height: int, width: int, radius: float) -> list[Masks]:
    """Draw n ellipses anywhere, and the same once more, each a little off."""
    centres = rng.uniform((0, 0), (height, width), size=(n, 2))
    radii = rng.uniform(0.4 * radius, radius, size=(n, 2))
    sides = []
    for _ in range(2):
        near = centres + rng.normal(scale=0.15 * radius, size=(n, 2))
        size = radii * rng.uniform(0.9, 1.1, size=(n, 2))
        sides.append(
            [ellipse(height, width, tuple(c), tuple(r)) for c, r in zip(near, size, strict=True)]
        )
    return sides


def overlapping(n: int) -> Callable[[], Iterator[tuple[Masks, Masks]]]:
    """Make one image of n masks a side, laid over each other as SA-1B's are."""

    def images() -> Iterator[tuple[Masks, Masks]]:
        gt, dt = moved(np.random.default_rng(1), n, 1500, 2250, 90)
        yield gt, dt

    return images


def cells(n: int) -> Callable[[], Iterator[tuple[Masks, Masks]]]:
    """Make one image of some n masks a side that touch, but do not overlap."""

    def images() -> Iterator[tuple[Masks, Masks]]:
        rng = np.random.default_rng(2)
        gt = rle.encode_id_map(tiles(rng, 1500, 2250, n))[1]
        yield gt, rle.encode_id_map(tiles(rng, 1500, 2250, n))[1]

    return images


def tiles(rng: np.random.Generator, height: int, width: int, n: int) -> NDArray[np.int32]:
    """Cut an image into n cells of a lattice with wavy borders, (H, W) ids from 1."""
    rows = int(np.sqrt(n * height / width))
    columns = n // rows
    y, x = np.mgrid[:height, :width].astype(np.float32)
    phase = rng.uniform(0, 7, size=2)
    bent_y = y + 4 * np.sin(x / 9 + phase[0])
    bent_x = x + 4 * np.sin(y / 11 + phase[1])
    row = np.clip(bent_y * rows / height, 0, rows - 1).astype(np.int32)
    column = np.clip(bent_x * columns / width, 0, columns - 1).astype(np.int32)
    return row * columns + column + 1


def sparse(n_images: int) -> Callable[[], Iterator[tuple[Masks, Masks]]]:
    """Make many images of 0 to 3 entities a side."""

    def images() -> Iterator[tuple[Masks, Masks]]:
        rng = np.random.default_rng(3)
        pool = [moved(rng, 3, 480, 640, 90) for _ in range(50)]
        for k, (n_gt, n_dt) in enumerate(rng.integers(0, 4, size=(n_images, 2)).tolist()):
            gt, dt = pool[k % len(pool)]
            yield gt[:n_gt], dt[:n_dt]

    return images


def vast() -> Iterator[tuple[Masks, Masks]]:
    """Make one image of 900 megapixels with 1,000 masks a side."""
    gt, dt = moved(np.random.default_rng(4), 1000, 30000, 30000, 600)
    yield gt, dt


def tiny() -> Iterator[tuple[Masks, Masks]]:
    """Make 10,000 images of 100 tiny predictions."""
    rng = np.random.default_rng(5)
    pool = [moved(rng, 100, 480, 640, 12) for _ in range(50)]
    for k in range(10_000):
        gt, dt = pool[k % len(pool)]
        yield gt[:20], dt


SHAPES = {
    "2,500 overlapping": Shape(1500, 2250, overlapping(2500)),
    "5,000 overlapping": Shape(1500, 2250, overlapping(5000)),
    "4,970 disjoint": Shape(1500, 2250, cells(5000)),
    "100,000 images": Shape(480, 640, sparse(100_000)),
    "30,000 x 30,000": Shape(30_000, 30_000, vast),
    "1,000,000 predictions": Shape(480, 640, tiny),
}


def write(folder: Path, name: str) -> tuple[Path, Path]:
    """Write ground truth and predictions of a shape; files that are there already are kept.

    The predictions carry boxes of zeros, as one of the peers refuses records without any.
    """
    stem = name.replace(",", "").replace(" ", "_")
    gt_path, dt_path = folder / f"{stem}_gt.json", folder / f"{stem}_dt.json"
    if gt_path.exists() and dt_path.exists():
        return gt_path, dt_path
    folder.mkdir(parents=True, exist_ok=True)
    shape = SHAPES[name]
    rng = np.random.default_rng(6)
    images, annotations = [], []
    with dt_path.open("w", encoding="utf-8", newline="\n") as file:
        separator = "["
        for image_id, (gt, dt) in enumerate(shape.images(), 1):
            images.append({"id": image_id, "file_name": f"{image_id}.jpg", "height": shape.height,
                           "width": shape.width})  # fmt: skip
            for code in gt:
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": image_id, "category_id": 1,
                     "segmentation": code, "area": rle.area(code), "bbox": rle.bbox(code),
                     "iscrowd": 0}
                )  # fmt: skip
            for code, score in zip(dt, rng.random(len(dt)).round(6).tolist(), strict=True):
                record = {"image_id": image_id, "category_id": 1, "segmentation": code,
                          "score": score, "bbox": [0.0, 0.0, 1.0, 1.0]}  # fmt: skip
                file.write(separator + json.dumps(record))
                separator = ", "
        file.write("]")
    content = {"images": images, "annotations": annotations,
               "categories": [{"id": 1, "name": "entity"}]}  # fmt: skip
    gt_path.write_text(json.dumps(content), encoding="utf-8", newline="\n")
    return gt_path, dt_path


def write_maps(folder: Path, n: int) -> Path:
    """Write two id maps of n segments each, as an NPZ; a file that is there already is kept."""
    path = folder / f"maps_{n}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(7)
        maps = {name: tiles(rng, 2000, 3000, n) for name in ("gt", "dt")}
        np.savez(path, **maps)
    return path
