"""Score entity segmentation: AP, exactly as COCO counts it, and AP^e, with overlaps removed."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from entity_api import mask
    from entity_api.coco import COCO
    from entity_api.coco_evaluator import CocoEvaluator
    from entity_api.cocoeval import COCOeval
    from entity_api.columns import RecordError
    from entity_api.dropin import init_as_pycocotools
    from entity_api.evaluator import evaluate
    from entity_api.overlap import Overlap, overlapping_pairs, remove_overlaps
    from entity_api.params import EvalParams
    from entity_api.result import EvalResult
    from entity_api.rle import RLEError
    from entity_api.state import EvalState
    from entity_api.state_file import StateError
    from entity_api.tables import Detections, GroundTruth

__all__ = [
    "COCO",
    "COCOeval",
    "CocoEvaluator",
    "Detections",
    "EvalParams",
    "EvalResult",
    "EvalState",
    "GroundTruth",
    "Overlap",
    "RLEError",
    "RecordError",
    "StateError",
    "evaluate",
    "init_as_pycocotools",
    "mask",
    "overlapping_pairs",
    "remove_overlaps",
]

# Where each public name lives: imported on first use, so that scoring starts at once.
HOMES = {
    "COCO": "coco",
    "COCOeval": "cocoeval",
    "CocoEvaluator": "coco_evaluator",
    "Detections": "tables",
    "EvalParams": "params",
    "EvalResult": "result",
    "EvalState": "state",
    "GroundTruth": "tables",
    "Overlap": "overlap",
    "RLEError": "rle",
    "RecordError": "columns",
    "StateError": "state_file",
    "evaluate": "evaluator",
    "init_as_pycocotools": "dropin",
    "overlapping_pairs": "overlap",
    "remove_overlaps": "overlap",
}


def __getattr__(name: str) -> Any:
    if name == "mask":
        return importlib.import_module("entity_api.mask")
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
