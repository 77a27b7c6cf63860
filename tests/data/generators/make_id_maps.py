"""Run MaskClustering's mask_predict.py: python make_id_maps.py MASK_PREDICT_PY IMAGES OUT.

The script is of its repository. The modules of detectron2 and Mask2Former that it imports are
played here, its predictor by regions of like colour; all else is as published: scores from 0.5 on,
no masks below 400 pixels, painted in ascending order of scores into one map of 8 bits an image.
Writes OUT/id_maps, and OUT/id_maps.npz with the masks and scores that the predictor gave.
"""

import runpy
import shutil
import sys
import tempfile
import types
from pathlib import Path

import cv2
import numpy as np
import torch
from like_colour import regions_at

GIVEN = {}


class Config:
    """Take what the script says of the configuration."""

    def __getattr__(self, name):
        return lambda *_: None


class VisualizationDemo:
    """Find regions of like colour."""

    def __init__(self, cfg):
        pass

    def run_on_image(self, image):
        """Return instances with masks and scores, sorted by score descending."""
        height, width = image.shape[:2]
        found = []
        for y in range(height // 8, height, height // 4):
            for x in range(width // 8, width, width // 4):
                masks, scores = regions_at(image, x, y)
                k = (x + y) % 3
                found.append((2.5 * float(scores[k]) - 1.75, masks[k] > 0))
        found.sort(key=lambda one: -one[0])
        scores = torch.tensor([score for score, _ in found])
        masks = torch.from_numpy(np.stack([mask for _, mask in found]))
        GIVEN[len(GIVEN)] = masks.numpy(), scores.numpy()
        return {"instances": types.SimpleNamespace(pred_masks=masks, scores=scores)}


def played(name, **members):
    """Put a module into the place of one."""
    sys.modules[name] = module = types.ModuleType(name)
    vars(module).update(members)


def main(script, images, out):
    """Run the script on a scene of all images."""
    played("detectron2")
    played("detectron2.config", get_cfg=Config)
    played("detectron2.data")
    played("detectron2.data.detection_utils", read_image=lambda path, format: cv2.imread(path))
    played("detectron2.projects")
    played("detectron2.projects.deeplab", add_deeplab_config=lambda cfg: None)
    played("mask2former", add_maskformer2_config=lambda cfg: None)
    played("predictor", VisualizationDemo=VisualizationDemo)
    with tempfile.TemporaryDirectory() as root:
        shutil.copytree(images, Path(root) / "scene" / "color")
        sys.argv = [script, "--root", root, "--seq_name_list", "scene", "--image_path_pattern",
                    "color/*.jpg", "--dataset", "demo"]  # fmt: skip
        runpy.run_path(script, run_name="__main__")
        shutil.copytree(Path(root) / "scene" / "output" / "mask", out / "id_maps")
    names = sorted(path.name for path in Path(images).iterdir())
    kept = {}
    for name, (masks, scores) in zip(names, GIVEN.values(), strict=True):
        kept[f"{name}/masks"], kept[f"{name}/scores"] = masks, scores
    np.savez_compressed(out / "id_maps.npz", **kept)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
