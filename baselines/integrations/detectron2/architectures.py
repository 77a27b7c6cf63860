"""The reference models behind detectron2's interface: batched inputs to losses or results."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm
from torch import Tensor

from baselines.crops import ViewLayout
from baselines.integrations.detectron2.results import RESULTS
from baselines.modeling.criterion import VIEW_PREFIX, Criterion, Target, Totals
from baselines.modeling.mask2former import Mask2Former
from baselines.modeling.paste import MaskCanvas
from baselines.modeling.point_sampling import RandomPoints
from baselines.original import config_from_detectron2, loss_from_detectron2
from entityseg_bench import categories

__all__ = ["CropFormer", "MaskFormer"]

for _name in ("MaskFormer", "CropFormer"):
    if _name in META_ARCH_REGISTRY:
        raise ImportError(
            f"another package has registered the meta-architecture {_name}, the original's "
            "mask2former for one: import that or baselines.integrations.detectron2, not both"
        )

# What the original calls the parts of the loss.
_LOSS_NAMES = {"class": "ce", "mask": "mask", "dice": "dice"}


@META_ARCH_REGISTRY.register()
class MaskFormer(Mask2Former):
    """Our Mask2Former as the original's meta-architecture of this name.

    Its parameters have the published names, so that ``DetectionCheckpointer`` loads published
    weights and ImageNet backbones.

    Args:
        cfg: detectron2's configuration with the original's keys.

    Raises:
        ValueError: It describes no model that is here.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__(config_from_detectron2(cfg))
        self.criterion = Criterion(loss_from_detectron2(cfg))
        self.thing_class_idxs = _things(cfg, self.config.num_classes)
        for name in ("pixel_mean", "pixel_std"):
            values = torch.tensor(getattr(self.config, name)).view(3, 1, 1)
            self.register_buffer(name, values, persistent=False)
        self.register_load_state_dict_pre_hook(_to_our_names)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: Sequence[Mapping[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Compute losses in training mode, else results.

        Args:
            batched_inputs: Dictionaries as `EntityMapper` makes them: "image" (3, h, w), RGB in
                0..255. A CropFormer also takes "image_crop", further views like it, and in
                inference "crop_region", their boxes in pixels of the image at its own size; in
                inference "height" and "width" are that size. In training, "instances" and for
                further views "instances_crop", with ``gt_classes`` (N,) and ``gt_masks`` (N, h, w).

        Returns:
            In training mode, weighted losses by the original's names (``loss_ce_0``; of a
            CropFormer with ``_2d`` for the pass on each view and ``_3d`` for the joint one). Else a
            dictionary an image, see `baselines.integrations.detectron2.results`. Images are put
            through the network one by one, so that none depends on the others of its batch.
        """
        if self.training:
            return self._losses(batched_inputs)
        return [self._results(given) for given in batched_inputs]

    def _losses(self, batched_inputs: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        views = [self._views(given) for given in batched_inputs]
        images = self._stack(views)
        targets = [
            self._target(given, images.shape[-2:], len(own)).to(self.device)
            for given, own in zip(batched_inputs, views, strict=True)
        ]
        outputs = super().forward(images)
        found = self.criterion(
            outputs,
            targets,
            self._points(len(images)),
            self._points(images.shape[0] * images.shape[1]),
            self._totals(targets),
        )
        return {self._published_name(name): loss for name, loss in found.items()}

    def _results(self, given: Mapping[str, Any]) -> dict[str, Any]:
        views = self._views(given)
        images = self._stack([views])
        output = super().forward(images)
        logits = output["pred_logits"][0]
        if not logits.isfinite().all():
            raise FloatingPointError("the model's class logits are not finite")
        height, width = (
            int(given.get(name, side))
            for name, side in zip(("height", "width"), views[0].shape[-2:], strict=True)
        )
        boxes = [] if len(views) == 1 else np.asarray(given["crop_region"]).astype(int).tolist()
        layout = ViewLayout(
            (height, width),
            ((0, 0, width, height), *map(tuple, boxes)),
            tuple(tuple(view.shape[-2:]) for view in views),
            tuple(images.shape[-2:]),
        )
        canvas = MaskCanvas(output["pred_masks"][0], layout)
        return RESULTS[self.config.task](self.config, self.thing_class_idxs, logits, canvas)

    def _views(self, given: Mapping[str, Any]) -> list[Tensor]:
        """Return the views (3, h, w) of one input."""
        if self.config.num_views == 1:
            return [given["image"]]
        if "image_crop" not in given:
            raise ValueError(
                "a CropFormer takes views of the image at its own size, and this input has none "
                "('image_crop'): make inputs with EntityMapper, or predict with EntityPredictor in "
                "place of DefaultPredictor, which resizes the image first"
            )
        return [given["image"], *given["image_crop"]]

    def _stack(self, views: Sequence[Sequence[Tensor]]) -> Tensor:
        """Normalise and pad views: (B, V, 3, H, W)."""
        divisor = self.config.size_divisibility
        shapes = [view.shape[-2:] for own in views for view in own]
        height, width = (-(-max(side) // divisor) * divisor for side in zip(*shapes, strict=True))
        stack = self.pixel_mean.new_zeros(len(views), len(views[0]), 3, height, width)
        for slots, own in zip(stack, views, strict=True):
            for slot, view in zip(slots, own, strict=True):
                pixels = view.to(self.device, torch.float32)
                slot[:, : view.shape[-2], : view.shape[-1]] = (
                    pixels - self.pixel_mean
                ) / self.pixel_std
        return stack

    def _target(self, given: Mapping[str, Any], size: Sequence[int], num_views: int) -> Target:
        shown = [given["instances"], *given.get("instances_crop", [])][:num_views]
        labels = shown[0].gt_classes
        masks = torch.zeros(len(labels), num_views, *size, dtype=torch.bool)
        for v, instances in enumerate(shown):
            own = _dense(instances.gt_masks)
            masks[:, v, : own.shape[-2], : own.shape[-1]] = own
        if self.config.task == "entity":
            labels = torch.zeros_like(labels)
        return Target(labels, masks)

    def _points(self, number: int) -> RandomPoints:
        config = self.criterion.config
        seeds = torch.randint(2**62, (number,)).tolist()
        return RandomPoints(
            seeds, config.num_points, config.oversample, config.importance, self.device
        )

    def _totals(self, targets: Sequence[Target]) -> dict[str, Totals] | None:
        """Count what losses are divided by over all processes, as gradients are averaged there."""
        world = comm.get_world_size()
        if world == 1:
            return None
        own = self.criterion.totals(targets, self.config.num_queries)
        prefixes = ("", VIEW_PREFIX)
        numbers = [n for p in prefixes for n in (own[p].entities, own[p].class_weight)]
        row = torch.tensor(numbers, dtype=torch.float32, device=self.device)
        dist.all_reduce(row)
        entities, weights = row[::2].tolist(), row[1::2].tolist()
        return {
            prefix: Totals(max(count, 1) / world, weight / world)
            for prefix, count, weight in zip(prefixes, entities, weights, strict=True)
        }

    def _published_name(self, name: str) -> str:
        kind, _, layer = name.removeprefix(VIEW_PREFIX).partition("_")
        parts = ["loss", _LOSS_NAMES[kind], *([layer] if layer else [])]
        if self.config.num_views > 1:
            parts.append("2d" if name.startswith(VIEW_PREFIX) else "3d")
        return "_".join(parts)


@META_ARCH_REGISTRY.register()
class CropFormer(MaskFormer):
    """Our CropFormer as the original's meta-architecture of this name; see `MaskFormer`."""


def _dense(masks: Any) -> Tensor:
    """Give masks (N, h, w) bool out of ``BitMasks`` or a tensor."""
    dense = getattr(masks, "tensor", masks)
    if not isinstance(dense, Tensor):
        raise ValueError(
            f"gt_masks are {type(masks).__name__}: set INPUT.MASK_FORMAT bitmask, or make inputs "
            "with EntityMapper"
        )
    return dense.bool()


def _things(cfg: CfgNode, num_classes: int) -> frozenset[int]:
    """Return the classes that are things: what the data set's metadata say, or the published table.

    The first data set of DATASETS.TEST that says it counts, then of TRAIN.
    """
    for name in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        numbers = MetadataCatalog.get(name).get("thing_dataset_id_to_contiguous_id")
        if numbers is not None:
            return frozenset(numbers.values())
    table = categories.table("panoptic")
    if len(table) != num_classes:
        return frozenset(range(num_classes))
    return frozenset(idx for idx, category in enumerate(table) if category.type == "thing")


def _to_our_names(module: MaskFormer, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Forget the loss's constants in published files, and rename what early ones call otherwise."""
    for name in list(state_dict):
        own = name.removeprefix(prefix)
        if own.startswith("criterion") and own.endswith("empty_weight"):
            del state_dict[name]
        elif ".static_query." in own:
            state_dict[name.replace(".static_query.", ".query_feat.")] = state_dict.pop(name)
