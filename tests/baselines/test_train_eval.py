"""What training prints is what the evaluator says of the same predictions, void and all."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import void_case
from PIL import Image
from tiny_models import CONFIGS, build

from baselines import train_eval
from baselines.predictor import Entities
from baselines.ranks import Ranks
from entity_api import evaluate, rle

pytestmark = pytest.mark.usefixtures("one_thread")


class Drawn:
    """Stand in for a predictor: the red of an image is its number, which tells what is found."""

    def __init__(self, found):
        self.found = found

    def __call__(self, pixels):
        pairs = self.found[int(pixels[0, 0, 0]) - 1]
        masks = [rle.encode(mask) for mask, _ in pairs]
        return Entities(
            size=void_case.SIZE,
            segmentations=masks,
            scores=np.array([score for _, score in pairs]),
            bboxes=np.array([rle.bbox(mask) for mask in masks]).reshape(-1, 4),
            areas=np.array([rle.area(mask) for mask in masks], np.int64),
            category_ids=np.ones(len(masks), np.int64),
        )


def save_images(dataset, folder):
    for image in dataset.images:
        Image.new("RGB", void_case.SIZE[::-1], (image.id, 0, 0)).save(folder / image.file_name)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("task", ["semantic", "panoptic"])
def test_training_gives_the_number_of_plain_loops(task, seed, tmp_path, monkeypatch):
    rng = np.random.default_rng(seed)
    id_maps = void_case.maps(rng)
    found = void_case.predicted(rng, task, id_maps)
    dataset = void_case.truth(task, id_maps, tmp_path)
    save_images(dataset, tmp_path)
    monkeypatch.setattr(train_eval, "Predictor", lambda **_: Drawn(found))
    model = torch.nn.Linear(1, 1)
    model.config = SimpleNamespace(task=task)
    metrics = train_eval.evaluate_model(model, dataset, Ranks())
    direct = evaluate(dataset.ground_truth(), void_case.results(found)).metrics
    assert metrics == pytest.approx(direct, abs=0, nan_ok=True)
    expected = void_case.naive_metrics(dataset, found)
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert 0 < metrics["APe"] < 1


def test_a_model_is_scored_on_the_first_images_and_goes_on_training(tmp_path):
    """The whole way with a model of random weights: images are read, predicted and scored."""
    rng = np.random.default_rng(0)
    dataset = void_case.truth("panoptic", void_case.maps(rng), tmp_path)
    save_images(dataset, tmp_path)
    model = build(CONFIGS["entity"]).train()
    metrics = train_eval.evaluate_model(model, dataset, Ranks(), limit=2)
    assert model.training
    assert 0 <= metrics["APe"] <= 1
    first = [
        {"image_id": row.image_id, "segmentation": row.segmentation, "score": row.score}
        for image in dataset.images[:2]
        for row in train_eval.Predictor(model=model)(dataset.read_image(image)).predictions(
            image.id
        )
    ]
    want = evaluate(dataset.take(range(2)).ground_truth(), first).metrics
    assert metrics == pytest.approx(want, abs=0, nan_ok=True)
