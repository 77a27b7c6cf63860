"""The benchmark's metric as a detectron2 evaluator."""

import itertools
import logging
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from entity_api import EvalParams, rle
from entityseg_bench.categories import IGNORE, Task
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats import Inputs, png
from entityseg_bench.formats.maps import map_name
from entityseg_bench.integrations.detectron2.datasets import open_registered, source_of
from entityseg_bench.io import write_json
from entityseg_bench.score import Scoring, evaluate_files, result_record
from entityseg_bench.types import ImageInfo

__all__ = ["EntityEvaluator"]


class Segment(NamedTuple):
    """Hold one predicted segment of an image; ``class_idx`` is a position in the table."""

    mask: dict[str, Any]
    class_idx: int
    score: float
    bbox: Sequence[float] = (0.0, 0.0, 0.0, 0.0)


class EntityEvaluator(DatasetEvaluator):
    """Score a model on a data set that `register_entityseg` has registered, of any of its types.

    Predictions go through the same files and the same checks as ``entityseg evaluate``, so that the
    numbers are the same to the last digit. What is written into ``output_dir``:

    - entity and instance: ``coco_instances_results.json``, as the original writes it (category 1
      for entities, boxes as the model gives them);
    - semantic: ``semantic/*.png`` (255 = none) and ``sem_seg_predictions.json``;
    - panoptic: ``panoptic/*.png`` and ``predictions.json``;
    - ``entityseg_result.json``, the result with parameters and provenance.

    Args:
        dataset_name: Name in the catalogs.
        output_dir: None keeps nothing.
        distributed: Whether predictions are gathered from all processes; only the first scores.
        params: What to measure.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | Path | None = None,
        distributed: bool = True,
        params: EvalParams | None = None,
    ) -> None:
        self._name = dataset_name
        self._source = source_of(dataset_name)
        self._output_dir = output_dir
        self._distributed = distributed
        self._params = params
        self._found: list[tuple[Any, list[Segment]]] = []

    def reset(self) -> None:
        """Forget all predictions."""
        self._found = []

    def process(self, inputs: Iterable[Mapping], outputs: Iterable[Mapping]) -> None:
        """Take in the predictions of a batch.

        Args:
            inputs: Dictionaries with "image_id".
            outputs: Dictionaries with "instances" (``pred_masks`` (N, H, W), ``scores`` and
                ``pred_classes``, of entities not asked for), "sem_seg" (K, H, W) or "panoptic_seg"
                (ids (H, W) and ``segments_info``), as the type of the data set is.

        Raises:
            ValueError: What the type needs is not among the outputs.
        """
        key, read = READERS[self._source.subset.task]
        for given, output in zip(inputs, outputs, strict=True):
            if key not in output:
                raise ValueError(
                    f"{self._name} is scored by {key!r} of a model's output, which has "
                    f"{', '.join(output) or 'nothing'}"
                )
            self._found.append((given["image_id"], read(output[key])))

    def evaluate(self) -> "OrderedDict[str, dict[str, float]]":
        """Score what was taken in.

        Returns:
            Metrics in percent. Entities: "segm", with AP and AP^e (``AP``, ``APe``, ``AP50``,
            ``APe50`` ...). The other types: "entity" with the same numbers, which ignore classes,
            and the type's own, class-aware AP ("segm"), ``mIoU`` ... ("sem_seg") or ``PQ`` ...
            ("panoptic_seg"). Nothing in other processes than the first.

        Raises:
            ValueError: Images of the data set have no predictions, or more than one set of them.
        """
        found = self._found
        if self._distributed:
            comm.synchronize()
            found = list(itertools.chain.from_iterable(comm.gather(found, dst=0)))
            if not comm.is_main_process():
                return OrderedDict()
        dataset = open_registered(self._name)
        ordered = self._in_order(found, dataset)
        kept = self._output_dir is not None
        folder: AbstractContextManager = (
            nullcontext(self._output_dir) if kept else tempfile.TemporaryDirectory()
        )
        with folder as name:
            out = Path(name)
            out.mkdir(parents=True, exist_ok=True)
            scoring = self._score(WRITERS[dataset.task](out, dataset, ordered), out)
            write_json(out / "entityseg_result.json", result_record(scoring), indent=1)
        for warning in scoring.warnings:
            logging.getLogger(__name__).warning("%s", warning)
        return _percentages(scoring)

    def _in_order(
        self, found: Sequence[tuple[Any, list[Segment]]], dataset: EntityDataset
    ) -> list[list[Segment]]:
        """Sort predictions by the images of the data set."""
        by_id = dict(found)
        missing = [image.id for image in dataset.images if image.id not in by_id]
        if missing or len(by_id) != len(found) or len(by_id) != len(dataset):
            raise ValueError(
                f"{self._name} has {len(dataset)} images, and predictions came for {len(found)} "
                f"(of {len(by_id)} images; {len(missing)} have none): score all of them, each once"
            )
        return [by_id[image.id] for image in dataset.images]

    def _score(self, predictions: tuple[Path, dict[str, Any]], out: Path) -> Scoring:
        path, about = predictions
        task, split, resolution, parts = self._source.subset
        inputs = Inputs(task, split, resolution, parts, **about)
        return evaluate_files(self._source.root, path, self._params, inputs=inputs)


def _of_instances(instances: Any) -> list[Segment]:
    masks = instances.pred_masks
    n = len(instances)
    boxes = np.zeros((n, 4))
    if instances.has("pred_boxes"):
        boxes = instances.pred_boxes.tensor.cpu().double().numpy().copy()
        boxes[:, 2:] -= boxes[:, :2]
    classes = instances.pred_classes.tolist() if instances.has("pred_classes") else [0] * n
    return [
        # Models of the original give masks as 0.0 and 1.0.
        Segment(rle.encode(mask.cpu().numpy() > 0.5), class_idx, score, box)
        for mask, class_idx, score, box in zip(
            masks, classes, instances.scores.tolist(), boxes.tolist(), strict=True
        )
    ]


def _of_sem_seg(scores: Any) -> list[Segment]:
    labels = scores.argmax(0).cpu().numpy()
    ids, masks = rle.encode_id_map(labels)
    return [Segment(mask, k, 1.0) for k, mask in zip(ids.tolist(), masks, strict=True)]


def _of_panoptic_seg(output: tuple[Any, Sequence[Mapping] | None]) -> list[Segment]:
    id_map, infos = output
    if infos is None:
        raise ValueError('"panoptic_seg" has no segments_info to tell classes by')
    ids, masks = rle.encode_id_map(id_map.cpu().numpy())
    shown = dict(zip(ids.tolist(), masks, strict=True))
    return [
        Segment(shown[info["id"]], info["category_id"], float(info.get("score", 1.0)), (0.0,) * 4)
        for info in infos
        if info["id"] in shown
    ]


READERS: dict[Task, tuple[str, Callable[[Any], list[Segment]]]] = {
    "entity": ("instances", _of_instances),
    "instance": ("instances", _of_instances),
    "semantic": ("sem_seg", _of_sem_seg),
    "panoptic": ("panoptic_seg", _of_panoptic_seg),
}

Written = tuple[Path, dict[str, Any]]


def _write_results(out: Path, dataset: EntityDataset, found: list[list[Segment]]) -> Written:
    is_entity = dataset.task == "entity"
    rows = [
        {
            "image_id": image.id,
            "category_id": 1 if is_entity else dataset.categories[segment.class_idx].id,
            "bbox": segment.bbox,
            "score": segment.score,
            "segmentation": segment.mask,
        }
        for image, segments in zip(dataset.images, found, strict=True)
        for segment in segments
    ]
    path = out / "coco_instances_results.json"
    write_json(path, rows)
    return path, {"pred_format": "results"}


def _write_semantic(out: Path, dataset: EntityDataset, found: list[list[Segment]]) -> Written:
    folder = out / "semantic"
    rows = []
    for image, segments in zip(dataset.images, found, strict=True):
        ids = [dataset.categories[segment.class_idx].id for segment in segments]
        png.write_labels(folder / map_name(image.file_name), _painted(image, segments, ids, IGNORE))
        rows += [
            {"file_name": image.file_name, "category_id": k, "segmentation": segment.mask}
            for k, segment in zip(ids, segments, strict=True)
        ]
    write_json(out / "sem_seg_predictions.json", rows)
    return folder, {"pred_format": "semantic"}


def _write_panoptic(out: Path, dataset: EntityDataset, found: list[list[Segment]]) -> Written:
    folder, path = out / "panoptic", out / "predictions.json"
    rows = []
    for image, segments in zip(dataset.images, found, strict=True):
        numbers = list(range(1, len(segments) + 1))
        png.write_ids(folder / map_name(image.file_name), _painted(image, segments, numbers, 0))
        infos = [
            {
                "id": number,
                "category_id": dataset.categories[segment.class_idx].id,
                "score": segment.score,
            }
            for number, segment in zip(numbers, segments, strict=True)
        ]
        name = map_name(image.file_name)
        rows.append({"image_id": image.id, "file_name": name, "segments_info": infos})
    write_json(path, {"annotations": rows, "categories": list(dataset.categories)})
    return path, {"pred_format": "panoptic", "pred_maps": folder}


def _painted(image: ImageInfo, segments: list[Segment], values: list[int], none: int) -> Any:
    masks = [segment.mask for segment in segments]
    return rle.paint_id_map(masks, values, image.height, image.width, background=none)


WRITERS: dict[Task, Callable[[Path, EntityDataset, list[list[Segment]]], Written]] = {
    "entity": _write_results,
    "instance": _write_results,
    "semantic": _write_semantic,
    "panoptic": _write_panoptic,
}

# Names of the types' own metrics in detectron2, and of panoptic groups.
GROUPS = {"instance": "segm", "semantic": "sem_seg", "panoptic": "panoptic_seg"}
SUFFIXES = {"all": "", "things": "_th", "stuff": "_st", "class_agnostic": "_agnostic"}


def _percentages(scoring: Scoring) -> "OrderedDict[str, dict[str, float]]":
    metrics = {name: 100 * value for name, value in scoring.result.metrics.items()}
    if scoring.own is None:
        return OrderedDict(segm=metrics)
    own = {
        f"{name}{SUFFIXES[group]}": 100 * value
        for group, row in scoring.own.groups.items()
        for name, value in row.items()
        if name != "n"
    }
    return OrderedDict([(GROUPS[scoring.own.task], own), ("entity", metrics)])
