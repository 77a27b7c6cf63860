"""Sets of numbered files: nothing that is read is lost, and none of them is missing in silence."""

import json
import shutil
from pathlib import Path

import pytest
from drawn_sides import drawn_sides

from entityseg_bench import cli

SPLIT = ("--split", "val")
SHARDS = ("--engine", "local", *SPLIT)


@pytest.fixture
def shards(tmp_path, monkeypatch):
    """Stand beside a folder of three shards of ground truth, and predictions of all images."""
    monkeypatch.chdir(tmp_path)
    truth, predictions = drawn_sides(9)
    Path("gt").mkdir()
    for k in range(3):
        own = {
            "images": truth["images"][3 * k : 3 * k + 3],
            "annotations": [one for one in truth["annotations"] if one["image_id"] // 3 == k],
        }
        Path("gt", f"{k}.json").write_text(json.dumps(truth | own), encoding="utf-8")
    Path("pred.json").write_text(json.dumps(predictions), encoding="utf-8")
    return Path("gt")


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def said(capsys, *words):
    assert cli.main(list(words)) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("target", ["webdataset", "parquet"])
def test_shards_that_are_read_are_never_replaced(shards, capsys, target):
    assert cli.main(["convert", "gt", "out", "--to", target, *SHARDS]) == 0
    own = Path("out/entity") if target == "parquet" else Path("out")
    before = contents("out")
    pattern = f"{own}/val-*"[: -1 if target == "parquet" else None] + "0*"
    wanted = ["convert", pattern, "out", "--to", target, *SHARDS]
    error = said(capsys, *wanted)
    assert "it is read, and would be replaced" in error
    assert contents("out") == before


def test_a_shard_that_is_read_is_never_replaced_by_its_own_export(shards, capsys):
    assert cli.main(["convert", "gt", "out", "--to", "parquet", *SHARDS]) == 0
    before = contents("out")
    one = "out/entity/val-00001-of-00003.parquet"
    error = said(capsys, "convert", one, "out", "--to", "parquet", "--jobs", "1", *SPLIT)
    assert f"{one}: it is read, and would be replaced" in error
    assert contents("out") == before


@pytest.mark.parametrize("target", ["webdataset", "parquet"])
def test_an_earlier_set_goes_when_the_new_one_is_written_and_no_other_file(
    shards, capsys, target, monkeypatch
):
    assert cli.main(["convert", "gt", "out", "--to", target, *SHARDS]) == 0
    own = Path("out/entity") if target == "parquet" else Path("out")
    mine = [own / f"val-{name}" for name in ("a-of-b.tar", "notes.parquet", "00000-of-00002.txt")]
    for path in mine:
        path.write_text("mine")
    before = contents("out")
    content = Path("gt/2.json").read_text()
    Path("gt/2.json").write_text(content.replace('"counts": "', '"counts": "~'))
    said(capsys, "convert", "gt/[12]*", "out", "--to", target, *SHARDS)
    kept = contents("out")
    assert {name: kept[name] for name in before} == before
    Path("gt/2.json").write_text(content)
    for journal in own.glob(".val.*"):
        journal.unlink()
    assert cli.main(["convert", "gt/[12]*", "out", "--to", target, *SHARDS]) == 0
    names = {path.name for path in own.glob("val-*")} - {path.name for path in mine}
    ending = {"parquet": "parquet", "webdataset": "tar"}[target]
    assert names == {f"val-0000{k}-of-00002.{ending}" for k in range(2)}
    assert all(path.read_text() == "mine" for path in mine)


def test_a_missing_shard_is_no_set_of_fewer_images(shards, capsys):
    assert cli.main(["convert", "gt", "tars", "--to", "webdataset", *SHARDS]) == 0
    assert cli.main(["convert", "gt", "out", "--to", "parquet", *SHARDS]) == 0
    whole = ["pred.json", "--engine", "local", "--quiet"]
    for folder, own in (("tars", "tars"), ("out", "out/entity")):
        assert cli.main(["evaluate", folder, *whole]) == 0
        next(Path(own).glob("val-00001*")).unlink()
        for verb in ("evaluate", "validate"):
            arguments = whole[: 3 if verb == "validate" else None]
            assert "val: 2 of 3 shards are here." in said(capsys, verb, folder, *arguments)
    # Who names files means them.
    rows = json.loads(Path("pred.json").read_text())
    Path("some.json").write_text(json.dumps([row for row in rows if row["image_id"] // 3 != 1]))
    assert cli.main(["evaluate", "tars/*.tar", "some.json", "--engine", "local", "--quiet"]) == 0


def test_shards_of_two_exports_are_no_set(shards, capsys):
    assert cli.main(["convert", "gt", "out", "--to", "parquet", *SHARDS]) == 0
    own = Path("out/entity")
    (own / "val-00001-of-00003.parquet").rename(own / "val-00001-of-00002.parquet")
    (own / "val-00002-of-00003.parquet").unlink()
    error = said(capsys, "evaluate", "out", "pred.json")
    assert "val: 1 of " in error


def test_a_folder_of_files_is_another_source_when_one_of_them_changes(shards, capsys, monkeypatch):
    """SA-1B's one file an image, of which a shard is many."""
    Path("sa").mkdir()
    for path in sorted(Path("gt").iterdir()):
        truth = json.loads(path.read_text())
        for image in truth["images"]:
            rows = [one for one in truth["annotations"] if one["image_id"] == image["id"]]
            row = {**image, "image_id": image["id"]}
            name = f"sa/{image['id']}.json"
            Path(name).write_text(json.dumps({"image": row, "annotations": rows}))
    monkeypatch.setattr("entityseg_bench.scale.sources.FILES_A_SHARD", 3)
    broken = Path("sa/8.json").read_text()
    Path("sa/8.json").write_text(broken.replace('"counts": "', '"counts": "~'))
    wanted = ["convert", "sa", "out", "--to", "webdataset", *SHARDS]
    said(capsys, *wanted)
    first = Path("out/val-00000-of-00003.tar")
    assert first.is_file()
    Path("sa/8.json").write_text(broken)
    assert "an unfinished run of something else is here" in said(capsys, *wanted)
    shutil.rmtree("out")
    assert cli.main(wanted) == 0


@pytest.mark.parametrize("line", ['{"a": 1}', '"x"', "null", "1e999", "[0]", "0.5"])
def test_a_line_of_another_kind_in_a_journal_is_torn(shards, capsys, line):
    wanted = ["convert", "gt", "out", "--to", "webdataset", *SHARDS]
    assert cli.main(wanted) == 0
    whole = contents("out")
    content = Path("gt/2.json").read_text()
    Path("gt/2.json").write_text(content.replace('"counts": "', '"counts": "~'))
    said(capsys, *wanted)
    with Path("out/.val.shards").open("a") as file:
        file.write(line + "\n1\n")
    said(capsys, *wanted)
    Path("out/.val.shards").unlink()
    Path("gt/2.json").write_text(content)
    assert cli.main(wanted) == 0
    assert contents("out") == whole


def test_two_sets_are_not_mixed_while_one_is_written(shards, capsys):
    """The second run replaces the files of the first one by one."""
    Path("tars").mkdir()
    for target, folder in (("webdataset", "tars"), ("parquet", "out")):
        wanted = ["convert", "gt", folder, "--to", target, *SHARDS]
        assert cli.main(wanted) == 0
        content = Path("gt/2.json").read_text()
        Path("gt/2.json").write_text(content.replace('"counts": "', '"counts": "~'))
        said(capsys, *wanted)
        options = ["pred.json", "--quiet", "--engine", "local"]
        assert "what writes it is not finished" in said(capsys, "evaluate", folder, *options)
        if target == "parquet":
            error = said(capsys, "evaluate", folder, *options[:2])
            assert "what writes it is not finished" in error
        Path("gt/2.json").write_text(content)
        for journal in Path(folder).rglob(".val.shards"):
            journal.unlink()
        assert cli.main(wanted) == 0
        assert cli.main(["evaluate", folder, *options]) == 0
