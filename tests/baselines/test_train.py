"""The training command: it learns, goes on where it stopped, and takes its settings."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from training_runs import SMALL, command, losses, state_of

from baselines import build_model, learner
from baselines.checkpoint import load_checkpoint
from baselines.overrides import override
from baselines.presets import get_preset
from baselines.recompute import recompute_activations
from baselines.run_state import list_states, read_categories
from baselines.train import main
from baselines.train_config import TrainConfig
from baselines.train_log import TrainLog
from entityseg_bench.demo import write_demo
from entityseg_bench.io import InputError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("demo"), n_images=12, size=(32, 48))


def assert_equal_states(a, b):
    assert a["step"] == b["step"]
    for name, value in a["model"].items():
        assert torch.equal(value, b["model"][name]), name
    for key, moments in a["optimizer"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, b["optimizer"]["state"][key][name])


def gradients(out):
    """Give the first moments after one step, a tenth of the clipped gradient."""
    moments = state_of(out)["optimizer"]["state"]
    return torch.cat([moments[key]["exp_avg"].flatten() for key in sorted(moments)])


@pytest.mark.parametrize("preset", ["mask2former_tiny", "cropformer_tiny"])
def test_a_run_leaves_what_it_promises(demo, tmp_path, preset):
    settings = ("train.steps=2", "train.batch_size=2", "train.evaluate_every=2")
    settings += ("train.evaluate_images=2", "train.ema_decay=0.5")
    assert main(command(demo, tmp_path / "run", *settings, preset=preset)) == 0
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["preset"] == preset
    assert config["train"]["batch_size"] == 2
    assert config["model"]["backbone"]["kind"] == "resnet"
    state = state_of(tmp_path / "run")
    assert state["config"] == config
    assert state["step"] == 2
    model = load_checkpoint(tmp_path / "run/model.safetensors")
    # What is kept for prediction are the averaged weights.
    name = "sem_seg_head.predictor.class_embed.weight"
    torch.testing.assert_close(model.state_dict()[name], state["average"][name])
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    kinds = {"class", "mask", "dice"}
    if preset == "cropformer_tiny":
        kinds |= {f"view_{kind}" for kind in kinds}
    assert kinds <= rows[0].keys()
    assert rows[0]["loss"] == pytest.approx(sum(rows[0][kind] for kind in kinds), rel=1e-5)
    assert 0 <= rows[-1]["evaluation"]["APe"] <= 1
    assert list((tmp_path / "run/tensorboard").iterdir())


def test_a_stopped_run_goes_on_bit_for_bit(demo, tmp_path, monkeypatch):
    # Dropped paths, an average and worker processes: everything that chance or time could change.
    settings = [setting for setting in SMALL if "frozen_norm" not in setting]
    settings += ["model.backbone.embed_dim=16", "model.backbone.depths=1,2,1,1"]
    settings += ["model.backbone.num_heads=1,1,2,2", "model.hidden_dim=32", "model.mask_dim=32"]
    settings += ["train.precision=float32", "train.batch_size=2", "train.ema_decay=0.9"]
    settings += ["train.steps=4", "train.checkpoint_every=2", "train.workers=0"]

    def arguments(out, *more, extra=()):
        preset = "mask2former_swin_tiny_3x"
        return [preset, "--data", str(demo), "--out", str(out), *extra, "--set", *settings, *more]

    assert main(arguments(tmp_path / "whole")) == 0
    learn = learner.Learner.learn

    def signal_in_the_first_step(self, parts, stop):
        if self.step == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(self, parts, stop)

    monkeypatch.setattr(learner.Learner, "learn", signal_in_the_first_step)
    assert main(arguments(tmp_path / "cut")) == 128 + signal.SIGTERM
    monkeypatch.undo()
    # The step that began after the signal is finished, and its checkpoint written.
    assert state_of(tmp_path / "cut")["step"] == 2
    resume = ("--resume", "auto")
    assert main(arguments(tmp_path / "cut", "train.workers=1", extra=resume)) == 0
    assert_equal_states(state_of(tmp_path / "whole"), state_of(tmp_path / "cut"))
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")
    assert len(list_states(tmp_path / "whole")) == 2


def test_data_processes_may_be_spawned(demo, tmp_path):
    """As macOS and Windows start them: what they need is sent, nothing is inherited."""
    settings = ("train.steps=2", "train.batch_size=2")
    before = multiprocessing.get_start_method(allow_none=True)
    for workers, start in ((0, before), (1, "spawn")):
        multiprocessing.set_start_method(start, force=True)
        try:
            run = command(demo, tmp_path / str(workers), *settings, f"train.workers={workers}")
            assert main(run) == 0
        finally:
            multiprocessing.set_start_method(before, force=True)
    assert losses(tmp_path / "0") == losses(tmp_path / "1")


def test_sixteen_bits_train_on_a_cpu(demo, tmp_path):
    settings = ("train.steps=1", "train.batch_size=1", "train.precision=bfloat16")
    assert main(command(demo, tmp_path / "half", *settings)) == 0
    assert main(command(demo, tmp_path / "full", *settings[:2])) == 0
    assert losses(tmp_path / "half")[1] == pytest.approx(losses(tmp_path / "full")[1], rel=0.05)


def test_parts_of_a_batch_add_up_to_its_gradient(demo, tmp_path):
    settings = ("train.steps=1", "train.batch_size=4")
    for name, size in (("whole", 4), ("parts", 1)):
        part = f"train.max_device_batch={size}"
        assert main(command(demo, tmp_path / name, *settings, part)) == 0
    torch.testing.assert_close(
        gradients(tmp_path / "whole"), gradients(tmp_path / "parts"), rtol=1e-3, atol=1e-7
    )
    assert losses(tmp_path / "whole")[1] == pytest.approx(losses(tmp_path / "parts")[1], rel=1e-5)


def test_two_processes_of_one_image_equal_one_of_two(demo, tmp_path):
    settings = ("train.steps=1", "train.batch_size=2", "train.evaluate_every=1")
    settings += ("train.evaluate_images=3",)
    assert main(command(demo, tmp_path / "one", *settings)) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    torchrun += ["--standalone", "-m", "baselines.train"]
    process = subprocess.Popen(
        [*torchrun, *command(demo, tmp_path / "two", *settings)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, said = process.communicate(timeout=300)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said
    torch.testing.assert_close(
        gradients(tmp_path / "one"), gradients(tmp_path / "two"), rtol=1e-3, atol=1e-7
    )
    assert losses(tmp_path / "one")[1] == pytest.approx(losses(tmp_path / "two")[1], rel=1e-5)


def test_recomputed_activations_give_the_same_gradient():
    config = get_preset("mask2former_tiny").model
    torch.manual_seed(0)
    model = build_model(config).train()
    images = torch.randn(1, 3, 64, 64)
    found = []
    for recompute in (False, True):
        if recompute:
            # 4 bottlenecks, the encoder's layers, 3 kinds of layers in the decoder.
            assert recompute_activations(model) == 4 + config.encoder_layers + 9
        model.zero_grad()
        outputs = model(images)
        (outputs["pred_logits"].sum() + outputs["pred_masks"].square().mean()).backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(*found)


def test_fine_tuning_starts_from_weights_and_a_coco_file(demo, tmp_path, capsys):
    settings = ("train.steps=1", "train.batch_size=1")
    assert main(command(demo, tmp_path / "first", *settings)) == 0
    folder = demo / "annotations/instance_segmentation"
    files = [folder / f"entityv2_01_instances_{split}.json" for split in ("train", "val")]
    classes = len(json.loads(files[0].read_text())["categories"])
    arguments = command(demo, tmp_path / "second", *settings, "model.task=instance")
    start = arguments.index("--data")
    arguments[start : start + 2] = [
        *("--train-json", str(files[0]), "--val-json", str(files[1])),
        *("--images", str(demo), "--weights", str(tmp_path / "first/model.safetensors")),
    ]
    assert main(arguments) == 0
    model = load_checkpoint(tmp_path / "second/model.safetensors")
    assert model.config.num_classes == classes
    ids = [category.id for category in read_categories(tmp_path / "second/model.safetensors")]
    assert ids == [row["id"] for row in json.loads(files[0].read_text())["categories"]]
    assert read_categories(tmp_path / "first/model.safetensors") == ()
    assert read_categories(files[0]) == ()
    assert "entries fit" in capsys.readouterr().err


def test_settings_are_typed_and_known():
    roots = {"model": get_preset("mask2former_tiny").model, "train": TrainConfig()}
    changed = override(
        roots,
        [
            "train.lr=2e-4",
            "train.augment.short_sides=10,20",
            "train.augment.scale_range=[0.5, 1]",
            "train.evaluate_images=none",
            "train.skip_broken=true",
            "train.precision=bfloat16",
            "model.backbone.width=8",
        ],
    )
    assert changed["train"].lr == 2e-4
    assert changed["train"].augment.short_sides == (10, 20)
    assert changed["train"].augment.scale_range == (0.5, 1.0)
    assert changed["train"].evaluate_images is None
    assert changed["train"].skip_broken is True
    assert changed["model"].backbone.width == 8
    assert roots["train"].lr == 1e-4
    for setting, message in {
        "train.lrr=1": "unknown key 'train.lrr'; did you mean lr?",
        "optim.lr=1": "unknown key 'optim'",
        "train.lr": "not of the form",
        "train.lr=fast": "must be a number",
        "train.steps=1.5": "must be a whole number",
        "train.steps=0": "must be at least 1",
        "train.skip_broken=1": "must be true or false",
        "train.precision=int8": "must be one of float32",
        "train.loss=1": "is a group",
        "train.lr.x=1": "has no fields",
        "train.augment.scale_range=1": "must be 2 values",
    }.items():
        with pytest.raises(ValueError, match=message.replace("(", r"\(")):
            override(roots, [setting])


@pytest.mark.parametrize("run", ["[", "5", '{"categories": [{"id": "x"}]}', "[" * 100_000])
def test_weights_with_odd_words_of_their_run_are_refused(tmp_path, run):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({"a": torch.ones(1)}, path, {"run": run})
    with pytest.raises(InputError, match="its run cannot be read"):
        read_categories(path)


def test_the_log_forgets_steps_that_are_run_again(tmp_path):
    log = TrainLog(tmp_path, steps=4, first_step=0)
    for step in (1, 2, 3):
        log.step(step, {"loss": float(step), "lr": 0.1, "images_per_s": 1.0})
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('5\n{"step": "x"}\n[[\n{"step": 3, "lo')
    TrainLog(tmp_path, steps=4, first_step=2).close()
    assert list(losses(tmp_path)) == [1, 2]


def test_it_learns(tmp_path):
    """Entities of images that it never saw, in about a minute; docs/train.md has the long run.

    The margins were fixed before the run that they judge, at half of what a longer trial reached.
    """
    root = write_demo(tmp_path / "demo", n_images=96, size=(64, 96), seed=1)
    settings = [
        "train.steps=120",
        "train.warmup_steps=20",
        "train.batch_size=8",
        "train.max_device_batch=8",
        "train.lr=1e-3",
        "train.augment.canvas=96",
        "train.augment.scale_range=1,1.2",
        "train.loss.num_points=512",
        "train.evaluate_every=60",
        "train.log_every=20",
        "model.num_queries=40",
        "model.decoder_layers=2",
        "model.min_size_test=96",
        "model.max_size_test=192",
    ]
    out = tmp_path / "run"
    assert (
        main(["mask2former_tiny", "--data", str(root), "--out", str(out), "--set", *settings]) == 0
    )
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    loss = [row["loss"] for row in rows if "loss" in row]
    halfway, end = [row["evaluation"]["APe"] for row in rows if "evaluation" in row]
    assert loss[-1] < 0.75 * loss[0]
    assert end > 0.03
    assert end > halfway
