"""The list of the reference models, readable without torch: size, published numbers, weights."""

from dataclasses import dataclass

from baselines.weights import PUBLISHED, list_weights
from entityseg_bench.categories import TASKS, Task

__all__ = ["MODELS", "Model"]

# Beginning of what follows the method in a preset's name -> name of the backbone.
BACKBONES = {
    "R_50": "R50",
    "hornet": "HorNet-L",
    "swin_large": "Swin-L",
    "swin_tiny": "Swin-T",
    "tiny": "tiny",
}


@dataclass(frozen=True)
class Model:
    """Describe a preset.

    Attributes:
        preset: Its name.
        parameters: Number of parameters.
        low: Published number on images of low resolution in percent, if there is one: AP^e of
            entities, AP of instances, mIoU of semantic classes, PQ of panoptic segments.
        high: The same on images of high resolution.
        is_doubtful: True if the source does not state the resolution.
        is_recipe: True if there are no published numbers and no weights.
    """

    preset: str
    parameters: int
    low: float | None = None
    high: float | None = None
    is_doubtful: bool = False
    is_recipe: bool = False

    @property
    def task(self) -> Task:
        """Annotation type that the model predicts; persons of COCO are instances."""
        if "coco_person" in self.preset:
            return "instance"
        return next((task for task in TASKS if self.preset.endswith(f"_{task}")), "entity")

    @property
    def backbone(self) -> str:
        """Name of the backbone."""
        rest = self.preset.partition("_")[2]
        return next(name for start, name in BACKBONES.items() if rest.startswith(start))

    @property
    def weights(self) -> str | None:
        """Name for ``--weights``: published weights, or some that come with the package."""
        if self.is_packaged:
            return f"{self.preset}_demo"
        return self.preset if self.preset in PUBLISHED else None

    @property
    def is_packaged(self) -> bool:
        """True if weights come with the package."""
        return f"{self.preset}_demo" in list_weights()

    def printed(self, resolution: str) -> str:
        """Return a published number as printed; ``?`` marks a doubtful one."""
        value = self.low if resolution == "low" else self.high
        return "-" if value is None else f"{value:.1f}{'?' * self.is_doubtful}"


# The numbers are those of leaderboard/published.json. A test compares them, and the parameters with
# the networks. The mIoU of Swin-L, 51.1 %, is left out: its source does not state the window size.
MODELS = (
    Model("cropformer_hornet_3x", 222_151_746, 49.1, 51.5),
    Model("cropformer_swin_large_3x", 216_826_198, 45.8, 48.2),
    Model("cropformer_swin_tiny_3x", 48_980_092, 40.6, 43.0),
    Model("mask2former_hornet_3x", 220_572_994, 47.1, 49.2),
    Model("mask2former_hornet_3x_lr", 220_572_994, 47.1),
    Model("mask2former_swin_large_3x", 215_247_446, 44.4, 46.2),
    Model("mask2former_swin_tiny_3x", 47_401_340, 38.8, 40.7),
    Model("mask2former_R_50_instance", 44_002_639),
    Model("mask2former_swin_large_instance", 215_503_171, high=30.3),
    Model("mask2former_swin_tiny_instance", 47_454_025, high=22.7),
    Model("mask2former_R_50_semantic", 43_988_247),
    Model("mask2former_swin_large_w12_semantic", 215_539_979),
    Model("mask2former_swin_large_w7_semantic", 215_285_739),
    Model("mask2former_swin_tiny_semantic", 47_439_633, high=45.2, is_doubtful=True),
    Model("mask2former_R_50_panoptic", 44_039_647),
    Model("mask2former_swin_large_w12_panoptic", 215_591_379, high=13.5),
    Model("mask2former_swin_large_w7_panoptic", 215_337_139),
    Model("mask2former_swin_tiny_panoptic", 47_491_033, high=9.8),
    Model("cropformer_tiny", 1_583_978),
    Model("mask2former_tiny", 1_533_738),
    Model("cropformer_R_50_1x", 45_528_706, is_recipe=True),
    Model("cropformer_swin_tiny_1x", 48_980_092, is_recipe=True),
    Model("mask2former_R_50_1x", 43_949_954, is_recipe=True),
    Model("mask2former_R_50_coco_entity", 43_949_954, is_recipe=True),
    Model("mask2former_hornet_coco_entity", 220_572_994, is_recipe=True),
    Model("mask2former_swin_large_coco_entity", 215_247_446, is_recipe=True),
    Model("mask2former_swin_tiny_coco_entity", 47_401_340, is_recipe=True),
    Model("mask2former_swin_tiny_1x", 47_401_340, is_recipe=True),
    Model("cropformer_swin_large_coco_person", 216_826_198, is_recipe=True),
    Model("cropformer_swin_large_coco_person_noise_000_100_200", 216_826_198, is_recipe=True),
    Model("cropformer_swin_tiny_coco_person", 48_980_092, is_recipe=True),
    Model("cropformer_swin_tiny_coco_person_noise_000_100_200", 48_980_092, is_recipe=True),
    Model("mask2former_swin_large_coco_person", 215_247_446, is_recipe=True),
    Model("mask2former_swin_large_coco_person_noise_000_100_200", 215_247_446, is_recipe=True),
    Model("mask2former_swin_tiny_coco_person", 47_401_340, is_recipe=True),
    Model("mask2former_swin_tiny_coco_person_noise_000_100_200", 47_401_340, is_recipe=True),
)
