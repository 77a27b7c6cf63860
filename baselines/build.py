"""A model by its name or its configuration."""

from baselines.config import ModelConfig
from baselines.modeling.mask2former import Mask2Former
from baselines.presets import get_preset

__all__ = ["build_model"]


def build_model(preset: str | ModelConfig) -> Mask2Former:
    """Build a model with freshly initialised weights, in training mode and on the CPU.

    Args:
        preset: a name out of :func:`list_presets`, or a configuration of one's own.

    Raises:
        ValueError: no such preset.
    """
    config = preset if isinstance(preset, ModelConfig) else get_preset(preset).model
    return Mask2Former(config)
