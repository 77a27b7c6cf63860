"""Scoring of all four annotation types: perfect scores, formats, numbers by hand."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scoring_sides import (
    save_json,
    score,
    write_panoptic_side,
    write_semantic_side,
)

from entity_api import rle
from entityseg_bench import cli, demo
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.coco import write_results
from entityseg_bench.formats.id_maps import write_id_png
from entityseg_bench.formats.npz import write_npz
from entityseg_bench.formats.panoptic import write_panoptic
from entityseg_bench.formats.semantic import write_semantic
from entityseg_bench.io import InputError
from entityseg_bench.score import result_record

TASKS = ("entity", "instance", "semantic", "panoptic")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return demo.write_demo(tmp_path_factory.mktemp("demo") / "set", 16, seed=3, size=(60, 120))


@pytest.fixture(scope="module")
def perfect(root, tmp_path_factory) -> dict[tuple[str, str], Path]:
    """Write the ground truth of each type as predictions in each format that holds it."""
    out = tmp_path_factory.mktemp("predictions")
    made = {}
    for task in TASKS:
        truth = EntityDataset.open(root, task, "val", parts=["01"])
        made[task, "results"] = out / f"{task}.json"
        made[task, "id-png"] = out / f"{task}_ids"
        made[task, "npz"] = out / f"{task}_npz"
        write_results(truth, made[task, "results"])
        write_id_png(truth, made[task, "id-png"])
        write_npz(truth, made[task, "npz"])
        if task == "semantic":
            made[task, "semantic"] = out / "semantic_maps"
            write_semantic(truth, out / "semantic.txt", made[task, "semantic"])
        if task == "panoptic":
            made[task, "panoptic"] = out / "panoptic_maps.json"
            write_panoptic(truth, made[task, "panoptic"], out / "panoptic_maps")
    return made


@pytest.mark.parametrize("task", TASKS)
def test_perfect_predictions_score_one_in_every_format(task, root, perfect):
    for (of, kind), path in perfect.items():
        if of != task:
            continue
        scoring = score(root, path, task=task, parts=("01",))
        metrics = scoring.result.metrics
        assert (metrics["AP"], metrics["APe"]) == (1.0, 1.0), kind
        assert scoring.sides.task == task
        if task == "entity":
            assert scoring.own is None
            continue
        groups = scoring.own.groups
        assert not scoring.own.left_out
        for group, row in groups.items():
            assert row[{"instance": "AP", "semantic": "mIoU", "panoptic": "PQ"}[task]] == 1.0, group
        expected = {"all", "things", "stuff", "class_agnostic"} if task == "panoptic" else {"all"}
        assert set(groups) == expected


def test_each_type_is_told_from_its_files(root, perfect):
    annotations = root / "annotations"
    found = {
        "entity": annotations / "entity_segmentation" / "entityv2_01_entity_val.json",
        "instance": annotations / "instance_segmentation" / "entityv2_01_instances_val.json",
        "semantic": annotations / "semantic_segmentation" / "val.txt",
        "panoptic": annotations / "panoptic_segmentation" / "entityv2_01_panoptic_val.json",
    }
    for task, path in found.items():
        for kind in ("results", "npz"):
            assert score(path, perfect[task, kind]).sides.task == task
    maps = annotations / "semantic_segmentation" / "semantic_maps_val"
    scoring = score(maps, perfect["semantic", "semantic"])
    assert scoring.sides.task == "semantic"
    assert scoring.own.groups["all"]["mIoU"] == 1.0
    with pytest.raises(InputError, match=r"types entity, instance, semantic, panoptic.*--task"):
        score(root, perfect["entity", "results"])


def test_an_index_of_scores_is_read_and_bare_maps_get_a_warning(root, perfect, tmp_path):
    gt = root / "annotations" / "entity_segmentation" / "entityv2_01_entity_val.json"
    truth = EntityDataset.open(root, "entity", "val", parts=["01"])
    rows = json.loads(perfect["entity", "results"].read_text())
    for k, row in enumerate(rows):
        row["score"] = (k + 1) / len(rows)
    from datasets_read import read_results

    results = save_json(tmp_path / "scored.json", rows)
    write_id_png(read_results(results, truth.images), tmp_path / "ids")
    scoring = score(gt, tmp_path / "ids")
    assert sorted(scoring.dt.scores) == sorted(row["score"] for row in rows)
    assert not any("no scores" in str(warning) for warning in scoring.warnings)
    (tmp_path / "ids" / "annotations.json").unlink()
    bare = score(gt, tmp_path / "ids")
    assert set(bare.dt.scores) == {1.0}
    assert bare.result.metrics["APe"] == 1.0
    warnings = " ".join(map(str, bare.warnings))
    assert "read as id maps" in warnings
    assert "no scores: each gets 1" in warnings
    assert "ties go by the order of the file" in warnings


def test_panoptic_numbers_by_hand(tmp_path):
    gt = write_panoptic_side(tmp_path / "gt.json", [[[1, 1, 1, 1, 2, 2, 0, 0]]], [{1: 10, 2: 20}])
    dt_map, of = [[5, 5, 5, 6, 6, 6, 6, 7]], {5: 10, 6: 20, 7: 10}
    dt = write_panoptic_side(tmp_path / "dt.json", [dt_map], [of])
    scoring = score(gt, dt)
    groups = scoring.own.groups
    # 5 on 1: 3/4. 6 on 2: 2/3, its void pixel left out. 7 lies on void alone and is no error.
    both = (3 / 4 + 2 / 3) / 2
    assert groups["all"] == pytest.approx({"PQ": both, "SQ": both, "RQ": 1, "n": 2})
    assert groups["things"] == pytest.approx({"PQ": 3 / 4, "SQ": 3 / 4, "RQ": 1, "n": 1})
    assert groups["stuff"] == pytest.approx({"PQ": 2 / 3, "SQ": 2 / 3, "RQ": 1, "n": 1})
    assert groups["class_agnostic"]["PQ"] == pytest.approx(both)
    assert scoring.own.per_category[20]["PQ"] == pytest.approx(2 / 3)
    # The same IoUs: both match at .5 .. .65, the first alone at .7 and .75 (51 of 101 recalls).
    assert scoring.result.metrics["APe"] == pytest.approx((4 + 2 * 51 / 101) / 10)
    assert len(scoring.dt) - scoring.result.on_void.sum() == 2
    assert any("1 predictions lie on unlabelled pixels alone" in str(w) for w in scoring.warnings)


def test_semantic_numbers_by_hand(tmp_path):
    gt = write_semantic_side(tmp_path / "gt", [[[0, 0, 1, 1, 255, 255]]])
    write_semantic_side(tmp_path / "dt", [[[0, 1, 1, 1, 1, 0]]])
    scoring = score(gt, tmp_path / "dt")
    # Class 0: 1 of 2 pixels. Class 1: 2 of 3. What is drawn on 255 counts nowhere.
    expected = {"mIoU": 7 / 12, "fwIoU": 7 / 12, "mACC": 3 / 4, "pACC": 3 / 4, "n": 2}
    assert scoring.own.groups["all"] == pytest.approx(expected)
    assert scoring.own.per_category == {
        0: pytest.approx({"IoU": 1 / 2, "ACC": 1 / 2}),
        1: pytest.approx({"IoU": 2 / 3, "ACC": 1}),
    }
    # At .5 both match; at .55, .6, .65 the second alone, after a false one: precision 1/2.
    assert scoring.result.metrics["APe"] == pytest.approx((1 + 3 * 0.5 * 51 / 101) / 10)


def test_instance_numbers_by_hand(tmp_path):
    left = rle.encode(np.array([[1, 1, 1, 1, 0, 0, 0, 0]], bool))
    right = rle.encode(np.array([[0, 0, 0, 0, 1, 1, 1, 1]], bool))
    gt = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 1, "width": 8}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "segmentation": left},
            {"id": 2, "image_id": 7, "category_id": 4, "segmentation": right},
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 4, "name": "cat"}],
    }
    found = [(left, 3, 0.9), (right, 3, 0.8), (left, 4, 0.7)]
    dt = [
        {"image_id": 7, "category_id": c, "segmentation": mask, "score": s} for mask, c, s in found
    ]
    files = save_json(tmp_path / "gt.json", gt), save_json(tmp_path / "dt.json", dt)
    scoring = score(*files, task="instance")
    assert scoring.result.metrics["APe"] == 1.0
    assert scoring.own.groups["all"]["AP"] == pytest.approx(1 / 2)
    assert scoring.own.per_category == {3: pytest.approx({"AP": 1}), 4: {"AP": 0}}
    assert score(*files).own is None


def test_results_that_name_no_classes_leave_the_class_metrics_out(root, perfect, tmp_path):
    for task in ("instance", "semantic", "panoptic"):
        rows = json.loads(perfect[task, "results"].read_text())
        filler = {"instance": 1, "semantic": 0, "panoptic": 1}[task]
        for row in rows:
            row["category_id"] = filler
        path = save_json(tmp_path / f"{task}.json", rows)
        scoring = score(root, path, task=task)
        assert scoring.result.metrics["APe"] == 1.0
        assert f"have category_id {filler}" in scoring.own.left_out
        assert set(scoring.own.groups) == ({"class_agnostic"} if task == "panoptic" else set())
    assert scoring.own.groups["class_agnostic"]["PQ"] == 1.0
    rows[3]["category_id"] = 999
    strange = score(root, save_json(tmp_path / "strange.json", rows), task="panoptic")
    assert "category_id 999 of the predictions" in strange.own.left_out


def test_ids_of_another_table_are_not_taken_for_classes(root, perfect):
    scoring = score(root, perfect["panoptic", "npz"], task="semantic")
    assert "do not have the semantic categories" in scoring.own.left_out
    assert scoring.result.metrics["APe"] > 0


def test_maps_of_eight_bits_against_panoptic_ground_truth_must_be_named(root, perfect):
    with pytest.raises(InputError, match=r"--pred-format semantic.*--pred-format id-png"):
        score(root, perfect["semantic", "semantic"], task="panoptic")
    found = score(root, perfect["semantic", "semantic"], task="panoptic", pred_format="semantic")
    assert set(found.own.groups) == {"class_agnostic"}


def test_image_ids_of_another_part_are_found_out(root, perfect, tmp_path):
    shutil.copytree(perfect["entity", "npz"], tmp_path / "npz")
    index = tmp_path / "npz" / "annotations.json"
    content = json.loads(index.read_text())
    image_id = content["images"][0]["id"]
    gt = root / "annotations" / "entity_segmentation" / "entityv2_01_entity_val.json"
    renamed = json.loads(gt.read_text())
    renamed["images"][0]["file_name"] = "demo_02_00000.jpg"
    other = save_json(tmp_path / "part_02.json", renamed)
    with pytest.raises(InputError, match=rf"image {image_id} \(demo_02_00000.*Image ids restart"):
        score(other, tmp_path / "npz")
    content["images"][0]["id"] = 4711
    for row in content["annotations"]:
        row["image_id"] = 4711 if row["image_id"] == image_id else row["image_id"]
    save_json(index, content)
    with pytest.raises(InputError, match=r"image 4711.*not among the images of the ground truth"):
        score(gt, tmp_path / "npz")


def test_the_command_prints_and_writes_the_own_metric(root, perfect, tmp_path, capsys):
    out = tmp_path / "result.json"
    argv = ["evaluate", str(root), str(perfect["panoptic", "panoptic"]), "--task", "panoptic"]
    assert cli.main([*argv, "--json", str(out), "--boundary"]) == 0
    printed = capsys.readouterr().out
    assert "panoptic quality" in printed
    assert "class-agnostic" in printed
    assert "By boundaries" in printed
    record = json.loads(out.read_text())
    assert record["task"] == "panoptic"
    assert record["own_metrics"]["stuff"]["PQ"] == 1.0
    assert record["own_metrics"]["left_out"] is None
    assert record["boundary_metrics"]["APe"] == 1.0
    assert record["files"]["predictions"]["name"] == "panoptic_maps.json"


def test_what_was_scored_is_hashed_as_sha256sum_prints_it(tmp_path):
    gt = write_semantic_side(tmp_path / "gt", [[[0, 1]], [[1, 1]]])
    write_semantic_side(tmp_path / "dt", [[[0, 1]], [[1, 1]]])
    files = result_record(score(gt, tmp_path / "dt"))["files"]

    def line(path, name):
        return f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n"

    names = ["image 1.png", "image 2.png"]
    dt = "".join(line(tmp_path / "dt" / name, name) for name in names)
    assert files["predictions"] == {"name": "dt", "sha256": hashlib.sha256(dt.encode()).hexdigest()}
    truth = line(gt, "gt.txt") + "".join(line(tmp_path / "gt" / name, name) for name in names)
    assert files["ground_truth"]["sha256"] == hashlib.sha256(truth.encode()).hexdigest()


def test_entity_files_are_scored_without_the_other_types(root, perfect):
    """The way that most files go imports nothing of the readers of the other types."""
    gt = root / "annotations" / "entity_segmentation" / "entityv2_01_entity_val.json"
    heavy = {"PIL", "entityseg_bench.typed", "entityseg_bench.dataset", "entity_api.panoptic"}
    code = (
        "import sys; from entityseg_bench import cli; code = cli.main(sys.argv[1:]);"
        f"sys.exit(code or sorted({heavy} & set(sys.modules)) or 0)"
    )
    argv = ["evaluate", str(gt), str(perfect["entity", "results"]), "--quiet"]
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
