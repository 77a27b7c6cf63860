"""Run transformers' postprocessing on images: python make_transformers.py IMAGES OUT.

Writes OUT/mask_generation, what the mask-generation pipeline of a small SAM with random weights
returns (an NPZ an image, and torch.save of the last), and OUT/<model>_<task>, what
post_process_<task>_segmentation of the processors of Mask2Former and OneFormer return. The networks
are answered for by regions of like colour; all else is as published.
"""

import gzip
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
import transformers
from like_colour import regions_at
from PIL import Image

SIDE, LOW = 256, 64
CLASSES = {"0": {"name": "wall", "isthing": 0}, "1": {"name": "box", "isthing": 1},
           "2": {"name": "ball", "isthing": 1}}  # fmt: skip


def small_sam():
    """Build the smallest model that the pipeline runs."""
    vision = transformers.SamVisionConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=SIDE,
        output_channels=16, mlp_dim=16, global_attn_indexes=[0],
    )  # fmt: skip
    prompt = transformers.SamPromptEncoderConfig(
        hidden_size=16, image_size=SIDE, image_embedding_size=SIDE // 16
    )
    decoder = transformers.SamMaskDecoderConfig(hidden_size=16, mlp_dim=16, num_attention_heads=2)
    config = transformers.SamConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    return transformers.SamModel(config).eval()


class Answers:
    """Take the place of the model's forward: regions of like colour around its points."""

    def __call__(self, input_points, **_):
        """Return masks and scores as SamModel does, (1, P, 3, low, low) and (1, P, 3)."""
        height, width = self.pixels.shape[:2]
        scale = max(height, width) / SIDE
        masks, scores = [], []
        for x, y in input_points[0, :, 0].cpu().numpy() * scale:
            found, own = regions_at(self.pixels, min(int(x), width - 1), min(int(y), height - 1))
            side = max(height, width)
            full = np.full((3, side, side), -8, np.float32)
            full[:, :height, :width] = found
            masks.append(np.stack([cv2.resize(mask, (LOW, LOW)) for mask in full]))
            scores.append(own)
        return {
            "pred_masks": torch.from_numpy(np.stack(masks))[None],
            "iou_scores": torch.from_numpy(np.stack(scores))[None],
        }


def mask_generation(paths, out):
    """Run the pipeline; keep its answers as people do."""
    processor = transformers.SamImageProcessor(
        size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE},
        mask_size={"longest_edge": LOW},
    )  # fmt: skip
    generator = transformers.pipeline(
        "mask-generation", model=small_sam(), image_processor=processor, device="cpu"
    )
    generator.model.forward = answers = Answers()
    out.mkdir(parents=True)
    for path in paths:
        image = Image.open(path).convert("RGB")
        answers.pixels = np.asarray(image)
        found = generator(
            image, points_per_crop=5, pred_iou_thresh=0.88, stability_score_thresh=0.5,
            output_rle_mask=True, output_bboxes_mask=True,
        )  # fmt: skip
        masks = np.stack([np.asarray(mask) for mask in found["masks"]])
        np.savez_compressed(out / path.stem, masks=masks, scores=found["scores"])
    # Dense masks take much room: one image.
    torch.save(found, out / f"{path.stem}.pt")


def queries(pixels):
    """Return regions of an image as the queries of Mask2Former: (1, Q, K + 1), (1, Q, h, w)."""
    height, width = pixels.shape[:2]
    masks = []
    for y in range(height // 8, height, height // 4):
        for x in range(width // 8, width, width // 4):
            masks.append(regions_at(pixels, x, y)[0][(x + y) % 3])
    classes = torch.full((1, len(masks), 4), -2.0)
    for k in range(len(masks)):
        classes[0, k, k % 3] = 1.5 + 0.1 * k
    return SimpleNamespace(
        class_queries_logits=classes, masks_queries_logits=torch.from_numpy(np.stack(masks))[None]
    )


def post_processed(paths, out):
    """Write what each postprocessing returns, arrays as lists, by file name."""
    info = out / "classes.json"
    info.write_text(json.dumps(CLASSES), encoding="utf-8")
    processors = {
        "mask2former": transformers.Mask2FormerImageProcessor(),
        "oneformer": transformers.OneFormerImageProcessor(
            repo_path=str(out), class_info_file=info.name
        ),
    }
    info.unlink()
    sides = {"threshold": 0.4}
    calls = {
        "panoptic": {**sides, "label_ids_to_fuse": set()},
        # The stuff is one segment a class.
        "panoptic_fused": {**sides, "label_ids_to_fuse": {0}},
        "instance": sides,
        "instance_binary": {**sides, "return_binary_maps": True},
        "instance_coco": {**sides, "return_coco_annotation": True},
        "semantic": {},
    }
    for name, processor in processors.items():
        for task, options in calls.items():
            if (name, task) == ("oneformer", "instance_binary"):
                continue
            function = getattr(processor, f"post_process_{task.partition('_')[0]}_segmentation")
            found = {}
            for path in paths:
                pixels = np.asarray(Image.open(path).convert("RGB"))
                own = function(queries(pixels), target_sizes=[pixels.shape[:2]], **options)
                found[path.name] = own[0]
            text = json.dumps(found, default=lambda array: array.tolist())
            with gzip.GzipFile(out / f"{name}_{task}.json.gz", "wb", mtime=0) as file:
                file.write(text.encode())


def main(images, out):
    """Write everything."""
    torch.manual_seed(0)
    paths = sorted(Path(images).iterdir())
    mask_generation(paths, out / "mask_generation")
    post_processed(paths, out)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
