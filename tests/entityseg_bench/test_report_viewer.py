"""The error viewer's data: kinds and costs of each image, and every input."""

import base64
import json
import math
import re
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from svg_paths import filled

from entity_api import rle
from entityseg_bench import cli, demo
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.errors import KINDS, find_errors
from entityseg_bench.errors.by_image import errors_by_image
from entityseg_bench.errors.signs import SIGNS
from entityseg_bench.formats import Inputs
from entityseg_bench.formats.coco import write_results
from entityseg_bench.formats.id_maps import write_id_png
from entityseg_bench.formats.npz import write_npz
from entityseg_bench.formats.panoptic import write_panoptic
from entityseg_bench.formats.semantic import write_semantic
from entityseg_bench.io import InputError
from entityseg_bench.report import viewer, write_report
from entityseg_bench.report.findings import Side, gather
from entityseg_bench.report.verdict import verdicts
from entityseg_bench.report.viewer import ViewerData
from entityseg_bench.score import evaluate_files

SIZE = (48, 64)


def box(top: int, left: int, height: int, width: int) -> dict:
    """Make a rectangular mask."""
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return rle.encode(mask)


def write_sides(folder: Path, n_images: int = 5) -> tuple[Path, Path]:
    """Write images with every kind of error somewhere."""
    entities = [box(2, 2, 20, 20), box(2, 30, 20, 20), box(26, 2, 18, 50)]
    guesses = [
        [(box(2, 2, 20, 20), 0.9), (box(2, 2, 19, 20), 0.3), (box(26, 2, 18, 17), 0.8),
         (box(26, 19, 18, 17), 0.7), (box(26, 36, 18, 16), 0.6)],
        [(box(2, 2, 20, 48), 0.9), (box(26, 2, 18, 50), 0.4)],
        [(box(2, 2, 20, 8), 0.6), (box(40, 55, 6, 6), 0.95)],
        [(box(2, 2, 20, 20), 0.2), (box(2, 30, 20, 20), 0.25), (box(26, 2, 18, 42), 0.5)],
        [],
    ]  # fmt: skip
    gt: dict = {"images": [], "annotations": [], "categories": [{"id": 1, "name": " a <b>"}]}
    found = []
    for k in range(n_images):
        gt["images"].append({"id": k + 10, "file_name": f"{k}.png", "height": 48, "width": 64})
        for mask in entities:
            row = {"id": len(gt["annotations"]) + 1, "image_id": k + 10, "category_id": 1}
            gt["annotations"].append({**row, "segmentation": mask, "area": rle.area(mask)})
        found += [{"image_id": k + 10, "segmentation": mask, "score": score}
                  for mask, score in guesses[k % 5]]  # fmt: skip
    paths = folder / "gt.json", folder / "dt.json"
    for path, content in zip(paths, (gt, found), strict=True):
        path.write_text(json.dumps(content))
    return paths


def lines_of(page: Path) -> list[tuple[dict, str]]:
    """Read the viewer's lines: masks, and what stands for the pixels."""
    text = page.read_text(encoding="utf-8")
    block = re.search(r'id="lines">\n(.*?)\n?</script>', text, re.DOTALL)[1]
    found = []
    for line in block.split("\n"):
        masks, _, pixels = line.partition(" ")
        found.append((json.loads(zlib.decompress(base64.b64decode(masks))), pixels))
    return found


def write_waves(folder: Path, waves: Sequence[int]) -> list[Side]:
    """Score images of 500 x 700 pixels with two masks each, whose edge has so many waves."""
    gt: dict = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "x"}]}
    y, x = np.mgrid[:500, :700]
    for k, n in enumerate(waves):
        gt["images"].append({"id": k, "file_name": f"{k}.png", "height": 500, "width": 700})
        upper = y < 250 + 150 * np.sin(x * n * math.pi / 350)
        gt["annotations"] += [
            {"id": 2 * k + j, "image_id": k, "category_id": 1, "segmentation": rle.encode(mask)}
            for j, mask in enumerate((upper, ~upper))
        ]
    found = [{"image_id": row["image_id"], "segmentation": row["segmentation"], "score": 0.5}
             for row in gt["annotations"]]  # fmt: skip
    paths = folder / "gt.json", folder / "dt.json"
    for path, content in zip(paths, (gt, found), strict=True):
        path.write_text(json.dumps(content))
    return gather(paths[0], [paths[1]], n_resamples=2).sides


def bytes_of(lines: Sequence[str]) -> int:
    """Count what lines take of a page."""
    return sum(len(line) + 1 for line in lines)


def grids_of(lines: Sequence[str]) -> list[int]:
    """Read the longest side of each line's grid."""
    return [max(json.loads(zlib.decompress(base64.b64decode(line)))["size"]) for line in lines]


def test_all_images_are_drawn_on_the_finest_grid_that_fits(tmp_path):
    sides = write_waves(tmp_path, [3, 9, 20])
    everything = bytes_of(ViewerData(sides, None, 10**9).lines())
    before = 0
    for budget in range(everything // 3, everything + 200, everything // 20):
        lines = ViewerData(sides, None, budget).lines()
        (grid,) = set(grids_of(lines))
        assert before <= grid
        before = grid
        fits = bytes_of(lines) <= budget
        assert fits or grid == min(viewer.GRIDS)[0]
        # On the next finer grid they do not fit.
        at = [side for side, _ in viewer.GRIDS].index(grid)
        if at:
            finer = ViewerData(sides, None, 0)
            assert bytes_of([finer._line(idx, at - 1) for idx in range(3)]) > budget
    assert before == max(viewer.GRIDS)[0]


def test_lines_fit_where_a_few_images_foretell_too_little(tmp_path, monkeypatch):
    """The images that are looked at first are the simplest of all."""
    monkeypatch.setattr(viewer, "N_FORETOLD", 2)
    sides = write_waves(tmp_path, [25, 0, 5, 0, 25])
    least = bytes_of(ViewerData(sides, None, 0).lines())
    most = bytes_of(ViewerData(sides, None, 10**9).lines())
    for budget in range(least, most, (most - least) // 9):
        lines = ViewerData(sides, None, budget).lines()
        assert bytes_of(lines) <= budget
        grids = grids_of(lines)
        # The longest lines make room for the others.
        assert grids[0] <= grids[2] <= grids[1]
        assert lines == ViewerData(sides, None, budget).lines()


def test_what_masks_leave_goes_to_the_pixels(tmp_path):
    from PIL import Image

    sides = write_waves(tmp_path, [3, 20, 40, 20])
    noise = np.random.default_rng(0).integers(0, 256, (500, 700, 3), np.uint8)
    for k in range(4):
        Image.fromarray(noise).save(tmp_path / f"{k}.png")
    for budget in range(40_000, 140_000, 25_000):
        assert budget / 2 < bytes_of(ViewerData(sides, tmp_path, budget).lines()) <= budget
    for k in range(4):
        Image.fromarray(np.zeros_like(noise)).save(tmp_path / f"{k}.png")
    alone = ViewerData(sides, None, 10**9).lines()
    budget = int(1.6 * bytes_of(alone))
    masks = [line.split()[0] for line in ViewerData(sides, tmp_path, budget).lines()]
    assert bytes_of(masks) <= budget / 2 < bytes_of(alone)


def test_an_images_errors_cost_what_they_cost_in_a_file_of_its_own(tmp_path):
    """The oracle: score each image alone, and correct it alone."""
    gt_path, dt_path = write_sides(tmp_path)
    own = errors_by_image(find_errors(evaluate_files(gt_path, dt_path)), (0.5, 0.75, 0.8, 2.0))
    assert own.thrs == [0, 5, 6]
    gt, dt = json.loads(gt_path.read_text()), json.loads(dt_path.read_text())
    for idx, image in enumerate(gt["images"]):
        alone = tmp_path / str(idx)
        alone.mkdir()
        mine = [row for row in gt["annotations"] if row["image_id"] == image["id"]]
        content = {**gt, "images": [image], "annotations": mine}
        (alone / "gt.json").write_text(json.dumps(content))
        guesses = [row for row in dt if row["image_id"] == image["id"]]
        (alone / "dt.json").write_text(json.dumps(guesses))
        report = find_errors(evaluate_files(alone / "gt.json", alone / "dt.json"))
        for code, kind in enumerate(KINDS):
            cost = report.costs[kind]
            # Where no entity would be left, an image by itself has found all.
            expected = 1 - report.ap if math.isnan(cost.cost) else cost.cost
            assert own.costs[code, idx] == pytest.approx(expected, abs=1e-12), kind
            n = cost.n_entities50 if kind == "missed" else cost.n_predictions50
            assert own.counts[0, code, idx, 0] == n
            for k, t in enumerate(own.thrs):
                of_dt, of_gt = report.kinds_at(t)
                n = ((of_gt if kind == "missed" else of_dt) == kind).sum()
                assert own.counts[k, code, idx, 0] == n
                known = report.scoring.dt.scores[of_dt == kind]
                assert own.scores[k, code, idx] == pytest.approx(
                    known.max() if len(known) else math.nan, nan_ok=True
                )
    assert own.sizes == ["all", "small", "medium", "large"]
    assert (own.counts[0].sum(axis=(1, 2)) > 0).sum() >= 5
    assert own.scores[0, KINDS.index("merged"), 1] == 0.9


def test_the_viewer_shows_what_the_error_report_says(tmp_path):
    gt_path, dt_path = write_sides(tmp_path)
    page = write_report(gt_path, [dt_path], tmp_path / "r.html", n_resamples=5)
    errors = gather(gt_path, [dt_path], n_resamples=5).sides[0].errors
    kinds = (*KINDS, "found", "")
    of_dt, of_gt = errors.kinds_at(8)
    # At IoU .90 the mask over two entities is none of their union, IoU 5 / 6, and the last mask,
    # IoU .84, finds its entity no more.
    assert (of_dt != errors.prediction_kind).sum() == 2
    assert (of_gt != errors.entity_kind).sum() == 3
    lines = lines_of(page)
    assert len(lines) == 5
    seen = 0
    for idx, (masks, pixels) in enumerate(lines):
        assert pixels == ""
        assert masks["size"] == [64, 48]
        (own,) = masks["files"]
        for k, ((name, category, path), (digits, iou)) in enumerate(
            zip(masks["gt"], own["gt"], strict=True)
        ):
            row = 3 * idx + k
            assert (name, category) == (str(row + 1), "a <b>")
            assert filled(path, 48, 64).sum() == rle.area(errors.scoring.gt.rle(row))
            assert kinds[int(digits[0])] == errors.entity_kind[row]
            assert kinds[int(digits[2])] == of_gt[row]
            assert len(digits) == 3
            assert iou == round(float(errors.entity_iou[row]), 3)
        for row, digits, score, iou, path, *over in own["dt"]:
            assert kinds[int(digits[0])] == errors.prediction_kind[row]
            assert kinds[int(digits[2])] == of_dt[row]
            # The second image's first mask lies over both entities of the upper half.
            assert over == ([[0, 1]] if row == 5 else [])
            assert score == errors.scoring.dt.scores[row]
            assert iou == round(float(errors.prediction_iou[row]), 3)
            assert filled(path, 48, 64).any()
            seen += 1
    assert seen == (errors.prediction_kind != "").sum()


def test_five_submissions_stand_side_by_side_and_six_do_not(tmp_path):
    gt_path, dt_path = write_sides(tmp_path)
    page = write_report(gt_path, [dt_path] * 5, tmp_path / "r.html", n_resamples=5)
    assert all(len(masks["files"]) == 5 for masks, _ in lines_of(page))
    with pytest.raises(InputError, match="6 prediction files are named"):
        write_report(gt_path, [dt_path] * 6, tmp_path / "r.html", n_resamples=5)


def test_the_verdict_says_by_how_much_and_where(tmp_path):
    gt_path, dt_path = write_sides(tmp_path)
    (alone,) = verdicts(gather(gt_path, [dt_path], n_resamples=20))
    assert re.fullmatch(
        r"dt has AP\^e [\d.]+ \([\d.]+ to [\d.]+\); what costs it most are .*", alone
    )
    perfect = tmp_path / "perfect.json"
    gt = json.loads(gt_path.read_text())
    perfect.write_text(json.dumps([{**row, "score": 1.0} for row in gt["annotations"]]))
    (text,) = verdicts(gather(gt_path, [perfect, dt_path], n_resamples=20))
    lost = 100 * (1 - evaluate_files(gt_path, dt_path).result.metrics["APe"])
    assert text.startswith(f"dt is {lost:.1f} points of AP^e worse than perfect (-")
    (same,) = verdicts(gather(gt_path, [dt_path, dt_path], n_resamples=20))
    assert "have the same AP^e" in same


def test_assets_lie_beside_the_page(tmp_path):
    from PIL import Image

    gt_path, dt_path = write_sides(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    for k in range(5):
        Image.fromarray(np.full((*SIZE, 3), 40 * k, np.uint8)).save(images / f"{k}.png")
    page = write_report(
        gt_path, [dt_path], tmp_path / "r é.html", images, n_resamples=5, assets=True
    )
    for k, (_, pixels) in enumerate(lines_of(page)):
        assert pixels == f"r%20%C3%A9_assets/{k}.webp"
        with Image.open(tmp_path / unquote(pixels)) as picture:
            assert picture.size == (64, 48)
    inside = write_report(gt_path, [dt_path], tmp_path / "s.html", images, n_resamples=5)
    for _, pixels in lines_of(inside):
        assert base64.b64decode(pixels)[8:12] == b"WEBP"
    assert not (tmp_path / "s_assets").exists()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return demo.write_demo(tmp_path_factory.mktemp("demo") / "set", 16, seed=3, size=(60, 120))


@pytest.fixture(scope="module")
def written(root, tmp_path_factory) -> dict[tuple[str, str], Path]:
    """Write the ground truth of each type as predictions in each format that holds it."""
    out = tmp_path_factory.mktemp("predictions")
    made = {}
    for task in ("entity", "instance", "semantic", "panoptic"):
        truth = EntityDataset.open(root, task, "val", parts=["01"])
        made[task, "json"] = out / f"{task}.json"
        made[task, "ids"] = out / f"{task}_ids"
        made[task, "npz"] = out / f"{task}_npz"
        write_results(truth, made[task, "json"])
        write_id_png(truth, made[task, "ids"])
        write_npz(truth, made[task, "npz"])
        if task == "semantic":
            made[task, "maps"] = out / "semantic_maps"
            write_semantic(truth, out / "semantic.txt", made[task, "maps"])
        if task == "panoptic":
            made[task, "maps"] = out / "panoptic.json"
            write_panoptic(truth, made[task, "maps"], out / "panoptic")
    return made


EVERY = [(task, kind) for task in ("entity", "instance", "semantic", "panoptic")
         for kind in ("json", "ids", "npz", "maps")
         if kind != "maps" or task in ("semantic", "panoptic")]  # fmt: skip


@pytest.mark.parametrize(("task", "kind"), EVERY)
def test_report_errors_and_visualize_take_what_evaluate_takes(
    root, written, tmp_path, capsys, task, kind
):
    sides = [str(root), str(written[task, kind]), "--task", task, "--part", "01"]
    assert cli.main(["errors", *sides, "--quiet"]) == 0
    assert "AP^e 100.00" in capsys.readouterr().out
    page, images = tmp_path / "r.html", ["--images", str(root / "images")]
    options = ["--out", str(page), "--resamples", "5", "--pictures", "1", "--quiet"]
    assert cli.main(["report", *sides, *images, *options]) == 0
    text = page.read_text(encoding="utf-8")
    own = {"entity": "", "instance": "AP75", "semantic": "mIoU", "panoptic": "PQ"}[task]
    assert own in text
    scoring = evaluate_files(root, written[task, kind], inputs=Inputs(task=task, parts=("01",)))
    assert len(lines_of(page)) == len(scoring.gt.images)
    for masks, _ in lines_of(page):
        assert all(set(digits) <= {"7", "8"} for digits, _ in masks["files"][0]["gt"])
    assert cli.main(["visualize", *sides, *images, "--out", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").iterdir())) == len(scoring.gt.images)


def test_errors_with_void_are_those_of_predictions_cut_by_hand(root, tmp_path):
    """The oracle: entities without void, and predictions cut to the labelled pixels by numpy."""
    truth = EntityDataset.open(root, "panoptic", "val", parts=["01"])
    rng = np.random.default_rng(2)
    entities, cut, rough = [], [], []
    for idx, image in enumerate(truth.images):
        rows = truth.annotations(idx)
        masks = [rle.decode(row.segmentation) for row in rows]
        labelled = np.any(masks, axis=0)
        for own, mask in zip(rows, masks, strict=True):
            about = {"iscrowd": int(own.iscrowd), "area": int(mask.sum())}
            entity = {"id": len(entities) + 1, "image_id": image.id, "category_id": 1, **about}
            entities.append({**entity, "segmentation": rle.encode(mask)})
            moved = np.roll(mask, rng.integers(-9, 10, 2), (0, 1))
            score = round(float(rng.random()), 6)
            row = {"image_id": image.id, "category_id": 1, "score": score}
            rough.append({**row, "segmentation": rle.encode(moved)})
            if (moved & labelled).any():
                cut.append({**row, "segmentation": rle.encode(moved & labelled)})
    images = [{"id": image.id, "file_name": image.file_name, "height": image.height,
               "width": image.width} for image in truth.images]  # fmt: skip
    contents = {
        "gt": {"images": images, "annotations": entities, "categories": [{"id": 1, "name": "x"}]},
        "cut": cut,
        "rough": rough,
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    inputs = Inputs(task="panoptic", parts=("01",))
    found = find_errors(evaluate_files(root, tmp_path / "rough.json", inputs=inputs))
    expected = find_errors(evaluate_files(tmp_path / "gt.json", tmp_path / "cut.json"))
    assert any((rle.decode(a["segmentation"]) != rle.decode(b["segmentation"])).any()
               for a, b in zip(rough, cut, strict=False))  # fmt: skip
    assert found.ap == expected.ap < 1
    for kind in KINDS:
        assert found.costs[kind] == expected.costs[kind], kind
    assert np.array_equal(found.entity_kind, expected.entity_kind)


def test_options_that_make_no_sense_are_named(tmp_path, capsys):
    gt_path, dt_path = write_sides(tmp_path)
    command = ["report", str(gt_path), str(dt_path), "--out"]
    assert cli.main([*command, str(tmp_path / "r.html"), "--assets"]) == 2
    assert "--assets: there are no images" in capsys.readouterr().err
    assert cli.main([*command, str(tmp_path)]) == 2
    assert "it cannot be written" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def test_each_kind_has_a_sign_of_its_own():
    assert len(set(SIGNS.values())) == len(KINDS)


def test_nothing_is_left_behind_where_an_image_is_missing(tmp_path):
    gt_path, dt_path = write_sides(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match="there is no such image file"):
        write_report(gt_path, [dt_path], tmp_path / "r.html", tmp_path / "images", n_resamples=5)
    shutil.rmtree(tmp_path / "images")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dt.json", "gt.json"]
