"""Load, check, convert and score the EntitySeg dataset."""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "EntityDataset",
    "EntityMetric",
    "InputError",
    "evaluate",
    "evaluate_files",
    "load_dataset",
]

# Where each public name lives: imported on first use, so that the command line starts at once.
HOMES = {
    "EntityDataset": "dataset",
    "EntityMetric": "metric",
    "InputError": "io",
    "evaluate": "score.in_memory",
    "evaluate_files": "score",
    "load_dataset": "huggingface",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
