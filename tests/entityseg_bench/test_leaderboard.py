"""The leaderboard's tables: published rows, and how they are written."""

import csv
import io
import json

import pytest
from board_inputs import ABOUT, OWN, board_files

from entityseg_bench.categories import TASKS
from entityseg_bench.cli import main
from entityseg_bench.io import InputError
from entityseg_bench.leaderboard import (
    add,
    collect,
    read_published,
    render,
)
from entityseg_bench.leaderboard.eval_results import task_id
from entityseg_bench.leaderboard.known import KNOWN, Known
from entityseg_bench.leaderboard.page import to_html
from entityseg_bench.leaderboard.tables import Column, Row, Table
from entityseg_bench.leaderboard.writers import to_csv, to_latex, to_markdown

# Method, backbone, AP L, AP^e L, AP H, AP^e H as the README of the original prints them.
FIRST_PARTY = [
    ("Mask2Former", "Swin-T", None, 38.8, None, 40.7),
    ("CropFormer", "Swin-T", None, 40.6, None, 43.0),
    ("Mask2Former", "Swin-L", None, 44.4, None, 46.2),
    ("CropFormer", "Swin-L", None, 45.8, None, 48.2),
    ("Mask2Former", "HorNet-L", 51.0, 47.1, 53.6, 49.2),
    ("CropFormer", "HorNet-L", None, 49.1, None, 51.5),
]
SECONDARY = [
    ("E-SAM", 48.9, 50.2), ("SAM automatic masks", None, 20.1), ("MI2Former", 42.7, None),
    ("DeeperLab", 32.1, None), ("UPSNet", 32.5, None), ("Panoptic-DeepLab", 33.0, None),
    ("EfficientPS", 33.8, None), ("U2Net-L", 31.9, None), ("SeaFormer-L", 34.4, None),
    ("SeaFormer-L++", 35.1, None), ("SegMAN-B", 37.1, None), ("Mask2Former", 35.2, None),
    ("Mask2Former", 42.1, None),
]  # fmt: skip
COCO_ENTITY = [29.8, 31.8, 33.2, 35.5, 38.6, 38.7, 40.0, 40.1]
COCO_ENTITY_SECONDARY = [28.3, 30.1, 33.3, 33.8, 37.4, 38.6, 40.3]
# AR@1000 as UnSAM's README prints it: COCO, LVIS, ADE20K, EntitySeg, SA-1B, PartImageNet, PACO.
AR1000 = {
    "earlier best, unsupervised": (30.5, 29.1, 31.1, 33.5, 33.3, 36.0, 17.1),
    "UnSAM 0.1M": (40.5, 37.7, 35.7, 39.6, 41.9, 51.6, 27.5),
    "UnSAM 0.4M": (42.0, 40.5, 37.5, 41.0, 44.5, 52.7, 29.7),
    "SAM": (49.6, 46.1, 45.8, 45.9, 60.8, 28.3, 18.1),
    "UnSAM+": (52.2, 50.8, 45.3, 49.8, 64.8, 46.0, 32.3),
}
AR1000_SETS = ("COCO", "LVIS", "ADE20K", "EntitySeg", "SA-1B", "PartImageNet", "PACO")
COLUMNS = [Column(metric, side) for side in ("low", "high") for metric in ("AP", "APe")]


@pytest.fixture
def files(tmp_path):
    return board_files(tmp_path)


def published_table(task: str, dataset: str = "EntitySeg") -> Table:
    """Return one table of the published rows alone."""
    tables = collect(read_published(OWN / "published.json"), [])
    return next(table for table in tables if (table.task, table.dataset) == (task, dataset))


def test_first_party_rows_are_the_published_ones():
    table = published_table("entity")
    assert table.columns == tuple(COLUMNS)
    found = {
        (row.method, row.backbone, *(row.values.get(column) for column in COLUMNS))
        for row in table.rows
        if row.origin == "first-party"
    }
    assert found == set(FIRST_PARTY)
    parameters = {(row.method, row.backbone): row.parameters for row in table.rows}
    assert parameters["Mask2Former", "Swin-T"] == 47_401_340
    assert parameters["CropFormer", "HorNet-L"] == 222_151_746


def test_secondary_and_doubtful_rows_are_marked():
    rows = published_table("entity").rows
    secondary = {
        (row.method, row.values.get(COLUMNS[1]), row.values.get(COLUMNS[3]))
        for row in rows
        if row.origin == "secondary"
    }
    assert secondary == set(SECONDARY)
    (doubtful,) = [row for row in rows if row.origin == "doubtful"]
    assert (doubtful.method, doubtful.values) == ("CropFormer", {COLUMNS[3]: 42.8})
    assert doubtful.note
    assert all(row.url.startswith("https://") and row.source for row in rows)


@pytest.mark.parametrize(
    ("task", "metric", "values", "origin"),
    [
        ("instance", "AP", [30.3, 22.7], "first-party"),
        ("semantic", "mIoU", [51.1, 45.2], "doubtful"),
        ("panoptic", "PQ", [13.5, 9.8], "first-party"),
    ],
)
def test_class_aware_rows_have_tables_of_their_own(task, metric, values, origin):
    table = published_table(task)
    assert table.class_aware
    assert table.columns == (Column(metric, "high"),)
    assert [row.values[table.columns[0]] for row in table.rows] == values
    assert {row.origin for row in table.rows} == {origin}


def test_first_generation_rows_stay_apart():
    table = published_table("entity", "COCO-Entity")
    for origin, expected in (("first-party", COCO_ENTITY), ("secondary", COCO_ENTITY_SECONDARY)):
        own = [row for row in table.rows if row.origin == origin]
        assert sorted(row.values[Column("APe", None)] for row in own) == expected


def test_average_recall_has_a_table_of_its_own():
    tables = collect(read_published(OWN / "published.json"), [])
    (table,) = [table for table in tables if table.protocol == "ar1000"]
    assert table is tables[-1]
    assert table.columns[-1].dataset == "EntitySeg"
    found = {row.method: row for row in table.rows}
    for method, values in AR1000.items():
        row = found[method]
        own = tuple(row.values[Column("AR1000", None, name)] for name in AR1000_SETS)
        assert (own, row.origin) == (values, "secondary")
    mean = Column("AR1000", None, "mean of five sets")
    assert {m: row.values[mean] for m, row in found.items() if mean in row.values} == {
        "SAM-2": 49.6, "UnSAMv2": 68.3, "UnSAMv2+": 74.1,
    }  # fmt: skip
    for other in tables[:-1]:
        assert not any("AR" in column.metric for column in other.columns)
        assert other.protocol == "entityseg"
    text = to_markdown(table)
    assert "| PACO | mean of five sets | EntitySeg | origin |" in text
    assert "| UnSAM+ | not stated | - | **52.2** |" in text
    rows = list(csv.DictReader(io.StringIO(to_csv([table]))))
    (own,) = [r for r in rows if (r["method"], r["dataset"]) == ("UnSAM+", "EntitySeg")]
    assert (own["AR1000"], own["APe"]) == ("49.8", "")
    assert "SA-1B" in to_latex(table)
    assert "Average recall at 1,000 masks" in to_html(tables)


@pytest.mark.parametrize(
    ("protocol", "percent"),
    [("entityseg", {"AR1000": 40.0}), ("ar1000", {"AP": 40.0}), ("ar1000", {}),
     ("ar1000", {"AR1000": 40.0, "AP": 3.0}), ("entityseg", {"AP": 1.0, "AR1000": 4.0})],
)  # fmt: skip
def test_average_recall_never_shares_a_row(tmp_path, protocol, percent):
    content = json.loads((OWN / "published.json").read_text(encoding="utf-8"))
    content["rows"][0] |= {"protocol": protocol, "percent": percent}
    (tmp_path / "published.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="AR1000 is"):
        read_published(tmp_path / "published.json")


def test_the_demo_cannot_enter_the_benchmark(files, tmp_path):
    """A ground truth is known by its hash or its number of images."""
    with pytest.raises(InputError, match=r"_lr\.json has 2 images: EntitySeg val has at"):
        add(files[2], tmp_path / "board", **{**ABOUT, "dataset": "EntitySeg"})
    assert not (tmp_path / "board/results").exists()
    # Nor by a file that was written by hand.
    path = add(files[2], tmp_path / "board", **ABOUT)
    path.write_text(path.read_text().replace('"Squares"', '"EntitySeg"'))
    with pytest.raises(InputError, match="--dataset demo"):
        render(tmp_path / "board", None)


def test_ground_truth_that_is_known_enters(files, tmp_path, monkeypatch):
    content = json.loads(files[2].read_text())
    sha = content["files"]["ground_truth"]["sha256"]
    monkeypatch.setitem(KNOWN, ("EntitySeg", "val"), Known(500, (sha,)))
    about = {**ABOUT, "dataset": "EntitySeg"}
    assert add(files[2], tmp_path / "board", **about).is_file()
    monkeypatch.setitem(KNOWN, ("EntitySeg", "val"), Known(2))
    assert add(files[2], tmp_path / "board", **about).is_file()


def test_results_for_a_model_repository(files, tmp_path, capsys):
    """The hub's own reader takes what is exported."""
    hub = pytest.importorskip("huggingface_hub")
    yaml = pytest.importorskip("yaml")
    path = add(files[2], tmp_path / "board", **{**ABOUT, "method": 'Tiny: "net" # 1'})
    command = ["leaderboard", "export", str(path), "--eval-results", str(tmp_path / "model")]
    assert main([*command, "--date", "2026-11-29"]) == 2
    assert "--dataset-id OWNER/NAME" in capsys.readouterr().err
    command += ["--dataset-id", "me/squares"]
    assert main([*command, "--date", "yesterday"]) == 2
    assert main([*command, "--dataset-id", "me/squares\n- value: 99"]) == 2
    assert main([*command, "--date", "2026-11-29"]) == 0
    target = tmp_path / "model/.eval_results/entityseg.yaml"
    assert capsys.readouterr().out.strip().endswith(str(target))
    (entry,) = hub.parse_eval_result_entries(yaml.safe_load(target.read_text(encoding="utf-8")))
    metrics = json.loads(files[2].read_text())["metrics"]
    assert entry.value == pytest.approx(100 * metrics["APe"], abs=1e-4)
    assert (entry.dataset_id, entry.task_id) == ("me/squares", "entity_low")
    assert (entry.date, entry.source_name) == ("2026-11-29", 'Tiny: "net" # 1')
    assert entry.source_url == ABOUT["code"]
    assert "AP^e in percent, val, low resolution" in entry.notes


def test_the_draft_for_the_data_set_lists_the_tasks_of_the_export():
    yaml = pytest.importorskip("yaml")
    draft = yaml.safe_load((OWN.parent / "docs/eval.yaml").read_text(encoding="utf-8"))
    ids = [task["id"] for task in draft["tasks"]]
    assert ids == ["entity_high", "entity_low", *(f"{t}_high" for t in TASKS[1:])]
    assert {task_id("entity", "high"), task_id("panoptic", "high")} <= set(ids)


def test_markdown_shows_the_rows_digit_by_digit():
    text = to_markdown(published_table("entity"))
    assert "| method | backbone | parameters | AP L | AP<sup>e</sup> L | AP H |" in text
    assert "| CropFormer | HorNet-L | 222.2 M | - | **49.1** | - | **51.5** | [first-party]" in text
    assert "| E-SAM | SAM ViT-H | - | - | <u>48.9</u> | - | <u>50.2</u> | [secondary]" in text
    assert "| Mask2Former | HorNet-L | 220.6 M | 51.0 | 47.1 | 53.6 | 49.2 |" in text


def test_a_cut_table_keeps_the_ranks_of_the_whole():
    high, low = Column("APe", "high"), Column("APe", "low")
    rows = tuple(
        Row(name, "b", None, "measured", "s", "https://a.org", values)
        for name, values in (
            ("one", {high: 3.0, low: 1.0}),
            ("two", {high: 2.0}),
            ("x", {low: 9.0}),
        )
    )
    table = Table("Squares", "val", "entity", False, (low, high), rows)
    text = to_markdown(table, 2)
    assert "| one | b | - | <u>1.0</u> | **3.0** |" in text
    assert "| x |" not in text
    assert "| x | b | - | **9.0** | - |" in to_markdown(table)


def test_ties_share_a_place_and_doubtful_rows_have_none():
    column = Column("APe", "high")

    def row(method: str, value: float, origin: str = "measured") -> Row:
        return Row(method, "b", None, origin, "s", "https://example.org", {column: value})

    rows = (row("a", 50.04), row("b", 49.96), row("c", 48.0), row("d", 60.0, "doubtful"))
    table = Table("EntitySeg", "val", "entity", False, (column,), rows)
    assert table.rank(column) == {"50.0": 1, "48.0": 2}
    text = to_markdown(table)
    assert text.count("**50.0**") == 2
    assert "<u>48.0</u>" in text
    assert "| 60.0 |" in text


def test_csv_keeps_every_published_number():
    rows = list(csv.DictReader(io.StringIO(to_csv([published_table("entity")]))))
    found = {
        (row["method"], row["backbone"], row["resolution"], row["APe"])
        for row in rows
        if row["origin"] == "first-party"
    }
    for method, backbone, _, low, _, high in FIRST_PARTY:
        assert (method, backbone, "low", str(low)) in found
        assert (method, backbone, "high", f"{high:g}") in found
    assert not any(row["AR1000"] for row in rows)


def test_latex_is_a_booktabs_table():
    text = to_latex(published_table("entity"))
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    line = r"CropFormer$^{a}$ & HorNet-L & 222.2 M & -- & \textbf{49.1} & -- & \textbf{51.5} \\"
    assert line in text
    assert r"\underline{50.2}" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in rows} == {6}


def test_names_are_escaped_everywhere():
    column, name = Column("APe", "high"), "<b>a|b & c_d %"
    row = Row(name, name, None, "measured", name, "https://example.org/?a=1&b=2", {column: 1.0})
    table = Table("EntitySeg", "val", "entity", False, (column,), (row,))
    assert "<b>" not in to_html([table]).partition("<main>")[2]
    assert "| &lt;b>a\\|b &amp; c\\_d % | " in to_markdown(table)
    assert r"<b>a|b \& c\_d \%" in to_latex(table)


def test_names_are_no_code_in_any_format():
    column, name = Column("APe", "high"), "=a](https://evil.org) `b` *c* $d$ ~~e~~ \\"
    row = Row(name, "-1", None, "measured", "@x", "https://a.org/b_(c)|d", {column: 1.0}, "+2")
    table = Table("=1", "val", "entity", False, (column,), (row,))
    text = to_markdown(table)
    assert r"| =a\](https://evil.org) \`b\` \*c\* \$d\$ \~\~e\~\~ \\ | -1 |" in text
    assert "[measured](https://a.org/b_%28c%29%7Cd)" in text
    (read,) = csv.DictReader(io.StringIO(to_csv([table])))
    cells = [read[key] for key in ("dataset", "method", "backbone", "source", "note")]
    assert cells == ["'=1", f"'{name}", "'-1", "'@x", "'+2"]
    assert r"\$d\$ \textasciitilde{}" in to_latex(table)


def test_a_data_set_in_a_heading_is_no_code(files, tmp_path):
    board = tmp_path / "board"
    add(files[2], board, **{**ABOUT, "dataset": "<img src=x onerror=alert(1)> [a](b)"})
    (board / "published.json").write_text('{"schema": 1, "sources": {}, "rows": []}')
    text = render(board, None)[board / "README.md"]
    assert "<img" not in text
    assert r"&lt;img src=x onerror=alert(1)> \[a\](b)" in text


def test_average_recall_is_refused_as_a_published_metric(tmp_path):
    path = tmp_path / "published.json"
    content = json.loads((OWN / "published.json").read_text())
    content["rows"][0]["percent"] = {"AR": 50.0}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="'AR'"):
        read_published(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "nowhere"}, "there is no source 'nowhere'"),
        ({"mark": "doubtful"}, "has no note"),
        ({"mark": "certain"}, "mark"),
        ({"percent": {"APe": 388.0}}, "percent"),
    ],
)
def test_published_rows_are_validated(tmp_path, change, message):
    path = tmp_path / "published.json"
    content = json.loads((OWN / "published.json").read_text())
    content["rows"][0].update(change)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_published(path)
