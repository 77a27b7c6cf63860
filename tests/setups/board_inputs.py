"""A leaderboard of its own, with a result to file in it."""

import json
import shutil
from pathlib import Path

import numpy as np

from entity_api import rle
from entityseg_bench.score import evaluate_files, result_record

OWN = Path(__file__).resolve().parents[2] / "leaderboard"
ABOUT = {
    "model": "tiny_net",
    "method": "Tiny",
    "backbone": "none",
    "paper": "https://example.org/paper",
    "code": "https://example.org/code",
    "dataset": "Squares",
}


def square(top: int, left: int, side: int) -> dict:
    """Make a square mask in an image of 60 x 80 pixels."""
    mask = np.zeros((60, 80), bool)
    mask[top : top + side, left : left + side] = True
    return rle.encode(mask)


def board_files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Write ground truth, overlapping predictions and their result, beside a leaderboard."""
    gt, dt, result = (tmp_path / name for name in ("entityseg_val_lr.json", "p.json", "r.json"))
    masks = [square(0, 0, 40), square(10, 45, 30), square(5, 5, 20)]
    annotations = [
        {"id": k + 1, "image_id": 1 + k // 2, "category_id": 0, "segmentation": mask}
        for k, mask in enumerate(masks)
    ]
    images = [{"id": k, "file_name": f"{k}.jpg", "height": 60, "width": 80} for k in (1, 2)]
    gt.write_text(json.dumps({"images": images, "annotations": annotations}))
    found = [(1, square(0, 0, 38), 0.9), (1, square(8, 30, 34), 0.8), (2, square(5, 5, 21), 0.7)]
    dt.write_text(json.dumps([{"image_id": i, "segmentation": m, "score": s} for i, m, s in found]))
    result.write_text(json.dumps(result_record(evaluate_files(gt, dt))))
    (tmp_path / "board").mkdir()
    shutil.copy(OWN / "published.json", tmp_path / "board")
    return gt, dt, result
