"""Score entity segmentation: AP^e and AP, exactly as COCO counts them."""

from entity_api import mask
from entity_api.coco import COCO
from entity_api.cocoeval import COCOeval
from entity_api.evaluator import evaluate
from entity_api.overlap import Overlap, overlapping_pairs, remove_overlaps
from entity_api.params import EvalParams
from entity_api.result import EvalResult
from entity_api.rle import RLEError
from entity_api.tables import Detections, GroundTruth, RecordError

__all__ = [
    "COCO",
    "COCOeval",
    "Detections",
    "EvalParams",
    "EvalResult",
    "GroundTruth",
    "Overlap",
    "RLEError",
    "RecordError",
    "evaluate",
    "init_as_pycocotools",
    "mask",
    "overlapping_pairs",
    "remove_overlaps",
]


def init_as_pycocotools() -> None:
    """Let code that imports pycocotools get these modules instead, from now on.

    Call it before that code is imported.
    """
    import sys
    import types

    from entity_api import coco, cocoeval, rle

    rle.coco_rasteriser()
    package = types.ModuleType("pycocotools", "entity_api in the place of pycocotools")
    for name, module in {"coco": coco, "cocoeval": cocoeval, "mask": mask}.items():
        setattr(package, name, module)
        sys.modules[f"pycocotools.{name}"] = module
    package.__path__ = []
    sys.modules["pycocotools"] = package
