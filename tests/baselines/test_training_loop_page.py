"""The blocks of docs/training_loop.md run, each where its library is installed."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from entityseg_bench import EntityDataset, evaluate_files
from entityseg_bench.demo import write_demo

PAGE = (Path(__file__).resolve().parents[2] / "docs/training_loop.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^## (.+?)\n.*?^```python\n(.*?)^```", PAGE, re.M | re.S))


class Halves(nn.Module):
    """Predict the left and the right half of an image, and a third mask over both."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, pixels):
        height, width = pixels.shape[:2]
        masks = torch.zeros((3, height, width), dtype=torch.bool)
        masks[0, :, : width // 2] = masks[1, :, width // 2 :] = masks[2, height // 3 :] = True
        return masks, torch.tensor([0.9, 0.8, 0.7]) * self.weight.detach()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("loop") / "set", 16, 0, (60, 90))


@pytest.fixture(scope="module")
def gt_file(root):
    return root / "annotations/entity_segmentation/entityv2_010203_entity_val.json"


@pytest.fixture(scope="module")
def expected(root, gt_file):
    """Score the same model's predictions through a file."""
    import json

    from entity_api import rle

    model, records = Halves(), []
    for image in EntityDataset.open(root, "entity", "val").images:
        masks, scores = model(torch.zeros((image.height, image.width, 3)))
        for mask, score in zip(masks.numpy(), scores.tolist(), strict=True):
            records.append({"image_id": image.id, "segmentation": rle.encode(mask), "score": score})
    (root / "pred.json").write_text(json.dumps(records), encoding="utf-8")
    found = evaluate_files(gt_file, root / "pred.json").metrics
    assert found["APe"] > 0
    return found


def run(title, root, **names):
    """Run the block under a heading, and give its names."""
    space = {"ROOT": root, **names}
    exec(compile(BLOCKS[title], f"docs/training_loop.md, {title}", "exec"), space)
    return space


@pytest.fixture
def plain(root):
    return run("Plain PyTorch", root, model=Halves())


def test_each_library_has_a_block():
    assert list(BLOCKS) == [
        "Plain PyTorch", "Lightning", "Hugging Face Trainer", "detectron2",
        "DETR, RT-DETR, D-FINE, torchvision's references", "What is in memory, once",
    ]  # fmt: skip


def test_plain_pytorch(plain, expected):
    assert plain["result"].metrics == expected
    assert plain["validate"](plain["model"]).metrics == expected
    assert plain["model"].training


def test_in_memory(plain, root, gt_file, expected):
    space = run("What is in memory, once", root, GT_FILE=gt_file, **plain)
    assert space["evaluate"](gt_file, space["found"]).metrics == expected


# Those are between the libraries.
@pytest.mark.filterwarnings("default")
def test_lightning(root, expected, tmp_path):
    lightning = pytest.importorskip("lightning")
    space = run("Lightning", root)
    module = space["EntityModule"](Halves())
    batches = [[(image.id, torch.from_numpy(image.read()))] for image in module.metric.images]
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        default_root_dir=tmp_path,
    )  # fmt: skip
    for _ in range(2):
        (found,) = trainer.validate(module, loader, verbose=False)
        assert found["val/APe"] == pytest.approx(expected["APe"], abs=1e-6)


@pytest.mark.filterwarnings("default")
def test_hugging_face_trainer(plain, root, expected, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    space = run("Hugging Face Trainer", root, **plain)

    class Learner(Halves):
        def forward(self, pixels, labels=None):
            found = super().forward(pixels)
            return found if labels is None else {"loss": self.weight.sum()}

    data = [{"pixels": torch.zeros((4, 4, 3)), "labels": torch.zeros(1)}] * 2
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=1, report_to=[], use_cpu=True, eval_strategy="steps",
        eval_steps=1, save_steps=1, load_best_model_at_end=True, metric_for_best_model="APe",
        learning_rate=0.0, per_device_train_batch_size=1,
    )  # fmt: skip
    trainer = space["EntityTrainer"](Learner(), arguments, train_dataset=data, eval_dataset=data)
    trainer.train()
    logged = [entry["eval_APe"] for entry in trainer.state.log_history if "eval_APe" in entry]
    assert logged == [pytest.approx(expected["APe"])]
    assert trainer.state.best_metric == pytest.approx(expected["APe"])


def test_detectron2(plain, root, expected):
    pytest.importorskip("detectron2")
    from detectron2.engine.train_loop import SimpleTrainer
    from detectron2.utils.events import EventStorage

    space = run("detectron2", root, **plain)
    model = Halves()
    trainer = SimpleTrainer.__new__(SimpleTrainer)
    trainer.model, trainer.iter, trainer.max_iter = model, 0, 1
    hook = space["entity_hook"](trainer, 1)
    hook.trainer = trainer
    with EventStorage(0) as storage:
        trainer.storage = storage
        trainer.iter = 1
        hook.after_train()
        assert storage.latest()["entity/APe"][0] == pytest.approx(expected["APe"])


def test_the_detr_family(root, capsys):
    mask = np.ones((1, 1, 4, 6))
    gt = {
        "images": [{"id": 1, "height": 4, "width": 6}], "categories": [{"id": 1}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 6, 4],
                         "area": 24, "iscrowd": 0, "segmentation": [[0, 0, 6, 0, 6, 4, 0, 4]]}],
    }  # fmt: skip
    output = {"boxes": torch.tensor([[0.0, 0, 6, 4]]), "labels": torch.tensor([1]),
              "scores": torch.tensor([0.5]), "masks": torch.from_numpy(mask)}  # fmt: skip
    title = "DETR, RT-DETR, D-FINE, torchvision's references"
    space = run(title, root, coco_gt=gt, batches=[{1: output}])
    assert space["evaluator"].coco_eval["segm"].stats[0] == pytest.approx(1)
    assert "IoU metric: bbox" in capsys.readouterr().out
