"""Finding the files of a data set under both worlds of names."""

import gzip
import json
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from entityseg_bench.dataset import EntityDataset
from entityseg_bench.io import InputError
from entityseg_bench.layout import ImageFiles, find_sources
from entityseg_bench.types import ImageInfo

from .conftest import coco, record, save_image, write


def image(name: str, number: int = 1) -> dict[str, object]:
    return {"id": number, "file_name": name, "height": 4, "width": 6}


DOCUMENTED = "annotations/entity_segmentation/entityv2_{}_entity_val{}.json"


@pytest.mark.parametrize(
    "name",
    [
        DOCUMENTED.format("010203", ""),
        DOCUMENTED.format("01", ""),
        "annotations/entityseg_val.json",
        "entityseg_val_01.json",
    ],
)
def test_names_of_both_worlds(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, coco([record()]))
    dataset = EntityDataset.open(tmp_path)
    assert len(dataset) == 1
    assert dataset.where == str(tmp_path / name)


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("instance", "annotations/instance_segmentation/entityv2_01_instances_val.json"),
        ("instance", "entityseg_insseg_val.json"),
    ],
)
def test_instance_names(tmp_path: Path, task: str, name: str) -> None:
    write(tmp_path / name, coco([record()]))
    dataset = EntityDataset.open(tmp_path, task)  # type: ignore[arg-type]
    assert dataset.task == "instance"
    assert len(dataset.categories) == 206


def test_low_resolution_and_train_are_files_of_their_own(tmp_path: Path) -> None:
    # The original registers its low training set with the validation file.
    for n, (split, lr) in enumerate(
        [("train", ""), ("val", ""), ("train", "_lr"), ("val", "_lr")], start=1
    ):
        write(tmp_path / f"entityseg_{split}{lr}.json", coco([record() for _ in range(n)]))
    counts = [
        len(EntityDataset.open(tmp_path, "entity", split, resolution).records)
        for resolution in ("high", "low")
        for split in ("train", "val")
    ]
    assert counts == [1, 2, 3, 4]


def test_gzip(tmp_path: Path) -> None:
    path = tmp_path / "entityseg_val.json.gz"
    path.write_bytes(gzip.compress(json.dumps(coco([record()])).encode()))
    assert len(EntityDataset.open(tmp_path).annotations(0)) == 1


def test_parts_are_joined_and_numbered_anew(tmp_path: Path) -> None:
    for part in ("01", "02", "03"):
        rows = [record(id=1), record(id=2, image_id=2)]
        images = [image(f"{part}_a.jpg"), image("same.jpg", 2)]
        write(tmp_path / DOCUMENTED.format(part, ""), coco(rows, images))
    dataset = EntityDataset.open(tmp_path)
    assert [i.id for i in dataset.images] == [1, 2, 3, 4, 5, 6]
    assert dataset.images[2].file_name == "entity_02_11598/02_a.jpg"
    assert [row.id for _, rows in dataset for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.image_id for _, rows in dataset for row in rows] == [1, 2, 3, 4, 5, 6]
    two = EntityDataset.open(tmp_path, parts=["03", "01"])
    assert [i.file_name.split("/")[0] for i in two.images] == [
        "entity_01_11580",
        "entity_01_11580",
        "entity_03_10049",
        "entity_03_10049",
    ]
    assert len(EntityDataset.open(tmp_path, parts=["02"])) == 2


def test_a_part_with_an_image_id_twice_is_refused_before_it_is_numbered_anew(
    tmp_path: Path,
) -> None:
    for part, ids in (("01", (1, 2)), ("03", (5, 5))):
        images = [image(f"{part}_{k}.jpg", number) for k, number in enumerate(ids)]
        write(tmp_path / DOCUMENTED.format(part, ""), coco([], images))
    with pytest.raises(InputError, match=r"_03_.*image 5 \(03_1\.jpg\).*stands twice"):
        EntityDataset.open(tmp_path)


def test_parts_of_a_joined_file(tmp_path: Path) -> None:
    images = [image("entity_01_11580/a.jpg"), image("entity_02_11598/b.jpg", 2)]
    write(
        tmp_path / "entityseg_val.json",
        coco([record(), record(id=2, image_id=2), record(id=3, image_id=2)], images),
    )
    dataset = EntityDataset.open(tmp_path, parts=["02"])
    assert [i.id for i in dataset.images] == [2]
    assert [row.id for row in dataset.annotations(0)] == [2, 3]
    # Its annotations could be the other part's.
    write(tmp_path / "entityseg_val.json", coco([], [{**row, "id": 7} for row in images]))
    with pytest.raises(InputError, match=r"image 7 \(entity_02_11598/b\.jpg\).*stands twice"):
        EntityDataset.open(tmp_path, parts=["02"])
    write(tmp_path / "entityseg_val.json", coco([], [image("bare.jpg")]))
    with pytest.raises(InputError, match=r"bare\.jpg.*of which part"):
        EntityDataset.open(tmp_path, parts=["02"])


def test_nothing_there_says_what_was_expected_found_and_near(tmp_path: Path) -> None:
    write(tmp_path / "annotations/entity_segmentation/entityv2_01_entity_vall.json", {})
    with pytest.raises(InputError) as caught:
        EntityDataset.open(tmp_path)
    text = str(caught.value)
    assert "entityv2_010203_entity_val.json" in text
    assert "entityseg_val_03.json" in text
    assert "Nearest: annotations/entity_segmentation/entityv2_01_entity_vall.json" in text
    with pytest.raises(InputError, match="no such folder"):
        EntityDataset.open(tmp_path / "nowhere")


def test_a_part_that_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "entityseg_val_01.json", coco([record()]))
    with pytest.raises(InputError, match=r"entityv2_03_entity_val\.json"):
        find_sources(tmp_path, "entity", "val", "high", ["01", "03"])
    with pytest.raises(InputError, match=r"must be some of"):
        find_sources(tmp_path, "entity", "val", "high", ["04"])


def test_maps_that_are_missing(tmp_path: Path) -> None:
    write(tmp_path / "entityseg_panseg_val.json", {})
    with pytest.raises(InputError, match=r"panoptic_maps_val"):
        EntityDataset.open(tmp_path, "panoptic")


def test_arguments() -> None:
    with pytest.raises(ValueError, match="task 'things' must be one of"):
        EntityDataset.open(".", "things")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="split 'test'"):
        EntityDataset.open(".", split="test")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("images/entity_01_11580/x.y.jpg", "entity_01_11580/x.y.jpg"),
        ("images/entity_01_11580/x.y.jpg", "x.y.jpg"),
        ("entity_01_11580/images_merge/x.y.jpg", "entity_01_11580/x.y.jpg"),
        ("images/somewhere/else/x.y.jpg", "x.y.jpg"),
        ("images/entity_01_11580/in town 図.jpg", "in town 図.jpg"),
    ],
)
def test_images_by_path_and_by_name(tmp_path: Path, place: str, name: str) -> None:
    path = save_image(tmp_path / place, 2, 2)
    assert ImageFiles(tmp_path, part="01").find(ImageInfo(1, name, 2, 2)) == path


def test_low_images_are_not_taken_for_high_ones(tmp_path: Path) -> None:
    save_image(tmp_path / "images_lr/entity_01_11580/x.jpg", 2, 2)
    high = save_image(tmp_path / "images/entity_01_11580/x.jpg", 4, 4)
    info = ImageInfo(1, "x.jpg", 4, 4)
    assert ImageFiles(tmp_path).find(info) == high
    assert ImageFiles(tmp_path, "low").find(info).parts[-3] == "images_lr"


def test_ambiguous_names_are_said(tmp_path: Path) -> None:
    for part in ("entity_01_11580", "entity_02_11598"):
        save_image(tmp_path / f"images/{part}/deep/x.jpg", 2, 2)
    files = ImageFiles(tmp_path)
    with pytest.raises(InputError, match=r"2 files have this name.*entity_01.*entity_02"):
        files.find(ImageInfo(1, "x.jpg", 2, 2))
    found = files.find(ImageInfo(1, "entity_02_11598/x.jpg", 2, 2))
    assert found.parts[-3] == "entity_02_11598"


def test_composed_and_decomposed_letters_are_one_name(tmp_path: Path) -> None:
    name = "Ångström é.jpg"
    path = save_image(tmp_path / "images" / "d" / unicodedata.normalize("NFD", name), 2, 2)
    composed = unicodedata.normalize("NFC", name)
    assert ImageFiles(tmp_path).find(ImageInfo(1, composed, 2, 2)) == path


def test_missing_image(tmp_path: Path) -> None:
    save_image(tmp_path / "images/photo_0001.jpg", 2, 2)
    with pytest.raises(InputError, match=r"image 9 .*nearest name is photo_0001\.jpg"):
        ImageFiles(tmp_path).find(ImageInfo(9, "photo_0002.jpg", 2, 2))


def test_threads_see_the_whole_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are found by their base names alone, by several threads at once."""
    from entityseg_bench import layout

    (tmp_path / "images").mkdir()
    images = [ImageInfo(k, f"C:\\data\\{k}.jpg", 2, 2) for k in range(4)]
    for k in range(4):
        (tmp_path / "images" / f"{k}.jpg").touch()
    listed = layout.list_images

    def slowly(folder: Path):  # type: ignore[no-untyped-def]
        for path in listed(folder):
            yield path
            time.sleep(0.02)

    monkeypatch.setattr(layout, "list_images", slowly)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ImageFiles(tmp_path / ".").find, images))
    assert [path.name for path in found] == [f"{k}.jpg" for k in range(4)]
