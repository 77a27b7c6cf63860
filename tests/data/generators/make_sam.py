"""Run segment-anything 1.0 on images: python make_sam.py AMG_PY IMAGES OUT.

AMG_PY is scripts/amg.py of its repository, which the package leaves out. The image encoder is small
and has random weights, and SamPredictor.predict_torch answers with regions of like colour; all else
is as published. Writes OUT/amg_png and OUT/amg_json (amg.py without and with --convert-to-rle) and
OUT/<output_mode>.json.gz, the masks of all images by file name, as the generator returns them.
"""

import functools
import gzip
import json
import runpy
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from like_colour import regions_at
from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry
from segment_anything.build_sam import _build_sam

SETTINGS = {"points_per_side": 5, "stability_score_thresh": 0.5, "pred_iou_thresh": 0.88}


def set_image(self, image, image_format="RGB"):
    """Keep the image beside its embedding."""
    self.pixels = image
    published(self, image, image_format)


@torch.no_grad()
def predict_torch(self, point_coords, point_labels, *args, return_logits=False, **kwargs):
    """Answer with regions of like colour."""
    height, width = self.original_size
    scale = np.array([width / self.input_size[1], height / self.input_size[0]])
    found = []
    for x, y in point_coords[:, 0].cpu().numpy() * scale:
        found.append(regions_at(self.pixels, min(int(x), width - 1), min(int(y), height - 1)))
    masks = torch.from_numpy(np.stack([masks for masks, _ in found]))
    scores = torch.from_numpy(np.stack([scores for _, scores in found]))
    return masks if return_logits else masks > 0, scores, masks


published = SamPredictor.set_image
SamPredictor.set_image = set_image
SamPredictor.predict_torch = predict_torch
sam_model_registry["small"] = functools.partial(
    _build_sam, encoder_embed_dim=32, encoder_depth=1, encoder_num_heads=2,
    encoder_global_attn_indexes=[],
)  # fmt: skip


def main(amg, images, out):
    """Run amg.py twice, then the generator in each of its output modes."""
    torch.manual_seed(0)
    options = [word for name, value in SETTINGS.items()
               for word in (f"--{name.replace('_', '-')}", str(value))]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "small.pth"
        model = sam_model_registry["small"]()
        torch.save(model.state_dict(), weights)
        for target, rle in (("amg_png", []), ("amg_json", ["--convert-to-rle"])):
            sys.argv = [amg, "--input", images, "--output", str(out / target), "--model-type",
                        "small", "--checkpoint", str(weights), "--device", "cpu", *options,
                        *rle]  # fmt: skip
            runpy.run_path(amg, run_name="__main__")
    for mode in ("binary_mask", "uncompressed_rle", "coco_rle"):
        generator = SamAutomaticMaskGenerator(model, output_mode=mode, **SETTINGS)
        found = {}
        for path in sorted(Path(images).iterdir()):
            pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            found[path.name] = generator.generate(pixels)
        text = json.dumps(found, default=lambda mask: mask.astype(int).tolist())
        with gzip.GzipFile(out / f"{mode}.json.gz", "wb", mtime=0) as file:
            file.write(text.encode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
