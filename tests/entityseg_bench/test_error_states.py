"""Errors of shards and of merged states are those of one file, bit for bit."""

import json

import numpy as np
import pytest
from typed_shards import SPLITS, write_typed

from entity_api import StateError
from entityseg_bench import cli
from entityseg_bench.errors import find_errors, summarize
from entityseg_bench.errors.find import summary_record
from entityseg_bench.errors.judgements import Judgements
from entityseg_bench.scale.saved import SavedScoring
from entityseg_bench.scale.shards import evaluate_shards
from entityseg_bench.score import evaluate_files


def record_of(path):
    """Read the JSON of errors without the names of files."""
    record = json.loads(path.read_text(encoding="utf-8"))
    del record["files"]
    return record


def of_shards(tmp_path, *options):
    """Save the state of each of three shards, with errors; return their paths."""
    for k in range(3):
        sides = [str(tmp_path / side / f"00{k}.json") for side in ("gt", "pred")]
        state = ["--quiet", "--save-state", str(tmp_path / f"{k}.state"), *options]
        assert cli.main(["errors", *sides, *state]) == 0
    return [str(tmp_path / f"{k}.state") for k in range(3)]


@pytest.mark.parametrize("options", [[], ["--as-submitted"]], ids=["", "as-submitted"])
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", ["entity", "panoptic"])
def test_shards_print_and_write_what_the_set_does(tmp_path, capsys, task, split, options):
    whole, patterns = write_typed(tmp_path, task, SPLITS[split], n_images=24)
    options = [*options, "--quiet", "--scores", "0.3,0.55", "--task", task, "--json"]
    assert cli.main(["errors", *map(str, whole), *options, str(tmp_path / "a")]) == 0
    printed = capsys.readouterr().out
    engine = ["--engine", "local", "--save-state", str(tmp_path / "all.state")]
    assert cli.main(["errors", *map(str, patterns), *engine, *options, str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out == printed
    assert record_of(tmp_path / "b") == record_of(tmp_path / "a")
    assert cli.main(["errors", str(tmp_path / "all.state"), *options, str(tmp_path / "c")]) == 0
    assert capsys.readouterr().out == printed
    assert record_of(tmp_path / "c") == record_of(tmp_path / "a")


@pytest.mark.parametrize("seed", range(4))
def test_judgements_join_in_any_split_and_order(tmp_path, seed):
    whole, _ = write_typed(tmp_path, "entity", SPLITS["alike"], n_images=30)
    scoring = evaluate_files(*whole)
    report = find_errors(scoring)
    judged, rng = report.oracle.judged, np.random.default_rng(seed)
    owner, parts, positions = rng.integers(0, 3, 30), [], []
    for k in rng.permutation(3):
        # Of a part, its images in any order of their own.
        own = rng.permutation(np.flatnonzero(owner == k))
        parts.append(of_images(judged, own))
        positions.append(own)
    joined = Judgements.merge(parts, positions)
    for name, values in judged.at(np.arange(30)).arrays().items():
        assert joined.arrays()[name].tobytes() == values.tobytes(), name
    assert str(summary_record(summarize(joined), {})) == str(summary_record(report, {}))
    kinds = {kind for kind, cost in report.costs.items() if cost.n_predictions + cost.n_entities}
    assert len(kinds) >= 7


def of_images(judged, images):
    """Take the judgements of some images in the readable way, one after the other."""
    place = {image: k for k, image in enumerate(images.tolist())}
    columns = [n for image in images for n in np.flatnonzero(judged.image == image)]
    entities = [g for image in images for g in np.flatnonzero(judged.entity_image == image)]
    column_at, entity_at = ({row: k for k, row in enumerate(own)} for own in (columns, entities))
    found = judged.found
    pairs = [(column_at[n], entity_at[g]) for n, g in found.covered.tolist() if n in column_at]

    def moved(values):
        return np.array([entity_at[v] if v >= 0 else -1 for v in values.tolist()], np.int32)

    return Judgements(
        judged.params, judged.overlaps_removed, judged.names, judged.scores[columns],
        np.array([place[k] for k in judged.image[columns].tolist()], np.int64),
        type(found)(
            kind=found.kind[:, columns],
            target=np.stack([moved(row[columns]) for row in found.target]),
            entity_kind=found.entity_kind[:, entities],
            covered=np.array(pairs, np.int64).reshape(-1, 2),
            best=moved(found.best[columns]), iou=found.iou[columns], area=found.area[columns],
            entity_iou=found.entity_iou[entities],
        ),
        np.array([place[k] for k in judged.entity_image[entities].tolist()], np.int64),
        judged.ignored[:, entities], judged.counted[entities], judged.category_ids[entities],
    )  # fmt: skip


def test_states_of_each_shard_merge(tmp_path, capsys):
    whole, _ = write_typed(tmp_path, "entity", SPLITS["alike"], n_images=24)
    states, merged = of_shards(tmp_path), str(tmp_path / "merged.state")
    capsys.readouterr()
    assert cli.main(["errors", *map(str, whole), "--quiet", "--json", str(tmp_path / "a")]) == 0
    printed = capsys.readouterr().out
    assert cli.main(["merge", *states[::-1], "--save-state", merged]) == 0
    capsys.readouterr()
    assert cli.main(["errors", merged, "--json", str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out == printed
    assert record_of(tmp_path / "b") == record_of(tmp_path / "a")


def test_states_without_errors_and_of_other_errors_are_refused(tmp_path, capsys):
    write_typed(tmp_path, "entity", SPLITS["alike"])
    states = of_shards(tmp_path)
    sides = [str(tmp_path / side / "000.json") for side in ("gt", "pred")]
    other = str(tmp_path / "other.state")
    assert cli.main(["evaluate", *sides, "--quiet", "--save-state", other]) == 0
    capsys.readouterr()
    refused = {
        (other,): "this state keeps no errors",
        (states[0], "--as-submitted"): "keeps the errors of AP^e",
        (states[0], "--engine", "local"): "--engine needs GT and PRED",
        (sides[0],): "it is no saved scoring",
    }
    for options, words in refused.items():
        assert cli.main(["errors", *options]) == 2
        assert words in capsys.readouterr().err
    assert cli.main(["merge", states[1], other]) == 2
    assert "some states have errors, the others have none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("kind", lambda v: v[:, :-1], "kind of shape"),
        ("kind", lambda v: v + 50, "kind holds numbers outside"),
        ("target", lambda v: v + 1000, "target holds numbers outside"),
        ("covered", lambda _: np.array([[0, 10**6]]), "covered holds pairs of what is not there"),
        ("scores", lambda v: v * np.nan, "have no scores"),
        ("image", lambda v: v[::-1], "out of order"),
    ],
)
def test_arrays_that_are_no_judgements_are_refused(tmp_path, name, change, message):
    whole, _ = write_typed(tmp_path, "entity", SPLITS["alike"])
    judged = find_errors(evaluate_files(*whole)).oracle.judged
    arrays = judged.arrays()
    with pytest.raises(StateError, match=message):
        Judgements.of_file(judged.about(), arrays | {name: change(arrays[name])}, judged.params)


def test_shards_on_ray(tmp_path, on_ray):
    whole, (gt, pred) = write_typed(tmp_path, "entity", SPLITS["unlike"], n_images=24)
    found = evaluate_shards(gt, pred, on_ray, errors=True)
    report = summary_record(find_errors(evaluate_files(*whole)), {})
    assert isinstance(found, SavedScoring)
    assert str(summary_record(summarize(found.errors), {})) == str(report)
