"""Configuration of a training run, as frozen dataclasses."""

from dataclasses import dataclass, field
from typing import Literal

from baselines.modeling.criterion import LossConfig

__all__ = ["AugmentConfig", "TrainConfig"]


@dataclass(frozen=True)
class AugmentConfig:
    """Configure the random transforms of a training image and its masks.

    If ``canvas`` is set, the image is scaled to fit into a square of random size, and a window of
    the canvas's size is cut out (large-scale jitter, Ghiasi et al., arXiv 2012.07177). Otherwise
    its short side is resized to one of ``short_sides``.
    """

    canvas: int | None = None  # side in pixels
    scale_range: tuple[float, float] = (0.1, 2.0)  # of the square over the canvas
    short_sides: tuple[int, ...] = (640, 672, 704, 736, 768, 800)
    max_side: int = 1333
    window: int | None = None  # side of a random square cut after resizing, in pixels
    corner_crops: int = 0  # more views: different corners of the image, cut before resizing
    flip: float = 0.5  # probability
    colour: bool = False  # brightness, contrast, saturation and hue, as in SSD


@dataclass(frozen=True)
class TrainConfig:
    """Hold everything that decides what a training run computes."""

    steps: int = 103_125  # of the optimizer
    batch_size: int = 16  # images of a step, over all processes and accumulated parts
    max_device_batch: int = 2  # images that go through the model at once in a process
    lr: float = 1e-4
    backbone_lr_factor: float = 0.1
    weight_decay: float = 0.05  # not of norms, embeddings and position biases
    published_decay: bool = (
        True  # also decay the parameters that the original did not exclude: see solver.py
    )
    power: float = 0.9  # of the polynomial schedule; the learning rate ends at 0
    warmup_steps: int = 0  # over which the learning rate rises from 0; the original has none
    clip_norm: float = 0.01  # of all gradients together; 0 does not clip
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = AugmentConfig()
    split: Literal["train", "val"] = "train"
    resolution: Literal["high", "low"] = "high"
    parts: tuple[str, ...] | None = None  # parts of the data set: some of 01,02,03; None for all
    # Metres of turbulent air; one of them is drawn for each image. Empty for images as they are.
    distances: tuple[float, ...] = ()
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    recompute: bool = False  # activations in the backward pass, which halves the memory or better
    ema_decay: float = (
        0.0  # of the averaged weights, which are then evaluated and kept; 0 for no average
    )
    seed: int = 0
    workers: int = 4  # processes that load data, for each training process
    skip_broken: bool = False  # take another image in place of one that cannot be read
    checkpoint_every: int = 5000  # steps
    keep_checkpoints: int = 2
    evaluate_every: int = 5000  # in steps; 0 for never
    evaluate_images: int | None = None  # number of validation images, the first ones; None for all
    log_every: int = 20  # steps

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "max_device_batch", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be at least 1, not {getattr(self, name)}")
        if any(not distance >= 0 for distance in self.distances):
            raise ValueError(f"train.distances must be 0 m or more, not {self.distances}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"train.ema_decay must be in [0, 1), not {self.ema_decay}")
