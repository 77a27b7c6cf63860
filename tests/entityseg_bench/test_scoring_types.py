"""Scoring of all four annotation types: perfect scores, numbers by hand, plain oracles, errors."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from entity_api import EvalParams, evaluate, panoptic, rle, semantic
from entityseg_bench import cli, demo
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.evaluate import evaluate_files, result_record
from entityseg_bench.formats.id_png import write_id_png
from entityseg_bench.formats.npz import write_npz
from entityseg_bench.formats.panoptic import write_panoptic
from entityseg_bench.formats.results import write_results
from entityseg_bench.formats.semantic import write_semantic
from entityseg_bench.inputs import Inputs
from entityseg_bench.io import InputError

TASKS = ("entity", "instance", "semantic", "panoptic")
PANOPTIC_TABLE = [
    {"id": 10, "name": "dog", "isthing": 1},
    {"id": 20, "name": "sky", "isthing": 0},
    {"id": 30, "name": "cat", "isthing": 1},
]


def save_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path)


def save_ids(path, ids):
    ids = np.asarray(ids)
    save_png(path, np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8))


def save_json(path, content):
    path.write_text(json.dumps(content))
    return path


def write_panoptic_side(path, maps, categories_of, table=PANOPTIC_TABLE, crowds=()):
    """Write id maps and their JSON; ``categories_of`` gives each id of an image its category."""
    images, rows = [], []
    for image_id, (id_map, of) in enumerate(zip(maps, categories_of, strict=True), start=1):
        height, width = np.shape(id_map)
        name = f"image {image_id}.v1.jpg"
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        save_ids(path.with_suffix("") / f"image {image_id}.v1.png", id_map)
        segments = [
            {"id": k, "category_id": c, "iscrowd": int((image_id, k) in crowds)}
            for k, c in of.items()
        ]
        rows.append({"image_id": image_id, "file_name": name, "segments_info": segments})
    content = {"images": images, "annotations": rows, "categories": table}
    return save_json(path, content)


def write_semantic_side(folder, maps):
    """Write class maps; with a list in the folder above."""
    lines = []
    for number, labels in enumerate(maps, start=1):
        save_png(folder / f"image {number}.png", np.asarray(labels, np.uint8))
        lines.append(f"image {number}.jpg image {number}.png\n")
    path = folder.parent / f"{folder.name}.txt"
    path.write_text("".join(lines))
    return path


def score(gt, dt, **inputs):
    return evaluate_files(gt, dt, inputs=Inputs(**inputs))


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
    from entityseg_bench.formats.results import read_results

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
    assert len(scoring.dt.records) == 2
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


def random_map(rng, size, values):
    """Draw rectangles of values over each other; 0 elsewhere."""
    out = np.zeros(size, np.int64)
    for value in values:
        y, x = rng.integers(0, size[0] - 3), rng.integers(0, size[1] - 3)
        out[y : y + rng.integers(2, 9), x : x + rng.integers(2, 12)] = value
    return out


def random_sides(rng, n_images=5, size=(14, 18)):
    """Make panoptic ground truth with void, and predictions near it."""
    gt, dt = [], []
    for _ in range(n_images):
        truth = random_map(rng, size, range(250, 260))
        found = np.where(rng.random(size) < 0.8, truth, random_map(rng, size, range(1, 4)))
        gt.append(truth)
        dt.append(np.roll(found, int(rng.integers(0, 2)), axis=1))

    def categories_of(maps):
        return [{int(k): int(k) % 3 * 10 + 10 for k in np.unique(m) if k} for m in maps]

    return (gt, categories_of(gt)), (dt, categories_of(dt))


@pytest.mark.parametrize("seed", range(4))
def test_pq_is_that_of_the_pure_functions(seed, tmp_path):
    gt, dt = random_sides(np.random.default_rng(seed))
    crowds = {(1, min(gt[1][0])), (2, max(gt[1][1]))}
    paths = (
        write_panoptic_side(tmp_path / "gt.json", *gt, crowds=crowds),
        write_panoptic_side(tmp_path / "dt.json", *dt),
    )
    found = score(*paths).own

    def segments(side, idx):
        return [
            {"id": k, "category_id": c, "iscrowd": side is gt and (idx + 1, k) in crowds}
            for k, c in side[1][idx].items()
        ]

    tallies = [
        panoptic.tally(gt[0][idx], segments(gt, idx), dt[0][idx], segments(dt, idx))
        for idx in range(len(gt[0]))
    ]
    expected = panoptic.summarize(tallies, {10: True, 20: False, 30: True})
    for group in ("all", "things", "stuff"):
        for name, value in found.groups[group].items():
            assert value == pytest.approx(getattr(getattr(expected, group), name), nan_ok=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("iou_type", ["segm", "boundary"])
def test_ap_with_void_is_that_of_masks_cut_by_hand(seed, iou_type, tmp_path):
    rng = np.random.default_rng(100 + seed)
    gt, _ = random_sides(rng)
    path = write_panoptic_side(tmp_path / "gt.json", *gt)
    rows, cut_rows, images, annotations = [], [], [], []
    for image_id, id_map in enumerate(gt[0], start=1):
        height, width = id_map.shape
        images.append({"id": image_id, "height": height, "width": width})
        annotations += [
            {"image_id": image_id, "segmentation": rle.encode(id_map == k)} for k in gt[1][
                image_id - 1]
        ]  # fmt: skip
        masks = [np.roll(id_map == k, 1, axis=0) for k in gt[1][image_id - 1]]
        masks += [random_map(rng, id_map.shape, [1]) > 0 for _ in range(3)]
        masks.append(id_map == 0)
        for mask in masks:
            row = {"image_id": image_id, "category_id": 10, "score": float(rng.random())}
            rows.append({**row, "segmentation": rle.encode(mask)})
            visible = mask & (id_map > 0)
            if visible.any():
                cut_rows.append({**row, "segmentation": rle.encode(visible)})
    dt = save_json(tmp_path / "dt.json", rows)
    scoring = evaluate_files(path, dt, boundary=True)
    found = scoring.boundary if iou_type == "boundary" else scoring.result
    truth = {"images": images, "annotations": annotations}
    expected = evaluate(truth, cut_rows, EvalParams(iou_type=iou_type)).metrics
    assert 0 < expected["APe"] < expected["AP"] or iou_type == "boundary"
    assert found.metrics == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("as_results", [False, True])
def test_miou_is_that_of_the_pure_functions(as_results, tmp_path):
    rng = np.random.default_rng(5)
    maps = [
        (rng.choice([0, 1, 149, 255], (9, 11)), rng.choice([0, 1, 2, 255], (9, 11)))
        for _ in range(4)
    ]
    gt = write_semantic_side(tmp_path / "gt", [truth for truth, _ in maps])
    dt = tmp_path / "dt"
    if as_results:
        # Higher scores lie over lower ones: a class is drawn too large under the next one.
        rows = [
            {"image_id": f"image {number}", "category_id": k, "score": (k + 1) / 10,
             "segmentation": rle.encode((labels == k) | ((labels > k) & (labels < 255)))}
            for number, (_, labels) in enumerate(maps, start=1) for k in (0, 1, 2)
        ]  # fmt: skip
        dt = save_json(tmp_path / "dt.json", rows)
    else:
        write_semantic_side(dt, [labels for _, labels in maps])
    expected = semantic.summarize(sum(semantic.count(*pair, 150) for pair in maps))
    scoring = score(gt, dt)
    assert scoring.own.groups["all"]["mIoU"] == pytest.approx(expected.mIoU)
    assert scoring.own.groups["all"]["fwIoU"] == pytest.approx(expected.fwIoU)
    assert scoring.own.groups["all"]["n"] == 3


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


class TestErrors:
    """Each names the file, the image and what to do; none comes from the depths."""

    @pytest.fixture
    def sides(self, tmp_path):
        maps, of = [[[1, 1, 2, 2]], [[1, 0, 2, 2]]], [{1: 10, 2: 20}] * 2
        gt = write_panoptic_side(tmp_path / "gt.json", maps, of)
        return gt, write_panoptic_side(tmp_path / "dt.json", maps, of)

    def test_no_folder_of_maps(self, sides):
        for side, option in zip(sides, ("--gt-maps", "--pred-maps"), strict=True):
            shutil.move(side.with_suffix(""), side.with_name("elsewhere"))
            with pytest.raises(InputError, match=f"{side.stem}, panoptic_maps_val.*{option} DIR"):
                score(*sides)
            shutil.move(side.with_name("elsewhere"), side.with_suffix(""))
        shutil.move(sides[0].with_suffix(""), sides[0].with_name("elsewhere"))
        scoring = score(*sides, gt_maps=sides[0].with_name("elsewhere"))
        assert scoring.own.groups["all"]["PQ"] == 1.0

    def test_a_missing_map(self, sides):
        (sides[1].with_suffix("") / "image 2.v1.png").unlink()
        with pytest.raises(InputError, match=r"image 2\.v1\.png: there is no such file"):
            score(*sides)

    def test_a_map_of_another_size(self, sides):
        save_ids(sides[1].with_suffix("") / "image 2.v1.png", [[1, 0, 2]])
        with pytest.raises(InputError, match=r"image 2.*1 x 3 pixels.*1 x 4"):
            score(*sides)

    def test_segments_that_map_and_json_do_not_share(self, sides):
        path = sides[1].with_suffix("") / "image 2.v1.png"
        save_ids(path, [[1, 77, 2, 2]])
        with pytest.raises(InputError, match=r"image 2.*segments 77 are not in the JSON"):
            score(*sides)
        save_ids(path, [[1, 1, 1, 1]])
        with pytest.raises(InputError, match=r"image 2.*segments 2 are not in the map"):
            score(*sides)

    def test_a_category_that_the_ground_truth_does_not_have(self, sides):
        content = json.loads(sides[1].read_text())
        content["annotations"][1]["segments_info"][0]["category_id"] = 11
        save_json(sides[1], content)
        with pytest.raises(InputError, match=r"dt\.json: image 2.*category 11"):
            score(*sides)

    def test_an_unknown_image(self, sides):
        content = json.loads(sides[1].read_text())
        content["annotations"][1]["image_id"] = 5
        save_json(sides[1], content)
        with pytest.raises(InputError, match=r"dt\.json.*image_id 5 is not among the images"):
            score(*sides)

    def test_scores_of_some_segments_only(self, sides):
        content = json.loads(sides[1].read_text())
        content["annotations"][1]["segments_info"][0]["score"] = 0.5
        save_json(sides[1], content)
        with pytest.raises(InputError, match="3 of 4 predictions have no score"):
            score(*sides)

    def test_another_type_than_the_user_says(self, sides):
        with pytest.raises(InputError, match="this is panoptic ground truth, and --task says sem"):
            score(*sides, task="semantic")

    def test_a_broken_coco_file_is_reported_as_one(self, tmp_path):
        gt = save_json(tmp_path / "gt.json", {"images": [], "annotations": []})
        dt = save_json(tmp_path / "dt.json", [{"image_id": 1, "category_id": 2}])
        with pytest.raises(InputError, match=r"dt\.json: \[0\]|dt\.json.*score"):
            score(gt, dt)
        with pytest.raises(InputError, match="there is no such file"):
            score(gt, tmp_path / "nothing.json")

    def test_semantic_maps(self, tmp_path):
        gt = write_semantic_side(tmp_path / "gt", [[[0, 1]], [[1, 255]]])
        dt = write_semantic_side(tmp_path / "dt", [[[0, 1]], [[1, 1]]]).with_suffix("")
        assert score(gt, dt).own.groups["all"]["mIoU"] == 1.0
        save_png(dt / "image 2.png", np.array([[1, 200]], np.uint8))
        with pytest.raises(InputError, match=r"dt: image 2.*category 200"):
            score(gt, dt)
        save_png(dt / "image 2.png", np.array([[1], [1]], np.uint8))
        with pytest.raises(InputError, match=r"image 2\.png.*2 x 1.*1 x 2"):
            score(gt, dt)
        save_png(dt / "image 2.png", np.zeros((1, 2, 3), np.uint8))
        with pytest.raises(InputError, match="one channel of 8 bits"):
            score(gt, dt, pred_format="semantic")
        (dt / "image 2.png").unlink()
        with pytest.raises(InputError, match=r"image 2\.png is missing \(1 of 2 are\)"):
            score(gt, dt)
        scoring = evaluate_files(gt, dt, predicted_images_only=True)
        assert scoring.result.params.image_ids == [1]
        assert scoring.own.groups["all"]["mIoU"] == 1.0
        shutil.rmtree(dt)
        dt.mkdir()
        with pytest.raises(InputError, match="no PNG maps in this folder"):
            score(gt, dt)

    def test_maps_that_belong_to_no_image_are_named(self, tmp_path):
        gt = write_semantic_side(tmp_path / "gt", [[[0, 1]]])
        dt = write_semantic_side(tmp_path / "dt", [[[0, 1]], [[1, 1]]]).with_suffix("")
        warnings = " ".join(map(str, score(gt, dt).warnings))
        assert "1 maps belong to no image, image 2.png first" in warnings


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
