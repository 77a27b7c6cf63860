"""Make training batches from an EntityDataset.

A run reads one endless stream of positions. The image at a position and its random transforms
depend only on the seed and the position. They do not depend on the number of worker processes or
training processes, or on where a run was interrupted.
"""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from baselines.augment import CANVAS_GREY, frame_image, frame_masks, jitter_colour, plan_framings
from baselines.config import ModelConfig
from baselines.images import read_image
from baselines.modeling.criterion import Target
from baselines.ranks import Ranks
from baselines.train_config import TrainConfig
from entity_api import rle
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.io import InputError
from entityseg_bench.stopping import ENDING
from entityseg_bench.turbulence import Air, distort

__all__ = [
    "WORKER_DIED",
    "Batch",
    "PartPositions",
    "Sample",
    "TrainingSamples",
    "collate",
    "make_loader",
]

# Part of the message of the RuntimeError that PyTorch raises when a data process has died. A signal
# handler raises it, so it can appear at any line.
WORKER_DIED = "DataLoader worker"

# Number of other images that are tried in place of one that cannot be read.
_REPLACEMENTS = 10


@dataclass(frozen=True)
class Sample:
    """One image as the model will see it, still unpadded.

    Attributes:
        position: Its position in the stream.
        views: V arrays (h, w, 3) uint8.
        labels: (N,) int64, classes of the entities.
        masks: V arrays (N, h, w) bool. Entities that no view shows are left out.
        canvas: Side of the grey square around the view in pixels; None if there is none.
        problems: The images that could not be read, and why.
    """

    position: int
    views: tuple[np.ndarray, ...]
    labels: np.ndarray
    masks: tuple[np.ndarray, ...]
    canvas: int | None = None
    problems: tuple[str, ...] = ()


@dataclass
class Batch:
    """Images that go through the model together.

    Attributes:
        positions: Positions of the B images in the stream.
        images: (B, V, 3, H, W) uint8, padded right and below.
        extents: (B, V, 2) int64, (height, width) of each view without its padding.
        targets: The targets of each of the B images.
        problems: The images that could not be read, and why.
    """

    positions: list[int]
    images: Tensor
    extents: Tensor
    targets: list[Target]
    problems: list[str]

    def pin_memory(self) -> "Batch":
        """Copy to pinned memory, which a GPU reads directly. The loader calls this."""
        targets = [Target(t.labels.pin_memory(), t.masks.pin_memory()) for t in self.targets]
        return replace(self, images=self.images.pin_memory(), targets=targets)

    def to(self, device: torch.device) -> "Batch":
        """Move to a device."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            extents=self.extents.to(device),
            targets=[target.to(device, non_blocking=True) for target in self.targets],
        )

    def normalised(self, config: ModelConfig) -> Tensor:
        """Return the model's input, (B, V, 3, H, W) float32; padding is 0."""
        device = self.images.device
        mean = torch.tensor(config.pixel_mean, device=device).view(3, 1, 1)
        std = torch.tensor(config.pixel_std, device=device).view(3, 1, 1)
        height, width = self.images.shape[-2:]
        rows = torch.arange(height, device=device) < self.extents[..., 0, None]
        cols = torch.arange(width, device=device) < self.extents[..., 1, None]
        inside = rows[..., :, None] & cols[..., None, :]
        return (self.images - mean) / std * inside[:, :, None]


class TrainingSamples(Dataset):
    """The stream of samples.

    Args:
        dataset: Images and annotations; crowds are left out.
        config: Configuration of the training.
        model: Configuration of the model.

    Raises:
        InputError: There are no images, or the number of categories is not that of the model's
            classes.
    """

    def __init__(self, dataset: EntityDataset, config: TrainConfig, model: ModelConfig) -> None:
        if not len(dataset):
            raise InputError(dataset.where or "dataset", "", "it has no images to train on.")
        self.dataset = dataset
        self.config = config
        self.crop_ratio = model.crop_ratio
        self._labels = _labels(dataset, model)

    def __getitem__(self, position: int) -> Sample:
        """Load the sample at a position. One that cannot be read is empty and has a problem."""
        rng = np.random.default_rng([self.config.seed, position])
        image_idx = self.image_idx(position)
        problems: list[str] = []
        for _ in range(1 + _REPLACEMENTS * self.config.skip_broken):
            try:
                sample = self._load(position, image_idx, rng)
                return replace(sample, problems=tuple(problems))
            except InputError as error:
                problems.append(str(error))
                image_idx = int(rng.integers(len(self.dataset)))
        return Sample(position, (), np.zeros(0, np.int64), (), problems=tuple(problems))

    def image_idx(self, position: int) -> int:
        """Return which image is at a position. Each epoch has every image once, in a new order."""
        epoch, at = divmod(position, len(self.dataset))
        return int(_order(self.config.seed, epoch, len(self.dataset))[at])

    def _load(self, position: int, image_idx: int, rng: np.random.Generator) -> Sample:
        info = self.dataset.images[image_idx]
        image = read_image(self.dataset.image_path(info), (info.height, info.width))
        if self.config.distances:
            # Masks are not distorted: the model learns where the object is, not where the air shows
            # it.
            air = Air(float(rng.choice(self.config.distances)))
            image = distort(image, air, int(rng.integers(2**63)))
        annotations = [a for a in self.dataset.annotations(image_idx) if not a.iscrowd]
        masks = np.zeros((len(annotations), info.height, info.width), bool)
        for mask, annotation in zip(masks, annotations, strict=True):
            mask[:] = rle.decode(annotation.segmentation)
        labels = np.array([self._label(a.category_id, info) for a in annotations], np.int64)

        augment = self.config.augment
        framings = plan_framings(info.height, info.width, augment, rng, self.crop_ratio)
        views = [frame_image(image, framing) for framing in framings]
        if augment.colour:
            seed = int(rng.integers(2**63))
            # The colours of all views change in the same way.
            views = [jitter_colour(view, np.random.default_rng(seed)) for view in views]
        framed = [frame_masks(masks, framing) for framing in framings]
        shown = np.any([mask.any((1, 2)) for mask in framed], axis=0)
        canvas = augment.canvas or augment.window
        return Sample(
            position, tuple(views), labels[shown], tuple(mask[shown] for mask in framed), canvas
        )

    def _label(self, category_id: int, info) -> int:
        if self._labels is None:
            return 0
        if category_id not in self._labels:
            raise InputError(
                self.dataset.where or "dataset",
                f"image {info.id} ({info.file_name})",
                f"its category_id {category_id} is not in the file's categories.",
                "Add the category.",
            )
        return self._labels[category_id]


def _labels(dataset: EntityDataset, model: ModelConfig) -> dict[int, int] | None:
    """Number the categories as the model's classes; None where all are one class."""
    if model.task == "entity":
        return None
    if len(dataset.categories) != model.num_classes:
        raise InputError(
            dataset.where or "dataset",
            "",
            f"it has {len(dataset.categories)} categories, the model {model.num_classes} classes.",
            f"Set model.num_classes={len(dataset.categories)}.",
        )
    return {category.id: idx for idx, category in enumerate(dataset.categories)}


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, length]).permutation(length)


def collate(samples: Sequence[Sample], divisibility: int) -> Batch:
    """Pad samples to one size, a multiple of `divisibility`."""
    problems = [problem for sample in samples for problem in sample.problems]
    samples = [sample for sample in samples if sample.views]
    if not samples:
        nothing = torch.zeros(0)
        return Batch([], nothing, nothing, [], problems)
    sides = [side for s in samples for view in s.views for side in (view.shape[:2],)]
    sides += [(s.canvas, s.canvas) for s in samples if s.canvas]
    size = [-(-max(side) // divisibility) * divisibility for side in zip(*sides, strict=True)]
    images = torch.zeros(len(samples), len(samples[0].views), 3, *size, dtype=torch.uint8)
    extents = torch.zeros(*images.shape[:2], 2, dtype=torch.int64)
    targets = []
    for sample, slots, extent in zip(samples, images, extents, strict=True):
        masks = torch.zeros(len(sample.labels), len(sample.views), *size, dtype=torch.bool)
        for v, (view, framed) in enumerate(zip(sample.views, sample.masks, strict=True)):
            height, width = view.shape[:2]
            if sample.canvas:
                slots[v, :, : sample.canvas, : sample.canvas] = CANVAS_GREY
            slots[v, :, :height, :width] = torch.from_numpy(view.copy()).permute(2, 0, 1)
            extent[v] = torch.tensor([sample.canvas] * 2 if sample.canvas else [height, width])
            masks[:, v, :height, :width] = torch.from_numpy(framed)
        targets.append(Target(torch.from_numpy(sample.labels), masks))
    return Batch([s.position for s in samples], images, extents, targets, problems)


@dataclass(frozen=True)
class PartPositions:
    """Yield the positions of the stream that one process takes, part by part.

    Attributes:
        config: Configuration of the training.
        ranks: This process. Each batch is cut into one share for each process, and a share into
            parts that go through the model at once.
        first_step: The step to begin with.

    Raises:
        ValueError: The batch cannot be divided evenly.
    """

    config: TrainConfig
    ranks: Ranks
    first_step: int = 0

    def __post_init__(self) -> None:
        if self.config.batch_size % self.ranks.world:
            raise ValueError(
                f"train.batch_size={self.config.batch_size} cannot be shared by "
                f"{self.ranks.world} processes"
            )

    @property
    def parts(self) -> int:
        """Number of parts of a step."""
        return -(-self._share // self.config.max_device_batch)

    @property
    def _share(self) -> int:
        return self.config.batch_size // self.ranks.world

    def __len__(self) -> int:
        return (self.config.steps - self.first_step) * self.parts

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first_step, self.config.steps):
            first = step * self.config.batch_size + self.ranks.rank * self._share
            positions = list(range(first, first + self._share))
            for part in np.array_split(positions, self.parts):
                yield part.tolist()


@dataclass(frozen=True)
class _Collate:
    divisibility: int

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        return collate(samples, self.divisibility)


def make_loader(
    samples: TrainingSamples, positions: PartPositions, divisibility: int, pin_memory: bool
) -> DataLoader:
    """Make the loader that yields a process's batches in order, up to the last step."""
    workers = positions.config.workers
    return DataLoader(
        samples,
        batch_sampler=positions,
        num_workers=workers,
        collate_fn=_Collate(divisibility),
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_ignore_signals,
    )


def _ignore_signals(worker_idx: int) -> None:
    """Ignore signals in data processes: the training process gets them too, and ends the others."""
    for number in (signal.SIGINT, *ENDING):
        signal.signal(number, signal.SIG_IGN)
