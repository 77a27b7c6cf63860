"""Our Mask2Former and CropFormer as detectron2's meta-architectures, and what runs them there.

Importing it registers the architectures ``MaskFormer`` and ``CropFormer``, as the original's
configuration files name them. This package and ``entityseg_bench.integrations.detectron2`` are all
that imports detectron2.
"""

from entityseg_bench.integrations.detectron2 import (
    EntityEvaluator,
    check_installed,
    open_registered,
    register_entityseg,
)

check_installed()

from baselines.integrations.detectron2.architectures import CropFormer, MaskFormer  # noqa: E402
from baselines.integrations.detectron2.configuration import (  # noqa: E402
    add_entityseg_config,
    read_config,
)
from baselines.integrations.detectron2.engine import EntityPredictor, EntityTrainer  # noqa: E402
from baselines.integrations.detectron2.mapper import EntityMapper  # noqa: E402

__all__ = [
    "CropFormer",
    "EntityEvaluator",
    "EntityMapper",
    "EntityPredictor",
    "EntityTrainer",
    "MaskFormer",
    "add_entityseg_config",
    "open_registered",
    "read_config",
    "register_entityseg",
]
