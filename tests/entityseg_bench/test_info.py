"""`entityseg info`: counts, and every defect that a folder can have."""

import json
from pathlib import Path

import numpy as np
import pytest

from entityseg_bench.cli import main
from entityseg_bench.demo import write_demo
from entityseg_bench.describe import describe, describe_dataset
from entityseg_bench.formats import png

from .conftest import coco, dataset_of, from_map, record, save_image, write


def test_the_demo_has_all_types_and_no_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_demo(tmp_path / "demo", 8, size=(64, 96))
    plot, numbers = tmp_path / "x.png", tmp_path / "x.json"
    assert main(["info", str(root), "--deep", "--plot", str(plot), "--json", str(numbers)]) == 0
    text = capsys.readouterr().out
    assert "problems: none" in text
    assert "semantic val, high resolution" in text
    assert png.png_size(plot)[1] > 500
    found = json.loads(numbers.read_text())
    assert len(found["types"]) == 10
    entity = found["types"][0]
    raw = json.loads((root / entity["files"][0]).read_text())
    assert entity["n_annotations"] == len(raw["annotations"])
    assert entity["n_images"] == len(raw["images"])
    assert sum(entity["area_histogram"]) == len(raw["annotations"])
    assert entity["n_crowds"] == sum(row["iscrowd"] for row in raw["annotations"])
    assert main(["info", str(root), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["types"][0] == entity


def test_numbers_of_a_dataset() -> None:
    dataset = dataset_of(from_map([[1, 2, 3, 3]], 1), from_map([[0, 1]], 2, 9, "b.jpg"))
    summary = describe_dataset(dataset)
    assert summary.n_annotations == 4
    assert summary.histogram_of_entities == {1: 1, 3: 1}
    assert summary.entities_per_image is not None
    assert (summary.entities_per_image.mean, summary.entities_per_image.greatest) == (2, 3)
    assert summary.most_common_sizes == [(1, 4, 1), (1, 2, 1)]
    assert summary.area_histogram == [4, 0, 0, 0, 0, 0, 0, 0, 0]
    assert summary.n_missing_images == 2
    assert summary.problems == []


def test_an_empty_dataset() -> None:
    summary = describe_dataset(dataset_of(), deep=True)
    assert (summary.n_images, summary.n_annotations, summary.problems) == (0, 0, [])


def test_defects_of_records(tmp_path: Path) -> None:
    rows = [
        record(),
        record(category_id=9999),
        record(id=3, area=0),
        record(id=4, area=30),
        record(id=5, bbox=[0, 0, 60, 2]),
    ]
    bare = record(id=6)
    del bare["area"], bare["bbox"]
    images = [{"id": k, "file_name": f"{k}.jpg", "height": 4, "width": 6} for k in (1, 2)]
    write(tmp_path / "entityseg_val.json", coco([*rows, bare], images))
    text = "\n".join(describe(tmp_path).types[0].problems)
    for expected in (
        "1 annotation ids that stand more than once (ids 1)",
        "1 annotations whose category is not in the table (ids 1)",
        "1 annotations without an area (ids 6)",
        "1 annotations of area 0 or less (ids 3)",
        "1 annotations with more area than their image (ids 4)",
        "1 annotations without a bbox (ids 6)",
        "1 annotations whose bbox leaves the image (ids 5)",
        "1 images without annotations",
    ):
        assert expected in text
    deep = "\n".join(describe(tmp_path, deep=True).types[0].problems)
    assert "annotation 4: its area is 30, its mask has 6 pixels" in deep


def test_images_that_are_missing_unreadable_or_of_another_size(tmp_path: Path) -> None:
    images = [{"id": k, "file_name": f"{k}.jpg", "height": 4, "width": 6} for k in (1, 2, 3, 4)]
    rows = [record(id=k, image_id=k) for k in (1, 2, 3, 4)]
    write(tmp_path / "entityseg_val.json", coco(rows, images))
    assert describe(tmp_path).types[0].problems == []
    save_image(tmp_path / "images/1.jpg", 4, 6)
    save_image(tmp_path / "images/2.jpg", 6, 4)
    (tmp_path / "images/3.jpg").write_bytes(b"no image")
    (summary,) = describe(tmp_path).types
    assert summary.n_missing_images == 1
    text = "\n".join(summary.problems)
    assert "2.jpg: the image is 6 x 4 (height x width), its annotations are for 4 x 6." in text
    assert "3.jpg: this is no image" in text
    assert "image 4 (4.jpg): there is no such image file" in text


def test_semantic_maps_of_the_low_resolution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(tmp_path / "images/a.jpg", 1600, 2000)
    folder = tmp_path / "annotations/semantic_segmentation"
    png.write_labels(folder / "semantic_maps_val/a.png", np.zeros((800, 1000), int))
    (folder / "val.txt").write_text("a.jpg a.png\n")
    assert main(["info", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert (
        "the image is 1600 x 2000 (height x width), its map is 800 x 1000 (that is the low" in text
    )
    assert "--deep counts them" in text


def test_images_in_both_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The list of entities and that of instances differ: the same photograph, by path and by name.
    image = {"id": 1, "file_name": "entity_01_11580/a.jpg", "height": 4, "width": 6}
    write(tmp_path / "entityseg_train.json", coco([record()], [image]))
    write(
        tmp_path / "entityseg_insseg_val.json", coco([record()], [{**image, "file_name": "a.jpg"}])
    )
    assert describe(tmp_path).in_train_and_val == ["entity_01_11580/a.jpg"]
    assert main(["info", str(tmp_path)]) == 1
    assert "images in train and val at once: 1\n  entity_01_11580/a.jpg" in capsys.readouterr().out


def test_one_broken_file_does_not_hide_the_others(tmp_path: Path) -> None:
    path = write(tmp_path / "entityseg_train.json", coco([record()]))
    path.write_bytes(path.read_bytes()[:-9])
    write(tmp_path / "entityseg_val.json", coco([record()]))
    write(tmp_path / "entityseg_panseg_val.json", {})
    summary = describe(tmp_path)
    assert [part.split for part in summary.types] == ["val"]
    assert len(summary.problems) == 2
    assert "breaks off" in summary.problems[0]
    assert "panoptic maps is missing" in summary.problems[1]


def test_broken_maps_are_listed(tmp_path: Path) -> None:
    segments = [{"id": 1, "category_id": 1}, {"id": 2, "category_id": 1}]
    images = [{"id": k, "file_name": f"{k}.jpg", "height": 1, "width": 2} for k in (1, 2)]
    rows = [{"image_id": k, "file_name": f"{k}.jpg", "segments_info": segments} for k in (1, 2)]
    write(tmp_path / "entityseg_panseg_val.json", {"images": images, "annotations": rows})
    png.write_ids(tmp_path / "panoptic_maps_val/1.png", np.array([[1, 2]]))
    png.write_ids(tmp_path / "panoptic_maps_val/2.png", np.array([[1, 3]]))
    assert not any("segments" in what for what in describe(tmp_path).types[0].problems)
    problems = describe(tmp_path, deep=True).types[0].problems
    assert [what for what in problems if "segments 2 are not in the map" in what]


def test_nothing_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path)]) == 2
    assert "Expected one of" in capsys.readouterr().err
