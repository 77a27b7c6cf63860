"""Figures of a comparison, and results that go through pipes."""

import gzip
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from entity_api import EvalParams, rle
from entityseg_bench import cli
from entityseg_bench.compare import compare, figures, write_figures
from entityseg_bench.errors import KINDS, find_errors
from entityseg_bench.io import InputError
from entityseg_bench.score import evaluate_files
from entityseg_bench.score.curves import ap_by_iou, precision_at

NAMES = ("ap_by_iou", "calibration", "error_costs", "precision_recall", "sizes")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, list[Path]]:
    """Write ground truth and three prediction files, each worse than the one before."""
    folder = tmp_path_factory.mktemp("files")
    gt: dict = {"images": [], "annotations": [], "categories": []}
    found: dict = {"one": [], "two": [], "three": []}
    for k in range(6):
        gt["images"].append({"id": k, "file_name": f"{k}.png", "height": 60, "width": 80})
        for left in (4, 44):
            mask = np.zeros((60, 80), bool)
            mask[6:50, left : left + 30] = True
            row = {"image_id": k, "category_id": 1, "segmentation": rle.encode(mask)}
            gt["annotations"].append({**row, "id": len(gt["annotations"]) + 1})
            for j, (name, guesses) in enumerate(found.items()):
                moved = rle.encode(np.roll(mask, j * (k + left // 40), axis=1))
                score = 0.9 - 0.1 * k - 0.01 * len(name)
                guesses.append({**row, "segmentation": moved, "score": score})
    (folder / "gt.json").write_text(json.dumps(gt))
    for name, guesses in found.items():
        (folder / f"{name}.json").write_text(json.dumps(guesses))
    return folder / "gt.json", [folder / f"{name}.json" for name in found]


def test_the_command_writes_each_figure_twice_and_again_the_same(files, tmp_path, capsys):
    gt, preds = files
    command = ["compare", str(gt), *map(str, preds), "--resamples", "20", "--permutations", "0"]
    for name in ("first", "again"):
        assert cli.main([*command, "--figures", str(tmp_path / name)]) == 0
    first = sorted((tmp_path / "first").iterdir())
    assert [path.name for path in first] == [f"{n}.{e}" for n in NAMES for e in ("pdf", "svg")]
    for path in first:
        data = path.read_bytes()
        assert data.startswith(b"%PDF" if path.suffix == ".pdf" else b"<?xml")
        assert data == (tmp_path / "again" / path.name).read_bytes()
    assert "metric" in capsys.readouterr().out


def test_the_figures_show_the_numbers_of_the_result(files):
    import matplotlib.pyplot as plt

    gt, preds = files
    scorings = [evaluate_files(gt, path) for path in preds]
    comparison = compare(scorings, None, 20, 0)
    errors = [find_errors(one) for one in scorings]
    _, (one, two, three) = plt.subplots(1, 3)
    figures.draw_precision(one, comparison, [own.result for own in scorings])
    figures.draw_costs(two, comparison, errors)
    figures.draw_sizes(three, comparison)
    for k, scoring in enumerate(scorings):
        metrics = scoring.result.metrics
        for at, name in ((0, "APe50"), (1, "APe75")):
            line = one.lines[2 * k + at].get_ydata()
            assert np.mean(line) == pytest.approx(100 * metrics[name])
        widths = [bar.get_width() for bar in two.containers[k]]
        assert widths == [100 * errors[k].costs[kind].cost for kind in KINDS]
        assert np.mean(ap_by_iou(scoring.result)) == pytest.approx(metrics["APe"])
        assert np.mean(precision_at(scoring.result, 0.5)) == pytest.approx(metrics["APe50"])
    bars = [one for one in three.containers if hasattr(one, "patches")]
    assert bars[1].patches[0].get_height() == 100 * scorings[1].result.metrics["APe"]
    plt.close("all")


def test_five_files_differ_by_more_than_colour():
    assert len(set(figures.MARKS)) == len(set(figures.HATCHES)) == 5


def test_names_are_shown_as_they_are():
    assert figures.shown_name("a/long/path/to/preds.json") == "a/long…to/preds.json"
    assert figures.shown_name("a$b_c") == r"a\$b_c"
    assert (
        figures.shown_name("_hidden").strip("\u200b") == "_hidden" != figures.shown_name("_hidden")
    )


def test_a_folder_that_is_a_file_is_named(files, tmp_path, capsys):
    gt, preds = files
    scorings = [evaluate_files(gt, path) for path in preds]
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(InputError, match="taken: it cannot be written"):
        write_figures(compare(scorings, None, 5, 0), scorings, tmp_path / "taken")
    command = ["compare", str(gt), *map(str, preds), "--figures", str(tmp_path / "taken")]
    assert cli.main([*command, "--json", str(tmp_path / "out.json")]) == 2
    assert "taken" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "mine"
    assert not (tmp_path / "out.json").exists()


class Piped:
    """Stand for a terminal's standard input."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


@pytest.mark.parametrize("packed", [False, True])
def test_predictions_from_a_pipe_and_the_result_into_one(files, monkeypatch, capsys, packed):
    gt, preds = files
    data = preds[1].read_bytes()
    monkeypatch.setattr(sys, "stdin", Piped(gzip.compress(data) if packed else data))
    assert cli.main(["evaluate", str(gt), "-", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    expected = evaluate_files(gt, preds[1], EvalParams()).result.metrics
    assert {k: v for k, v in record["metrics"].items() if v is not None} == {
        k: v for k, v in expected.items() if v == v
    }
    assert record["files"]["predictions"]["name"] == f"stdin.json{'.gz' if packed else ''}"
    assert "average precision" in err


def test_a_pipe_that_holds_no_predictions_is_named(files, monkeypatch, capsys):
    gt, _ = files
    monkeypatch.setattr(sys, "stdin", Piped(b"nothing"))
    assert cli.main(["evaluate", str(gt), "-", "--json", "-"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "stdin.json" in err
