"""The training commands of the original's README, typed as they stand but for program and paths."""

import json

import pytest
from tiny_models import build

from baselines.checkpoint import save_checkpoint
from baselines.original import read_original
from baselines.original.training_commands import is_original_training, read_command
from baselines.train import main
from entityseg_bench.demo import write_demo

CONFIGS = {
    "entity": "cropformer", "instance": "instance", "semantic": "semantic", "panoptic": "panoptic",
}  # fmt: skip


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    write_demo(folder / "entityseg", 8, 0, (40, 60))
    return folder


@pytest.fixture(autouse=True)
def place(datasets, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets))


@pytest.mark.parametrize(("task", "processes"), [*((task, 1) for task in CONFIGS), ("entity", 2)])
def test_evaluation_predicts_and_scores_each_type(task, processes, data, tmp_path, capfd):
    config = data / f"original/{CONFIGS[task]}.yaml"
    model = read_original(config, training=False).model
    save_checkpoint(tmp_path / "model.pth", build(model), model)
    command = ["--config-file", config, "--num-gpus", processes, "--eval-only"]
    command += ["MODEL.WEIGHTS", tmp_path / "model.pth", "OUTPUT_DIR", tmp_path / "out"]
    assert main([str(word) for word in command]) == 0
    assert "AP^e" in capfd.readouterr().out
    (result,) = (tmp_path / "out").glob("result_*.json")
    assert json.loads(result.read_bytes())["task"] == task


def test_training_goes_to_its_folder(data, tmp_path):
    command = ["--config-file", data / "original/cropformer.yaml", "--num-gpus", 1]
    command += ["OUTPUT_DIR", tmp_path / "out", "SOLVER.MAX_ITER", 1, "SOLVER.IMS_PER_BATCH", 1]
    assert main([*map(str, command), "--device", "cpu"]) == 0
    assert (tmp_path / "out/config.json").is_file()
    assert (tmp_path / "out/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("typed", "processes", "evaluates", "out", "weights"),
    [
        ("--config-file CONFIG --num-gpus 8", 8, False, "output", None),
        ("--config-file CONFIG --num-gpus 8 OUTPUT_DIR model", 8, False, "model", None),
        ("--config-file CONFIG --num-gpus 8 --eval-only MODEL.WEIGHTS W", 8, True, "output", "W"),
        ("--num-gpus 8 --config-file CONFIG", 8, False, "output", None),
        ("--config-file CONFIG --num-gpus 1 SOLVER.IMS_PER_BATCH 2 SOLVER.BASE_LR 1e-5",
         1, False, "output", None),
        ("--config-file CONFIG --eval-only MODEL.WEIGHTS W", 1, True, "output", "W"),
        ("--config-file CONFIG OUTPUT_DIR out MODEL.WEIGHTS W", 1, False, "out", "W"),
    ],
)  # fmt: skip
def test_each_command_of_the_readme_is_read(typed, processes, evaluates, out, weights, tmp_path):
    argv = typed.replace("CONFIG", str(tmp_path / "no.yaml")).split()
    assert is_original_training(argv)
    read = read_command(argv)
    found = read.processes, read.evaluate, str(read.out), read.weights
    assert found == (processes, evaluates, out, weights)
    settings = ["train.batch_size=2", "train.lr=1e-5"] if "IMS_PER_BATCH" in typed else []
    assert [word for word in read.train if word.startswith("train.")] == settings


@pytest.mark.parametrize(
    "own",
    ["cropformer_tiny --data D --out O --weights A.pth --set train.lr=1",
     "--config-file C --data D --out=O --weights MODEL.pth"],
)  # fmt: skip
def test_this_packages_own_commands_are_not_the_originals(own):
    assert not is_original_training(own.split())


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("entityv2/cropformer_swin_tiny_1x.yaml", "cropformer_swin_tiny_1x"),
        ("coco_person/cropformer_swin_large_3x_noise_000_100_200.yaml",
         "cropformer_swin_large_coco_person_noise_000_100_200"),
    ],
)  # fmt: skip
def test_of_a_file_that_was_never_published_the_preset_is_named(name, preset, capfd, tmp_path):
    """Once, whatever the number of processes."""
    argv = ["--config-file", f"configs/{name}", "--num-gpus", "2", "OUTPUT_DIR", str(tmp_path)]
    assert main(argv) == 2
    said = capfd.readouterr().err
    assert said.count(f"The preset {preset} is") == 1
    assert len(said.splitlines()) == 1


def test_a_command_is_read(datasets):
    words = ["--config-file", "c.yaml", "--num-gpus", "8", "--resume"]
    pairs = ["OUTPUT_DIR", "out", "SOLVER.BASE_LR", "2e-4", "MODEL.DEVICE", "cpu"]
    read = read_command([*words, *pairs])
    assert (read.processes, read.evaluate, read.device) == (8, False, "cpu")
    assert read.train == [
        "--config-file", "c.yaml", "--data", str(datasets / "entityseg"), "--out", "out",
        "--resume", "auto", "--device", "cpu", "--set", "train.lr=2e-4",
    ]  # fmt: skip


def test_keys_and_values_change_the_file(data, tmp_path):
    words = ["--config-file", data / "original/cropformer.yaml", "--eval-only"]
    words += ["OUTPUT_DIR", tmp_path, "INPUT.MIN_SIZE_TEST", 48, "MODEL.WEIGHTS", "w.pth"]
    read = read_command([str(word) for word in words])
    assert read.config == str(tmp_path / "config_given.yaml") == read.train[1]
    assert read.weights == "w.pth"
    assert read_original(read.config, training=False).model.min_size_test == 48


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["OUTPUT_DIRS", "x"], "unknown keys: OUTPUT_DIRS"),
        (["OUTPUT_DIR"], "do not come in pairs"),
        (["--eval-only"], "no weights are named"),
        (["--data", "/no/such/folder"], "no data set is there"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(more, sentence, capsys):
    assert main(["--config-file", "c.yaml", "--num-gpus", "1", *more]) == 2
    assert sentence in capsys.readouterr().err
