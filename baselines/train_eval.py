"""Score a model in training on the validation split, with the benchmark's own evaluator."""

from collections.abc import Sequence

import torch.distributed as dist
from torch import nn

from baselines.images import read_image
from baselines.predictor import Precision, Predictor
from baselines.ranks import Ranks
from entity_api import EvalParams, evaluate
from entityseg_bench.corrupt import image_seed
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.turbulence import Air, distort

__all__ = ["evaluate_model"]


def evaluate_model(
    model: nn.Module,
    dataset: EntityDataset,
    ranks: Ranks,
    precision: Precision = "float32",
    limit: int | None = None,
    distances: Sequence[float] = (),
) -> dict[str, float]:
    """Predict on images and score AP^e, whatever the annotation type.

    All processes must call it; each predicts on its share of the images. The model is in training
    mode afterwards.

    Args:
        model: A model with its configuration. It is used on the device where it is.
        dataset: Ground truth.
        ranks: This process.
        precision: Number format of the network.
        limit: Number of images, the first ones; None for all.
        distances: Metres of turbulent air through which the images are seen as well. The air of an
            image is the same in every evaluation.

    Returns:
        Class-agnostic metrics as fractions: AP, APe and so on. For instances also "class_AP", the
        mean over the categories. "APe_100m" and "class_AP_100m" are those at 100 m. Only the first
        process returns them; the others return an empty dict.
    """
    if limit is not None and limit < len(dataset):
        dataset = dataset.take(range(limit))
    predictor = Predictor(
        model=model,
        categories=dataset.categories if model.config.task != "entity" else None,
        device=next(model.parameters()).device,
        precision=precision,
    )
    metrics: dict[str, float] = {}
    for distance in (0.0, *(one for one in distances if one)):
        records = _gathered(_predictions(predictor, dataset, ranks, distance), ranks)
        if ranks.is_first:
            found = _metrics(dataset, records, model.config.task)
            if distance:
                at = f"_{distance:g}m"
                found = {k + at: found[k] for k in ("APe", "class_AP") if k in found}
            metrics.update(found)
    model.train()
    return metrics


def _metrics(dataset: EntityDataset, records: list[dict], task: str) -> dict[str, float]:
    """Score the records of all processes."""
    ground_truth = dataset.ground_truth()
    metrics = dict(evaluate(ground_truth, records).metrics)
    if task == "instance":
        scored = evaluate(ground_truth, records, EvalParams(class_aware=True))
        metrics["class_AP"] = scored.metrics["AP"]
    return metrics


def _predictions(
    predictor: Predictor, dataset: EntityDataset, ranks: Ranks, distance: float
) -> list[dict]:
    """Predict on this process's share of the images; return the records of a results file."""
    records = []
    for image in dataset.images[ranks.rank :: ranks.world]:
        pixels = read_image(dataset.image_path(image), (image.height, image.width))
        if distance:
            pixels = distort(pixels, Air(distance), image_seed(0, image.file_name))
        for found in predictor(pixels).predictions(image.id):
            records.append(
                {
                    "image_id": found.image_id,
                    "category_id": found.category_id,
                    "segmentation": found.segmentation,
                    "score": found.score,
                }
            )
    return records


def _gathered(records: list[dict], ranks: Ranks) -> list[dict]:
    """Gather the records of all processes in the first one."""
    if ranks.world == 1:
        return records
    lists: list | None = [None] * ranks.world if ranks.is_first else None
    dist.gather_object(records, lists, dst=0)
    return [record for part in lists or [] for record in part]
