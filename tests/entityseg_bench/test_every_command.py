"""What evaluate takes, every command takes, with the same notes."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from odd_inputs import HEIGHT, IDS, NAMES, WIDTH, edited, results, save, saved, truth
from PIL import Image

from entityseg_bench.cli import main
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.huggingface import load_dataset


def named(image_id):
    return NAMES[IDS.index(image_id)]


def sam_folder(path):
    path.mkdir()
    for image_id in IDS:
        rows = [
            {"segmentation": row["segmentation"], "predicted_iou": row["score"]}
            for row in results() if row["image_id"] == image_id
        ]  # fmt: skip
        save(path / f"{named(image_id)[:-4]}.json", rows)
    return path


def pth(path):
    path.write_bytes(pickle.dumps(edited(results(), image_id=str)))
    return path


PREDICTIONS = {
    "text_ids": (lambda p: save(p / "p.json", edited(results(), image_id=str)), "ids are text"),
    "names": (lambda p: save(p / "p.json", edited(results(), image_id=named)), "file names"),
    "key": (lambda p: save(p / "p.json", {"results": results()}), "the key 'results'"),
    "sam": (lambda p: sam_folder(p / "masks"), "predicted_iou was taken"),
    "pth": (lambda p: pth(p / "instances_predictions.pth"), "ids are text"),
}


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in NAMES:
        Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(folder / name)
    return folder


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_predictions(kind, tmp_path, images, capsys):
    make, note = PREDICTIONS[kind]
    gt, plain = saved(tmp_path, truth(), results())
    dt = make(tmp_path)

    def run(*command):
        code = main([str(part) for part in command])
        return code, *capsys.readouterr()

    code, out, said = run("evaluate", gt, dt)
    assert code == 0
    assert said.count(note) == 1
    assert out == run("evaluate", gt, plain)[1]
    code, out, said = run("validate", gt, dt)
    assert (code, note in out, "fit to be scored" in said) == (0, True, True)
    code, out, said = run("errors", gt, dt)
    assert (code, note in said) == (0, True)
    assert out == run("errors", gt, plain)[1]
    code, out, said = run("compare", gt, plain, dt, "--resamples", 3, "--permutations", 3)
    assert (code, note in said) == (0, True)
    code, _, said = run("report", gt, dt, "--out", tmp_path / "r.html", "--resamples", 3)
    assert (code, note in said) == (0, True)
    command = "visualize", gt, dt, "--images", images, "--out"
    code, _, said = run(*command, tmp_path / "drawn")
    assert (code, note in said) == (0, True)
    run("visualize", gt, plain, "--images", images, "--out", tmp_path / "plain")
    for picture in (tmp_path / "plain").iterdir():
        assert picture.read_bytes() == (tmp_path / "drawn" / picture.name).read_bytes()
    code, said, _ = run("convert", dt, tmp_path / "c.json", "--to", "results", "--gt", gt)
    assert (code, note in said) == (0, True)
    assert run("evaluate", gt, tmp_path / "c.json")[1] == run("evaluate", gt, plain)[1]
    record = tmp_path / "result.json"
    assert run("evaluate", gt, dt, "--json", record)[0] == 0
    assert any(note in line for line in json.loads(record.read_text(encoding="utf-8"))["warnings"])


def test_ground_truth(tmp_path, images, capsys):
    loose = {key: edited(rows, id=float) for key, rows in truth().items()}
    loose["annotations"] = edited(loose["annotations"], image_id=str, iscrowd=None)
    gt, dt = saved(tmp_path, loose, results())
    note = "ids are text"
    for command in (
        ["evaluate", gt, dt], ["validate", gt, dt], ["errors", gt, dt],
        ["visualize", gt, "--images", images, "--out", tmp_path / "drawn"],
        ["convert", gt, tmp_path / "c.json", "--to", "entity"],
    ):  # fmt: skip
        assert main([str(part) for part in command]) == 0
        out, said = capsys.readouterr()
        assert note in out + said, command
    again = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert [row["image_id"] for row in again["annotations"]] == [
        row["image_id"] for row in truth()["annotations"]
    ]


def test_one_image_is_drawn_of_records_that_name_none(tmp_path, images, capsys):
    """The image that is to be drawn is theirs."""
    rows = [row for row in results() if row["image_id"] == IDS[0]]
    gt, dt = saved(tmp_path, truth(), edited(rows, image_id=...))
    drawn = tmp_path / "drawn"
    command = ["visualize", str(gt), str(dt), "--images", str(images), "--out", str(drawn)]
    assert main([*command, "--image-id", str(IDS[0])]) == 0
    assert len(list(drawn.iterdir())) == 1
    assert main(command) == 2
    assert "--image-id" in capsys.readouterr().err


def test_closed_streams_are_no_fault(tmp_path, images):
    """A command that was started without standard streams writes its files, or says nothing."""
    script = (
        "import sys; sys.stdin = sys.stdout = sys.stderr = None\n"
        "from entityseg_bench.cli import main; sys.exit(main(sys.argv[1:]))\n"
    )

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)], check=False, capture_output=True
        )

    assert run("models", "--json", tmp_path / "models.json").returncode == 0
    assert json.loads((tmp_path / "models.json").read_bytes())
    done = run("evaluate", tmp_path / "models.json", "-")
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def test_windows_names(tmp_path, capsys):
    """The base name is found after a backslash, by every command that looks for images."""
    gt = truth()
    for image in gt["images"]:
        image["file_name"] = f"C:\\data\\{image['file_name']}"
    for folder in ("annotations", "images"):
        (tmp_path / folder).mkdir()
    save(tmp_path / "annotations/entityseg_val.json", gt)
    for name in NAMES:
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / name)
    assert main(["info", str(tmp_path)]) == 0
    assert "are not here" not in capsys.readouterr().out
    assert main(["validate", str(tmp_path)]) == 0
    assert "no such image" not in capsys.readouterr().out
    dataset = EntityDataset.open(tmp_path)
    assert [dataset.image_path(image).name for image in dataset.images] == list(NAMES)
    pytest.importorskip("datasets")
    assert [row["image"].size for row in load_dataset(tmp_path)] == [(WIDTH, HEIGHT)] * 3
    maps = tmp_path / "maps"
    assert main(["convert", str(tmp_path), str(maps), "--to", "id-png", "--split", "val"]) == 0
    file = tmp_path / "annotations/entityseg_val.json"
    assert main(["evaluate", str(file), str(save(tmp_path / "p.json", results()))]) == 0
