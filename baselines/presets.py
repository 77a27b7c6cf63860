"""The named models: each configuration is stated as its difference from the default one."""

from dataclasses import dataclass, field, replace

from baselines.config import HorNetConfig, ModelConfig, ResNetConfig, SwinConfig
from baselines.modeling.criterion import LossConfig
from baselines.train_config import AugmentConfig, TrainConfig
from entityseg_bench.parser import did_you_mean

__all__ = ["PRESETS", "Preset", "get_preset", "list_presets"]


@dataclass(frozen=True)
class Preset:
    """A named configuration.

    Attributes:
        model: Configuration of the network.
        train: Configuration of its training.
        is_recipe: True if there is no published number and no published weights for it.
    """

    model: ModelConfig
    train: TrainConfig = field(default_factory=TrainConfig)
    is_recipe: bool = False


_SWIN_T = SwinConfig()
_SWIN_L = SwinConfig(embed_dim=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48))
_SWIN_L_W12 = replace(_SWIN_L, window_size=12)

_ENTITY = ModelConfig()
_INSTANCE = ModelConfig(task="instance", num_classes=206)
_PANOPTIC = ModelConfig(task="panoptic", num_classes=350)
_SEMANTIC = ModelConfig(task="semantic", num_classes=150, min_size_test=512, max_size_test=2048)

_ENTITY_BACKBONES = {
    "swin_tiny": {"backbone": _SWIN_T},
    "swin_large": {"backbone": _SWIN_L},
    "hornet": {"backbone": HorNetConfig(), "num_queries": 200},
}
_CLASS_AWARE = {
    "R_50": {"backbone": ResNetConfig()},
    "swin_tiny": {"backbone": _SWIN_T},
    "swin_large_w7": {"backbone": _SWIN_L},
    "swin_large_w12": {"backbone": _SWIN_L_W12, "num_queries": 200},
}


# Large-scale jitter to 1024 x 1024, and the published models' short sides with a corner crop.
_JITTER = AugmentConfig(canvas=1024)
_CORNER_CROP = AugmentConfig(corner_crops=1)
_CROP_512 = AugmentConfig(
    short_sides=tuple(int(0.1 * tenths * 512) for tenths in range(5, 21)),
    max_side=2048,
    window=512,
    colour=True,
)
# The original trains in float16; bfloat16 has the same speed and cannot overflow.
_3X = TrainConfig(steps=103_125, augment=_JITTER, precision="bfloat16")
_1X = replace(_3X, steps=34_375)
_COCO_50_EPOCHS = replace(_3X, steps=368_750)
_TASK_TRAINING = {
    "instance": _1X,
    "semantic": replace(_1X, augment=_CROP_512),
    "panoptic": replace(_1X, lr=5e-4),
}


def _crop_training(backbone: str) -> TrainConfig:
    # The original's Swin-T file omits the schedule, so it runs 34,375 steps; its name says 3x.
    if backbone == "swin_tiny":
        return replace(_3X, augment=_CORNER_CROP)
    return replace(_3X, augment=_CORNER_CROP, batch_size=8, steps=206_250)


def _published() -> dict[str, Preset]:
    presets = {}
    for name, change in _ENTITY_BACKBONES.items():
        presets[f"mask2former_{name}_3x"] = Preset(replace(_ENTITY, **change), _3X)
        presets[f"cropformer_{name}_3x"] = Preset(
            replace(_ENTITY, num_views=5, **change), _crop_training(name)
        )
    # The same network as without _lr; only the images that it is scored on differ.
    presets["mask2former_hornet_3x_lr"] = presets["mask2former_hornet_3x"]

    # The original's large instance model has window 12 and, unlike its siblings, 100 queries.
    instance = {
        "R_50": _CLASS_AWARE["R_50"],
        "swin_tiny": _CLASS_AWARE["swin_tiny"],
        "swin_large": {"backbone": _SWIN_L_W12},
    }
    tasks = ((_INSTANCE, instance), (_SEMANTIC, _CLASS_AWARE), (_PANOPTIC, _CLASS_AWARE))
    for base, changes in tasks:
        for name, change in changes.items():
            presets[f"mask2former_{name}_{base.task}"] = Preset(
                replace(base, **change), _TASK_TRAINING[base.task]
            )
    return presets


def _recipes() -> dict[str, Preset]:
    """Return the configurations that the original's README names but did not publish.

    A 1x schedule has a third of the steps of the 3x one, and the polynomial decay runs over them.
    The models of COCO-Entity are what training on EntitySeg starts from: CropFormer, too, starts
    from a Mask2Former. Of their training only the name of the published weights is known, which
    says 50 epochs; these are Mask2Former's on COCO, in steps. The person models are trained on one
    category of COCO's instances. The numbers in ``noise_000_100_200`` are taken as metres of
    turbulent air; for each image one of them is drawn.
    """
    r50 = replace(_ENTITY, backbone=ResNetConfig())
    corner = replace(_1X, augment=_CORNER_CROP)
    presets = {
        "mask2former_R_50_1x": Preset(r50, _1X),
        "cropformer_R_50_1x": Preset(replace(r50, num_views=5), corner),
        "mask2former_swin_tiny_1x": Preset(replace(_ENTITY, backbone=_SWIN_T), _1X),
        "cropformer_swin_tiny_1x": Preset(replace(_ENTITY, backbone=_SWIN_T, num_views=5), corner),
    }
    for name, change in ({"R_50": _CLASS_AWARE["R_50"]} | _ENTITY_BACKBONES).items():
        presets[f"mask2former_{name}_coco_entity"] = Preset(
            replace(_ENTITY, **change), _COCO_50_EPOCHS
        )
    for size, backbone in (("tiny", _SWIN_T), ("large", _SWIN_L)):
        person = replace(_ENTITY, task="instance", num_classes=1, backbone=backbone)
        for method, views in (("mask2former", 1), ("cropformer", 5)):
            published = _published()[f"{method}_swin_{size}_3x"].train
            name = f"{method}_swin_{size}_coco_person"
            model = replace(person, num_views=views)
            presets[name] = Preset(model, published)
            presets[f"{name}_noise_000_100_200"] = Preset(
                model, replace(published, distances=(0.0, 100.0, 200.0))
            )
    return {name: replace(preset, is_recipe=True) for name, preset in presets.items()}


def _tiny() -> dict[str, Preset]:
    """Return models that two CPU cores train in minutes on small synthetic images.

    ``docs/train.md`` shows their training.
    """
    model = ModelConfig(
        backbone=ResNetConfig(
            blocks=(1, 1, 1, 1), stem_channels=32, res2_channels=64, width=32, frozen_norm=False
        ),
        num_queries=60,
        hidden_dim=64,
        mask_dim=64,
        num_heads=4,
        encoder_layers=1,
        encoder_ffn_dim=128,
        encoder_points=2,
        decoder_layers=3,
        decoder_ffn_dim=128,
        fusion_ffn_dim=128,
        min_size_test=224,
        max_size_test=448,
    )
    train = TrainConfig(
        steps=1500,
        batch_size=4,
        max_device_batch=4,
        lr=7e-4,
        backbone_lr_factor=1.0,
        published_decay=False,
        warmup_steps=100,
        # Enough points that entities of a few cells of the mask grid get some in the matching.
        loss=LossConfig(num_points=2048),
        augment=AugmentConfig(canvas=224, scale_range=(0.8, 1.6)),
        workers=0,
        ema_decay=0.998,
        checkpoint_every=250,
        evaluate_every=250,
    )
    # It starts from the weights of mask2former_tiny, as the published CropFormers start from
    # trained weights.
    crops = replace(
        train,
        steps=340,
        lr=4e-4,
        warmup_steps=30,
        loss=LossConfig(num_points=1024),
        augment=AugmentConfig(short_sides=(144, 160, 176), max_side=352, corner_crops=1),
        checkpoint_every=50,
        evaluate_every=170,
    )
    return {
        "mask2former_tiny": Preset(model, train),
        # The full image has the size that it was trained on; the crops show the same entities
        # larger.
        "cropformer_tiny": Preset(
            replace(model, num_views=5, min_size_test=176, max_size_test=352), crops
        ),
    }


PRESETS: dict[str, Preset] = dict(sorted((_published() | _recipes() | _tiny()).items()))


def list_presets() -> list[str]:
    """List the names of the presets in alphabetical order."""
    return list(PRESETS)


def get_preset(name: str) -> Preset:
    """Look a preset up by name.

    Raises:
        ValueError: There is no such preset. The message lists the names.
    """
    if name not in PRESETS:
        guess = did_you_mean(name, PRESETS)
        raise ValueError(f"no preset {name!r}; presets: {', '.join(PRESETS)}{guess}")
    return PRESETS[name]
