"""The original's configuration files, read without detectron2."""

from baselines.original.mapping import (
    augment_from_detectron2,
    config_from_detectron2,
    loss_from_detectron2,
    train_from_detectron2,
)
from baselines.original.presets import OriginalConfig, read_original
from baselines.original.yaml_reader import read_yaml

__all__ = [
    "OriginalConfig",
    "augment_from_detectron2",
    "config_from_detectron2",
    "loss_from_detectron2",
    "read_original",
    "read_yaml",
    "train_from_detectron2",
]
