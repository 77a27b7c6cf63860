"""The training command fails with a reason, and loses nothing that it has learned."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from training_runs import command, state_of

from baselines import learner
from baselines.modeling.criterion import Criterion
from baselines.run_state import latest_state, list_states, read_state, remove_leftovers, write_state
from baselines.train import main
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


BROKEN = """
import sys
from baselines import learner
from baselines.train import main

def broken(*arguments):
    raise KeyError("nobody foresaw this")

learner.Learner.learn = broken
main(sys.argv[1:])
"""


def test_an_error_that_nobody_foresaw_ends_the_data_processes(demo, tmp_path):
    """Its traceback holds on to them when Python ends, which waits for them."""
    arguments = command(demo, tmp_path / "run", "train.steps=1", "train.workers=2")
    done = subprocess.run(
        [sys.executable, "-c", BROKEN, *arguments],
        cwd=ROOT, timeout=120, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 1
    assert "nobody foresaw this" in done.stderr
