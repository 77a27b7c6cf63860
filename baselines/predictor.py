"""Find the entities in images with a model and its weights."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from baselines.build import build_model
from baselines.checkpoint import load_weights, read_config, read_weights, rename_keys
from baselines.config import ModelConfig
from baselines.crops import ViewLayout, cut_views, inference_layout, stack_views
from baselines.guess import guess_presets
from baselines.modeling.paste import MaskCanvas
from baselines.modeling.postprocess import (
    ScoreKind,
    SegmentMap,
    disjoint_segments,
    overlapping_instances,
    panoptic_segments,
    semantic_segments,
)
from entity_api import rle
from entityseg_bench.io import InputError
from entityseg_bench.types import RLE, Category, Prediction

__all__ = ["Entities", "Precision", "Predictor", "precision_of"]

Precision = Literal["float32", "bfloat16", "float16", "auto"]


@dataclass(frozen=True)
class Entities:
    """Hold the N segments that were found in one image, in the order in which the model ranks them.

    Attributes:
        size: (height, width) of the image.
        segmentations: N masks.
        scores: (N,) float64 in [0, 1].
        bboxes: (N, 4) float64, x, y, width, height in pixels, the box around the mask.
        areas: (N,) int64, in pixels.
        category_ids: (N,) int64, ids of the task's category table; 0 for entities, which have none.
        is_disjoint: True if no two segments overlap. It is false for instances only.
    """

    size: tuple[int, int]
    segmentations: list[RLE]
    scores: np.ndarray
    bboxes: np.ndarray
    areas: np.ndarray
    category_ids: np.ndarray
    is_disjoint: bool = False

    def __len__(self) -> int:
        return len(self.segmentations)

    @cached_property
    def id_map(self) -> np.ndarray | None:
        """Map (H, W) int32 of disjoint segments: n + 1 where segment n is, 0 elsewhere.

        None for instances, which may overlap.
        """
        if not self.is_disjoint:
            return None
        numbers = range(1, len(self) + 1)
        return rle.paint_id_map(self.segmentations, numbers, *self.size).astype(np.int32)

    def predictions(self, image_id: int | str) -> Iterator[Prediction]:
        """Return the records of a results file."""
        for idx, segmentation in enumerate(self.segmentations):
            yield Prediction(
                image_id=image_id,
                segmentation=segmentation,
                score=float(self.scores[idx]),
                category_id=int(self.category_ids[idx]),
                bbox=tuple(self.bboxes[idx].tolist()),
            )

    def keep(self, wanted: np.ndarray) -> "Entities":
        """Return only the segments for which `wanted`, (N,) bool, is true."""
        (idxs,) = wanted.nonzero()
        return replace(
            self,
            segmentations=[self.segmentations[idx] for idx in idxs],
            scores=self.scores[idxs],
            bboxes=self.bboxes[idxs],
            areas=self.areas[idxs],
            category_ids=self.category_ids[idxs],
        )


def precision_of(precision: Precision, device: str | torch.device) -> Precision:
    """Return a precision; for "auto" bfloat16 if the device multiplies in it, else float32."""
    if precision != "auto":
        return precision
    if torch.device(device).type == "cuda":
        multiplies = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Processors with either multiply bfloat16 without turning it into float32 before.
        units = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        multiplies = any(getattr(torch.cpu, unit, lambda: False)() for unit in units)
    return "bfloat16" if multiplies else "float32"


class Predictor:
    """Find the entities in images.

    Args:
        preset: Name of a preset, or a configuration. None to read it from the weights.
        weights: File of weights, published or our own.
        model: A model to use as it is, in place of `preset` and `weights`.
        categories: Categories of the model's classes, in their order; by default the published
            table of the task. The output has their ids, and their types tell things from stuff.
        threshold: Segments with a lower score are left out.
        min_area: Segments with fewer pixels are left out; 1 leaves out empty ones.
        top_k: Number of segments that the model may propose. None for the published number: 100,
            and every query for CropFormer.
        scores: "faithful" to the published models, or "calibrated": see `disjoint_segments`.
        device: Where the model runs.
        precision: Number format of the network; postprocessing always uses float32. For bfloat16
            the weights are converted, which takes half the memory and needs no conversion between
            layers. A `model` that is passed is copied first, unless it is bfloat16 already. float16
            runs under autocast, because sums need the range of float32. "auto" is bfloat16 where
            the device multiplies in it, else float32.

    Raises:
        InputError: The weights cannot be read, or belong to another model.
        ValueError: There is no such preset, or the weights do not tell theirs.
    """

    def __init__(
        self,
        preset: str | ModelConfig | None = None,
        weights: str | Path | None = None,
        *,
        model: nn.Module | None = None,
        categories: Sequence[Category] | None = None,
        threshold: float = 0.0,
        min_area: int = 1,
        top_k: int | None = None,
        scores: ScoreKind = "faithful",
        device: str | torch.device = "cpu",
        precision: Precision = "float32",
    ) -> None:
        if (model is None) == (weights is None):
            raise ValueError("a predictor needs weights, or a model, and not both")
        model = model or _load(preset, weights)
        precision = precision_of(precision, device)
        if precision == "bfloat16" and _dtype(model) != torch.bfloat16:
            # A copy: the weights of a model in training must not change.
            model = copy.deepcopy(model).bfloat16()
        self.model = model.to(device).eval()
        self.config: ModelConfig = self.model.config
        self.categories = tuple(categories) if categories else _table(self.config)
        self.threshold = threshold
        self.min_area = min_area
        self.top_k = top_k
        self.scores = scores
        self.device = torch.device(device)
        self.precision = precision

    def __call__(self, image: np.ndarray) -> Entities:
        """Find the entities in one image.

        Args:
            image: (H, W, 3) uint8, RGB.

        Raises:
            ValueError: The array has another shape or type.
            FloatingPointError: The model's output is not finite.
        """
        return self.predict([image])[0]

    def layout(self, height: int, width: int) -> ViewLayout:
        """Lay out the views of an image of this size."""
        return inference_layout(height, width, self.config)

    def predict(self, images: Sequence[np.ndarray]) -> list[Entities]:
        """Find the entities in several images whose layouts have the same padded size.

        These models do not mask padding. Images of different sizes in a batch would change each
        other's results.

        Args:
            images: Each (H, W, 3) uint8, RGB.

        Raises:
            ValueError: As `__call__`, or the padded sizes differ.
            FloatingPointError: As `__call__`.
        """
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise ValueError(f"an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")
        layouts = [self.layout(*image.shape[:2]) for image in images]
        if len({layout.padded_size for layout in layouts}) != 1:
            raise ValueError("images of a batch must have the same padded size")
        batch = torch.stack(
            [
                stack_views(
                    cut_views(image, layout),
                    layout.padded_size,
                    self.config.pixel_mean,
                    self.config.pixel_std,
                )
                for image, layout in zip(images, layouts, strict=True)
            ]
        )
        output = self._run(batch)
        return [
            self._entities(logits, MaskCanvas(masks, layout))
            for logits, masks, layout in zip(
                output["pred_logits"], output["pred_masks"], layouts, strict=True
            )
        ]

    @torch.inference_mode()
    def _run(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        halves = self.precision == "float16"
        with torch.autocast(self.device.type, torch.float16, enabled=halves):
            output = self.model(batch.to(self.device, _dtype(self.model)))
        if not output["pred_logits"].isfinite().all():
            raise FloatingPointError("the model's class logits are not finite")
        return output

    @torch.inference_mode()
    def _entities(self, logits: torch.Tensor, canvas: MaskCanvas) -> Entities:
        config = self.config
        if config.task == "instance":
            found = overlapping_instances(
                logits, canvas, top_k=self.top_k or config.max_predictions
            )
            entities = self._measure(
                canvas.size,
                [instance.segmentation for instance in found],
                np.array([instance.score for instance in found]),
                np.array([instance.class_idx for instance in found], np.int64),
            )
        else:
            segments = self._segment_map(logits, canvas)
            # The map has no entry for segments that lost all their pixels.
            idxs, segmentations = segments.encode()
            entities = self._measure(
                canvas.size,
                segmentations,
                segments.scores[idxs],
                segments.class_idxs[idxs],
                is_disjoint=True,
            )
        return entities.keep(
            (entities.scores >= self.threshold) & (entities.areas >= self.min_area)
        )

    def _segment_map(self, logits: torch.Tensor, canvas: MaskCanvas) -> SegmentMap:
        config = self.config
        if config.task == "semantic":
            return semantic_segments(logits, canvas)
        if config.task == "panoptic":
            return panoptic_segments(
                logits,
                canvas,
                thing_class_idxs={i for i, c in enumerate(self.categories) if c.type != "stuff"},
                class_threshold=config.panoptic_score_threshold,
                overlap_threshold=config.panoptic_overlap_threshold,
            )
        published = None if config.num_views > 1 else config.max_predictions
        return disjoint_segments(logits, canvas, top_k=self.top_k or published, scores=self.scores)

    def _measure(
        self,
        size: tuple[int, int],
        segmentations: list[RLE],
        scores: np.ndarray,
        class_idxs: np.ndarray,
        is_disjoint: bool = False,
    ) -> Entities:
        table = np.array([category.id for category in self.categories], np.int64)
        return Entities(
            size,
            segmentations,
            scores,
            np.array([rle.bbox(mask) for mask in segmentations], np.float64).reshape(-1, 4),
            np.array([rle.area(mask) for mask in segmentations], np.int64),
            table[class_idxs],
            is_disjoint,
        )


def _dtype(model: nn.Module) -> torch.dtype:
    """Return the type of a model's weights; float32 where it has none."""
    return next((weight.dtype for weight in model.parameters()), torch.float32)


def _load(preset: str | ModelConfig | None, weights: str | Path) -> nn.Module:
    """Build the model that the preset names, or else the weights, and load them."""
    if preset is None:
        preset = read_config(weights)
    if preset is None:
        likely = guess_presets(rename_keys(read_weights(weights)))
        if not likely:
            raise InputError(weights, "", "no preset has weights like these.", "Name a preset.")
        preset = likely[0]
    model = build_model(preset)
    load_weights(model, weights)
    return model


def _table(config: ModelConfig) -> tuple[Category, ...]:
    """Return the categories of a model's classes: a published table, person, or numbers."""
    from entityseg_bench import categories

    if config.task != "entity":
        rows = tuple(categories.table(config.task))
        if len(rows) == config.num_classes:
            return rows
    if config.task == "instance" and config.num_classes == 1:
        # The one model of one class that has a name is that of COCO's persons.
        return (Category(id=1, name="person", type="thing"),)
    return tuple(Category(id=idx, name=str(idx), type="thing") for idx in range(config.num_classes))
