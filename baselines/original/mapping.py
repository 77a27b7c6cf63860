"""From the original's configuration to the ones used here."""

from collections.abc import Mapping
from typing import Any

from baselines.config import BackboneConfig, HorNetConfig, ModelConfig, ResNetConfig, SwinConfig
from baselines.modeling.criterion import LossConfig
from baselines.original.keys import check_fixed, read_settings
from baselines.train_config import AugmentConfig, TrainConfig
from entityseg_bench.integrations.dataset_names import DATASETS, Subset
from entityseg_bench.layout import PARTS

__all__ = [
    "augment_from_detectron2",
    "config_from_detectron2",
    "loss_from_detectron2",
    "subsets",
    "train_from_detectron2",
]

Settings = Mapping[str, Any]

_DECODERS = {
    "MaskFormer": "MultiScaleMaskedTransformerDecoder",
    "CropFormer": "CropSharedMultiScaleMaskedTransformerDecoder",
}
_SHORT_SIDE_MAPPERS = ("mask_former_semantic", "mask_former_instance", "mask_former_panoptic")


def config_from_detectron2(cfg: Mapping[str, Any]) -> ModelConfig:
    """Translate the original's configuration of a model.

    Args:
        cfg: Nested mappings, such as detectron2's ``CfgNode`` or what `read_yaml` returns: whole,
            or only the keys that differ from the original's defaults.

    Raises:
        ValueError: It describes neither a Mask2Former nor a CropFormer, it has a key that is not
            known, or a value that no model here has.
    """
    settings = read_settings(cfg)
    architecture = settings["MODEL.META_ARCHITECTURE"]
    if architecture not in _DECODERS:
        raise ValueError(f"no reference model here is a {architecture}")
    backbone = _backbone(settings)
    _check_model(settings, architecture)
    crops = architecture == "CropFormer"
    return ModelConfig(
        backbone=backbone,
        task=_task(settings),
        num_classes=settings["MODEL.SEM_SEG_HEAD.NUM_CLASSES"],
        num_queries=settings["MODEL.MASK_FORMER.NUM_OBJECT_QUERIES"],
        num_views=1 + settings["ENTITY.CROP_SAMPLE_NUM_TEST"] if crops else 1,
        hidden_dim=settings["MODEL.MASK_FORMER.HIDDEN_DIM"],
        mask_dim=settings["MODEL.SEM_SEG_HEAD.MASK_DIM"],
        num_heads=settings["MODEL.MASK_FORMER.NHEADS"],
        encoder_layers=settings["MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS"],
        # The original counts the learnable queries as a layer.
        decoder_layers=settings["MODEL.MASK_FORMER.DEC_LAYERS"] - 1,
        decoder_ffn_dim=settings["MODEL.MASK_FORMER.DIM_FEEDFORWARD"],
        fusion_ffn_dim=settings["ENTITY.FUSE_ENC_DIM_FEEDFORWARD"],
        pixel_mean=settings["MODEL.PIXEL_MEAN"],
        pixel_std=settings["MODEL.PIXEL_STD"],
        size_divisibility=settings["MODEL.MASK_FORMER.SIZE_DIVISIBILITY"],
        min_size_test=settings["INPUT.MIN_SIZE_TEST"],
        max_size_test=settings["INPUT.MAX_SIZE_TEST"],
        crop_ratio=settings["ENTITY.CROP_AREA_RATIO"],
        max_predictions=settings["TEST.DETECTIONS_PER_IMAGE"],
        panoptic_score_threshold=settings["MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD"],
        panoptic_overlap_threshold=settings["MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD"],
    )


def _check_model(settings: Settings, architecture: str) -> None:
    """Stop at values that no model of this architecture has here."""
    check_fixed(settings, "model", settings["MODEL.BACKBONE.NAME"])
    _check_same(settings, "MODEL.SEM_SEG_HEAD.CONVS_DIM", "MODEL.MASK_FORMER.HIDDEN_DIM")
    decoder = settings["MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME"]
    if decoder != _DECODERS[architecture]:
        raise ValueError(f"the decoder of a {architecture} is no {decoder}")
    if architecture == "CropFormer":
        check_fixed(settings, "CropFormer")
        _check_same(settings, "ENTITY.FUSE_ENC_HIDDIEN_DIM", "MODEL.MASK_FORMER.HIDDEN_DIM")
        _check_same(settings, "ENTITY.FUSE_ENC_NHEADS", "MODEL.MASK_FORMER.NHEADS")


def train_from_detectron2(cfg: Mapping[str, Any]) -> TrainConfig:
    """Translate the original's configuration of a training run.

    What has no counterpart keeps the value it has here. Mixed precision becomes bfloat16, as in the
    presets, and a warm-up begins at 0 instead of at WARMUP_FACTOR.

    Raises:
        ValueError: A key that is not known, or a value that the training here does not know.
    """
    settings = read_settings(cfg)
    check_fixed(settings, "training")
    picked = [subset for subset in subsets(settings, "DATASETS.TRAIN") if subset]
    # A factor of 1 is no warm-up, however long.
    warms_up = settings["SOLVER.WARMUP_FACTOR"] != 1.0
    seed = settings["SEED"]
    return TrainConfig(
        steps=settings["SOLVER.MAX_ITER"],
        batch_size=settings["SOLVER.IMS_PER_BATCH"],
        lr=settings["SOLVER.BASE_LR"],
        backbone_lr_factor=settings["SOLVER.BACKBONE_MULTIPLIER"],
        weight_decay=settings["SOLVER.WEIGHT_DECAY"],
        power=settings["SOLVER.POLY_LR_POWER"],
        warmup_steps=settings["SOLVER.WARMUP_ITERS"] if warms_up else 0,
        clip_norm=_clip_norm(settings),
        loss=loss_from_detectron2(cfg),
        augment=augment_from_detectron2(cfg),
        split=_only_one(picked, "split", "train"),
        resolution=_only_one(picked, "resolution", "high"),
        parts=_parts(picked),
        precision="bfloat16" if settings["SOLVER.AMP.ENABLED"] else "float32",
        recompute=settings["MODEL.SWIN.USE_CHECKPOINT"],
        seed=seed if seed >= 0 else TrainConfig.seed,
        checkpoint_every=settings["SOLVER.CHECKPOINT_PERIOD"],
        evaluate_every=settings["TEST.EVAL_PERIOD"],
    )


def subsets(settings: Settings, key: str) -> list[Subset | None]:
    """Return what the names of DATASETS.TRAIN or .TEST stand for, None for other data sets."""
    return [DATASETS.get(name) for name in settings[key]]


def _task(settings: Settings) -> str:
    if settings["ENTITY.ENABLE"]:
        return "entity"
    for task in ("panoptic", "semantic"):
        if settings[f"MODEL.MASK_FORMER.TEST.{task.upper()}_ON"]:
            return task
    return "instance"


def _backbone(settings: Settings) -> BackboneConfig:
    name = settings["MODEL.BACKBONE.NAME"]
    if name == "D2SwinTransformer":
        return SwinConfig(
            embed_dim=settings["MODEL.SWIN.EMBED_DIM"],
            depths=settings["MODEL.SWIN.DEPTHS"],
            num_heads=settings["MODEL.SWIN.NUM_HEADS"],
            window_size=settings["MODEL.SWIN.WINDOW_SIZE"],
            mlp_ratio=settings["MODEL.SWIN.MLP_RATIO"],
            drop_path_rate=settings["MODEL.SWIN.DROP_PATH_RATE"],
        )
    if name == "D2HorNet":
        return HorNetConfig(
            base_dim=settings["MODEL.HORNET.BASE_DIM"],
            depths=settings["MODEL.HORNET.DEPTHS"],
            drop_path_rate=settings["MODEL.HORNET.DROP_PATH_RATE"],
        )
    if name == "build_resnet_backbone" and settings["MODEL.RESNETS.DEPTH"] == 50:
        return ResNetConfig(
            stem_channels=settings["MODEL.RESNETS.STEM_OUT_CHANNELS"],
            res2_channels=settings["MODEL.RESNETS.RES2_OUT_CHANNELS"],
            width=settings["MODEL.RESNETS.WIDTH_PER_GROUP"],
            frozen_norm=settings["MODEL.RESNETS.NORM"] == "FrozenBN",
        )
    raise ValueError(f"no backbone here is a {name} of this depth")


def loss_from_detectron2(cfg: Mapping[str, Any]) -> LossConfig:
    """Translate the weights and points of the original's loss.

    Raises:
        ValueError: A key that is not known, or a value of another type.
    """
    settings = read_settings(cfg)
    return LossConfig(
        class_weight=settings["MODEL.MASK_FORMER.CLASS_WEIGHT"],
        mask_weight=settings["MODEL.MASK_FORMER.MASK_WEIGHT"],
        dice_weight=settings["MODEL.MASK_FORMER.DICE_WEIGHT"],
        no_object_weight=settings["MODEL.MASK_FORMER.NO_OBJECT_WEIGHT"],
        num_points=settings["MODEL.MASK_FORMER.TRAIN_NUM_POINTS"],
        oversample=settings["MODEL.MASK_FORMER.OVERSAMPLE_RATIO"],
        importance=settings["MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO"],
    )


def augment_from_detectron2(cfg: Mapping[str, Any]) -> AugmentConfig:
    """Translate what the original does to training images.

    Raises:
        ValueError: A key that is not known, or what no augmentation here does.
    """
    settings = read_settings(cfg)
    mapper = settings["INPUT.DATASET_MAPPER_NAME"]
    flip = _flip(settings["INPUT.RANDOM_FLIP"])
    if mapper in ("coco_instance_lsj", "coco_panoptic_lsj"):
        scales = settings["INPUT.MIN_SCALE"], settings["INPUT.MAX_SCALE"]
        return AugmentConfig(canvas=settings["INPUT.IMAGE_SIZE"], scale_range=scales, flip=flip)
    sides = settings["INPUT.MIN_SIZE_TRAIN"]
    shared = {
        "short_sides": sides,
        "max_side": settings["INPUT.MAX_SIZE_TRAIN"],
        "colour": settings["INPUT.COLOR_AUG_SSD"],
    }
    if mapper == "entity_crop":
        crops = settings["ENTITY.CROP_SAMPLE_NUM_TRAIN"]
        return AugmentConfig(corner_crops=crops, flip=flip, **shared)
    if mapper in _SHORT_SIDE_MAPPERS:
        # These mappers flip whatever INPUT.RANDOM_FLIP says.
        return AugmentConfig(window=_window(settings), **shared)
    raise ValueError(f"INPUT.DATASET_MAPPER_NAME {mapper} is not known")


def _window(settings: Settings) -> int | None:
    if not settings["INPUT.CROP.ENABLED"]:
        return None
    kind, size = settings["INPUT.CROP.TYPE"], settings["INPUT.CROP.SIZE"]
    if kind != "absolute" or len(set(size)) != 1:
        raise ValueError(
            f"INPUT.CROP of type {kind} and size {size}: only absolute squares are cut here"
        )
    return int(size[0])


def _flip(kind: str) -> float:
    if kind not in ("horizontal", "none"):
        raise ValueError(f"INPUT.RANDOM_FLIP {kind}: images are flipped horizontally here, or not")
    return 0.5 if kind == "horizontal" else 0.0


def _clip_norm(settings: Settings) -> float:
    if not settings["SOLVER.CLIP_GRADIENTS.ENABLED"]:
        return 0.0
    kind = settings["SOLVER.CLIP_GRADIENTS.CLIP_TYPE"]
    if kind != "full_model":
        raise ValueError(f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE {kind}: only full_model is known here")
    return settings["SOLVER.CLIP_GRADIENTS.CLIP_VALUE"]


def _check_same(settings: Settings, first: str, second: str) -> None:
    if settings[first] != settings[second]:
        raise ValueError(
            f"{first} {settings[first]} and {second} {settings[second]} are one number here"
        )


def _parts(picked: list[Subset]) -> tuple[str, ...] | None:
    """Join the parts that data sets name; None where together they are all there are."""
    named = [subset.parts for subset in picked]
    if not named or None in named:
        return None
    parts = tuple(sorted({part for own in named for part in own}))
    return None if parts == PARTS else parts


def _only_one(picked: list[Subset], field: str, default: str) -> Any:
    found = {getattr(subset, field) for subset in picked} or {default}
    if len(found) > 1:
        raise ValueError(f"DATASETS.TRAIN mixes {field}s {' and '.join(sorted(found))}")
    return found.pop()
