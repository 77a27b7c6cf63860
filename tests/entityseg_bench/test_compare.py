"""Files side by side: figures by hand, the same chance for all files, text and JSON that agree."""

import csv
import json
import math

import numpy as np
import pytest

from entity_api import EvalParams, rle
from entityseg_bench import cli
from entityseg_bench.compare import comparison_csv, comparison_tex
from entityseg_bench.compare.comparison import (
    compare,
    compare_files,
    comparison_record,
    unique_names,
)
from entityseg_bench.compare.tables import comparison_table
from entityseg_bench.resampling import confidence_intervals
from entityseg_bench.score import evaluate_files

SIDE = 32
N_IMAGES = 12


def square(x, y, side=10):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y : y + side, x : x + side] = True
    return rle.encode(mask)


@pytest.fixture
def files(tmp_path):
    """Write two entities an image; ``a`` finds the first of each, ``b`` both in images 1 to 4.

    ``b`` scores on another scale. Image 12 has no entity, and a prediction of both.
    """
    gt = {"images": [], "annotations": [], "categories": []}
    found = {"a": [], "b": []}
    for image_id in range(1, N_IMAGES + 1):
        gt["images"].append(
            {"id": image_id, "height": SIDE, "width": SIDE, "file_name": f"{image_id}.jpg"}
        )
        first, second = square(0, 0), square(16, 16)
        for mask in (first, second) if image_id < N_IMAGES else ():
            record = {"id": len(gt["annotations"]) + 1, "image_id": image_id, "category_id": 0}
            gt["annotations"].append(record | {"segmentation": mask})
        for name, scale, n in (("a", 1, 1), ("b", 0.01, 2 if image_id < 5 else 1)):
            for k, mask in enumerate((first, second)[:n]):
                score = scale * (1 - 0.3 * k - 0.001 * image_id)
                found[name].append({"image_id": image_id, "segmentation": mask, "score": score})
    paths = [tmp_path / f"{name}.json" for name in ("gt", "a", "b")]
    for path, content in zip(paths, (gt, found["a"], found["b"]), strict=True):
        path.write_text(json.dumps(content))
    return paths


def test_metrics_differences_and_images(files):
    gt, a, b = files
    got = compare_files(gt, [a, b], n_resamples=200, n_permutations=999)
    assert got.labels == ["a", "b"]
    scorings = [evaluate_files(gt, path) for path in (a, b)]
    for scoring, metrics in zip(scorings, got.metrics, strict=True):
        values = {name: own.value for name, own in metrics.items()}
        assert values == pytest.approx(scoring.result.metrics, abs=0, nan_ok=True)
        intervals = confidence_intervals(scoring.result, scoring.dt.scores, 200)
        assert str(metrics) == str(intervals)
    # Recall goes from 11 to 15 of 22; the wrong prediction ranks behind all of the first ones.
    change = got.differences[0]["APe"]
    assert change.value == got.metrics[1]["APe"].value - got.metrics[0]["APe"].value
    assert got.metrics[0]["APe"].value == pytest.approx(51 / 101)
    assert change.value == pytest.approx(18 / 101 * 15 / 16)
    assert 0 < change.low < change.value < change.high
    # Four images differ, and of their 16 exchanges the actual one and its reverse are as far apart.
    assert change.p == pytest.approx(2 / 16, abs=0.04)
    assert math.isnan(got.differences[0]["APe50"].p)
    assert got.image_values.shape == (2, N_IMAGES)
    assert got.image_values[0, :11] == pytest.approx(51 / 101)
    assert got.image_values[1, :5] == pytest.approx([1, 1, 1, 1, 51 / 101])
    assert np.isnan(got.image_values[:, 11]).all()
    assert got.n_gt.tolist() == [2] * 11 + [0]
    moved = got.moved(1)
    assert [move.image_id for move in moved] == [1, 2, 3, 4]
    assert moved[0].change == pytest.approx(50 / 101)
    assert (moved[0].file_name, moved[0].n_gt) == ("1.jpg", 2)


def test_a_file_compared_with_itself_differs_by_nothing(files):
    gt, a, _ = files
    got = compare_files(gt, [a, a], ["one", "other"], n_resamples=20, n_permutations=20)
    for change in got.differences[0].values():
        assert math.isnan(change.value) or (change.value, change.low, change.high) == (0, 0, 0)
    assert got.differences[0]["AP"].p == 1
    assert got.moved(1) == []


def test_differences_are_paired(files):
    gt, a, b = files
    # Another file that is as much better in every image: single intervals are wide, that of the
    # difference has no width.
    shifted = json.loads(a.read_text())
    content = json.loads(gt.read_text())
    content["images"].pop()
    shifted.pop()
    a.write_text(json.dumps(shifted))
    gt.write_text(json.dumps(content))
    both = shifted + [
        record | {"segmentation": square(16, 16), "score": record["score"] - 0.5}
        for record in shifted
    ]
    b.write_text(json.dumps(both))
    change = compare_files(gt, [a, b], n_resamples=50, n_permutations=0).differences[0]["AP"]
    assert (change.low, change.high) == pytest.approx((50 / 101, 50 / 101))
    assert math.isnan(change.p)


def test_three_files_are_each_held_to_the_first_and_the_json_says_what_the_text_does(files):
    gt, a, b = files
    got = compare_files(gt, [a, b, a], ["a", "b", "again"], n_resamples=30, n_permutations=9)
    record = json.loads(json.dumps(comparison_record(got)))
    assert [(d["first"], d["second"]) for d in record["differences"]] == [
        ("a", "b"), ("a", "again"),
    ]  # fmt: skip
    assert record["differences"][0]["images"] == {"better": 4, "worse": 0, "same": 7}
    assert record["differences"][0]["moved"][0]["image_id"] == 1
    assert record["images"][11] == {"image_id": 12, "n_gt": 0, "values": [None, None, None]}
    assert record["files"][1]["name"] == "b.json"
    assert record["files"][0]["metrics"]["APl"] == {"value": None, "low": None, "high": None}
    text = comparison_table(got, n_images=2)
    change = record["differences"][0]["metrics"]["APe"]
    assert f"{100 * change['value']:+.2f} [{100 * change['low']:+.2f}," in text
    assert f"{change['p']:.4f}" in text
    assert "4 better, 0 worse, 7 same" in text
    assert "2.jpg" in text
    assert "3.jpg" not in text


def test_what_cannot_be_compared_is_refused(files):
    gt, a, b = files
    one = evaluate_files(gt, a)
    with pytest.raises(ValueError, match="two files"):
        compare([one])
    with pytest.raises(ValueError, match="same parameters"):
        compare([one, evaluate_files(gt, b, EvalParams(max_dets=(1, 5)))])
    with pytest.raises(ValueError, match="one ground truth"):
        compare([one, evaluate_files(gt, b, EvalParams(image_ids=[1, 2]))])


def test_names_of_files(tmp_path):
    paths = [tmp_path / "x" / "val.json", tmp_path / "y" / "val.json.gz"]
    assert unique_names(paths) == [str(path) for path in paths]
    assert unique_names([paths[0], tmp_path / "b.json.gz"]) == ["val", "b"]


def test_commands(files, tmp_path, capsys):
    gt, a, b = map(str, files)
    out = tmp_path / "out.json"
    few = ["--resamples", "20", "--permutations", "9", "--quiet"]
    assert cli.main(["compare", gt, a, b, "--json", str(out), *few, "--labels", "old,new"]) == 0
    text = capsys.readouterr().out
    assert "new minus old" in text
    record = json.loads(out.read_text())
    value = record["files"][0]["metrics"]["APe"]["value"]
    assert f"APe     {100 * value:17.2f} [".replace(" ", "") in text.replace(" ", "")
    assert cli.main(["compare", gt, a, b, *few]) == cli.main(["compare", gt, a, b, *few]) == 0
    twice = capsys.readouterr().out
    assert twice == 2 * twice[: len(twice) // 2]
    for wrong, what in (
        ([a], "two prediction files"),
        ([a, b, "--labels", "x"], "1 labels for 2"),
        ([a, b, "--level", "95"], "--level"),
        ([a, b, "--resamples", "0"], "--resamples"),
    ):
        assert cli.main(["compare", gt, *wrong]) == 2
        assert what in capsys.readouterr().err


def test_files_for_a_paper(files, tmp_path):
    gt, a, b = map(str, files)
    tex, table, out = tmp_path / "t.tex", tmp_path / "t.csv", tmp_path / "out.json"
    few = ["--resamples", "20", "--permutations", "9", "--quiet", "--labels", "one_1,two"]
    targets = ["--tex", str(tex), "--csv", str(table), "--json", str(out)]
    assert cli.main(["compare", gt, a, b, *few, *targets]) == 0
    record = json.loads(out.read_text())
    again = compare_files(gt, [a, b], ["one_1", "two"], n_resamples=20, n_permutations=9)
    assert comparison_tex(again) == tex.read_text()
    assert comparison_csv(again) == table.read_text()
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["file"] for row in rows] == ["one_1"] * (len(rows) // 2) + ["two"] * (
        len(rows) // 2
    )
    for row in rows:
        filed = record["files"][row["file"] == "two"]["metrics"][row["metric"]]["value"]
        assert (row["value"] == "") == (filed is None)
        assert filed is None or float(row["value"]) == pytest.approx(100 * filed)
        assert row["file"] == "two" or row["difference"] == row["p"] == ""
    tested = next(row for row in rows if row["file"] == "two" and row["metric"] == "APe")
    assert float(tested["p"]) > 0
    first, second = (one["metrics"]["APe"]["value"] for one in record["files"])
    lines = [line.strip() for line in tex.read_text().splitlines()]
    # The second file finds more, so its number alone is bold.
    assert second > first
    assert any(line.startswith(rf"one\_1 & {100 * first:.1f} &") for line in lines)
    assert any(line.startswith(rf"two & \textbf{{{100 * second:.1f}}} &") for line in lines)
    assert lines[0] == r"\begin{table}" and lines[-1] == r"\end{table}"


def test_names_of_files_are_no_code_in_any_format(files):
    gt, *both = map(str, files)
    labels = ["=cmd|' /C calc'!A0", "\uff1d1\n\n\\input{x}"]
    named = compare_files(gt, both, labels, n_resamples=5, n_permutations=0)
    rows = list(csv.DictReader(comparison_csv(named).splitlines()))
    assert {row["file"] for row in rows} == {f"'{labels[0]}", "'\uff1d1\\n\\n\\input{x}"}
    tex = comparison_tex(named)
    assert r"\textbackslash{}n\textbackslash{}n\textbackslash{}input\{x\}" in tex


@pytest.mark.parametrize("option", ["--json", "--tex", "--csv"])
def test_a_target_that_cannot_be_written_is_found_before_the_work(tmp_path, capsys, option):
    # None of the inputs exists: only a check before they are read can speak of the target.
    for target in (tmp_path, tmp_path / "no" / "t"):
        assert cli.main(["compare", "gt.json", "a.json", "b.json", option, str(target)]) == 2
        said = capsys.readouterr().err
        assert str(target) in said and "cannot be written" in said


def test_evaluate_with_intervals(files, tmp_path, capsys):
    gt, a, _ = map(str, files)
    out = tmp_path / "out.json"
    assert cli.main(["evaluate", gt, a, "--json", str(out), "--quiet", "--ci", "30"]) == 0
    text = capsys.readouterr().out
    record = json.loads(out.read_text())["intervals"]
    assert (record["resamples"], record["level"], record["seed"]) == (30, 0.95, 0)
    low, high = record["metrics"]["APe"]
    assert f"[{100 * low:.2f}, {100 * high:.2f}]" in text
    assert record["metrics"]["APl"] is None
    assert cli.main(["evaluate", gt, a, "--ci", "0"]) == 2
    assert "--ci: 0 is not from 1" in capsys.readouterr().err
    assert cli.main(["evaluate", gt, a, "--json", str(out), "--quiet"]) == 0
    assert "intervals" not in json.loads(out.read_text())
