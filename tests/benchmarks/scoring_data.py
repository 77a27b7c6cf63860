"""Make EntitySeg-scale files for the scoring benchmark: seeded, shaped like the real ones.

The published val set has 1,314 images with some 19 entities each; reference models write up to 100
masks an image. ``disjoint`` predictions cut the image into 100 wiggly cells; ``overlap`` ones are
100 independent blobs. Some tens of scenes are drawn and used in turn, each time with new scores.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from entity_api import rle

SIZES = {"val": (780, 1154), "valhi": (1640, 2440)}
N_SCENES = 24


def warped_grid(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return pixel coordinates (H, W, 2) bent by waves, so that straight cuts become wiggly."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    bent = np.stack([y, x], axis=-1)
    for wavelength in (height / 3, height / 10):
        for axis in (0, 1):
            fy, fx = rng.normal(size=2) * 2 * np.pi / wavelength
            bent[..., axis] += wavelength / 16 * np.sin(fy * y + fx * x + rng.uniform(0, 7))
    return bent


def cells(bent: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Cut the image into n cells around random points, (H, W) ids from 0."""
    height, width, _ = bent.shape
    points = rng.uniform((0, 0), (height, width), size=(n, 2))
    return cKDTree(points).query(bent.reshape(-1, 2), workers=-1)[1].reshape(height, width)


def blob(bent: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw one wiggly ellipse with a frayed edge."""
    height, width, _ = bent.shape
    centre = rng.uniform((0, 0), (height, width))
    radius = height * rng.uniform(0.08, 0.32, size=2)
    frayed = bent + rng.normal(scale=0.25, size=bent.shape).astype(np.float32)
    return (((frayed - centre) / radius) ** 2).sum(axis=-1) < 1


def write(folder: Path, name: str, kind: str, n_images: int) -> tuple[Path, Path]:
    """Write ground truth and predictions; files that are there already are kept."""
    gt_path = folder / f"{name}_gt.json"
    dt_path = folder / f"{name}_{kind}.json"
    if gt_path.exists() and dt_path.exists():
        return gt_path, dt_path
    folder.mkdir(parents=True, exist_ok=True)
    height, width = SIZES[name]
    rng = np.random.default_rng(2023)
    scenes, blobs = [], []
    for _ in range(N_SCENES):
        bent = warped_grid(height, width, rng)
        n_gt = int(rng.integers(10, 28))
        scenes.append([rle.encode_id_map(cells(bent, n, rng))[1] for n in (n_gt, 100)])
        if kind == "overlap":
            fray = np.random.default_rng(len(scenes))
            blobs.append([rle.encode(blob(bent, fray)) for _ in range(100)])
    annotations, predictions = [], []
    rng = np.random.default_rng(7)
    for image_id in range(1, n_images + 1):
        gt, cut = scenes[image_id % N_SCENES]
        dt = blobs[image_id % N_SCENES] if kind == "overlap" else cut
        for code in gt:
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image_id, "category_id": 1,
                 "segmentation": code, "area": rle.area(code), "bbox": rle.bbox(code),
                 "iscrowd": 0}
            )  # fmt: skip
        for near, score in zip(dt, rng.random(len(dt)).round(6), strict=True):
            predictions.append(
                {"image_id": image_id, "category_id": 1, "segmentation": near,
                 "score": float(score)}
            )  # fmt: skip
    images = [
        {"id": i, "file_name": f"{i}.jpg", "height": height, "width": width}
        for i in range(1, n_images + 1)
    ]
    categories = [{"id": 1, "name": "entity"}]
    gt_path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    dt_path.write_text(json.dumps(predictions))
    # One of the peers refuses records without a box.
    for record in predictions:
        record["bbox"] = [0.0, 0.0, 1.0, 1.0]
    dt_path.with_suffix(".boxes.json").write_text(json.dumps(predictions))
    return gt_path, dt_path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", choices=SIZES, default="val")
    parser.add_argument("--kind", choices=("disjoint", "overlap"), default="disjoint")
    parser.add_argument("--images", type=int, default=1314)
    args = parser.parse_args()
    for path in write(args.folder, args.set, args.kind, args.images):
        print(path, f"{path.stat().st_size / 1e6:.1f} MB")
