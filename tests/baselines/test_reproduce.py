"""A row end to end, on the demo set with the small weights that come with the package."""

import argparse
import json
import shutil
from pathlib import Path

import pytest

from entityseg_bench.cli import main
from entityseg_bench.commands.reproduce import compare
from entityseg_bench.demo import write_demo
from entityseg_bench.io import InputError
from entityseg_bench.leaderboard import read_model
from entityseg_bench.reproduce import RowName, measured_numbers, published_numbers, row_name

LEADERBOARD = Path(__file__).resolve().parents[2] / "leaderboard"
TINY = "mask2former_tiny"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("reproduce") / "demo", 8, 3, (60, 90))


@pytest.fixture
def board(tmp_path):
    folder = tmp_path / "leaderboard"
    folder.mkdir()
    shutil.copy(LEADERBOARD / "published.json", folder)
    return folder


@pytest.mark.parametrize(
    ("preset", "row"),
    [
        ("cropformer_hornet_3x", RowName("CropFormer", "HorNet-L", "entity")),
        ("mask2former_swin_large_instance", RowName("Mask2Former", "Swin-L", "instance")),
        ("mask2former_R_50_semantic", RowName("Mask2Former", "R50", "semantic")),
        (TINY, RowName("Mask2Former", "tiny", "entity")),
    ],
)
def test_a_preset_names_its_row(preset, row):
    assert row_name(preset) == row


def test_what_is_no_preset_is_said():
    with pytest.raises(InputError, match="no preset of Mask2Former or CropFormer"):
        row_name("sam_vit_h")


def test_published_numbers_are_found():
    rows = json.loads((LEADERBOARD / "published.json").read_bytes())["rows"]
    row = RowName("CropFormer", "Swin-T", "entity")
    stated = [
        r["percent"] for r in rows
        if (r["method"], r["backbone"], r["mark"]) == ("CropFormer", "Swin-T", "first-party")
        and r["resolution"] == "high"
    ]  # fmt: skip
    numbers, source = published_numbers(LEADERBOARD, row, "high")
    assert [numbers] == stated and source.startswith("https://")
    assert published_numbers(LEADERBOARD, RowName("CropFormer", "none", "entity"), "low")[0] == {}


def test_numbers_are_the_types_own():
    result = {"metrics": {"AP": 0.5, "APe": 0.25}, "own_metrics": None}
    assert measured_numbers(result, ["AP", "APe", "PQ"]) == {"AP": 50, "APe": 25}
    result["own_metrics"] = {"all": {"AP": 0.125, "mIoU": None}}
    assert measured_numbers(result, ["AP", "mIoU"]) == {"AP": 12.5}


def test_the_difference_is_printed(board, tmp_path, capsys):
    row = RowName("CropFormer", "Swin-T", "entity")
    value = published_numbers(board, row, "high")[0]["APe"]
    scored = tmp_path / "result.json"
    scored.write_text(json.dumps({"metrics": {"APe": value / 100 + 0.005}}))
    compare(argparse.Namespace(dir=board), row, "high", scored)
    assert f"{value:.1f} published, difference +0.50 (https://" in capsys.readouterr().out


def test_the_demo_is_reproduced_and_filed_apart(demo, board, tmp_path, capfd):
    args = ["reproduce", str(demo), TINY, "--weights", "mask2former_tiny_demo"]
    args += ["--out", str(tmp_path / "out"), "--dir", str(board), "--device", "cpu"]
    assert main([*args, "--dataset", "demo"]) == 0
    printed = capfd.readouterr().out
    assert "entity val, low resolution: 3 images" in printed
    assert "no published number of this row" in printed
    filed = read_model(board / "results/val/mask2former_tiny.json")
    assert filed.dataset == "demo"
    assert {one.resolution for one in filed.results} == {"high", "low"}
    # Predictions that are there are scored again, not made again.
    before = (tmp_path / "out/high/found/results.json").stat().st_mtime_ns
    assert main(args) == 0
    assert (tmp_path / "out/high/found/results.json").stat().st_mtime_ns == before
    assert "not filed" in capfd.readouterr().err
    # A note that was cut off says nothing: the predictions are made again.
    (tmp_path / "out/high/done.json").write_text('["base')
    assert main(args) == 0


def test_what_is_missing_is_listed_first(tmp_path, capfd):
    args = ["reproduce", str(tmp_path), "cropformer_swin_tiny_3x", "--weights", "no.pth"]
    assert main(args) == 2
    printed = capfd.readouterr()
    assert "weights no.pth: MISSING: no.pth: there is no such file of weights" in printed.out
    assert "entity val, high resolution: MISSING:" in printed.out
    assert "entityseg download" in printed.out
    assert "not all there" in printed.err


def test_check_stops_before_the_work(demo, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = ["reproduce", str(demo), TINY, "--weights", "mask2former_tiny_demo", "--check"]
    assert main(args) == 0
    assert "torch: installed" in capfd.readouterr().out
    assert not list(tmp_path.iterdir())
