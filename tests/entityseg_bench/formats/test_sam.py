"""What Segment Anything writes scores as the same masks as COCO results."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from odd_inputs import IDS, NAMES, PREDICTIONS, box_mask, results, save, saved, scored, truth
from PIL import Image

from entityseg_bench import evaluate_files
from entityseg_bench.cli import main
from entityseg_bench.io import InputError

GENERATORS = Path(__file__).resolve().parents[2] / "data" / "generators"

STABILITY = (0.5, 0.875, 0.25, 0.75, 0.125, 0.625)


def records(image_id):
    """Return the masks of an image as the automatic mask generator writes them."""
    rows = [(row, STABILITY[k]) for k, row in enumerate(results()) if row["image_id"] == image_id]
    return [
        {
            "segmentation": row["segmentation"], "area": 9, "bbox": [0, 0, 1, 1],
            "predicted_iou": row["score"], "point_coords": [[1.0, 2.0]], "stability_score": stable,
            "crop_box": [0, 0, 16, 12],
        }
        for row, stable in rows
    ]  # fmt: skip


def stem(image_id):
    return NAMES[IDS.index(image_id)].rpartition(".")[0]


def json_folder(path, name=stem):
    path.mkdir()
    for image_id in IDS:
        save(path / f"{name(image_id)}.json", records(image_id))
    return path


def png_folder(path, name=stem):
    """Write what amg.py writes: a folder an image, a PNG a mask, metadata.csv."""
    head = "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,point_input_x,point_input_y,predicted_iou,"
    head += "stability_score,crop_box_x0,crop_box_y0,crop_box_w,crop_box_h"
    for image_id, found in zip(IDS, PREDICTIONS, strict=True):
        own = path / name(image_id)
        own.mkdir(parents=True)
        rows = []
        for k, ((box, score), record) in enumerate(zip(found, records(image_id), strict=True)):
            Image.fromarray(box_mask(*box).astype(np.uint8) * 255).save(own / f"{k}.png")
            rows.append(f"{k},1,0,0,1,1,1.0,1.0,{score},{record['stability_score']},0,0,16,12")
        (own / "metadata.csv").write_text("\n".join([head, *rows]), encoding="utf-8")
    return path


def sa1b(image_id, name):
    image = {"image_id": image_id, "width": 16, "height": 12, "file_name": name}
    return {"image": image, "annotations": records(IDS[NAMES.index(name)])}


def sa1b_folder(path, first_id=0):
    path.mkdir()
    for k, name in enumerate(NAMES):
        save(path / f"sa_{k}.json", sa1b(k + first_id, name))
    return path


def mean_results():
    rows = results()
    return [{**r, "score": (r["score"] + s) / 2} for r, s in zip(rows, STABILITY, strict=True)]


WRITERS = {
    "json": json_folder,
    "json_ids": lambda path: json_folder(path, str),
    "png": png_folder,
    "png_ids": lambda path: png_folder(path, str),
    "sa1b": lambda path: sa1b_folder(path, 500),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_folders(writer, tmp_path):
    gt, plain = saved(tmp_path, truth(), results())
    out = WRITERS[writer](tmp_path / "out")
    metrics, said = scored(gt, out)
    assert metrics == pytest.approx(scored(gt, plain)[0], nan_ok=True)
    assert any("predicted_iou was taken" in line for line in said)
    expected, _ = scored(gt, save(tmp_path / "mean.json", mean_results()))
    metrics, said = scored(gt, out, score_from="mean(predicted_iou, stability_score)")
    assert metrics == pytest.approx(expected, nan_ok=True)
    assert not any("was taken" in line for line in said)


def test_one_image(tmp_path):
    gt, plain = saved(tmp_path, truth(), [r for r in results() if r["image_id"] == IDS[1]])
    wanted, _ = scored(gt, plain)
    found = [
        scored(gt, save(tmp_path / "masks.json", records(IDS[1])), image_id=str(IDS[1])),
        scored(gt, save(tmp_path / f"{stem(IDS[1])}.json", records(IDS[1]))),
        scored(gt, save(tmp_path / "sa.json", sa1b(77, NAMES[1]))),
        scored(gt, png_folder(tmp_path / "png") / stem(IDS[1])),
        scored(gt, tmp_path / "png" / stem(IDS[1]), image_id=NAMES[1]),
    ]
    for metrics, _ in found:
        assert metrics == pytest.approx(wanted, nan_ok=True)
    for path in (
        tmp_path / "masks.json",
        shutil.copytree(tmp_path / "png/pond_07", tmp_path / "x"),
    ):
        with pytest.raises(InputError, match="--image-id ID"):
            scored(gt, path)


def test_sa1b_as_ground_truth(tmp_path):
    """Each mask is an entity; the file's own ids count."""
    images = [{**image, "id": k} for k, image in enumerate(truth()["images"])]
    annotations = [
        {"id": k, "image_id": IDS.index(row["image_id"]), "category_id": 1, "area": 9,
         "segmentation": row["segmentation"]}
        for k, row in enumerate(results())
    ]  # fmt: skip
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
    dt = [{**row, "image_id": IDS.index(row["image_id"])} for row in results()[1:]]
    gt, dt = saved(tmp_path, content, dt)
    wanted, _ = scored(gt, dt)
    metrics, said = scored(sa1b_folder(tmp_path / "sa"), dt)
    assert metrics == pytest.approx(wanted, nan_ok=True)
    assert any("masks may overlap" in line for line in said)
    parts = [sa1b(k, name) for k, name in enumerate(NAMES)]
    assert scored(save(tmp_path / "list.json", parts), dt)[0] == pytest.approx(wanted, nan_ok=True)
    assert main(["convert", str(tmp_path / "sa"), str(tmp_path / "c.json"), "--to", "entity"]) == 0
    assert scored(tmp_path / "c.json", dt)[0] == pytest.approx(wanted, nan_ok=True)


def test_convert_takes_them(tmp_path, capsys):
    gt, plain = saved(tmp_path, truth(), results())
    for writer, make in WRITERS.items():
        out = make(tmp_path / writer)
        target = tmp_path / f"{writer}.json"
        command = ["convert", str(out), str(target), "--to", "results", "--gt", str(gt)]
        assert main(command) == 0
        assert "note: " in capsys.readouterr().out
        assert scored(gt, target)[0] == pytest.approx(scored(gt, plain)[0], nan_ok=True)


def broken(change):
    def make(path):
        png_folder(path)
        change(path / stem(IDS[0]))
        return path

    return make


REFUSED = {
    "mask_missing": (broken(lambda own: (own / "1.png").unlink()), r"line 3: 1\.png is missing"),
    "mask_grey": (
        broken(lambda own: Image.fromarray(np.arange(192, dtype=np.uint8).reshape(12, 16)).save(
            own / "0.png")),
        "more than two values",
    ),
    "mask_small": (
        broken(lambda own: Image.fromarray(np.zeros((6, 8), np.uint8)).save(own / "0.png")),
        "6 x 8 pixels",
    ),
    "csv_no_score": (
        broken(lambda own: (own / "metadata.csv").write_text("id,area\n0,1\n")),
        r"line 2: it has no number predicted_iou; its columns are id, area.*--score-from",
    ),
    "csv_path": (
        broken(lambda own: (own / "metadata.csv").write_text("id,predicted_iou\n../0,1\n")),
        "no row of id and measures",
    ),
    "folder_of_no_image": (
        broken(lambda own: own.rename(own.parent / "elsewhere")), "not among the images",
    ),
    "json_of_no_image": (
        lambda path: json_folder(path, lambda image_id: f"x{image_id}" if image_id == 5 else
                                 stem(image_id)),
        "image_id 'x5'.*not among the images",
    ),
    "json_broken": (
        lambda path: save(json_folder(path) / "z.json", "[{").parent, r"z\.json.*breaks off",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path, capsys):
    make, message = REFUSED[name]
    gt, _ = saved(tmp_path, truth(), results())
    out = make(tmp_path / "out")
    with pytest.raises(InputError, match=message):
        scored(gt, out)
    assert main(["validate", str(gt), str(out)]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_masks_without_a_row_are_told(tmp_path):
    gt, _ = saved(tmp_path, truth(), results())
    out = png_folder(tmp_path / "out")
    shutil.copy(out / stem(IDS[0]) / "0.png", out / stem(IDS[0]) / "9.png")
    _, said = scored(gt, out)
    assert any("1 masks have no row" in line for line in said)


def test_the_generators_masks_are_no_ground_truth(tmp_path):
    _, dt = saved(tmp_path, truth(), results())
    for make in (json_folder, png_folder):
        out = make(tmp_path / make.__name__)
        with pytest.raises(InputError, match="exchanged"):
            scored(out, dt)
    file = save(tmp_path / "one.json", records(IDS[0]))
    with pytest.raises(InputError, match="exchanged"):
        scored(file, dt)
    assert json.loads(file.read_text(encoding="utf-8"))


def in_capitals(folder):
    for path in folder.rglob("*.*"):
        path.rename(path.with_name(path.name.upper()))


def with_zeros(folder):
    for path in folder.rglob("*.png"):
        path.rename(path.with_name(f"{int(path.stem):03d}.png"))


def with_spaces(folder):
    for path in folder.rglob("metadata.csv"):
        path.write_text(path.read_text("utf-8").replace(",", ", "), encoding="utf-8")


@pytest.mark.parametrize("change", [in_capitals, with_zeros, with_spaces])
def test_folders_that_are_written_a_little_otherwise(change, tmp_path):
    shutil.copytree(GENERATORS / "amg_png", tmp_path / "masks")
    change(tmp_path / "masks")
    expected = evaluate_files(GENERATORS / "gt.json", GENERATORS / "amg_png").metrics
    assert evaluate_files(GENERATORS / "gt.json", tmp_path / "masks").metrics == expected


def test_a_mask_that_stands_twice(tmp_path):
    shutil.copytree(GENERATORS / "amg_png", tmp_path / "masks")
    table = tmp_path / "masks" / "demo_01_00004" / "metadata.csv"
    lines = table.read_text("utf-8").splitlines()
    table.write_text("\n".join([*lines, lines[1]]), encoding="utf-8")
    with pytest.raises(InputError, match=rf"line {len(lines) + 1}: mask 0 stands there before"):
        evaluate_files(GENERATORS / "gt.json", tmp_path / "masks")
