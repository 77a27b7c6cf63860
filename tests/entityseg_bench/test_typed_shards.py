"""Class-aware AP, mIoU and PQ of shards are those of the set: states, one process, to the bit."""

import json

import numpy as np
import pytest
from typed_shards import SPLITS, write_typed

from entity_api.state_file import read_arrays, write_arrays
from entityseg_bench import cli
from entityseg_bench.scale.saved import merge_files
from entityseg_bench.score import evaluate_files

TASKS = ("entity", "instance", "semantic", "panoptic")
# Files, warnings and shards name the files that were read.
SAME = ("metrics", "own_metrics", "boundary_metrics", "parameters", "counts", "overlap", "task")


def assert_same(one, other):
    """Hold two result files against each other: JSON keeps every bit of a number."""
    first, second = (json.loads(path.read_text(encoding="utf-8")) for path in (one, other))
    for key in SAME:
        assert first[key] == second[key], key
    return first


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", TASKS)
def test_shards_print_and_write_what_the_set_does(tmp_path, capsys, task, split):
    whole, patterns = write_typed(tmp_path, task, SPLITS[split])
    options = {"alike": ["--boundary"], "unlike": ["--class-aware"], "empty shards": []}[split]
    options += ["--quiet", "--task", task, "--ci", "20", "--json"]
    assert cli.main(["evaluate", *map(str, whole), *options, str(tmp_path / "a.json")]) == 0
    printed = capsys.readouterr().out
    sides = map(str, patterns)
    engine = ["--engine", "local", "--save-state", str(tmp_path / "all.state")]
    assert cli.main(["evaluate", *sides, *engine, *options, str(tmp_path / "b.json")]) == 0
    assert capsys.readouterr().out == printed
    record = assert_same(tmp_path / "a.json", tmp_path / "b.json")
    assert (record["own_metrics"] is None) == (task == "entity")
    merged = ["--ci", "20", "--json", str(tmp_path / "c.json")]
    assert cli.main(["merge", str(tmp_path / "all.state"), *merged]) == 0
    assert capsys.readouterr().out == printed
    assert_same(tmp_path / "a.json", tmp_path / "c.json")


@pytest.mark.parametrize("task", ["instance", "panoptic"])
def test_states_of_each_shard_merge_in_any_order(tmp_path, capsys, task):
    # The second shard alone looks class-agnostic: the set is not.
    whole, _ = write_typed(tmp_path, task, SPLITS["alike"], only_category=1)
    for k in range(3):
        sides = [str(tmp_path / side / f"00{k}.json") for side in ("gt", "pred")]
        state = ["--quiet", "--task", task, "--save-state", str(tmp_path / f"{k}.state")]
        assert cli.main(["evaluate", *sides, *state]) == 0
        assert ("left out" in capsys.readouterr().out) == (k == 1)
    options = ["--quiet", "--task", task, "--json", str(tmp_path / "a")]
    assert cli.main(["evaluate", *map(str, whole), *options]) == 0
    printed = capsys.readouterr().out
    assert "left out" not in printed
    some, states = tmp_path / "some.state", [str(tmp_path / f"{k}.state") for k in (2, 1, 0)]
    assert cli.main(["merge", *states[:2], "--save-state", str(some)]) == 0
    capsys.readouterr()
    assert cli.main(["merge", states[2], str(some), "--json", str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out == printed
    assert_same(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
@pytest.mark.parametrize("strange", ["unknown", "alike"])
def test_predictions_without_categories_are_left_out_with_the_same_words(
    tmp_path, capsys, task, strange
):
    whole, patterns = write_typed(tmp_path, task, SPLITS["unlike"])
    for path in [whole[1], *sorted((tmp_path / "pred").iterdir())]:
        rows = json.loads(path.read_text())
        for row in rows:
            if strange == "alike" or row["image_id"] == 9:
                row["category_id"] = 1 if strange == "alike" else 9977
        path.write_text(json.dumps(rows))
    options = ["--quiet", "--task", task]
    assert cli.main(["evaluate", *map(str, whole), *options]) == 0
    printed = capsys.readouterr().out
    assert "left out" in printed
    assert cli.main(["evaluate", *map(str, patterns), *options, "--engine", "local"]) == 0
    assert capsys.readouterr().out == printed


def test_images_in_any_order_of_the_file_give_the_same_pq(tmp_path):
    whole, _ = write_typed(tmp_path, "panoptic", SPLITS["alike"], n_images=40)
    before = evaluate_files(*whole).own.record()
    content = json.loads(whole[0].read_text())
    for key in ("images", "annotations"):
        content[key].reverse()
    whole[0].write_text(json.dumps(content))
    assert evaluate_files(*whole).own.record() == before


def test_only_predicted_images_are_merged_as_they_are_scored(tmp_path, capsys):
    whole, _ = write_typed(tmp_path, "panoptic", SPLITS["alike"])
    options = ["--quiet", "--predicted-images-only"]
    assert cli.main(["evaluate", *map(str, whole), *options, "--json", str(tmp_path / "a")]) == 0
    for k in range(3):
        sides = [str(tmp_path / side / f"00{k}.json") for side in ("gt", "pred")]
        state = [*options, "--save-state", str(tmp_path / f"{k}.state")]
        assert cli.main(["evaluate", *sides, *state]) == 0
    states = [str(tmp_path / f"{k}.state") for k in range(3)]
    assert cli.main(["merge", *states, "--json", str(tmp_path / "b")]) == 0
    record = assert_same(tmp_path / "a", tmp_path / "b")
    assert record["parameters"]["images"] < record["counts"]["images"]
    assert merge_files(states).some_images


def test_states_of_other_categories_are_refused(tmp_path, capsys):
    write_typed(tmp_path, "instance", SPLITS["alike"])
    path = tmp_path / "gt" / "001.json"
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = "wolf"
    path.write_text(json.dumps(content))
    for k in range(2):
        sides = [str(tmp_path / side / f"00{k}.json") for side in ("gt", "pred")]
        state = ["--quiet", "--task", "instance", "--save-state", str(tmp_path / f"{k}.state")]
        assert cli.main(["evaluate", *sides, *state]) == 0
    assert cli.main(["merge", *(str(tmp_path / f"{k}.state") for k in range(2))]) == 2
    assert "several tables of categories" in capsys.readouterr().err


def test_class_aware_parts_without_categories_are_refused(tmp_path, capsys):
    whole, _ = write_typed(tmp_path, "instance", SPLITS["alike"])
    content = json.loads(whole[0].read_text())
    content["categories"] = []
    whole[0].write_text(json.dumps(content))
    options = ["--quiet", "--class-aware", "--save-state", str(tmp_path / "state")]
    assert cli.main(["evaluate", *map(str, whole), *options]) == 2
    assert "it lists no categories" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "name", "change", "words"),
    [
        (
            "panoptic",
            "counts",
            lambda v: v - np.array([1, 0, 0, 0, 0, 0]),
            "numbers that are no counts",
        ),
        ("panoptic", "counts", lambda v: v + 99 * np.eye(1, 6, dtype=int), "no saved scoring"),
        ("panoptic", "ious", lambda v: v * float("nan"), "numbers that are no counts"),
        ("semantic", "cells", lambda v: v - 10**6, "numbers that are no counts"),
        ("semantic", "cells", lambda v: v + 10**9, "no saved scoring"),
        ("instance", "codes", lambda v: v + 10**6, "no saved scoring"),
    ],
)
def test_counts_that_are_none_are_refused(tmp_path, capsys, task, name, change, words):
    whole, _ = write_typed(tmp_path, task, SPLITS["alike"])
    path = tmp_path / "a.state"
    options = ["--quiet", "--task", task, "--save-state", str(path)]
    assert cli.main(["evaluate", *map(str, whole), *options]) == 0
    arrays, about = read_arrays(path)
    write_arrays(path, arrays | {f"own/{name}": change(arrays[f"own/{name}"])}, about)
    assert cli.main(["merge", str(path)]) == 2
    assert words in capsys.readouterr().err
