"""Score entity segmentation: AP, exactly as COCO counts it, and AP^e, with overlaps removed."""

from entity_api import mask
from entity_api.coco import COCO
from entity_api.coco_evaluator import CocoEvaluator
from entity_api.cocoeval import COCOeval
from entity_api.dropin import init_as_pycocotools
from entity_api.evaluator import evaluate
from entity_api.overlap import Overlap, overlapping_pairs, remove_overlaps
from entity_api.params import EvalParams
from entity_api.result import EvalResult
from entity_api.rle import RLEError
from entity_api.state import EvalState
from entity_api.state_file import StateError
from entity_api.tables import Detections, GroundTruth, RecordError

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
