"""The blocks of docs/training_loop.md run, each where its library is installed."""

import re
import sys
import types
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


class EvalHook:
    """Stand in for detectron2's: the same calls, by the trainer and of its storage."""

    trainer = None

    def __init__(self, eval_period, eval_function):
        self._period, self._function = eval_period, eval_function

    def before_train(self):
        pass

    def before_step(self):
        pass

    def after_backward(self):
        pass

    def after_step(self):
        ended = self.trainer.iter + 1
        if self._period > 0 and ended % self._period == 0 and ended != self.trainer.max_iter:
            self.evaluate()

    def after_train(self):
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self.evaluate()

    def evaluate(self):
        found = {name: float(value) for name, value in self._function().items()}
        self.trainer.storage.put_scalars(**found, smoothing_hint=False)


class Trainer:
    """Call hooks as detectron2's TrainerBase does."""

    def __init__(self, model):
        self.model, self.iter, self.logged = model, 0, []
        self.storage = self

    def put_scalars(self, smoothing_hint, **values):
        self.logged.append((self.iter, values))

    def register_hooks(self, hooks):
        self.hooks = hooks
        for hook in hooks:
            hook.trainer = self

    def train(self, start_iter, max_iter):
        self.max_iter = max_iter
        for hook in self.hooks:
            hook.before_train()
        for self.iter in range(start_iter, max_iter):
            for call in ("before_step", "after_backward", "after_step"):
                for hook in self.hooks:
                    getattr(hook, call)()
        self.iter = max_iter
        for hook in self.hooks:
            hook.after_train()


@pytest.mark.parametrize("which", ["installed", "stand-in"])
@pytest.mark.filterwarnings("default")
def test_detectron2(which, plain, root, expected, monkeypatch):
    """The hook runs in detectron2 where it is installed, else in a loop of the same calls."""
    if which == "installed":
        pytest.importorskip("detectron2.engine")
    else:
        engine = types.ModuleType("detectron2.engine")
        engine.hooks = types.SimpleNamespace(EvalHook=EvalHook)
        monkeypatch.setitem(sys.modules, "detectron2", types.ModuleType("detectron2"))
        monkeypatch.setitem(sys.modules, "detectron2.engine", engine)
    space = run("detectron2", root, **plain)
    trainer = Trainer(Halves())
    trainer.register_hooks([space["entity_hook"](trainer, 2)])
    trainer.train(0, 5)
    assert [step for step, _ in trainer.logged] == [1, 3, 5]
    for _, values in trainer.logged:
        assert values == {"entity/APe": pytest.approx(expected["APe"])}


@pytest.mark.filterwarnings("default")
def test_detectron2s_own_trainer(plain, root, expected):
    pytest.importorskip("detectron2.engine")
    from detectron2.engine import TrainerBase
    from detectron2.utils.events import EventStorage

    class Own(TrainerBase):
        def run_step(self):
            pass

    space = run("detectron2", root, **plain)
    trainer = Own()
    trainer.model = Halves()
    trainer.register_hooks([space["entity_hook"](trainer, 2)])
    trainer.train(0, 5)
    history = trainer.storage.history("entity/APe").values()
    assert isinstance(trainer.storage, EventStorage)
    assert [value for value, _ in history] == [pytest.approx(expected["APe"])] * 3


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
