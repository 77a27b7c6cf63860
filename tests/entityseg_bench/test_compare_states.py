"""Comparisons of states and of shards are those of files, bit for bit, chance and all."""

import json

import numpy as np
import pytest
from typed_shards import SPLITS, write_typed

from entityseg_bench import cli
from entityseg_bench.compare import Compared, compare, comparison_record
from entityseg_bench.resampling import confidence_intervals
from entityseg_bench.scale.saved import SavedScoring
from entityseg_bench.scale.shards import evaluate_shards
from entityseg_bench.score import evaluate_files

OPTIONS = ["--quiet", "--labels", "a,b", "--resamples", "40", "--permutations", "30", "--seed", "3"]


@pytest.fixture(params=SPLITS)
def two(request, tmp_path):
    """Write a set and two prediction files, whole and in shards; the second has other scores."""
    whole, patterns = write_typed(tmp_path, "entity", SPLITS[request.param], n_images=20)
    rng = np.random.default_rng(5)
    for path in [whole[1], *sorted((tmp_path / "pred").iterdir())]:
        rows = json.loads(path.read_text(encoding="utf-8"))
        for row in rows:
            # Of the image and the first score alone, so that shards say what the whole does.
            drawn = np.random.default_rng([row["image_id"], int(10 * row["score"])])
            row["score"] = round(float(drawn.random()), 1)
        is_shard = path.parent.name == "pred"
        changed = tmp_path / ("other" if is_shard else "wholes") / path.name
        changed.parent.mkdir(exist_ok=True)
        changed.write_text(json.dumps(rows), encoding="utf-8")
    # A file may list its images in any order.
    content = json.loads(whole[0].read_text(encoding="utf-8"))
    content["images"] = [content["images"][k] for k in rng.permutation(20)]
    whole[0].write_text(json.dumps(content), encoding="utf-8")
    return [*whole, tmp_path / "wholes" / "pred.json"], [*patterns, tmp_path / "other" / "*.json"]


def record_of(path):
    """Read the JSON of a comparison without the names of files."""
    record = json.loads(path.read_text(encoding="utf-8"))
    del record["ground_truth"]
    for own in record["files"]:
        del own["name"], own["sha256"]
    return record


def test_shards_and_states_print_and_write_what_the_files_do(two, tmp_path, capsys):
    whole, patterns = two
    options = [*OPTIONS, "--csv", str(tmp_path / "a.csv"), "--json", str(tmp_path / "a")]
    assert cli.main(["compare", *map(str, whole), *options]) == 0
    printed = capsys.readouterr().out
    record = record_of(tmp_path / "a")
    moved = record["differences"][0]["images"]
    assert moved["better"] + moved["worse"] > 3
    assert [row["image_id"] for row in record["images"]] == list(range(1, 21))
    engine = [*OPTIONS, "--engine", "local", "--json", str(tmp_path / "b")]
    assert cli.main(["compare", *map(str, patterns), *engine]) == 0
    assert capsys.readouterr().out == printed
    assert record_of(tmp_path / "b") == record
    states = [str(tmp_path / "a.state"), str(tmp_path / "b.state")]
    for path, pred in zip(states, patterns[1:], strict=True):
        sides = [str(patterns[0]), str(pred), "--engine", "local", "--quiet"]
        assert cli.main(["evaluate", *sides, "--save-state", path]) == 0
    capsys.readouterr()
    options = [*OPTIONS, "--csv", str(tmp_path / "c.csv"), "--json", str(tmp_path / "c")]
    assert cli.main(["compare", *states, *options]) == 0
    assert capsys.readouterr().out == printed
    assert record_of(tmp_path / "c") == record
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "c.csv").read_bytes()


def test_figures_of_shards_and_states_are_those_of_the_files(two, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    whole, patterns = two
    states = []
    for k, pred in enumerate(patterns[1:]):
        states.append(str(tmp_path / f"{k}.state"))
        sides = [str(patterns[0]), str(pred), "--engine", "local", "--quiet"]
        assert cli.main(["errors", *sides, "--save-state", states[-1]]) == 0
    drawn = []
    for name, files, more in (
        ("files", whole, ()), ("shards", patterns, ("--engine", "local")), ("states", states, ())
    ):  # fmt: skip
        folder = tmp_path / name
        options = [*OPTIONS, "--figures", str(folder), *more]
        assert cli.main(["compare", *map(str, files), *options]) == 0
        drawn.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert len(drawn[0]) == 10
    assert drawn[0] == drawn[1] == drawn[2]


def test_intervals_do_not_depend_on_the_order_of_the_images(two):
    whole, _ = two
    before = evaluate_files(*whole[:2])
    content = json.loads(whole[0].read_text(encoding="utf-8"))
    content["images"].sort(key=lambda image: image["id"])
    whole[0].write_text(json.dumps(content), encoding="utf-8")
    after = evaluate_files(*whole[:2])
    assert [i.id for i in before.gt.images] != [i.id for i in after.gt.images]
    one, other = (confidence_intervals(own.result, own.dt.scores, 30) for own in (before, after))
    assert str(one) == str(other)


def test_states_are_called_by_their_files(tmp_path, capsys):
    whole, _ = write_typed(tmp_path, "entity", SPLITS["alike"])
    for name in ("one.state", "two.parquet"):
        options = ["--quiet", "--save-state", str(tmp_path / name)]
        assert cli.main(["evaluate", *map(str, whole), *options]) == 0
    capsys.readouterr()
    states = [str(tmp_path / "one.state"), str(tmp_path / "two.parquet")]
    assert cli.main(["compare", *states, "--resamples", "5", "--permutations", "0"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["metric", "one", "two"]


def test_what_cannot_be_compared_is_refused(tmp_path, capsys):
    whole, _ = write_typed(tmp_path, "entity", SPLITS["alike"])
    sides = [str(path) for path in whole]
    states = {
        "all": [sides[0], sides[1]],
        "some": [str(tmp_path / side / "000.json") for side in ("gt", "pred")],
        "few": [sides[0], sides[1], "--max-dets", "1,2"],
    }
    for name, own in states.items():
        path = str(tmp_path / f"{name}.state")
        assert cli.main(["evaluate", *own, "--quiet", "--save-state", path]) == 0
    capsys.readouterr()
    one, some, few = (str(tmp_path / f"{name}.state") for name in states)
    refused = {
        (one, some): "need one ground truth",
        (one, few): "the same parameters",
        (one, sides[1]): "is a state, and",
        (sides[0], sides[1], one): "is none. Name states alone",
        (one, one, "--engine", "local"): "--engine needs GT and PRED",
        (one, one, "--figures", str(tmp_path)): "figures need the errors of a state",
        (one, one, "--labels", "a,b,c"): "3 labels for 2 files",
    }
    for arguments, words in refused.items():
        assert cli.main(["compare", *arguments]) == 2, arguments
        assert words in capsys.readouterr().err


def test_shards_on_ray(tmp_path, on_ray):
    whole, (gt, pred) = write_typed(tmp_path, "entity", SPLITS["unlike"], n_images=20)
    found = evaluate_shards(gt, pred, on_ray)
    assert isinstance(found, SavedScoring)
    files = [evaluate_files(*whole)] * 2
    one = comparison_record(compare(files, ["a", "b"], 20, 10))
    other = comparison_record(compare([Compared.of_state(found, pred)] * 2, ["a", "b"], 20, 10))
    for key in ("differences", "images"):
        assert str(one[key]) == str(other[key])
