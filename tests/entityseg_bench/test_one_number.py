"""One set of predictions has one AP^e, whichever way it goes and whatever file it is written to."""

import json

import numpy as np
import pytest
import void_case
from scoring_sides import save_json

from entity_api import evaluate
from entityseg_bench import cli
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.coco import write_coco
from entityseg_bench.formats.id_maps import write_id_png
from entityseg_bench.formats.npz import write_npz
from entityseg_bench.formats.panoptic import write_panoptic
from entityseg_bench.formats.semantic import write_semantic
from entityseg_bench.score import evaluate_files
from entityseg_bench.types import Annotation

SEEDS = range(4)


def write_truth(dataset, folder):
    """Write ground truth in the format of its type."""
    if dataset.task == "semantic":
        write_semantic(dataset, folder / "gt.txt", folder / "gt")
        return folder / "gt.txt"
    if dataset.task == "panoptic":
        write_panoptic(dataset, folder / "gt.json", folder / "gt")
    else:
        write_coco(dataset, folder / "gt.json")
    return folder / "gt.json"


def case(task, seed, folder):
    rng = np.random.default_rng(seed)
    id_maps = void_case.maps(rng)
    found = void_case.predicted(rng, task, id_maps)
    return void_case.truth(task, id_maps, folder), found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("task", ["semantic", "panoptic"])
def test_python_and_the_command_give_the_number_of_plain_loops(task, seed, tmp_path, capsys):
    dataset, found = case(task, seed, tmp_path)
    records = void_case.results(found)
    direct = evaluate(dataset.ground_truth(), records)
    argv = [
        "evaluate",
        str(write_truth(dataset, tmp_path)),
        str(save_json(tmp_path / "dt.json", records)),
    ]
    assert cli.main([*argv, "--json", str(tmp_path / "out.json")]) == 0
    record = json.loads((tmp_path / "out.json").read_text())
    by_name = {name: value for name, value in direct.metrics.items() if value == value}
    assert {k: v for k, v in record["metrics"].items() if v is not None} == by_name
    expected = void_case.naive_metrics(dataset, found)
    assert {name: direct.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert 0 < expected["APe"] < 1
    assert expected["APe"] != pytest.approx(expected["AP"], abs=1e-6)
    # The case holds what the rules are about.
    assert direct.on_void.any()
    assert record["overlap"]["hidden"] > 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("task", ["entity", "semantic", "panoptic"])
def test_every_format_of_the_predictions_gives_one_number(task, seed, tmp_path):
    dataset, found = case("panoptic" if task == "entity" else task, seed, tmp_path)
    if task == "entity":
        dataset = dataset.replace(task="entity")
    gt = write_truth(dataset, tmp_path)
    # An empty mask is in no map: it stays a false positive in a list and has no pixel to paint.
    found = [[(mask, score) for mask, score in pairs if mask.any()] for pairs in found]
    rows = void_case.results(found)
    annotations = [
        Annotation(
            id=number,
            image_id=row["image_id"],
            category_id=1,
            segmentation=row["segmentation"],
            area=0.0,
            bbox=(0.0, 0.0, 0.0, 0.0),
            extra={"score": row["score"]},
        )
        for number, row in enumerate(rows, start=1)
    ]
    predictions = EntityDataset(dataset.images, annotations, void_case.TABLE, "entity")
    write_id_png(predictions, tmp_path / "ids")
    write_npz(predictions, tmp_path / "npz")
    write_panoptic(predictions, tmp_path / "panoptic.json", tmp_path / "panoptic")
    paths = {
        "results": save_json(tmp_path / "dt.json", rows),
        "id-png": tmp_path / "ids",
        "npz": tmp_path / "npz",
        "panoptic": tmp_path / "panoptic.json",
    }
    scored = {name: evaluate_files(gt, path).result.metrics for name, path in paths.items()}
    want = {name: value for name, value in scored["results"].items() if name.startswith("APe")}
    assert 0 < want["APe"] < 1
    for name, metrics in scored.items():
        assert {k: metrics[k] for k in want} == pytest.approx(want, abs=0, nan_ok=True), name
    assert scored["npz"] == pytest.approx(scored["results"], abs=0, nan_ok=True)
