"""The keys of the original's configuration files, and what is done with each.

Facts of detectron2's defaults, of its DeepLab project's and of the original's own: what a file
means that does not name a key. A key that is in none of the tables is unknown.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["DEFAULTS", "check_fixed", "flatten", "read_settings", "unknown_keys"]

_STAGES = ("res2", "res3", "res4", "res5")
_GCONV = (
    "partial(gnconv, order=2, s=1/3)",
    "partial(gnconv, order=3, s=1/3)",
    "partial(gnconv, order=4, s=1/3, h=24, w=13, gflayer=GlobalLocalFilter)",
    "partial(gnconv, order=5, s=1/3, h=12, w=7, gflayer=GlobalLocalFilter)",
)

# Key -> its value where no file names it.
READ: dict[str, Any] = {
    "DATASETS.TRAIN": (),
    "DATASETS.TEST": (),
    "ENTITY.ENABLE": False,
    "ENTITY.CROP_AREA_RATIO": 0.7,
    "ENTITY.CROP_SAMPLE_NUM_TRAIN": 1,
    "ENTITY.CROP_SAMPLE_NUM_TEST": 4,
    "ENTITY.FUSE_ENC_DIM_FEEDFORWARD": 2048,
    "ENTITY.FUSE_ENC_HIDDIEN_DIM": 256,
    "ENTITY.FUSE_ENC_NHEADS": 8,
    "INPUT.COLOR_AUG_SSD": False,
    "INPUT.CROP.ENABLED": False,
    "INPUT.CROP.SIZE": (0.9, 0.9),
    "INPUT.CROP.TYPE": "relative_range",
    "INPUT.DATASET_MAPPER_NAME": "mask_former_semantic",
    "INPUT.IMAGE_SIZE": 1024,
    "INPUT.MAX_SCALE": 2.0,
    "INPUT.MAX_SIZE_TEST": 1333,
    "INPUT.MAX_SIZE_TRAIN": 1333,
    "INPUT.MIN_SCALE": 0.1,
    "INPUT.MIN_SIZE_TEST": 800,
    "INPUT.MIN_SIZE_TRAIN": (800,),
    "INPUT.RANDOM_FLIP": "horizontal",
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.HORNET.BASE_DIM": 192,
    "MODEL.HORNET.DEPTHS": (2, 3, 18, 2),
    "MODEL.HORNET.DROP_PATH_RATE": 0.6,
    "MODEL.MASK_FORMER.CLASS_WEIGHT": 1.0,
    "MODEL.MASK_FORMER.DEC_LAYERS": 6,
    "MODEL.MASK_FORMER.DICE_WEIGHT": 1.0,
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD": 2048,
    "MODEL.MASK_FORMER.HIDDEN_DIM": 256,
    "MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO": 0.75,
    "MODEL.MASK_FORMER.MASK_WEIGHT": 20.0,
    "MODEL.MASK_FORMER.NHEADS": 8,
    "MODEL.MASK_FORMER.NO_OBJECT_WEIGHT": 0.1,
    "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": 100,
    "MODEL.MASK_FORMER.OVERSAMPLE_RATIO": 3.0,
    "MODEL.MASK_FORMER.SIZE_DIVISIBILITY": 32,
    "MODEL.MASK_FORMER.TEST.INSTANCE_ON": False,
    "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD": 0.0,
    "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD": 0.0,
    "MODEL.MASK_FORMER.TEST.PANOPTIC_ON": False,
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON": True,
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": 12544,
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME": "MultiScaleMaskedTransformerDecoder",
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.PIXEL_MEAN": (103.53, 116.28, 123.675),
    "MODEL.PIXEL_STD": (1.0, 1.0, 1.0),
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.NORM": "FrozenBN",
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 256,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 64,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 128,
    "MODEL.SEM_SEG_HEAD.MASK_DIM": 256,
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 54,
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 0,
    "MODEL.SWIN.DEPTHS": (2, 2, 6, 2),
    "MODEL.SWIN.DROP_PATH_RATE": 0.3,
    "MODEL.SWIN.EMBED_DIM": 96,
    "MODEL.SWIN.MLP_RATIO": 4.0,
    "MODEL.SWIN.NUM_HEADS": (3, 6, 12, 24),
    "MODEL.SWIN.USE_CHECKPOINT": False,
    "MODEL.SWIN.WINDOW_SIZE": 7,
    "MODEL.WEIGHTS": "",
    "SEED": -1,
    "SOLVER.AMP.ENABLED": False,
    "SOLVER.BACKBONE_MULTIPLIER": 0.1,
    "SOLVER.BASE_LR": 0.001,
    "SOLVER.CHECKPOINT_PERIOD": 5000,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "value",
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": 1.0,
    "SOLVER.CLIP_GRADIENTS.ENABLED": False,
    "SOLVER.IMS_PER_BATCH": 16,
    "SOLVER.MAX_ITER": 40000,
    "SOLVER.POLY_LR_POWER": 0.9,
    "SOLVER.WARMUP_FACTOR": 0.001,
    "SOLVER.WARMUP_ITERS": 1000,
    "SOLVER.WEIGHT_DECAY": 0.0001,
    "TEST.DETECTIONS_PER_IMAGE": 100,
    "TEST.EVAL_PERIOD": 0,
}

# Key -> (the one value that the models and the training here know, its value where no file names
# it). Grouped by what has to be in use for the key to matter.
FIXED: dict[str, dict[str, tuple[Any, Any]]] = {
    "model": {
        "INPUT.FORMAT": ("RGB", "BGR"),
        "MODEL.MASK_FORMER.DEEP_SUPERVISION": (True, True),
        "MODEL.MASK_FORMER.DROPOUT": (0.0, 0.1),
        "MODEL.MASK_FORMER.ENFORCE_INPUT_PROJ": (False, False),
        "MODEL.MASK_FORMER.PRE_NORM": (False, False),
        "MODEL.MASK_FORMER.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE": (False, False),
        "MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE": ("multi_scale_pixel_decoder", "res5"),
        "MODEL.SEM_SEG_HEAD.COMMON_STRIDE": (4, 4),
        "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": (_STAGES[1:],) * 2,
        "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS": (4, 4),
        "MODEL.SEM_SEG_HEAD.IN_FEATURES": (_STAGES, ("p2", "p3", "p4", "p5")),
        "MODEL.SEM_SEG_HEAD.NAME": ("MaskFormerHead", "SemSegFPNHead"),
        "MODEL.SEM_SEG_HEAD.NORM": ("GN", "GN"),
        "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME": ("MSDeformAttnPixelDecoder", "BasePixelDecoder"),
        "TEST.AUG.ENABLED": (False, False),
    },
    "CropFormer": {
        "ENTITY.FUSE_ENC_PRE_NORM": (False, False),
        "ENTITY.FUSE_NUM_LAYERS": (1, 1),
    },
    "build_resnet_backbone": {
        "MODEL.BACKBONE.FREEZE_AT": (0, 2),
        "MODEL.RESNETS.DEFORM_ON_PER_STAGE": ((False,) * 4,) * 2,
        "MODEL.RESNETS.NUM_GROUPS": (1, 1),
        "MODEL.RESNETS.OUT_FEATURES": (_STAGES, ("res4",)),
        "MODEL.RESNETS.RES4_DILATION": (1, 1),
        "MODEL.RESNETS.RES5_DILATION": (1, 1),
        "MODEL.RESNETS.STRIDE_IN_1X1": (False, True),
    },
    "D2SwinTransformer": {
        "MODEL.SWIN.APE": (False, False),
        "MODEL.SWIN.ATTN_DROP_RATE": (0.0, 0.0),
        "MODEL.SWIN.DROP_RATE": (0.0, 0.0),
        "MODEL.SWIN.OUT_FEATURES": (_STAGES, _STAGES),
        "MODEL.SWIN.PATCH_NORM": (True, True),
        "MODEL.SWIN.PATCH_SIZE": (4, 4),
        "MODEL.SWIN.QKV_BIAS": (True, True),
        "MODEL.SWIN.QK_SCALE": (None, None),
    },
    "D2HorNet": {
        "MODEL.HORNET.GCONV": (_GCONV, _GCONV),
        "MODEL.HORNET.OUT_FEATURES": (_STAGES, _STAGES),
    },
    "training": {
        "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": (1.0, 1.0),
        "INPUT.MIN_SIZE_TRAIN_SAMPLING": ("choice", "choice"),
        "SOLVER.CLIP_GRADIENTS.NORM_TYPE": (2.0, 2.0),
        "SOLVER.LR_SCHEDULER_NAME": ("WarmupPolyLR", "WarmupMultiStepLR"),
        "SOLVER.OPTIMIZER": ("ADAMW", "ADAMW"),
        "SOLVER.POLY_LR_CONSTANT_ENDING": (0.0, 0.0),
        "SOLVER.REFERENCE_WORLD_SIZE": (0, 0),
        "SOLVER.WARMUP_METHOD": ("linear", "linear"),
        "SOLVER.WEIGHT_DECAY_EMBED": (0.0, 0.0),
        "SOLVER.WEIGHT_DECAY_NORM": (0.0, 0.0),
    },
}

# Keys, and groups of them (with a dot at the end), that change neither the model nor what it
# learns: of other architectures, of logging and loading, or read by nobody in the original.
IGNORED = (
    "CUDNN_BENCHMARK",
    "DATALOADER.",
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST",
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN",
    "DATASETS.PROPOSAL_FILES_TEST",
    "DATASETS.PROPOSAL_FILES_TRAIN",
    "ENTITY.CROP_STRIDE_RATIO",
    "ENTITY.FUSE_DEC_NUM_LAYERS",
    "ENTITY.FUSE_ENC_LAST_LAYERS",
    "FLOAT32_PRECISION",
    "GLOBAL.",
    "INPUT.MASK_FORMAT",
    "INPUT.SIZE_DIVISIBILITY",
    "MODEL.ANCHOR_GENERATOR.",
    "MODEL.DEVICE",
    "MODEL.FPN.",
    "MODEL.KEYPOINT_ON",
    "MODEL.LOAD_PROPOSALS",
    "MODEL.MASK_FORMER.ENC_LAYERS",
    "MODEL.MASK_ON",
    "MODEL.PANOPTIC_FPN.",
    "MODEL.PROPOSAL_GENERATOR.",
    "MODEL.RESNETS.DEFORM_MODULATED",
    "MODEL.RESNETS.DEFORM_NUM_GROUPS",
    "MODEL.RESNETS.RES5_MULTI_GRID",
    "MODEL.RESNETS.STEM_TYPE",
    "MODEL.RETINANET.",
    "MODEL.ROI_BOX_CASCADE_HEAD.",
    "MODEL.ROI_BOX_HEAD.",
    "MODEL.ROI_HEADS.",
    "MODEL.ROI_KEYPOINT_HEAD.",
    "MODEL.ROI_MASK_HEAD.",
    "MODEL.RPN.",
    "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS",
    "MODEL.SEM_SEG_HEAD.ASPP_DILATIONS",
    "MODEL.SEM_SEG_HEAD.ASPP_DROPOUT",
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS",
    "MODEL.SEM_SEG_HEAD.IGNORE_VALUE",
    "MODEL.SEM_SEG_HEAD.LOSS_TYPE",
    "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT",
    "MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS",
    "MODEL.SEM_SEG_HEAD.PROJECT_FEATURES",
    "MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV",
    "MODEL.SWIN.PRETRAIN_IMG_SIZE",
    "MODEL.SWINT.",
    "OUTPUT_DIR",
    "SOLVER.BASE_LR_END",
    "SOLVER.BIAS_LR_FACTOR",
    "SOLVER.GAMMA",
    "SOLVER.MOMENTUM",
    "SOLVER.NESTEROV",
    "SOLVER.NUM_DECAYS",
    "SOLVER.RESCALE_INTERVAL",
    "SOLVER.STEPS",
    "SOLVER.WEIGHT_DECAY_BIAS",
    "TEST.AUG.FLIP",
    "TEST.AUG.MAX_SIZE",
    "TEST.AUG.MIN_SIZES",
    "TEST.EXPECTED_RESULTS",
    "TEST.KEYPOINT_OKS_SIGMAS",
    "TEST.PRECISE_BN.",
    "VERSION",
    "VIS_PERIOD",
)

DEFAULTS = READ | {key: at_rest for group in FIXED.values() for key, (_, at_rest) in group.items()}


def read_settings(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every key that is read or checked, by its whole name.

    Args:
        cfg: A configuration as nested mappings, whole or the keys that differ from the defaults.

    Raises:
        ValueError: Keys that are not known, all of them, or a value of another type.
    """
    named = flatten(cfg)
    unknown = unknown_keys(named)
    if unknown:
        raise ValueError(f"unknown keys: {', '.join(unknown)}")
    given = {key: value for key, value in named.items() if key in DEFAULTS}
    for key, value in given.items():
        _check_type(key, value, DEFAULTS[key])
    return DEFAULTS | given


def unknown_keys(names: Iterable[str]) -> list[str]:
    """List the names that are no keys of the original, each with the key that it is like."""
    unknown = (key for key in names if key not in DEFAULTS and not _is_ignored(key))
    return [_with_neighbour(key) for key in unknown]


def check_fixed(settings: Mapping[str, Any], *groups: str) -> None:
    """See that keys of which one value is known here have it.

    Raises:
        ValueError: Some do not; the message has them all.
    """
    wrong = [
        f"{key} is {settings[key]!r}" + f" and only {known!r} is known here"
        for group in groups
        for key, (known, _) in FIXED[group].items()
        if settings[key] != known
    ]
    if wrong:
        raise ValueError("; ".join(wrong))


def flatten(cfg: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Give nested mappings as one, by whole names; lists become tuples."""
    flat: dict[str, Any] = {}
    for key, value in cfg.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = _frozen(value)
    return flat


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


def _is_ignored(key: str) -> bool:
    return any(key.startswith(name) if name.endswith(".") else key == name for name in IGNORED)


def _with_neighbour(key: str) -> str:
    near = difflib.get_close_matches(key, [*DEFAULTS, *IGNORED], n=1, cutoff=0.8)
    return f"{key} (near {near[0]})" if near else key


def _check_type(key: str, value: Any, default: Any) -> None:
    if default is None or value is None:
        return
    kind = type(default)
    # Whole numbers are numbers; True, to Python an int, is none.
    fits = isinstance(value, int | float) if kind is float else isinstance(value, kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{key} is {value!r}, where something like {default!r} is wanted")
