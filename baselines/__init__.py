"""Reference models of the EntitySeg benchmark: Mask2Former and CropFormer in plain PyTorch."""

from baselines.build import build_model
from baselines.config import ModelConfig
from baselines.presets import list_presets

__all__ = ["ModelConfig", "Predictor", "build_model", "list_presets"]


def __getattr__(name: str):
    # Imported when asked for, so that `python -m baselines.predict` runs a module not yet loaded.
    if name == "Predictor":
        from baselines.predict import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
