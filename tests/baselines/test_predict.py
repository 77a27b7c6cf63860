"""From image files to results: the command, its files, and runs that are cut short."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_models import CONFIGS, build

from baselines.checkpoint import save_checkpoint
from baselines.images import image_size
from baselines.predict import main
from baselines.predictor import Predictor
from baselines.progress import Finished, Progress
from entity_api import rle
from entityseg_bench.io import InputError
from entityseg_bench.score import evaluate_files

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    """Write a checkpoint of random weights for each configuration."""
    folder = tmp_path_factory.mktemp("weights")
    for name, config in CONFIGS.items():
        save_checkpoint(folder / f"{name}.safetensors", build(config), config)
    return {name: folder / f"{name}.safetensors" for name in CONFIGS}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Write a folder of five small images of three sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i, size in enumerate([(40, 60), (60, 40), (40, 60), (33, 31), (60, 40)]):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        coarse.resize(size[::-1], Image.Resampling.BICUBIC).save(folder / f"p{i}.png")
    return folder


def predict(*args) -> int:
    return main([str(arg) for arg in args])


def read(path):
    return json.loads(path.read_text())


def test_results_of_a_folder(tmp_path, weights, pictures):
    out = tmp_path / "results.json"
    assert predict("--weights", weights["views"], "--images", pictures, "--out", out) == 0
    records = read(out)
    predictor = Predictor(weights=weights["views"])
    expected = []
    for path in sorted(pictures.iterdir()):
        for row in predictor(np.asarray(Image.open(path))).predictions(path.name):
            expected.append((row.image_id, row.category_id, row.segmentation, list(row.bbox)))
    keys = ("image_id", "category_id", "segmentation", "bbox")
    assert [tuple(row[key] for key in keys) for row in records] == expected
    assert all(0 <= row["score"] <= 1 for row in records)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_batches_write_the_same_in_the_same_order(tmp_path, weights, pictures):
    args = ("--weights", weights["entity"], "--images", pictures, "--calibrated", "--out")
    assert predict(*args, tmp_path / "one.json") == 0
    assert predict(*args, tmp_path / "three.json.gz", "--batch-size", 3) == 0
    one, three = (
        read(tmp_path / "one.json"),
        json.loads(gzip.decompress((tmp_path / "three.json.gz").read_bytes())),
    )
    assert [row["image_id"] for row in one] == [row["image_id"] for row in three]
    assert sorted({row["image_id"] for row in one}) == [f"p{i}.png" for i in range(5)]


def test_image_ids_come_from_a_coco_file(tmp_path, weights, pictures):
    names = ["p3.png", "p0.png"]
    images = [{"id": 70 + i, "file_name": name} for i, name in enumerate(names)]
    (tmp_path / "val.json").write_text(json.dumps({"images": images}))
    code = predict(
        *("--weights", weights["entity"], "--images", tmp_path / "val.json"),
        *("--image-root", pictures, "--out", tmp_path / "r.json"),
    )
    assert code == 0
    assert list(dict.fromkeys(row["image_id"] for row in read(tmp_path / "r.json"))) == [70, 71]


def test_every_kind_of_file(tmp_path, weights, pictures):
    kinds = ("json", "ids", "npz", "semantic", "panoptic")
    args = ("--weights", weights["panoptic"], "--images", pictures, "--out", tmp_path / "out")
    assert predict(*args, "--write", *kinds) == 0
    predictor = Predictor(weights=weights["panoptic"])
    panoptic = read(tmp_path / "out/panoptic.json")
    assert len(panoptic["annotations"]) == 5
    assert len(panoptic["categories"]) == 350
    for path, annotation in zip(sorted(pictures.iterdir()), panoptic["annotations"], strict=True):
        entities = predictor(np.asarray(Image.open(path)))
        ids = np.asarray(Image.open(tmp_path / "out/ids" / path.name))
        np.testing.assert_array_equal(ids, entities.id_map)
        masks = np.load(tmp_path / "out/npz" / f"{path.stem}.npz")["masks"]
        decoded = np.unpackbits(masks, axis=2, count=entities.size[1])
        np.testing.assert_array_equal(
            decoded, [rle.decode(mask) for mask in entities.segmentations]
        )
        labels = np.asarray(Image.open(tmp_path / "out/semantic" / path.name))
        expected = np.concatenate([[255], entities.category_ids])[entities.id_map]
        np.testing.assert_array_equal(labels, expected)
        name = path.with_suffix(".png").name
        rgb = np.asarray(Image.open(tmp_path / "out/panoptic" / name)).astype(int)
        rows = annotation["segments_info"]
        numbers = np.array([0, *(row["id"] for row in rows)])
        np.testing.assert_array_equal(rgb @ [1, 256, 65536], numbers[entities.id_map])
        assert [row["category_id"] for row in rows] == entities.category_ids.tolist()
        assert [row["area"] for row in rows] == entities.areas.tolist()


@pytest.mark.parametrize("kind", ["ids", "npz", "panoptic"])
@pytest.mark.parametrize("model", ["entity", "views"])
@pytest.mark.parametrize("source", ["coco", "folder"])
def test_every_kind_scores_like_the_results_file(tmp_path, weights, pictures, model, kind, source):
    """The ground truth is some of what the model sees there, so that the AP is no 0 and no 1."""
    names = sorted(path.name for path in pictures.iterdir())
    images = [{"id": 7 + i, "file_name": name} for i, name in enumerate(names)]
    for image in images:
        image["height"], image["width"] = image_size(pictures / image["file_name"])
    (tmp_path / "val.json").write_text(json.dumps({"images": images}))
    out = tmp_path / "out"
    where = {"coco": (tmp_path / "val.json", "--image-root", pictures), "folder": (pictures,)}
    args = ("--weights", weights[model], "--out", out, "--write", "json", kind)
    assert predict(*args, "--images", *where[source]) == 0
    records = read(out / "results.json")
    number = {image["file_name"]: image["id"] for image in images}
    rng = np.random.default_rng(0)
    kept = [row for row in records if rng.random() < 0.6]
    rows = [
        {"id": i + 1, "image_id": number.get(row["image_id"], row["image_id"])}
        | {"category_id": 0, "iscrowd": 0, "area": rle.area(row["segmentation"])}
        | {"segmentation": row["segmentation"], "bbox": row["bbox"]}
        for i, row in enumerate(kept)
    ]
    truth = {"images": images, "annotations": rows, "categories": [{"id": 0, "name": "entity"}]}
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    written = out / "panoptic.json" if kind == "panoptic" else out / kind
    want, got = (
        evaluate_files(tmp_path / "gt.json", path) for path in (out / "results.json", written)
    )
    assert 0 < want.result.metrics["APe"] < 1
    assert got.result.metrics == want.result.metrics


@pytest.mark.parametrize("kind", ["ids", "npz", "panoptic", "json"])
def test_predictions_of_a_folder_are_scored(tmp_path, weights, pictures, kind):
    """They call images by name; the ground truth has ids of its own, and other endings."""
    names = sorted(path.name for path in pictures.iterdir())
    images = [{"id": 7 + i, "file_name": name} for i, name in enumerate(names)]
    for image in images:
        image["height"], image["width"] = image_size(pictures / image["file_name"])
    (tmp_path / "val.json").write_text(json.dumps({"images": images}))
    kinds = dict.fromkeys(["json", kind])
    args = ("--weights", weights["entity"], "--write", *kinds, "--out")
    of_file, of_folder = tmp_path / "file", tmp_path / "folder"
    source = ("--images", tmp_path / "val.json", "--image-root", pictures)
    assert predict(*args, of_file, *source) == 0
    assert predict(*args, of_folder, "--images", pictures) == 0
    file = {"json": "results.json", "panoptic": "panoptic.json"}.get(kind, kind)
    rows = [
        {"id": i + 1, "image_id": row["image_id"], "category_id": 0, "iscrowd": 0}
        | {"segmentation": row["segmentation"], "area": rle.area(row["segmentation"])}
        for i, row in enumerate(read(of_file / "results.json")[::2])
    ]
    for ending in (".png", ".jpg"):
        for image in images:
            image["file_name"] = f"val/{image['file_name'][:-4]}{ending}"
        truth = {"images": images, "annotations": rows, "categories": [{"id": 0, "name": "x"}]}
        (tmp_path / "gt.json").write_text(json.dumps(truth))
        want, got = (
            evaluate_files(tmp_path / "gt.json", folder / file) for folder in (of_file, of_folder)
        )
        assert 0 < want.result.metrics["APe"] < 1
        assert got.result.metrics == want.result.metrics
        assert any("file names" in str(warning) for warning in got.warnings)


def test_a_broken_image_is_listed_and_the_rest_finishes(tmp_path, weights, pictures, capsys):
    folder = tmp_path / "pics"
    folder.mkdir()
    for path in pictures.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "p1.png").write_bytes((folder / "p1.png").read_bytes()[:200])
    (folder / "p9.jpg").write_text("no picture")
    for batch_size in (1, 2):
        out = tmp_path / f"r{batch_size}.json"
        args = ("--weights", weights["entity"], "--images", folder, "--out", out)
        assert predict(*args, "--batch-size", batch_size) == 1
        err = capsys.readouterr().err
        assert "p1.png: it cannot be read" in err
        assert "p9.jpg: this is no image" in err
        assert "2 images have no result" in err
        assert {row["image_id"] for row in read(out)} == {"p0.png", "p2.png", "p3.png", "p4.png"}


def test_what_cannot_run_says_why(tmp_path, weights, pictures, capsys):
    out = tmp_path / "r.json"
    images = ("--images", pictures, "--out", out)
    assert predict("--weights", tmp_path / "gone.pth", *images) == 2
    assert "gone.pth: there is no such file of weights" in capsys.readouterr().err
    assert predict("mask2former_swin_tiny_3x", "--weights", weights["entity"], *images) == 2
    assert "the weights are not this model's" in capsys.readouterr().err
    assert predict("mask2former", "--weights", weights["entity"], *images) == 2
    assert "presets: cropformer" in capsys.readouterr().err
    assert predict("--weights", weights["entity"], "--images", tmp_path / "x*", "--out", out) == 2
    assert "no image is there" in capsys.readouterr().err
    assert predict("--weights", weights["entity"], *images, "--write", "ids") == 2
    assert "Name a folder" in capsys.readouterr().err
    inside = ("--images", pictures, "--out", pictures / "out")
    assert predict("--weights", weights["entity"], *inside) == 2
    assert "in the folder of the images" in capsys.readouterr().err
    assert not out.exists()


def test_outputs_of_one_name_are_refused(tmp_path, weights, pictures, capsys):
    for suffix in ("jpg", "png"):
        Image.open(pictures / "p0.png").save(tmp_path / f"a.{suffix}")
    args = ("--weights", weights["entity"], "--images", tmp_path / "a.*", "--out", tmp_path / "o")
    assert predict(*args, "--write", "ids") == 2
    assert "would have the name of" in capsys.readouterr().err
    assert predict(*args, "--write", "json") == 0


def test_drawings_show_the_image_in_its_place_and_colours(tmp_path, weights):
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :30] = (255, 0, 0)
    pixels[20:, 30:] = (0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    args = ("--weights", weights["entity"], "--images", tmp_path / "a.png", "--threshold", 2)
    assert predict(*args, "--out", tmp_path / "out", "--write", "drawings") == 0
    drawn = np.asarray(Image.open(tmp_path / "out/drawings/a.png"))
    np.testing.assert_array_equal(drawn, pixels)


def test_images_of_a_dataset(tmp_path, weights, pictures):
    root = tmp_path / "entityseg"
    folder = root / "images/entity_01_11580"
    folder.mkdir(parents=True)
    (root / "annotations/entity_segmentation").mkdir(parents=True)
    (folder / "p0.png").write_bytes((pictures / "p0.png").read_bytes())
    square = {"segmentation": [[1, 1, 9, 1, 9, 9, 1, 9]], "bbox": [1, 1, 8, 8], "area": 64}
    content = {
        "images": [{"id": 3, "file_name": "p0.png", "height": 40, "width": 60}],
        "annotations": [{"id": 1, "image_id": 3, "category_id": 0, "iscrowd": 0, **square}],
        "categories": [{"id": 0, "name": "entity"}],
    }
    path = root / "annotations/entity_segmentation/entityv2_01_entity_val.json"
    path.write_text(json.dumps(content))
    out = tmp_path / "r.json"
    assert predict("--weights", weights["entity"], "--images", root, "--out", out) == 0
    assert {row["image_id"] for row in read(out)} == {3}


def test_progress_keeps_whole_lines_and_retries_failures(tmp_path):
    progress = Progress(tmp_path / "r.json")
    progress.begin({"threshold": 0})
    progress.append(Finished(1))
    progress.append(Finished("two", error="broken"))
    progress.close()
    path = progress.folder / "rank0.jsonl"
    path.write_bytes(path.read_bytes() + b'{"image_id": 3, "pred')
    (progress.folder / "rank1.jsonl").write_text('{"identity":{"threshold":9}}\n{"image_id":9}\n')
    again = Progress(tmp_path / "r.json")
    again.begin({"threshold": 0})
    assert {key: place.failed for key, place in again.finished().items()} == {1: False, "two": True}
    again.append(Finished(3))
    again.append(Finished("two"))
    places = again.finished()
    assert {key: place.failed for key, place in places.items()} == {
        1: False,
        "two": False,
        3: False,
    }
    assert again.read(places[3]).image_id == 3
    with pytest.raises(InputError, match=f"process {os.getpid()} on .* is writing it"):
        Progress(tmp_path / "r.json").begin({"threshold": 0})
    other = Progress(tmp_path / "r.json", rank=1)
    other.join()
    other.append(Finished(4))
    assert set(again.finished()) == {1, "two", 3, 4}
    other.close()
    again.close()
    with pytest.raises(InputError, match="another threshold"):
        Progress(tmp_path / "r.json").begin({"threshold": 1})


ROOT = Path(__file__).resolve().parents[2]


def start(*args, **variables) -> subprocess.Popen:
    """Start the command in a process of its own, at half a second an image."""
    code = (
        "import sys, time, baselines.predict as p; "
        "one = p.Predictor.predict; "
        "p.Predictor.predict = lambda *a: (time.sleep(0.5), one(*a))[1]; "
        "sys.exit(p.main(sys.argv[1:]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=ROOT,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            **{name: str(value) for name, value in variables.items()},
        },
        stderr=subprocess.PIPE,
    )


def test_a_killed_run_goes_on_and_ends_like_a_whole_one(tmp_path, weights, pictures, capsys):
    args = ("--weights", weights["entity"], "--images", pictures, "--out")
    assert predict(*args, tmp_path / "whole.json") == 0
    out = tmp_path / "killed.json"
    process = start(*args, out)
    lines = tmp_path / ".killed.json.unfinished/rank0.jsonl"
    deadline = time.monotonic() + 60
    while not (lines.is_file() and lines.read_bytes().count(b"\n") >= 2):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    done = lines.read_bytes()
    assert 2 <= done.count(b"\n") < 5
    # Another threshold would mix two runs.
    assert predict(*args, out, "--threshold", 0.5) == 2
    assert "another threshold" in capsys.readouterr().err
    assert predict(*args, out) == 0
    assert out.read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not lines.parent.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_and_keeps_what_is_done(tmp_path, weights, pictures, number, code):
    # More than is done before the signal comes, on a busy machine, too.
    many = tmp_path / "pictures"
    many.mkdir()
    for idx, path in enumerate(sorted(pictures.iterdir()) * 20):
        (many / f"{idx}_{path.name}").write_bytes(path.read_bytes())
    args = ("--weights", weights["entity"], "--images", many, "--out")
    out = tmp_path / "stopped.json"
    process = start(*args, out)
    lines = tmp_path / ".stopped.json.unfinished/rank0.jsonl"
    deadline = time.monotonic() + 60
    while not (lines.is_file() and lines.read_bytes().count(b"\n") >= 2):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    assert process.communicate()[1].decode() == "stopped; the same command goes on\n"
    assert process.returncode == code
    assert lines.read_bytes().count(b"\n") >= 2
    assert [path.name for path in lines.parent.iterdir()] == [lines.name]
    assert predict(*args, out) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([out.name, many.name])


def test_two_ranks_write_what_one_writes(tmp_path, weights, pictures):
    folder = tmp_path / "pics"
    folder.mkdir()
    for path in pictures.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "p7.png").write_bytes(b"broken")
    args = ("--weights", weights["entity"], "--images", folder, "--out")
    assert predict(*args, tmp_path / "one.json") == 1
    port = 29500 + os.getpid() % 2000
    common = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        start(*args, tmp_path / "two.json", RANK=rank, LOCAL_RANK=rank, **common)
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=100)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [1, 0], errors
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    assert "p7.png" in errors[0]


@pytest.mark.skipif(os.name == "nt", reason="links and pipes need rights there")
def test_what_has_the_records_name_is_left_as_it_is(tmp_path, weights, pictures, capsys):
    argv = ["--weights", weights["views"], "--images", pictures, "--out", tmp_path / "r.json"]
    record = tmp_path / ".r.json.unfinished"
    (tmp_path / "there").mkdir()
    for target in ("there", "nowhere", record.name):
        record.symlink_to(target)
        assert predict(*argv) == 2
        assert "it is no record of a prediction" in capsys.readouterr().err
        assert not (tmp_path / "nowhere").exists() and not [*(tmp_path / "there").iterdir()]
        record.unlink()
    record.write_text("")
    assert predict(*argv) == 2
    record.unlink()
    # Of other processes' journals in the folder, what is no file is nobody's.
    record.mkdir()
    os.mkfifo(record / "rank1.jsonl")
    (record / "rank2.jsonl").symlink_to("/dev/zero")
    assert predict(*argv) == 0


def test_a_line_of_no_result_ends_a_journal(tmp_path):
    progress = Progress(tmp_path / "out")
    progress.begin({})
    progress.append(Finished(1))
    with (tmp_path / ".out.unfinished/rank0.jsonl").open("ab") as file:
        file.write(b"5\n")
    progress.append(Finished(2))
    assert list(progress.finished()) == [1]
    progress.close()
