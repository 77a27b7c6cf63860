"""The training command: it learns, goes on where it stopped, and fails with a reason."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from baselines import build_model, learner
from baselines.checkpoint import load_checkpoint
from baselines.modeling.criterion import Criterion
from baselines.overrides import override
from baselines.presets import get_preset
from baselines.recompute import recompute_activations
from baselines.run_state import (
    latest_state,
    list_states,
    read_categories,
    read_state,
    remove_leftovers,
    write_state,
)
from baselines.train import main
from baselines.train_config import TrainConfig
from baselines.train_log import TrainLog
from entityseg_bench.demo import write_demo
from entityseg_bench.io import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[2]

# A model and images as small as they can be, for all but the test that it learns.
SMALL = [
    "model.num_queries=12",
    "model.decoder_layers=1",
    "model.encoder_layers=1",
    "model.backbone.frozen_norm=true",
    "model.min_size_test=32",
    "model.max_size_test=64",
    "train.augment.canvas=32",
    "train.loss.num_points=32",
    "train.warmup_steps=0",
    "train.evaluate_every=0",
    "train.log_every=1",
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Keep the arithmetic to one thread: small models gain nothing from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("demo"), n_images=12, size=(32, 48))


def command(demo, out, *settings, preset="mask2former_tiny", extra=()):
    small = list(SMALL)
    if preset.startswith("cropformer"):
        small.remove("train.augment.canvas=32")
        small.append("train.augment.short_sides=32")
    return [preset, "--data", str(demo), "--out", str(out), *extra, "--set", *small, *settings]


def losses(out):
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def state_of(out):
    return latest_state(out)[0]


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


def test_nothing_that_is_not_finite_is_learned(demo, tmp_path, capsys, monkeypatch):
    settings = ("train.steps=3", "train.batch_size=1", "train.checkpoint_every=1")
    whole = Criterion.__call__

    def poisoned(self, outputs, targets, *args):
        found = whole(self, outputs, targets, *args)
        if list_states(tmp_path / "run"):
            found["mask"] = found["mask"] * float("nan")
        return found

    monkeypatch.setattr(Criterion, "__call__", poisoned)
    assert main(command(demo, tmp_path / "run", *settings)) == 1
    said = capsys.readouterr().err
    assert "the loss is nan at step 1" in said
    assert ".jpg" in said
    state = state_of(tmp_path / "run")
    assert state["step"] == 1
    assert all(v.isfinite().all() for v in state["model"].values() if v.is_floating_point())


def test_a_broken_image_stops_the_run_or_is_left_out(demo, tmp_path, capsys):
    root = tmp_path / "demo"
    shutil.copytree(demo, root)
    listed = root / "annotations/entity_segmentation/entityv2_010203_entity_train.json"
    names = [image["file_name"] for image in json.loads(listed.read_text())["images"]]
    path = root / "images" / names[0]
    path.write_bytes(path.read_bytes()[:200])
    # One epoch, so that the broken image is met.
    settings = (f"train.steps={len(names)}", "train.batch_size=1", "train.checkpoint_every=1")
    assert main(command(root, tmp_path / "stop", *settings)) == 1
    said = capsys.readouterr().err
    assert path.name in said
    assert "train.skip_broken=true" in said
    assert main(command(root, tmp_path / "skip", *settings, "train.skip_broken=true")) == 0
    assert f"left out: {path}" in capsys.readouterr().err


# The signal of the death may interrupt multiprocessing between opening a connection and closing it.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_data_worker_that_dies_is_named(demo, tmp_path, capsys, monkeypatch):
    from baselines.data import TrainingSamples

    load = TrainingSamples.__getitem__
    monkeypatch.setattr(
        TrainingSamples,
        "__getitem__",
        lambda self, position: os._exit(9) if position >= 2 else load(self, position),
    )
    settings = ("train.steps=8", "train.batch_size=1", "train.workers=1")
    assert main(command(demo, tmp_path / "run", *settings)) == 1
    assert "a process that loads data died" in capsys.readouterr().err


def test_a_data_worker_that_dies_during_a_checkpoint_is_no_full_disk(
    demo, tmp_path, capsys, monkeypatch
):
    def died(*args):
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    settings = ("train.steps=1", "train.batch_size=1")
    for module, name in ((learner, "write_state"), (torch, "save")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, died)
            assert main(command(demo, tmp_path / name, *settings)) == 1
        assert "a process that loads data died" in capsys.readouterr().err


def test_a_kill_in_the_middle_of_a_checkpoint_loses_nothing(tmp_path):
    state = {"step": 1, "model": {"w": torch.ones(3)}, "optimizer": {}}
    write_state(tmp_path, state, keep=2)
    # The second checkpoint takes long enough to be killed half-way.
    script = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from baselines.run_state import write_state\n"
        "weights = {str(k): torch.ones(2**20) for k in range(50)}\n"
        "print('begins', flush=True)\n"
        "write_state(Path(sys.argv[1]), {'step': 2, 'model': weights, 'optimizer': {}}, keep=2)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    deadline = time.monotonic() + 60
    while not list((tmp_path / "checkpoints").glob(".*.part")):
        assert time.monotonic() < deadline
    process.kill()
    process.wait()
    process.stdout.close()
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    found, problems = latest_state(tmp_path)
    assert found["step"] == 1
    assert problems == []
    remove_leftovers(tmp_path)
    assert list((tmp_path / "checkpoints").iterdir()) == list_states(tmp_path)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    # A file system of 1 MB, which only root can make.
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system here")
    try:
        small = {"step": 1, "model": {"w": torch.ones(1000)}, "optimizer": {}}
        write_state(disk, small, keep=1)
        large = {"step": 2, "model": {"w": torch.ones(2**20)}, "optimizer": {}}
        with pytest.raises(OSError, match=r"step_00000002|No space"):
            write_state(disk, large, keep=1)
        assert latest_state(disk)[0]["step"] == 1
        assert len(list((disk / "checkpoints").iterdir())) == 1
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_checkpoint_that_cannot_be_written_stops_the_run(demo, tmp_path, capsys, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(learner, "write_state", full)
    settings = ("train.steps=1", "train.batch_size=1")
    assert main(command(demo, tmp_path / "run", *settings)) == 1
    assert "No space left on device" in capsys.readouterr().err


def test_a_torn_checkpoint_gives_way_to_the_one_before(tmp_path):
    for step in (1, 2):
        write_state(tmp_path, {"step": step, "model": {}, "optimizer": {}}, keep=2)
    newest = list_states(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    state, problems = latest_state(tmp_path)
    assert state["step"] == 1
    assert newest.name in str(problems[0])
    with pytest.raises(InputError, match="cannot be read"):
        read_state(newest)


def test_runs_do_not_overwrite_or_mix(demo, tmp_path, capsys):
    settings = ("train.steps=1", "train.batch_size=1")
    assert main(command(demo, tmp_path / "run", *settings)) == 0
    assert main(command(demo, tmp_path / "run", *settings)) == 2
    assert "--resume auto" in capsys.readouterr().err
    changed = ("train.steps=3", "train.batch_size=1", "train.workers=0")
    resume = ("--resume", "auto")
    assert main(command(demo, tmp_path / "run", *changed, extra=resume)) == 2
    assert "train.steps (was 1, now 3)" in capsys.readouterr().err


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


def test_wrong_arguments_are_named(demo, tmp_path, capsys):
    for arguments, message in (
        (["nonsense", "--data", str(demo)], "no preset 'nonsense'"),
        (["mask2former_tiny"], "name the data"),
        (["mask2former_tiny", "--data", str(tmp_path / "none")], "no such folder"),
        (
            ["mask2former_tiny", "--data", str(demo), "--set", "train.precision=float16"],
            "needs a GPU",
        ),
    ):
        arguments += ["--out", str(tmp_path / "run"), "--device", "cpu"]
        assert main(arguments) == 2
        assert message in capsys.readouterr().err


def test_the_log_forgets_steps_that_are_run_again(tmp_path):
    log = TrainLog(tmp_path, steps=4, first_step=0)
    for step in (1, 2, 3):
        log.step(step, {"loss": float(step), "lr": 0.1, "images_per_s": 1.0})
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
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
