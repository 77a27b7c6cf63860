"""From detectron2's data set dictionaries to the models' inputs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import BitMasks, Instances
from torch import Tensor

from baselines.augment import CANVAS_GREY, frame_image, frame_masks, jitter_colour, plan_framings
from baselines.config import ModelConfig
from baselines.crops import cut_views, inference_layout
from baselines.images import read_image
from baselines.original import augment_from_detectron2, config_from_detectron2
from entity_api import rle
from entityseg_bench.categories import IGNORE
from entityseg_bench.formats import png

__all__ = ["EntityMapper", "inference_input"]

# What the models read of a dictionary, or evaluators of the inputs.
KEPT = ("file_name", "image_id", "height", "width")


class EntityMapper:
    """Read and transform an image, for training or inference, with whatever views the model takes.

    It takes the place of the original's mappers: large-scale jitter, a short side with a corner
    crop, or a window, as INPUT.DATASET_MAPPER_NAME says.

    Args:
        cfg: detectron2's configuration with the original's keys.
        is_train: For training, with random transforms and ground truth; else for inference.
    """

    def __init__(self, cfg: CfgNode, is_train: bool = True) -> None:
        self.config = config_from_detectron2(cfg)
        self.augment = augment_from_detectron2(cfg) if is_train else None

    def __call__(self, dataset_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Make the input of one image.

        Args:
            dataset_dict: In detectron2's format, with "annotations", "sem_seg_file_name" or
                "pan_seg_file_name" (and "segments_info") for training; it is not changed.

        Raises:
            InputError: The image or its ground truth cannot be read.
            ValueError: For training, there is no ground truth.
        """
        size = None
        if "height" in dataset_dict and "width" in dataset_dict:
            size = dataset_dict["height"], dataset_dict["width"]
        image = read_image(dataset_dict["file_name"], size)
        kept = {key: dataset_dict[key] for key in KEPT if key in dataset_dict}
        if self.augment is None:
            return {**kept, **inference_input(image, self.config)}
        return {**kept, **self._train_input(image, dataset_dict)}

    def _train_input(self, image: np.ndarray, dataset_dict: Mapping[str, Any]) -> dict[str, Any]:
        # detectron2 seeds NumPy's global generator in each of its data processes.
        rng = np.random.default_rng(np.random.randint(2**31, size=4))  # noqa: NPY002
        labels, masks = _truth(dataset_dict, *image.shape[:2])
        augment = self.augment
        framings = plan_framings(*image.shape[:2], augment, rng, self.config.crop_ratio)
        views = [frame_image(image, framing) for framing in framings]
        if augment.colour:
            seed = int(rng.integers(2**63))
            # All views change alike.
            views = [jitter_colour(view, np.random.default_rng(seed)) for view in views]
        framed = [frame_masks(masks, framing) for framing in framings]
        shown = np.any([own.any((1, 2)) for own in framed], axis=0)
        canvas = augment.canvas or augment.window
        pixels = [_to_tensor(_on_canvas(view, canvas, CANVAS_GREY)) for view in views]
        instances = [
            _instances(labels[shown], _on_canvas(own[shown], canvas, False)) for own in framed
        ]
        return {
            "image": pixels[0],
            "image_crop": pixels[1:],
            "instances": instances[0],
            "instances_crop": instances[1:],
        }


def inference_input(image: np.ndarray, config: ModelConfig) -> dict[str, Any]:
    """Make a model's input from an image (H, W, 3) uint8, RGB, at its own size.

    Returns:
        "image", "height", "width", and for a CropFormer "image_crop" and "crop_region".
    """
    height, width = image.shape[:2]
    layout = inference_layout(height, width, config)
    views = [_to_tensor(view) for view in cut_views(image, layout)]
    given = {"image": views[0], "height": height, "width": width}
    if len(views) > 1:
        crops = torch.tensor(layout.boxes_xyxy[1:])
        given |= {"image_crop": views[1:], "crop_region": crops}
    return given


def _truth(
    dataset_dict: Mapping[str, Any], height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read classes (N,) int64 and masks (N, H, W) bool, without crowds."""
    if "pan_seg_file_name" in dataset_dict:
        infos = [info for info in dataset_dict["segments_info"] if not info.get("iscrowd", 0)]
        ids = png.read_ids(Path(dataset_dict["pan_seg_file_name"]))
        found = [(info["category_id"], ids == info["id"]) for info in infos]
    elif "sem_seg_file_name" in dataset_dict:
        labels = png.read_labels(Path(dataset_dict["sem_seg_file_name"]))
        found = [(k, labels == k) for k in np.unique(labels).tolist() if k != IGNORE]
    elif "annotations" not in dataset_dict:
        raise ValueError(f"{dataset_dict['file_name']}: this dictionary has no ground truth")
    else:
        found = [
            (row["category_id"], rle.decode(rle.to_rle(row["segmentation"], height, width)))
            for row in dataset_dict["annotations"]
            if not row.get("iscrowd", 0)
        ]
    masks = np.zeros((len(found), height, width), bool)
    for slot, (_, mask) in zip(masks, found, strict=True):
        slot[:] = mask
    return np.array([class_idx for class_idx, _ in found], np.int64), masks


def _on_canvas(pixels: np.ndarray, side: int | None, fill: Any) -> np.ndarray:
    """Pad an image (h, w, 3) or masks (N, h, w) right and below to a square; None leaves it."""
    if side is None:
        return pixels
    is_image = pixels.dtype == np.uint8
    height, width = pixels.shape[:2] if is_image else pixels.shape[1:]
    shape = (side, side, 3) if is_image else (len(pixels), side, side)
    canvas = np.full(shape, fill, pixels.dtype)
    if is_image:
        canvas[:height, :width] = pixels
    else:
        canvas[:, :height, :width] = pixels
    return canvas


def _to_tensor(view: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))


def _instances(labels: np.ndarray, masks: Sequence[np.ndarray] | np.ndarray) -> Instances:
    result = Instances(masks.shape[1:])
    result.gt_classes = torch.from_numpy(labels)
    result.gt_masks = BitMasks(torch.from_numpy(np.ascontiguousarray(masks)))
    return result
