"""Reference models of the EntitySeg benchmark: Mask2Former and CropFormer in plain PyTorch."""

import importlib

__all__ = ["ModelConfig", "Predictor", "build_model", "list_presets"]

# Where each public name lives. They are imported on first use, so that `entityseg models` lists the
# models without torch, and `python -m baselines.predict` runs a module that is not yet loaded.
HOMES = {
    "ModelConfig": "config",
    "Predictor": "predictor",
    "build_model": "build",
    "list_presets": "presets",
}


def __getattr__(name: str):
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
