"""Problems of shards are those of the whole, with the names of the shards."""

import json

import pytest
from typed_shards import SPLITS, write_typed

from entityseg_bench import cli
from entityseg_bench.io import InputError
from entityseg_bench.scale.engines import InOneProcess
from entityseg_bench.scale.shards import evaluate_shards
from entityseg_bench.scale.validating import validate_shards
from entityseg_bench.validate import validate

TASKS = ("entity", "instance", "semantic", "panoptic")


def found(problems, *names):
    """Return what problems say, once each, with files called by the side they are of."""
    texts = set()
    for one in problems:
        side = next((name for name in names if f"/{name}" in one.file), one.file)
        texts.add((one.severity, side, one.what, one.hint))
    return sorted(texts)


def of_both(tmp_path, whole, patterns, **options):
    one = found(validate(*whole, **options), "gt", "pred")
    other = found(validate_shards(*patterns, InOneProcess(), **options), "gt", "pred")
    return one, other


def change(path, edit):
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", TASKS)
def test_a_sound_set_has_the_same_warnings_whole_and_in_shards(tmp_path, task, split):
    whole, patterns = write_typed(tmp_path, task, SPLITS[split])
    one, other = of_both(tmp_path, whole, patterns)
    assert any("images have no predictions" in what for _, _, what, _ in one)
    assert any("images have no annotations" in what for _, _, what, _ in one)
    assert other == one


@pytest.mark.parametrize("task", ["entity", "panoptic"])
def test_every_bad_record_is_listed_whatever_the_shard(tmp_path, task):
    whole, patterns = write_typed(tmp_path, task, SPLITS["unlike"])

    def spoil(rows):
        for row in rows:
            if row["image_id"] == 2:
                row["image_id"] = 777
            if row["image_id"] in (4, 11) and row["segmentation"]["size"] == [32, 32]:
                row["segmentation"] = {"size": [32, 32], "counts": "0"}
            if row["image_id"] == 9:
                row["segmentation"] = {"size": [16, 16], "counts": row["segmentation"]["counts"]}

    for path in [whole[1], *sorted((tmp_path / "pred").iterdir())]:
        change(path, spoil)
    problems = validate_shards(*patterns, InOneProcess())
    text = "\n".join(map(str, problems))
    for name, image in (("000.json", 4), ("000.json", 777), ("001.json", 9), ("001.json", 11)):
        assert any(name in line and str(image) in line for line in text.splitlines()), (name, image)
    errors = [one for one in problems if one.severity == "error"]
    alone = [one for one in validate(*whole) if one.severity == "error"]
    assert {one.where.partition("image_id")[2] for one in errors} == {
        one.where.partition("image_id")[2] for one in alone
    }
    assert problems[: len(errors)] == errors


def test_broken_and_repeated_ground_truth(tmp_path):
    _, patterns = write_typed(tmp_path, "entity", SPLITS["alike"])
    change(tmp_path / "gt" / "001.json", lambda content: content["images"].pop())
    problems = validate_shards(*patterns, InOneProcess())
    assert any("001.json" in str(one) and one.severity == "error" for one in problems)
    (tmp_path / "gt" / "001.json").write_text("{", encoding="utf-8")
    problems = validate_shards(*patterns, InOneProcess())
    assert next(one.severity for one in problems if "001.json" in one.file) == "error"
    # The records of the images that are lost are not called unknown beside it.
    assert not any("pred" in one.file and one.severity == "error" for one in problems)
    for path in (tmp_path / "gt").iterdir():
        path.write_text("{", encoding="utf-8")
    problems = validate_shards(*patterns, InOneProcess())
    assert sum("it was not checked" in one.what for one in problems) == 3
    twice = (tmp_path / "gt" / "000.json", tmp_path / "gt" / "001.json")
    _, patterns = write_typed(tmp_path / "new", "entity", SPLITS["alike"])
    twice = [tmp_path / "new" / "gt" / name for name in ("000.json", "001.json")]
    twice[1].write_bytes(twice[0].read_bytes())
    problems = validate_shards(patterns[0], None, InOneProcess())
    assert any("has annotations of it, too" in one.what for one in problems)


def test_a_prediction_in_two_shards_is_an_error_and_an_image_in_two_is_none(tmp_path):
    _, patterns = write_typed(tmp_path, "entity", SPLITS["alike"])
    rows = json.loads((tmp_path / "pred" / "001.json").read_text(encoding="utf-8"))
    moved = [{**row, "score": row["score"] / 2 + 0.01} for row in rows[:2]]
    path = tmp_path / "pred" / "002.json"
    change(path, lambda content: content.extend(moved))
    problems = validate_shards(*patterns, InOneProcess())
    assert not [one for one in problems if one.severity == "error"]
    evaluate_shards(*patterns, InOneProcess())
    change(path, lambda content: content.extend(rows[:2]))
    (problem,) = [
        one for one in validate_shards(*patterns, InOneProcess()) if one.severity == "error"
    ]
    with pytest.raises(InputError) as raised:
        evaluate_shards(*patterns, InOneProcess())
    assert str(problem) == f"error: {raised.value}"


def test_command(tmp_path, capsys):
    _, patterns = write_typed(tmp_path, "entity", SPLITS["alike"])
    sides = [*map(str, patterns), "--engine", "local", "--json", str(tmp_path / "a")]
    assert cli.main(["validate", *sides]) == 0
    assert "0 errors" in capsys.readouterr().err
    change(tmp_path / "pred" / "002.json", lambda rows: rows[0].update(image_id=999))
    assert cli.main(["validate", *sides]) == 1
    printed = capsys.readouterr()
    assert "002.json: record 0" in printed.out
    assert "1 errors" in printed.err
    assert json.loads((tmp_path / "a").read_text())[0]["code"] == "image-unknown"
    assert cli.main(["validate", str(tmp_path / "none*"), "--engine", "local"]) == 2


def test_shards_on_ray(tmp_path, on_ray):
    _, patterns = write_typed(tmp_path, "panoptic", SPLITS["unlike"])
    change(tmp_path / "pred" / "001.json", lambda rows: rows[3].update(image_id=999))
    here = list(map(str, validate_shards(*patterns, InOneProcess())))
    assert list(map(str, validate_shards(*patterns, on_ray))) == here
