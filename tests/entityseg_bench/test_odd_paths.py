"""What nobody means: pipes in folders, links in circles, odd bytes in names, endless numbers."""

import json
import os
import signal
import sys

import numpy as np
import pytest
from PIL import Image

from entity_api import rle
from entityseg_bench.cli import main
from entityseg_bench.commands import predict

posix = pytest.mark.skipif(os.name == "nt", reason="there are no such paths")


@pytest.fixture
def sides(tmp_path):
    mask = rle.encode(np.asfortranarray(np.eye(8, dtype=np.uint8)))
    record = {"image_id": 1, "category_id": 1, "segmentation": mask}
    truth = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 8, "width": 8}],
        "annotations": [{"id": 1, "area": 8, "bbox": [0, 0, 8, 8], "iscrowd": 0, **record}],
        "categories": [{"id": 1, "name": "a"}],
    }
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "pred.json").write_text(json.dumps([{"score": 0.5, **record}]))
    return str(tmp_path / "gt.json"), str(tmp_path / "pred.json")


@posix
def test_a_pipe_in_a_folder_is_refused(sides, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder/a.json")
    assert main(["evaluate", str(tmp_path / "folder"), sides[1]]) == 2
    assert "a device or a pipe" in capsys.readouterr().err
    assert main(["evaluate", sides[0], str(tmp_path / "folder")]) == 2
    assert "a device or a pipe" in capsys.readouterr().err


@posix
@pytest.mark.parametrize("target", [".", "..", "/"])
def test_results_are_not_written_in_place_of_a_folder(sides, target, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", sides[1], target, "--to", "results", "--gt", sides[0]]) == 2
    assert "it is a folder" in capsys.readouterr().err


def test_a_first_record_that_is_nested_deeply_is_refused(sides, tmp_path, capsys):
    path = tmp_path / "deep.json"
    deep = "[" * 100_000 + "]" * 100_000
    path.write_text('{"images": [], "annotations": [{"x": ' + deep + "}]}")
    assert main(["convert", sides[1], str(tmp_path / "o"), "--to", "npz", "--gt", str(path)]) == 2
    assert "deep.json: " in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 there")
def test_a_name_that_is_no_utf8(sides, tmp_path):
    name = str(tmp_path / "\udcff")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images/a.jpg")
    argv = ["report", *sides, "--out", name + ".html", "--assets", "--quiet", "--resamples", "2"]
    assert main([*argv, "--images", str(tmp_path / "images")]) == 0
    assert main(["convert", sides[1], name, "--to", "parquet", "--gt", sides[0]]) == 0
    assert main(["convert", sides[0], name + "s", "--to", "parquet", "--split", "val"]) == 0


@pytest.mark.parametrize("most", ["nan", "inf", "0"])
def test_pictures_of_no_size_are_refused(sides, most, tmp_path, capsys):
    argv = ["visualize", *sides, "--images", str(tmp_path), "--out", str(tmp_path / "o")]
    assert main([*argv, "--max-kb", most]) == 2
    assert "--max-kb" in capsys.readouterr().err


def test_more_predictions_than_can_be_counted_are_refused(sides, capsys):
    assert main(["evaluate", *sides, "--quiet", "--max-dets", "9" * 30]) == 2
    assert "max_dets must be at most" in capsys.readouterr().err


def test_a_field_that_no_number_holds_is_refused(sides, tmp_path, capsys):
    path = tmp_path / "gt.json"
    path.write_text(path.read_text().replace('"iscrowd"', f'"own": {"9" * 5000}, "iscrowd"'))
    argv = ["convert", sides[0], str(tmp_path / "o"), "--to", "npz", "--jobs", "1"]
    assert main([*argv, "--from", "coco"]) == 2
    assert "own: it cannot be read" in capsys.readouterr().err


def test_intervals_of_endless_resamples_are_refused(sides, tmp_path, capsys):
    state = str(tmp_path / "a.state")
    assert main(["evaluate", *sides, "--quiet", "--save-state", state]) == 0
    for count in ("0", "9" * 30):
        assert main(["merge", state, "--ci", count]) == 2
        assert "--ci" in capsys.readouterr().err
    for option in ("--json", "--save-state"):
        assert main(["merge", state, option, ""]) == 2


@posix
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_verb_is_imported_is_one_line(number, code, monkeypatch, capsys):
    monkeypatch.setattr(predict, "main", lambda argv, prog: signal.raise_signal(number))
    assert main(["predict"]) == code
    assert capsys.readouterr().err == "entityseg predict: stopped\n"
