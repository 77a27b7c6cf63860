"""Train, score and predict as the original's scripts do, by detectron2's own engine."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.engine import DefaultPredictor, DefaultTrainer
from detectron2.projects.deeplab import build_lr_scheduler
from torch import nn

from baselines.integrations.detectron2.mapper import EntityMapper, inference_input
from baselines.original import train_from_detectron2
from baselines.solver import parameter_groups
from entityseg_bench.integrations.detectron2 import EntityEvaluator

__all__ = ["EntityPredictor", "EntityTrainer"]


class EntityPredictor(DefaultPredictor):
    """Predict on single images, for Mask2Former and CropFormer alike.

    detectron2's ``DefaultPredictor`` does for Mask2Former; CropFormer needs views that are cut
    before the image is resized.
    """

    def __call__(self, original_image: np.ndarray) -> dict[str, Any]:
        """Predict on an image (H, W, 3) uint8 in BGR order, as OpenCV reads it."""
        image = np.ascontiguousarray(original_image[:, :, ::-1])
        with torch.no_grad():
            return self.model([inference_input(image, self.model.config)])[0]


class EntityTrainer(DefaultTrainer):
    """detectron2's trainer with the loaders, optimizer, schedule and metric of the original.

    On a CPU, set SOLVER.AMP.ENABLED False: detectron2's mixed precision needs a GPU.
    """

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        """Load DATASETS.TRAIN through `EntityMapper`."""
        return build_detection_train_loader(cfg, mapper=EntityMapper(cfg, True))

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        """Load a data set through `EntityMapper`."""
        return build_detection_test_loader(cfg, dataset_name, mapper=EntityMapper(cfg, False))

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | Path | None = None
    ) -> EntityEvaluator:
        """Score by `EntityEvaluator`.

        Files go to ``inference`` in OUTPUT_DIR, as the original's do; of several data sets, to a
        folder each below it.
        """
        folder = Path(output_folder or Path(cfg.OUTPUT_DIR, "inference"))
        if len(cfg.DATASETS.TEST) > 1:
            folder /= dataset_name
        return EntityEvaluator(dataset_name, folder)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """Make AdamW with the original's groups, its gradient clipped as a whole."""
        config = train_from_detectron2(cfg)
        groups = [
            {key: value for key, value in group.items() if key != "names"}
            for group in parameter_groups(model, config)
        ]
        optimizer = _ClippingAdamW(groups, lr=config.lr)
        optimizer.clip_norm = config.clip_norm
        return optimizer

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> Any:
        """Take the schedule of detectron2's DeepLab project, as the original does."""
        return build_lr_scheduler(cfg, optimizer)


class _ClippingAdamW(torch.optim.AdamW):
    """AdamW that bounds the norm of all gradients together before each step; 0 does not."""

    clip_norm = 0.0

    def step(self, closure: Any = None) -> Any:
        if self.clip_norm:
            parameters = itertools.chain.from_iterable(
                group["params"] for group in self.param_groups
            )
            nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        return super().step(closure)
