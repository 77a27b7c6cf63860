"""Predictions on the demo set: of the classical baseline, and of a reference model."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from entityseg_bench.demo import classical
from entityseg_bench.demo.annotations import VAL_FILE
from entityseg_bench.io import InputError, write_json
from entityseg_bench.stopping import run_child

__all__ = ["predict_val", "predict_val_learned"]

# Where the baseline stops merging: its default first, then finer and coarser.
DETAIL = (16.0, 10.0, 24.0)


def predict_val(
    root: str | Path, progress: Callable[[int, int], None] | None = None
) -> tuple[Path, Path]:
    """Segment the validation images of a demo set with the classical baseline.

    Args:
        root: Folder of the demo set.
        progress: Called with (images finished, images to segment).

    Returns:
        Two COCO results files: disjoint masks, and those of several levels of detail together,
        which overlap.
    """
    from PIL import Image

    root = Path(root)
    images = msgspec.json.decode((root / VAL_FILE).read_bytes())["images"]
    disjoint: list[dict[str, Any]] = []
    layered: list[dict[str, Any]] = []
    for done, image in enumerate(images, start=1):
        with Image.open(root / "images" / image["file_name"]) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        levels = classical.segment_levels(pixels, DETAIL)
        disjoint += _results(image["id"], levels[0])
        distinct = {mask["counts"]: (mask, score) for level in levels for mask, score in level}
        layered += _results(image["id"], list(distinct.values()))
        if progress:
            progress(done, len(images))
    paths = root / "predictions/classical_val.json", root / "predictions/classical_layers_val.json"
    paths[0].parent.mkdir(exist_ok=True)
    for path, results in zip(paths, (disjoint, layered), strict=True):
        write_json(path, results)
    return paths


def predict_val_learned(root: str | Path, weights: str | Path) -> tuple[Path, Path]:
    """Segment the validation images of a demo set with a reference model, and draw what it finds.

    Runs ``python -m baselines.predict``: this package does not import the models.

    Args:
        root: Folder of the demo set.
        weights: A file, or the name of weights that come with the package.

    Returns:
        A COCO results file, and the folder of the drawings.

    Raises:
        InputError: The command did not run to its end; it has printed why.
    """
    root = Path(root)
    out = root / "predictions" / Path(weights).name.removesuffix(".safetensors")
    command = ["-m", "baselines.predict", "--weights", weights, "--images", root / VAL_FILE]
    command += ["--image-root", root / "images", "--out", out, "--write", "json", "drawings"]
    code = run_child([sys.executable, *map(str, command)])
    if code:
        raise InputError(weights, "", f"predicting with it ended with exit code {code}.")
    return out / "results.json", out / "drawings"


def _results(
    image_id: int, segments: Sequence[tuple[dict[str, Any], float]]
) -> list[dict[str, Any]]:
    return [
        {"image_id": image_id, "category_id": 0, "segmentation": mask, "score": score}
        for mask, score in segments
    ]
