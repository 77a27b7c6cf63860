"""Reference models of the EntitySeg benchmark: Mask2Former and CropFormer in plain PyTorch."""

import importlib
import importlib.util
import sys

__all__ = ["ModelConfig", "Predictor", "build_model", "list_presets"]

# Where each public name lives. They are imported on first use, so that `entityseg models` lists the
# models without torch, and `python -m baselines.predict` runs a module that is not yet loaded.
HOMES = {
    "ModelConfig": "config",
    "Predictor": "predictor",
    "build_model": "build",
    "list_presets": "presets",
}


# Commands whose imports begin with these; `entityseg predict` and `train` say the same of theirs.
COMMANDS, NEEDED = ("baselines.predict", "baselines.train"), ("torch", "safetensors")


def refuse_without(needed: tuple[str, ...], command: str) -> None:
    """End a command in one sentence where a library is missing, before its imports end it."""
    for name in needed:
        if importlib.util.find_spec(name) is None:
            hint = "run: pip install 'entityseg-bench[baselines]'"
            print(f"python -m {command}: this needs {name}; {hint}", file=sys.stderr)
            sys.exit(2)


# While `python -m` looks for its module, argv begins with the option itself.
if sys.argv[:1] == ["-m"] and "-m" in sys.orig_argv:
    asked = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    if asked in COMMANDS:
        refuse_without(NEEDED, asked)


def __getattr__(name: str):
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
