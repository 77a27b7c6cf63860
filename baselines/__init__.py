"""Reference models of the EntitySeg benchmark: Mask2Former and CropFormer in plain PyTorch."""

from baselines.config import ModelConfig
from baselines.modeling.mask2former import Mask2Former
from baselines.presets import get_preset, list_presets

__all__ = ["ModelConfig", "Predictor", "build_model", "list_presets"]


def build_model(preset: str | ModelConfig) -> Mask2Former:
    """Build a model with freshly initialised weights, in training mode and on the CPU.

    Args:
        preset: a name out of :func:`list_presets`, or a configuration of one's own.

    Raises:
        ValueError: no such preset.
    """
    config = preset if isinstance(preset, ModelConfig) else get_preset(preset).model
    return Mask2Former(config)


def __getattr__(name: str):
    # Imported when asked for, so that `python -m baselines.predict` runs a module not yet loaded.
    if name == "Predictor":
        from baselines.predict import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
