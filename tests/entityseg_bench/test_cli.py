"""The command line: exit codes, what goes where, every option of evaluate and validate."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

import entityseg_bench
from entity_api import EvalParams, evaluate, rle
from entityseg_bench.cli import main, verbs


@pytest.fixture(scope="module")
def paths(data):
    return [str(data / f"eval/setA_{side}.json.gz") for side in ("gt", "pred")]


@pytest.fixture(scope="module")
def contents(paths):
    with gzip.open(paths[0]) as gt, gzip.open(paths[1]) as dt:
        return json.load(gt), json.load(dt)


def scored(paths, tmp_path, *options):
    """Run evaluate; return the result file's content."""
    result = tmp_path / "result.json"
    assert main(["evaluate", *paths, "--json", str(result), *options]) == 0
    return json.loads(result.read_text())


def test_help_names_every_verb(capsys):
    assert main([]) == 2
    text = capsys.readouterr().out
    for verb, line in verbs().items():
        assert verb in text
        assert line in text
        assert line.endswith(".")
    assert {"demo", "evaluate", "validate"} <= set(verbs())


def test_a_disk_that_does_not_tell_letters_apart_knows_no_other_verbs(monkeypatch, capsys):
    """Those of macOS and Windows also find evaluate.py by the name EVALUATE.py."""
    monkeypatch.setattr(Path, "is_file", lambda path: (path.parent / path.name.lower()).exists())
    for verb in ("EVALUATE", "Evaluate"):
        with pytest.raises(SystemExit, match="2"):
            main([verb])
        assert f"there is no verb '{verb}'" in capsys.readouterr().err


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_verb_explains_itself(verb, capsys):
    if verb in ("predict", "train"):
        pytest.importorskip("torch", reason="the models need torch: extra [baselines]")
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: entityseg {verb}")


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == entityseg_bench.__version__


@pytest.mark.parametrize("verb", ["evalute", "__init__", "../cli", "evaluate.py"])
def test_a_verb_that_there_is_not(verb, capsys):
    with pytest.raises(SystemExit) as caught:
        main([verb])
    assert caught.value.code == 2
    out, message = capsys.readouterr()
    assert out == ""
    assert "the verbs are" in message


def test_table_on_stdout(paths, capsys):
    assert main(["evaluate", *paths]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    # In percent; AP and AP^e of set A.
    assert [row[4] for row in rows if row[:2] == ["AP", "masks"]] == ["48.63"]
    assert [row[3] for row in rows if row[:2] == ["AP^e", "overlaps"]] == ["42.92"]
    assert "Predictions overlap in 29 of 30 images" in out


def test_json(paths, tmp_path, contents):
    record = scored(paths, tmp_path)
    assert record["metrics"] == evaluate(*contents).metrics
    assert set(record) >= {"schema", "toolkit", "parameters", "files", "counts", "overlap"}
    assert len(record["files"]["predictions"]["sha256"]) == 64


def test_json_packed(paths, tmp_path):
    result = tmp_path / "result.json.gz"
    assert main(["evaluate", *paths, "--json", str(result)]) == 0
    assert json.loads(gzip.decompress(result.read_bytes()))["schema"] == 2


def test_class_aware(paths, tmp_path, contents):
    record = scored(paths, tmp_path, "--class-aware")
    assert record["parameters"]["class_aware"] is True
    expected = evaluate(*contents, EvalParams(class_aware=True)).metrics
    assert record["metrics"] == expected


def test_max_dets(paths, tmp_path, contents):
    record = scored(paths, tmp_path, "--max-dets", "2,7")
    expected = evaluate(*contents, EvalParams(max_dets=(2, 7))).metrics
    assert record["metrics"] == expected
    assert {"AR2", "AR7", "ARe2"} <= set(record["metrics"])
    assert record["parameters"]["max_dets"] == [2, 7]


def test_area_ranges(paths, tmp_path, contents, capsys):
    record = scored(paths, tmp_path, "--area-ranges", "tiny:0:400,large:400:1e10")
    ranges = {"all": (0.0, 1e10), "tiny": (0.0, 400.0), "large": (400.0, 1e10)}
    expected = evaluate(*contents, EvalParams(area_ranges=ranges)).metrics
    assert record["metrics"] == expected
    assert {"AP_tiny", "APl", "APe_tiny"} <= set(record["metrics"])
    assert record["parameters"]["area_ranges"] == {k: list(v) for k, v in ranges.items()}
    assert "tiny" in capsys.readouterr().out


def test_threads_give_the_same(paths, tmp_path):
    assert scored(paths, tmp_path, "--threads", "2") == scored(paths, tmp_path)


def test_no_overlap_removal(paths, tmp_path, capsys):
    record = scored(paths, tmp_path, "--no-overlap-removal")
    assert record["overlap"] is None
    assert not [name for name in record["metrics"] if name[2:3] == "e"]
    assert "AP^e" not in capsys.readouterr().out


def test_predicted_images_only(paths, tmp_path, contents):
    gt, dt = contents
    some = tmp_path / "some.json"
    image_id = dt[0]["image_id"]
    some.write_text(json.dumps([p for p in dt if p["image_id"] == image_id]))
    record = scored([paths[0], str(some)], tmp_path, "--predicted-images-only")
    assert record["parameters"]["images"] == 1
    assert (
        record["metrics"]["AP"] == evaluate(gt, dt, EvalParams(image_ids=[image_id])).metrics["AP"]
    )


def test_warnings_go_to_stderr(paths, tmp_path, capsys):
    empty = tmp_path / "empty.json"
    empty.write_text("[]")
    assert main(["evaluate", paths[0], str(empty)]) == 0
    out, message = capsys.readouterr()
    assert f"warning: {empty}: it holds no predictions" in message.splitlines()[1]
    assert "warning" not in out
    assert [line.split()[4] for line in out.splitlines() if line.startswith("AP ")] == ["0.00"]
    assert main(["evaluate", paths[0], str(empty), "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_plain_wrapped_and_packed_predictions_are_one(paths, tmp_path, contents):
    _, dt = contents
    expected = scored(paths, tmp_path)["metrics"]
    for name, content in (("plain.json", dt), ("wrapped.json", {"info": {}, "annotations": dt})):
        path = tmp_path / name
        path.write_text(json.dumps(content))
        assert scored([paths[0], str(path)], tmp_path)["metrics"] == expected


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--max-dets", "a,b"], "--max-dets 'a,b' is not N,N,..."),
        (["--max-dets", ""], "--max-dets '' is not"),
        (["--max-dets", "10,1"], "max_dets must hold at least one value, in ascending"),
        (["--max-dets", "0"], "max_dets must be at least 1"),
        (["--area-ranges", "small"], "--area-ranges 'small' is not LABEL:LEAST:GREATEST"),
        (["--area-ranges", "a:5:1"], "area_ranges must hold"),
        (["--area-ranges", "a:nan:1"], "area_ranges must hold"),
        (["--area-ranges", "a:0:x"], "--area-ranges 'a:0:x' is not"),
        (["--threads", "0"], "threads must be at least 1"),
    ],
)
def test_options_that_make_no_sense(options, what, paths, capsys):
    assert main(["evaluate", *paths, *options]) == 2
    out, message = capsys.readouterr()
    assert out == ""
    assert what in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("options", [["--threads", "x"], ["--no-such-option"], []])
def test_what_argparse_refuses(options, paths, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *(paths if options else []), *options])
    assert caught.value.code == 2
    assert "usage: entityseg evaluate" in capsys.readouterr().err


def test_files_that_are_not_there(paths, tmp_path, capsys):
    for arguments in ([paths[0], str(tmp_path / "no.json")], [str(tmp_path / "no.json"), paths[1]]):
        for verb in ("evaluate", "validate"):
            assert main([verb, *arguments]) == 2
            out, message = capsys.readouterr()
            assert out == ""
            assert str(tmp_path / "no.json") in message


def test_a_result_that_cannot_be_written(paths, tmp_path, capsys):
    assert main(["evaluate", *paths, "--json", str(tmp_path / "no/result.json")]) == 2
    assert "it cannot be written" in capsys.readouterr().err


def test_cut_file_says_the_byte(paths, tmp_path, contents, capsys):
    whole = json.dumps(contents[1])
    cut = tmp_path / "cut.json"
    cut.write_text(whole[:100_000])
    assert main(["evaluate", paths[0], str(cut)]) == 2
    out, message = capsys.readouterr()
    assert out == ""
    assert "the JSON breaks off at its end, byte 100000" in message
    assert main(["validate", paths[0], str(cut)]) == 1
    assert "byte 100000" in capsys.readouterr().out


def test_as_a_program(paths, tmp_path):
    """The installed entry's module, its streams and exit codes, in a process of its own."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "entityseg_bench.cli", *arguments],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    done = run("evaluate", *paths, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert "48.63" in done.stdout
    broken = tmp_path / "pred.json"
    mask = {"size": [1, 1], "counts": rle.encode([[1]])["counts"]}
    broken.write_text(json.dumps([{"image_id": 1, "score": 1, "segmentation": mask}]))
    done = run("evaluate", paths[0], str(broken))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{broken}: record 0 (image_id 1): size [1, 1]" in done.stderr
    done = run("validate", paths[0], str(broken))
    assert done.returncode == 1
    assert f"{broken}: record 0 (image_id 1): size [1, 1]" in done.stdout
