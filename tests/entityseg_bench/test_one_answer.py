"""A set has one answer: shards say what the whole says, in the same words."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from drawn_sides import drawn_sides
from PIL import Image
from typed_shards import SPLITS, write_typed

from entityseg_bench import EntityMetric, cli
from entityseg_bench.formats import Inputs
from entityseg_bench.score import evaluate_files

N_IMAGES = 24
# Three shards of eight images, and an empty one.
N_SHARDS = 4
NUMBERS = ("metrics", "counts", "overlap", "score_from", "own_metrics")


@pytest.fixture
def sides(tmp_path, monkeypatch):
    """Give both sides, and stand in a folder for `write`."""
    monkeypatch.chdir(tmp_path)
    return drawn_sides(N_IMAGES)


def write(truth, predictions, spread=False):
    """Write both sides whole, and in shards; ``spread`` deals predictions out one by one."""

    def own(rows, k, key="image_id"):
        return [row for row in rows if row[key] // 8 == k]

    shards = {
        "gt": [
            truth | {"images": own(truth["images"], k, "id"), "annotations": own(rows, k)}
            for rows in [truth["annotations"]]
            for k in range(N_SHARDS)
        ],
        "pred": [predictions[k::3] if spread and k < 3 else own(predictions, k)
                 for k in range(N_SHARDS)],
    }  # fmt: skip
    whole = {"gt": truth, "pred": [row for shard in shards["pred"] for row in shard]}
    for side, contents in shards.items():
        Path(side).mkdir()
        Path(f"{side}.json").write_text(json.dumps(whole[side]), encoding="utf-8")
        for k, content in enumerate(contents):
            Path(side, f"{k}.json").write_text(json.dumps(content), encoding="utf-8")


def answers(capsys, *options):
    """Score the whole and the shards; return exit code, what is said, and the numbers of each."""
    found = []
    for names, own in ((("gt.json", "pred.json"), ()), (("gt", "pred"), ("--engine", "local"))):
        Path("r.json").unlink(missing_ok=True)
        code = cli.main(["evaluate", *names, *own, *options, "--json", "r.json"])
        said = capsys.readouterr().err
        said = re.sub(r"\b(gt|pred)(/\d)?\.json|\b(gt|pred):", lambda m: m[1] or m[3], said)
        lines = {line.replace(": ", " ") for line in said.splitlines() if "warning" in line}
        numbers = json.loads(Path("r.json").read_text()) if code == 0 else {}
        found.append((code, lines, {key: numbers.get(key) for key in NUMBERS}))
        assert "Traceback" not in said
    return found


@pytest.mark.parametrize("spread", [False, True])
def test_what_is_true_of_the_set_is_said_of_shards(sides, capsys, spread):
    truth, predictions = sides
    for row in predictions:
        row["score"] = 0.5
    # 12 in three shards: no shard alone has more than ten of an image.
    more = [predictions[0] | {"category_id": k} for k in range(2, 14)]
    write(truth, [*predictions, *more] if spread else predictions, spread)
    whole, shards = answers(capsys, "--max-dets", "1,10")
    assert shards == whole
    said = " ".join(whole[1])
    for words in ("images have no predictions", "images have no annotations", "scores are 0.5"):
        assert words in said
    assert ("images have more than 10 predictions" in said) == spread


def test_no_predictions_at_all_are_said_of_shards(sides, capsys):
    write(sides[0], [])
    whole, shards = answers(capsys)
    assert shards == whole
    assert any("it holds no predictions" in line for line in whole[1])


def test_notes_on_ground_truth_are_said_of_shards(sides, capsys):
    truth, predictions = sides
    rows = [row for row in truth["annotations"] if row["image_id"] < 8]
    for row in rows:
        row["area"] = float("nan")
    write(truth, predictions)
    whole, shards = answers(capsys)
    assert shards == whole
    assert any(f"area is nan in {len(rows)} records" in line for line in whole[1])


def test_an_empty_shard_is_of_any_kind(sides, capsys):
    """No score is in it, so that it is not of another key than `confidence`."""
    truth, predictions = sides
    renamed = [{("confidence" if k == "score" else k): v for k, v in row.items()}
               for row in predictions]  # fmt: skip
    write(truth, renamed)
    whole, shards = answers(capsys)
    assert whole[0] == shards[0] == 0
    assert whole[2] == shards[2]
    assert shards[2]["score_from"] == "confidence"


@pytest.mark.parametrize("spread", [False, True])
def test_shards_of_several_kinds_are_refused_by_name(sides, capsys, spread):
    write(*sides, spread)
    rows = json.loads(Path("pred/1.json").read_text())
    Path("pred/1.json").write_text(json.dumps([
        {("confidence" if k == "score" else k): v for k, v in row.items()} for row in rows
    ]))  # fmt: skip
    for verb, code in (("evaluate", 2), ("validate", 1)):
        assert cli.main([verb, "gt", "pred", "--engine", "local"]) == code
        said = "".join(capsys.readouterr())
        assert "pred/1.json: its scores are `confidence`, those of 0.json `score`." in said


def test_shards_without_scores_are_not_ranked_with_others(sides, capsys):
    """Each would get 1, and be surer than all that have one."""
    truth, predictions = sides
    write(truth, predictions)
    Path("pred/1.json").unlink()
    Path("pred/1").mkdir()
    for image in truth["images"][8:16]:
        pixels = np.zeros((image["height"], image["width"]), np.uint16)
        pixels[:9] = 1
        Image.fromarray(pixels).save(f"pred/1/{image['id']}.png")
    for verb, code in (("evaluate", 2), ("validate", 1)):
        assert cli.main([verb, "gt", "pred", "--engine", "local"]) == code
        said = "".join(capsys.readouterr())
        assert "pred/1: its scores are `none`, those of 0.json `score`." in said


def test_a_category_of_two_names_is_refused_where_it_matters(sides, capsys):
    write(*sides)
    truth = json.loads(Path("gt/2.json").read_text())
    truth["categories"] = [{"id": 1, "name": "other"}]
    Path("gt/2.json").write_text(json.dumps(truth))
    options = ["gt", "pred", "--engine", "local", "--quiet"]
    assert cli.main(["evaluate", *options]) == 0
    assert cli.main(["evaluate", *options, "--class-aware"]) == 2
    said = capsys.readouterr().err
    assert "gt/2.json: category 1: it is 'other', and 'entity' in 0.json." in said


def test_a_thing_that_is_stuff_elsewhere_is_refused(tmp_path, capsys):
    _, patterns = write_typed(tmp_path, "panoptic", SPLITS["alike"])
    path = tmp_path / "gt" / "001.json"
    path.write_text(path.read_text().replace('"cat", "isthing": 1', '"cat", "isthing": 0'))
    assert cli.main(["evaluate", *map(str, patterns), "--engine", "local", "--quiet"]) == 2
    words = "category 3: it is 'cat' (stuff), and 'cat' (thing) in 000.json."
    assert words in capsys.readouterr().err


def test_annotations_of_no_image_are_refused_wherever_they_stand(sides, capsys):
    """Not the predictions of the image are at fault, and an empty list of images is none."""
    truth, predictions = sides
    write(truth, [row for row in predictions if row["image_id"] < 8])
    shard = json.loads(Path("gt/1.json").read_text()) | {"images": []}
    Path("gt/1.json").write_text(json.dumps(shard))
    assert cli.main(["evaluate", "gt", "pred", "--engine", "local"]) == 2
    assert "gt/1.json: record 0, id" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["results", "parquet", "npz"])
def test_a_class_that_nobody_named_is_none_after_a_conversion(sides, capsys, target):
    """Not the class 0, which the published tables have."""
    truth, predictions = sides
    truth["categories"] = [{"id": 0, "name": "sky"}, {"id": 1, "name": "sea"}]
    del predictions[3]["category_id"]
    write(truth, predictions)
    out = "out" if target == "npz" else f"out.{target}.json"
    wanted = ["convert", "pred.json", out, "--to", target, "--gt", "gt.json", "--jobs", "1"]
    assert cli.main(wanted) == 0
    found = []
    for path in ("pred.json", out):
        options = ["--task", "instance", "--quiet", "--json", "r.json"]
        assert cli.main(["evaluate", "gt.json", path, *options]) == 0
        record = json.loads(Path("r.json").read_text())
        found.append([record[key] for key in NUMBERS])
        assert cli.main(["evaluate", "gt.json", path, "--class-aware"]) == 2
    assert found[0] == found[1]
    assert "category_id none" in found[0][-1]["left_out"]


def test_no_predictions_are_the_same_in_a_metric(sides):
    write(sides[0], [])
    metric = EntityMetric("gt.json", task="instance")
    inputs = Inputs(task="instance")
    whole = evaluate_files("gt.json", "pred.json", inputs=inputs).own
    assert repr(metric.compute().own.record()) == repr(whole.record())
    assert not whole.left_out


def test_one_image_is_not_said_of_several_shards(sides, capsys):
    """Whose masks are in a folder for each image, as amg.py writes them, would be of one image."""
    truth, predictions = sides
    write(truth, predictions)
    for k in range(N_SHARDS):
        rows = [{k: v for k, v in row.items() if k != "image_id"} for row in predictions[k::4]]
        Path(f"pred/{k}.json").write_text(json.dumps(rows))
    for verb in ("evaluate", "validate", "errors"):
        assert cli.main([verb, "gt.json", "pred", "--engine", "local", "--image-id", "1"]) == 2
        assert "pred: there are 4 shards, and --image-id says" in capsys.readouterr().err
    one = ["gt.json", "pred/0.json", "--image-id", "1", "--quiet"]
    assert cli.main(["evaluate", *one, "--engine", "local"]) == 0
    alone = capsys.readouterr().out
    assert cli.main(["evaluate", *one]) == 0
    assert capsys.readouterr().out == alone
