"""The demo set: the documented layout, truth that fits its images, the same bytes each time."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from entity_api import rle
from entityseg_bench import categories, demo
from entityseg_bench.cli import main
from entityseg_bench.io import InputError

SIZE = (48, 72)


def read(path: Path):
    return msgspec.json.decode(path.read_bytes())


def read_image(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def hashes(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return demo.write_demo(tmp_path_factory.mktemp("demo") / "set", 16, seed=3, size=SIZE)


def test_the_layout_is_the_documented_one(root):
    annotations = root / "annotations"
    for split in ("train", "val"):
        entity = annotations / "entity_segmentation"
        for part in ("01", "02", "03"):
            assert read(entity / f"entityv2_{part}_entity_{split}.json")["images"]
        for resolution in ("", "_lr"):
            assert read(entity / f"entityv2_010203_entity_{split}{resolution}.json")["images"]
        assert read(annotations / f"instance_segmentation/entityv2_01_instances_{split}.json")
        assert read(annotations / f"panoptic_segmentation/entityv2_01_panoptic_{split}.json")
        assert (annotations / f"semantic_segmentation/{split}.txt").read_text()
    assert {path.name for path in (root / "images").iterdir()} == {
        "entity_01_11580", "entity_02_11598", "entity_03_10049",
    }  # fmt: skip


def test_every_file_says_that_it_is_synthetic(root):
    for path in root.rglob("*.json"):
        about = read(path)
        assert about.get("info", about)["synthetic"] is True, path


@pytest.mark.parametrize(("suffix", "folder"), [("", "images"), ("_lr", "images_lr")])
def test_annotations_fit_their_images(root, suffix, folder):
    entity = root / "annotations/entity_segmentation"
    content = read(entity / f"entityv2_010203_entity_train{suffix}.json")
    sizes = {}
    for image in content["images"]:
        pixels = read_image(root / folder / image["file_name"])
        assert pixels.shape == (image["height"], image["width"], 3)
        sizes[image["id"]] = [image["height"], image["width"]]
    known = {row["id"] for row in content["categories"]}
    masks: dict[int, list] = {}
    for annotation in content["annotations"]:
        mask = annotation["segmentation"]
        assert mask["size"] == sizes[annotation["image_id"]]
        assert annotation["area"] == rle.area(mask) > 0
        assert annotation["bbox"] == rle.bbox(mask)
        assert annotation["category_id"] in known
        masks.setdefault(annotation["image_id"], []).append(mask)
    for own in masks.values():
        assert sum(rle.area(mask) for mask in own) == rle.area(rle.merge(own))


def test_parts_restart_their_ids_and_the_joined_file_has_all(root):
    entity = root / "annotations/entity_segmentation"
    parts = [read(entity / f"entityv2_{p}_entity_val.json") for p in ("01", "02", "03")]
    joined = read(entity / "entityv2_010203_entity_val.json")
    assert all(part["annotations"][0]["id"] == 1 for part in parts)
    masks = [a["segmentation"] for part in parts for a in part["annotations"]]
    assert [a["segmentation"] for a in joined["annotations"]] == masks
    ids = [a["id"] for a in joined["annotations"]]
    assert ids == list(range(1, len(masks) + 1))


def test_the_types_of_part_01_agree(root):
    annotations = root / "annotations"
    entity = read(annotations / "entity_segmentation/entityv2_01_entity_train.json")
    panoptic = read(annotations / "panoptic_segmentation/entityv2_01_panoptic_train.json")
    instance = read(annotations / "instance_segmentation/entityv2_01_instances_train.json")
    instance_ids = {row.id for row in categories.table("instance")}
    panoptic_ids = {row.id for row in categories.table("panoptic")}
    to_semantic = categories.entity_to_semantic()
    of_image = {}
    for annotation in entity["annotations"]:
        of_image.setdefault(annotation["image_id"], []).append(annotation)
    expected = [
        a["segmentation"] for a in entity["annotations"] if a["category_id"] in instance_ids
    ]
    assert [a["segmentation"] for a in instance["annotations"]] == expected
    assert any(a["iscrowd"] for a in instance["annotations"])
    for annotation in panoptic["annotations"]:
        stem = Path(annotation["file_name"]).stem
        path = annotations / f"panoptic_segmentation/panoptic_maps_train/{stem}.png"
        ids = read_image(path).astype(np.int64) @ [1, 256, 65536]
        semantic = read_image(annotations / f"semantic_segmentation/semantic_maps_train/{stem}.png")
        labels = np.full(ids.shape, categories.IGNORE)
        kept = []
        for record in of_image[annotation["image_id"]]:
            mask = rle.decode(record["segmentation"])
            labels[mask] = to_semantic.get(record["category_id"], categories.IGNORE)
            if record["category_id"] in panoptic_ids:
                kept.append((record["category_id"], record["segmentation"]))
        assert np.array_equal(semantic, labels)
        found = [
            (segment["category_id"], rle.encode(ids == segment["id"]))
            for segment in annotation["segments_info"]
        ]
        assert found == kept
        assert set(np.unique(ids)) - {0} == {s["id"] for s in annotation["segments_info"]}


def test_the_list_of_semantic_maps_names_each_image(root):
    folder = root / "annotations/semantic_segmentation"
    lines = [line.split(" ") for line in (folder / "val.txt").read_text().splitlines()]
    for image, label_map in lines:
        assert (root / "images/entity_01_11580" / image).is_file()
        assert (folder / "semantic_maps_val" / label_map).is_file()


def test_the_same_seed_gives_the_same_bytes(root, tmp_path):
    again = demo.write_demo(tmp_path / "again", 16, seed=3, size=SIZE)
    assert hashes(again) == hashes(root)


def test_another_seed_gives_other_images(root, tmp_path):
    other = demo.write_demo(tmp_path / "other", 8, seed=4, size=SIZE)
    same = hashes(other).items() & hashes(root).items()
    assert not [name for name, _ in same if name.endswith(".jpg")]


def test_a_larger_set_begins_with_the_smaller(root, tmp_path):
    smaller = demo.write_demo(tmp_path / "smaller", 8, seed=3, size=SIZE)
    images = {(k, v) for k, v in hashes(smaller).items() if k.endswith(".jpg")}
    assert len(images) == 16
    assert images <= hashes(root).items()


def test_an_earlier_demo_is_replaced_and_nothing_else(root, tmp_path):
    folder = demo.write_demo(tmp_path / "set", 9, seed=1, size=SIZE)
    demo.write_demo(folder, 8, seed=1, size=SIZE)
    assert len(list((folder / "images").rglob("*.jpg"))) == 8
    other = tmp_path / "photos"
    other.mkdir()
    (other / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="no demo set"):
        demo.write_demo(other, 8, size=SIZE)
    assert (other / "mine.txt").read_text() == "precious"
    with pytest.raises(InputError, match="is a file"):
        demo.write_demo(other / "mine.txt", 8, size=SIZE)


@pytest.mark.parametrize(("n_images", "size"), [(7, (48, 72)), (8, (31, 40)), (8, (72, 48))])
def test_rejects_sets_that_cannot_be_drawn(tmp_path, n_images, size):
    with pytest.raises(ValueError, match=r"at least 8|least and the greatest"):
        demo.write_demo(tmp_path / "set", n_images, size=size)
    assert not (tmp_path / "set").exists()


def test_the_verb_scores_the_baseline_and_names_what_is_next(tmp_path, capsys):
    folder = tmp_path / "shown"
    assert main(["demo", str(folder), "--images", "8", "--size", "96,128"]) == 0
    printed = capsys.readouterr().out
    assert "AP^e" in printed
    assert f"--images {folder / 'images'}" in printed
    for name in ("classical_val.json", "classical_layers_val.json"):
        assert read(folder / "predictions" / name)


def test_the_verb_refuses_bad_arguments(tmp_path, capsys):
    assert main(["demo", str(tmp_path / "a"), "--images", "3"]) == 2
    assert "at least 8 images" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["demo", str(tmp_path / "a"), "--size", "big"])
    assert "--size" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["demo", str(tmp_path)]) == 2
    assert "no demo set" in capsys.readouterr().err
