"""Build a model from the name of a preset or from a configuration."""

from baselines.config import ModelConfig
from baselines.modeling.mask2former import Mask2Former
from baselines.presets import get_preset

__all__ = ["build_model"]


def build_model(preset: str | ModelConfig) -> Mask2Former:
    """Build a model with freshly initialised weights, in training mode and on the CPU.

    Args:
        preset: A name from :func:`list_presets`, or a configuration.

    Raises:
        ValueError: There is no preset of this name.
    """
    config = preset if isinstance(preset, ModelConfig) else get_preset(preset).model
    return Mask2Former(config)
