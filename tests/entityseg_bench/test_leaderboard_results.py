"""The leaderboard's results: filed, refused, scored again, built into tables and a page."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from board_inputs import ABOUT, OWN, board_files

from entityseg_bench.cli import main
from entityseg_bench.io import InputError
from entityseg_bench.leaderboard import (
    add,
    collect,
    read_model,
    read_models,
    read_published,
    render,
    stale,
    verify,
    write,
)
from entityseg_bench.leaderboard.build import BEGIN, END
from entityseg_bench.leaderboard.entries import file_name, words_of
from entityseg_bench.leaderboard.tables import Column
from entityseg_bench.score import evaluate_files, result_record


@pytest.fixture
def files(tmp_path):
    return board_files(tmp_path)


def test_the_generated_files_of_the_repository_are_up_to_date():
    assert stale(render(OWN, OWN.parent / "README.md")) == []


def test_building_twice_gives_the_same_bytes_and_check_sees_a_change(files, tmp_path, capsys):
    board = tmp_path / "board"
    add(files[2], board, **ABOUT)
    first = render(board, None)
    write(first)
    assert render(board, None) == first
    command = ["leaderboard", "build", "--dir", str(board), "--readme", str(tmp_path / "none.md")]
    assert main([*command, "--check"]) == 0
    page = board / "index.html"
    page.write_text(page.read_text().replace("49.1", "49.2"))
    assert main([*command, "--check"]) == 1
    assert "index.html: stale" in capsys.readouterr().out
    assert main(command) == 0
    assert page.read_text() == first[page]


def test_the_readme_changes_between_its_marks_alone(files, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"# before\n{BEGIN}\nold\n{END}\nafter\n")
    text = render(tmp_path / "board", readme)[readme]
    assert text.startswith(f"# before\n{BEGIN}\n\n| method |")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    readme.write_text("no marks")
    assert readme not in render(tmp_path / "board", readme)
    readme.write_text(f"{END} {BEGIN}")
    with pytest.raises(InputError, match="Write both"):
        render(tmp_path / "board", readme)


def test_a_result_is_filed_whole_and_stands_in_the_tables(files, tmp_path):
    _, _, result = files
    path = add(result, tmp_path / "board", **ABOUT)
    assert path == tmp_path / "board/results/val/tiny_net.json"
    (filed,) = read_model(path).results
    assert filed.resolution == "low"
    assert filed.result == json.loads(result.read_text())
    tables = collect(read_published(OWN / "published.json"), read_models(path.parents[1]))
    (row,) = [r for table in tables for r in table.rows if r.origin == "measured"]
    metrics = filed.result["metrics"]
    assert row.values[Column("APe", "low")] == 100 * metrics["APe"]
    assert row.values[Column("AP", "low")] == 100 * metrics["AP"]
    assert row.note == "masks overlap in 1 of 2 images (L)"


def test_a_result_takes_the_place_of_its_earlier_one(files, tmp_path):
    gt, dt, result = files
    add(result, tmp_path / "board", **ABOUT)
    records = json.loads(dt.read_text())
    dt.write_text(json.dumps(records[:1]))
    result.write_text(json.dumps(result_record(evaluate_files(gt, dt))))
    path = add(result, tmp_path / "board", **ABOUT)
    assert [one.result["counts"]["predictions"] for one in read_model(path).results] == [1]
    with pytest.raises(InputError, match="results of this model on Squares are filed here"):
        add(result, tmp_path / "board", **{**ABOUT, "dataset": "another"})


def test_results_against_other_ground_truth_do_not_share_a_table(files, tmp_path):
    gt, dt, result = files
    add(result, tmp_path / "board", **ABOUT)
    gt.write_text(gt.read_text() + " ")
    result.write_text(json.dumps(result_record(evaluate_files(gt, dt))))
    add(result, tmp_path / "board", **{**ABOUT, "model": "other_net"})
    with pytest.raises(InputError, match="scored against another ground truth than"):
        render(tmp_path / "board", None)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("schema",), 3, "schema"),
        (("metrics", "AP"), 43.7, "metrics"),
        (("metrics", "APe"), None, "metrics.APe"),
        (("files", "predictions", "sha256"), "abc", "sha256"),
        (("parameters", "max_dets"), [1, 10, 300], "parameters.max_dets"),
        (("parameters", "images"), 1, "parameters.images"),
        (("parameters", "class_aware"), True, "parameters.class_aware"),
        (("files", "ground_truth", "name"), "mine.json", "does not tell the split"),
        (("metrics", "AP99"), 0.5, "metrics.AP99: the benchmark has no such metric"),
        (("own_metrics",), {"all": {"PQ": 0.5}}, "own_metrics.all.PQ is no metric of the task"),
    ],
)
def test_results_of_another_shape_or_protocol_are_refused(files, tmp_path, where, value, message):
    content = json.loads(files[2].read_text())
    place = content
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    files[2].write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        add(files[2], tmp_path / "board", **ABOUT)
    assert not (tmp_path / "board/results").exists()


def test_addresses_must_be_web_addresses(files, tmp_path):
    with pytest.raises(InputError, match="paper"):
        add(files[2], tmp_path / "board", **{**ABOUT, "paper": "javascript:alert(1)"})


def test_a_resolution_that_contradicts_the_name_is_refused(files, tmp_path):
    with pytest.raises(InputError, match="low by its name, not high"):
        add(files[2], tmp_path / "board", **ABOUT, resolution="high")


def test_a_misplaced_file_is_refused(files, tmp_path):
    path = add(files[2], tmp_path / "board", **ABOUT)
    moved = path.with_name("renamed.json")
    path.rename(moved)
    with pytest.raises(InputError, match=r"Move it to val/tiny_net\.json"):
        read_model(moved)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("entityv2_010203_entity_val.json", {"split": "val", "resolution": "high"}),
        ("entityseg_val_lr.json.gz", {"split": "val", "resolution": "low"}),
        ("entityseg_train_01.json", {"split": "train", "resolution": "high"}),
        ("entityseg_insseg_val_lr.json", {"split": "val", "resolution": "low"}),
        ("instances_val2017.json", {}),
    ],
)
def test_words_are_read_from_both_naming_worlds(name, words):
    assert words_of(name) == words


@pytest.mark.parametrize("value", [1e308, -0.1, "0.5"])
def test_own_metrics_are_fractions(files, tmp_path, value):
    content = json.loads(files[2].read_text())
    content |= {"task": "panoptic", "own_metrics": {"all": {"PQ": value, "n": 12}}}
    files[2].write_text(json.dumps(content))
    with pytest.raises(InputError, match="own_metrics"):
        add(files[2], tmp_path / "board", **ABOUT)
    content["own_metrics"]["all"]["PQ"] = 0.5
    files[2].write_text(json.dumps(content))
    add(files[2], tmp_path / "board", **ABOUT)
    assert render(tmp_path / "board", None)


def test_file_names_are_plain():
    assert file_name("cropformer_swin_l_3x") == "cropformer_swin_l_3x.json"
    assert re.fullmatch(
        r"cropformer_swin_l_3x_[0-9a-f]{8}\.json", file_name("CropFormer (Swin-L) 3x")
    )
    assert re.fullmatch(r"etc_passwd_[0-9a-f]{8}\.json", file_name("../../etc/passwd"))


def test_every_model_has_a_file_of_its_own(files, tmp_path):
    names = [
        "a b",
        "a+b",
        "a_b",
        "A_B",
        "a_b_",
        "模型甲",
        "模型乙",
        "x" * 200,
        "x" * 199,
        "con",
        "...",
    ]
    found = [add(files[2], tmp_path / "board", **{**ABOUT, "model": name}) for name in names]
    assert len(set(found)) == len(names)
    assert [read_model(path).model for path in found] == names
    for path in found:
        assert re.fullmatch(r"[a-z0-9_]+\.json", path.name)
        assert path.name != "con.json"
        assert len(path.name) < 120
    found[0].write_text(found[0].read_text().replace('"a b"', '"another"'))
    with pytest.raises(InputError, match="model: the file is not where its content belongs"):
        add(files[2], tmp_path / "board", **{**ABOUT, "model": "a b"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "x" * 300),
        ("method", "a\nb"),
        ("backbone", "\x1b[2J"),
        ("dataset", "\u202edne"),
        ("model", "a\u200bb"),
        ("paper", "https://a.org\n"),
        ("code", "https://a.org/`{}"),
    ],
)
def test_what_cannot_be_shown_is_refused(files, tmp_path, field, value):
    with pytest.raises(InputError, match=rf"{field}|length"):
        add(files[2], tmp_path / "board", **{**ABOUT, field: value})
    assert not (tmp_path / "board/results").exists()


def test_results_that_are_filed_at_once_are_all_there(files, tmp_path):
    """Each of them reads what is filed, and writes it with its own."""
    script = (
        "import sys\n"
        "from entityseg_bench.cli import main\n"
        "sys.stdin.readline()\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    about = [f"--{key}={value}" for key, value in ABOUT.items()]
    processes = []
    for resolution in ("low", "high"):
        content = json.loads(files[2].read_text())
        content["files"]["ground_truth"]["name"] = "mine.json"
        path = tmp_path / f"{resolution}.json"
        path.write_text(json.dumps(content))
        command = [
            "leaderboard",
            "add",
            path,
            "--dir",
            tmp_path / "board",
            "--split",
            "val",
            *about,
        ]
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", script, *map(str, command), "--resolution", resolution],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
        )
    for process in processes:
        process.stdin.write(b"go\n")
        process.stdin.close()
    assert [process.wait() for process in processes] == [0, 0]
    filed = read_model(tmp_path / "board/results/val/tiny_net.json")
    assert sorted(one.resolution for one in filed.results) == ["high", "low"]
    assert [path.name for path in (tmp_path / "board/results/val").iterdir()] == ["tiny_net.json"]


@pytest.mark.parametrize("value", [{}, [], {"predictions": {"name": "a"}}, None])
def test_a_result_without_hashes_is_no_result(files, value):
    gt, dt, result = files
    content = json.loads(result.read_text())
    result.write_text(json.dumps({**content, "files": value}))
    with pytest.raises(InputError, match=r"r\.json"):
        verify(result, dt, gt)


def test_scoring_again_gives_every_digit(files, tmp_path, capsys):
    gt, dt, result = files
    filed = add(result, tmp_path / "board", **ABOUT)
    assert verify(result, dt, gt) == []
    assert verify(filed, dt, gt) == []
    command = ["leaderboard", "verify", str(filed), "--predictions", str(dt), "--gt", str(gt)]
    assert main(command) == 0
    assert "every digit agrees" in capsys.readouterr().out


def test_the_last_digit_counts(files, capsys):
    gt, dt, result = files
    content = json.loads(result.read_text())
    true = content["metrics"]["APe"]
    content["metrics"]["APe"] = float(np.nextafter(true, 1))
    result.write_text(json.dumps(content))
    assert verify(result, dt, gt) == [("metrics.APe", float(np.nextafter(true, 1)), true)]
    command = ["leaderboard", "verify", str(result), "--predictions", str(dt), "--gt", str(gt)]
    assert main(command) == 1
    assert "metrics.APe: filed" in capsys.readouterr().out


def test_other_predictions_are_told_by_their_hash(files, tmp_path):
    gt, dt, result = files
    other = tmp_path / "other.json"
    other.write_text(json.dumps(json.loads(dt.read_text())[:2]))
    assert [where for where, _, _ in verify(result, other, gt)][:1] == ["sha256.predictions"]


def test_the_page_loads_nothing(files, tmp_path):
    add(files[2], tmp_path / "board", **ABOUT)
    html = render(tmp_path / "board", None)[tmp_path / "board" / "index.html"]
    assert not re.search(r"<(img|iframe|object|embed)|@import|url\(|\bfetch\(|src=", html)
    assert re.findall(r"<link[^>]*>", html) == ['<link rel="icon" href="data:,">']
    assert "prefers-color-scheme: dark" in html


def test_a_row_leads_to_paper_code_weights_and_predictions(files, tmp_path):
    shutil.copytree(OWN, tmp_path / "other")
    more = {name: f"https://example.org/{name}" for name in ("weights", "predictions")}
    about = {**ABOUT, "dataset": "Squares"}
    add(files[2], tmp_path / "other", **about, year=2024, **more)
    written = render(tmp_path / "other", None)
    html = written[tmp_path / "other" / "index.html"]
    for name in ("paper", "code", "weights", "predictions"):
        assert f'<a href="https://example.org/{name}" aria-label="{name} of Tiny, none">' in html
    tables = json.loads(written[tmp_path / "other" / "leaderboard.json"])
    (row,) = next(table for table in tables if table["dataset"] == "Squares")["rows"]
    assert row["year"] == 2024
    assert list(row["links"]) == ["paper", "code", "weights", "predictions"]
    with pytest.raises(InputError, match="year"):
        add(files[2], tmp_path / "other", **about, year=24)


def test_what_the_page_asks_for_is_what_the_command_takes(capsys):
    """Each command of the checklist names options that exist."""
    html = (OWN / "index.html").read_text(encoding="utf-8")
    commands = re.findall(r"<code>entityseg ([^<]*)</code>", html)
    assert len(commands) >= 4
    for command in commands:
        words = command.split()
        verb = words[:2] if words[0] == "leaderboard" else words[:1]
        with pytest.raises(SystemExit):
            main([*verb, "--help"])
        known = capsys.readouterr().out
        assert all(word in known for word in words if word.startswith("--"))
