"""EntitySeg in detectron2's catalogs."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("detectron2", reason="detectron2 is not installed: see docs/detectron2.md")

from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.data.datasets import load_coco_json

from entity_api import rle
from entityseg_bench import categories
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats import png
from entityseg_bench.integrations.dataset_names import DATASETS
from entityseg_bench.integrations.detectron2 import open_registered, register_entityseg
from entityseg_bench.io import InputError

# The original registers these, and its base configuration asks for the last.
ORIGINALS = [
    "entityv2_entity_train_01",
    "entityv2_entity_train_02",
    "entityv2_entity_train_03",
    "entityv2_entity_train_all",
    "entityv2_entity_val_all",
    "entityv2_entity_train_all_lr",
    "entityv2_entity_val_all_lr",
    "entityv2_instance_train",
    "entityv2_instance_val",
    "entityv2_sem150_train",
    "entityv2_sem150_test",
    "entityv2_panoptic_train",
    "entityv2_panoptic_val",
    "entityv2_entity_val_01",
]


@pytest.fixture
def cleared():
    """Take out of the catalogs what a test registers itself."""
    yield
    for name in DATASETS:
        for catalog in (DatasetCatalog, MetadataCatalog):
            if name in catalog:
                catalog.remove(name)


def test_all_names(registered):
    assert set(ORIGINALS) <= set(registered) == set(DATASETS)
    assert set(registered) <= set(DatasetCatalog.list())


def test_registering_reads_nothing(tmp_path, cleared):
    register_entityseg(tmp_path / "not there yet")
    with pytest.raises(InputError, match="there is no such folder"):
        DatasetCatalog.get("entityv2_entity_val_all")


@pytest.mark.parametrize("name", ORIGINALS)
def test_what_a_name_gives(registered, demo, name):
    task, split, resolution, parts = DATASETS[name]
    dataset = EntityDataset.open(demo, task, split, resolution, parts)
    dicts = DatasetCatalog.get(name)
    assert len(dicts) == len(dataset) > 0
    table = [category.id for category in categories.table(task)]
    for row, (image, annotations) in zip(dicts, dataset, strict=True):
        assert (row["image_id"], row["height"], row["width"]) == (
            image.id,
            image.height,
            image.width,
        )
        assert row["file_name"] == str(dataset.image_path(image))
        if task in ("entity", "instance"):
            for one, annotation in zip(row["annotations"], annotations, strict=True):
                assert table[one["category_id"]] == annotation.category_id
                assert one["segmentation"] == annotation.segmentation
                assert one["iscrowd"] == annotation.iscrowd
                assert one["bbox"] == list(annotation.bbox)
    assert open_registered(name).images == dataset.images


def test_the_training_name_is_the_training_split(registered, demo):
    """The original registers the validation file under it."""
    wanted = EntityDataset.open(demo, "entity", "train", "low")
    dicts = DatasetCatalog.get("entityv2_entity_train_all_lr")
    assert [row["file_name"].rpartition("/")[2] for row in dicts] == [
        image.file_name.rpartition("/")[2] for image in wanted.images
    ]
    other = {row["file_name"] for row in DatasetCatalog.get("entityv2_entity_val_all_lr")}
    assert other.isdisjoint(row["file_name"] for row in dicts)


def test_semantic_maps(registered, demo):
    dataset = EntityDataset.open(demo, "semantic", "val")
    for row, (_, annotations) in zip(
        DatasetCatalog.get("entityv2_sem150_test"), dataset, strict=True
    ):
        labels = png.read_labels(Path(row["sem_seg_file_name"]))
        assert labels.shape == (row["height"], row["width"])
        assert set(np.unique(labels)) - {255} == {a.category_id for a in annotations}


def test_panoptic_segments(registered, demo):
    dataset = EntityDataset.open(demo, "panoptic", "val")
    path = demo / "annotations/panoptic_segmentation/entityv2_01_panoptic_val.json"
    published = {row["image_id"]: row for row in json.loads(path.read_text())["annotations"]}
    table = categories.table("panoptic")
    for row, (image, annotations) in zip(
        DatasetCatalog.get("entityv2_panoptic_val"), dataset, strict=True
    ):
        infos = published[image.id]["segments_info"]
        ids = png.read_ids(Path(row["pan_seg_file_name"]))
        for one, info, annotation in zip(row["segments_info"], infos, annotations, strict=True):
            assert one["id"] == info["id"]
            assert table[one["category_id"]].id == info["category_id"]
            assert one["isthing"] == (table[one["category_id"]].type == "thing")
            np.testing.assert_array_equal(ids == one["id"], rle.decode(annotation.segmentation))


@pytest.mark.parametrize("name", ["entityv2_entity_val_all", "entityv2_instance_val"])
def test_detectron2s_own_reader_agrees(registered, name):
    metadata = MetadataCatalog.get(name)
    theirs = load_coco_json(metadata.json_file, metadata.image_root)
    ours = DatasetCatalog.get(name)
    assert len(theirs) == len(ours)
    for a, b in zip(theirs, ours, strict=True):
        assert (a["image_id"], a["height"], a["width"]) == (b["image_id"], b["height"], b["width"])
        assert len(a["annotations"]) == len(b["annotations"])
        for x, y in zip(a["annotations"], b["annotations"], strict=True):
            own_id = metadata.thing_dataset_id_to_contiguous_id[x["category_id"]]
            assert (own_id, x["iscrowd"], x["bbox"]) == (y["category_id"], y["iscrowd"], y["bbox"])


def test_metadata(registered):
    entity = MetadataCatalog.get("entityv2_entity_val_all")
    assert len(entity.thing_classes) == 644
    assert entity.evaluator_type == "coco"
    semantic = MetadataCatalog.get("entityv2_sem150_train")
    assert (len(semantic.stuff_classes), semantic.ignore_label) == (150, 255)
    assert semantic.txt_path.endswith("train.txt")
    panoptic = MetadataCatalog.get("entityv2_panoptic_val")
    assert len(panoptic.thing_dataset_id_to_contiguous_id) == 279
    assert len(panoptic.stuff_dataset_id_to_contiguous_id) == 71
    assert panoptic.evaluator_type == "coco_panoptic_seg"


def test_detectron2_joins_the_parts(registered):
    names = [f"entityv2_entity_train_{part}" for part in ("01", "02", "03")]
    joined = get_detection_dataset_dicts(names)
    assert len(joined) == len(DatasetCatalog.get("entityv2_entity_train_all"))


def test_registering_again(registered, demo, tmp_path):
    assert register_entityseg(demo) == registered
    with pytest.raises(ValueError, match=r"28 names are taken .* replace=True"):
        register_entityseg(tmp_path)
    register_entityseg(tmp_path, replace=True)
    with pytest.raises(InputError):
        DatasetCatalog.get("entityv2_entity_val_all")


def test_the_originals_own_registrations_are_kept(tmp_path, cleared):
    DatasetCatalog.register("entityv2_entity_val_all", list)
    with pytest.raises(ValueError, match="1 names are taken"):
        register_entityseg(tmp_path)
    assert "entityv2_instance_val" not in DatasetCatalog
    register_entityseg(tmp_path, replace=True)


def test_the_folder_of_the_environment(demo, tmp_path, monkeypatch, cleared):
    (tmp_path / "entityseg").symlink_to(demo, target_is_directory=True)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    register_entityseg()
    assert DatasetCatalog.get("entityv2_entity_val_all")


def test_names_of_others(registered):
    with pytest.raises(ValueError, match="register_entityseg has registered no 'coco_2017_val'"):
        open_registered("coco_2017_val")
