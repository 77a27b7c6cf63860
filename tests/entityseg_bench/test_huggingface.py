"""Hugging Face: the four configurations, Parquet, streaming, and back."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets_read import read_parquet

from entityseg_bench import layout
from entityseg_bench.categories import TASKS, table
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.demo import write_demo
from entityseg_bench.formats.parquet import shards as parquet_format
from entityseg_bench.formats.parquet import write_parquet
from entityseg_bench.formats.rows import label_names
from entityseg_bench.huggingface import from_huggingface, load_dataset
from entityseg_bench.io import InputError

from .conftest import coco, dataset_of, from_map, record, same, save_image, write

datasets = pytest.importorskip("datasets")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("demo") / "set", 8, size=(64, 96))


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the library's bars out of the output."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.mark.parametrize("task", TASKS)
def test_each_configuration_and_back(demo: Path, tmp_path: Path, task: Any) -> None:
    source = EntityDataset.open(demo, task, "train")
    rows = load_dataset(demo, task, "train", cache_dir=tmp_path)
    assert rows.features["image"] == datasets.Image()
    annotation = rows.features["annotations"].feature
    assert isinstance(rows.features["annotations"], datasets.List)
    assert annotation["category"].names == label_names(table(task))
    first = rows[0]
    assert np.array_equal(np.asarray(first["image"]), source.read_image(source.images[0]))
    found = first["annotations"][0]
    name = source.categories[found["category"]].name.strip()
    assert annotation["category"].int2str(found["category"]).startswith(name)
    assert source.categories[found["category"]].id == found["category_id"]
    same(source, from_huggingface(rows, task, info=source.info))


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "entityseg_val.json"
    for category_id in (3, 7):
        write(path, coco([record(category_id=category_id)]))
        rows = load_dataset(tmp_path, images=False, cache_dir=tmp_path / "hf")
        assert [a["category_id"] for a in rows[0]["annotations"]] == [category_id]
        assert "image" not in rows.column_names


def test_loops_over_annotations_do_not_open_images(tmp_path: Path) -> None:
    write(tmp_path / "entityseg_val.json", coco([record()]))
    image = save_image(tmp_path / "images/a.jpg", 4, 6)
    rows = load_dataset(tmp_path, cache_dir=tmp_path / "hf")
    image.unlink()
    assert len(rows.remove_columns("image")[0]["annotations"]) == 1
    assert len(from_huggingface(rows)) == 1
    with pytest.raises(FileNotFoundError):
        rows[0]


def test_missing_images_are_our_error(tmp_path: Path) -> None:
    write(tmp_path / "entityseg_val.json", coco([record()]))
    with pytest.raises(InputError, match=r"image 1 \(a\.jpg\): there is no such image file"):
        load_dataset(tmp_path, cache_dir=tmp_path / "hf")


def test_maps_are_part_of_the_key(demo: Path, tmp_path: Path) -> None:
    from entityseg_bench.formats.panoptic import write_panoptic
    from entityseg_bench.huggingface import source_digest

    source = EntityDataset.open(demo, "panoptic", "val")
    place = layout.documented(tmp_path, "panoptic", "val", "high")
    assert place.maps
    write_panoptic(source, place.annotations, place.maps)
    before = source_digest(tmp_path, "panoptic", "val", "high", None)
    one = next(place.maps.rglob("*.png"))
    one.write_bytes(one.read_bytes() + b"\0")
    assert source_digest(tmp_path, "panoptic", "val", "high", None) != before


@pytest.mark.parametrize("embed", [False, True])
def test_plain_load_dataset_opens_the_export(
    demo: Path, tmp_path: Path, embed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_format, "SHARD", 2)
    monkeypatch.setattr(parquet_format, "SHARD_EMBEDDED", 2)
    monkeypatch.setattr(parquet_format, "GROUP", 1)
    folder = tmp_path / "export"
    for task in ("entity", "panoptic"):
        for split in ("train", "val"):
            source = EntityDataset.open(demo, task, split)  # type: ignore[arg-type]
            write_parquet(source, folder, embed)
    source = EntityDataset.open(demo, "entity", "train")
    shards = sorted(path.name for path in (folder / "entity").glob("train-*"))
    assert shards == [f"train-{k:05d}-of-{len(shards):05d}.parquet" for k in range(len(shards))]
    assert len(shards) == -(-len(source) // 2) > 1
    loaded = datasets.load_dataset(str(folder), "entity", cache_dir=str(tmp_path / "hf"))
    assert set(loaded) == {"train", "val"}
    same(source, from_huggingface(loaded["train"], info=source.info))
    annotation = loaded["train"].features["annotations"].feature
    assert annotation["category"].num_classes == 644
    stream = datasets.load_dataset(str(folder), "panoptic", split="val", streaming=True)
    first = next(iter(stream))
    assert first["file_name"] == EntityDataset.open(demo, "panoptic").images[0].file_name
    assert ("image" in first) == embed
    if embed:
        # The bytes travel: neither a path of this machine nor a second compression.
        raw = loaded["train"].cast_column("image", datasets.Image(decode=False))[0]["image"]
        assert raw["bytes"] == source.image_path(source.images[0]).read_bytes()
        assert not Path(raw["path"]).is_absolute()
    assert "Adobe Research License" in (folder / "LICENSE-NOTICE.txt").read_text()
    same(source, read_parquet(folder, "entity", "train"))


def test_the_card_of_another_data_set_claims_no_licence(tmp_path: Path) -> None:
    write_parquet(dataset_of(from_map([[1]]), split="val"), tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "config_name: entity" in card
    assert "EntitySeg" not in card
    assert "icense" not in card
    assert not (tmp_path / "LICENSE-NOTICE.txt").exists()


def test_an_export_says_what_is_missing(tmp_path: Path) -> None:
    dataset = dataset_of(from_map([[1]]), split="val")
    write_parquet(dataset, tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_parquet(tmp_path, "entity", "train")
    shard = next((tmp_path / "entity").glob("*.parquet"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-20])
    with pytest.raises(InputError, match="the shard is broken"):
        read_parquet(tmp_path, "entity", "val")
    shard.rename(shard.with_name("val-00000-of-00002.parquet"))
    with pytest.raises(InputError, match="1 of 2 shards"):
        read_parquet(tmp_path, "entity", "val")
    with pytest.raises(InputError, match="of which split"):
        write_parquet(dataset.replace(split=None), tmp_path)


def test_licences_go_along(tmp_path: Path) -> None:
    (tmp_path / "LICENSE.txt").write_text("terms")
    write_parquet(dataset_of(split="val"), tmp_path / "out", licences=tmp_path)
    assert (tmp_path / "out/LICENSE.txt").read_text() == "terms"


def test_a_category_that_is_in_no_table(tmp_path: Path) -> None:
    dataset = dataset_of(from_map([[1]], categories=(9,)), split="val")
    with pytest.raises(InputError, match=r"annotation 1: category 9 is not in the table"):
        write_parquet(dataset, tmp_path)


def test_mixed_image_ids(tmp_path: Path) -> None:
    rows = [record(), record(id=2, image_id="b")]
    images = [{"id": k, "file_name": f"{k}.jpg", "height": 4, "width": 6} for k in (1, "b")]
    write(tmp_path / "entityseg_val.json", coco(rows, images))
    with pytest.raises(InputError, match="both numbers and strings"):
        write_parquet(EntityDataset.open(tmp_path), tmp_path / "out")


def test_names_of_labels() -> None:
    names = label_names(table("entity"))
    assert len(set(names)) == 644
    assert names[100] == "pipe (100)"
    assert names[277] == "pipe (277)"
    assert names[1] == "man"
    assert not any(name != name.strip() for name in names)


def test_images_stay_as_they_are_compressed(tmp_path: Path) -> None:
    from PIL import Image

    save_image(tmp_path / "images/a.jpg", 4, 6)
    write(tmp_path / "entityseg_val.json", coco([record()]))
    write_parquet(EntityDataset.open(tmp_path), tmp_path / "out", embed_images=True)
    import pyarrow.parquet as pq

    (shard,) = (tmp_path / "out/entity").glob("*.parquet")
    column = pq.read_table(shard).column("image").to_pylist()
    with Image.open(io.BytesIO(column[0]["bytes"])) as image:
        assert image.format == "JPEG"
