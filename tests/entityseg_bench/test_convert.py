"""`entityseg convert`: every way in and out, by command, with the demo data set and real data."""

import filecmp
import json
from pathlib import Path

import numpy as np
import pytest
from datasets_read import read_coco, read_panoptic
from squares import square

from entityseg_bench import convert as conversion
from entityseg_bench import parallel
from entityseg_bench.categories import table
from entityseg_bench.cli import main
from entityseg_bench.convert import Options, convert
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.demo import write_demo
from entityseg_bench.describe import describe
from entityseg_bench.formats import sniff
from entityseg_bench.formats.coco import write_coco
from entityseg_bench.formats.panoptic import files as panoptic_format
from entityseg_bench.formats.panoptic import write_panoptic
from entityseg_bench.io import InputError
from entityseg_bench.parallel import in_order
from entityseg_bench.subset import has_entity_categories, subset

from .conftest import coco, dataset_of, from_map, record, same, write


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("demo") / "set", 8, size=(64, 96))


def command(*arguments: object) -> int:
    return main(["convert", *map(str, arguments), "--jobs", "1"])


@pytest.mark.parametrize("task", ["instance", "semantic", "panoptic"])
def test_types_from_entity_json_are_those_of_the_demo(
    demo: Path, tmp_path: Path, task: str
) -> None:
    assert command(demo, tmp_path, "--to", task, "--images", demo) == 0
    for split in ("train", "val"):
        made = EntityDataset.open(tmp_path, task, split)  # type: ignore[arg-type]
        published = EntityDataset.open(demo, task, split)  # type: ignore[arg-type]
        assert len(made) == len(published) > 0
        for (image, ours), (other, theirs) in zip(made, published, strict=True):
            assert (image.file_name, image.height) == (other.file_name, other.height)
            key = lambda a: (a.category_id, a.segmentation["counts"], a.area, a.bbox, a.iscrowd)  # noqa: E731
            assert sorted(map(key, ours)) == sorted(map(key, theirs))
        assert made.categories == published.categories == tuple(table(made.task))


@pytest.mark.parametrize("to", ["id-png", "npz"])
def test_folders_of_masks_lead_back(demo: Path, tmp_path: Path, to: str) -> None:
    assert command(demo, tmp_path / "there", "--to", to) == 0
    assert command(tmp_path / "there/entity_val", tmp_path / "back.json", "--to", "entity") == 0
    same(EntityDataset.open(demo, split="val"), read_coco(tmp_path / "back.json"))


def test_parquet_leads_back(demo: Path, tmp_path: Path) -> None:
    assert command(demo, tmp_path / "there", "--to", "parquet") == 0
    for task in ("entity", "semantic", "panoptic"):
        assert command(tmp_path / "there", tmp_path, "--to", task, "--task", task) == 0
        for split in ("train", "val"):
            source = EntityDataset.open(demo, task, split)  # type: ignore[arg-type]
            same(source, EntityDataset.open(tmp_path, task, split))  # type: ignore[arg-type]


def test_low_resolution_of_a_whole_folder(demo: Path, tmp_path: Path) -> None:
    assert command(demo, tmp_path, "--to", "low") == 0
    summary = describe(tmp_path, deep=True)
    assert len(summary.types) == 8
    assert summary.problems == []
    for part in summary.types:
        assert part.resolution == "low"
        assert part.problems == []
        assert part.n_missing_images == 0
        assert part.sizes["height"].greatest <= 1333
    images = list((tmp_path / "images_lr").rglob("*.jpg"))
    assert len(images) == 8


def test_a_broken_run_goes_on(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = EntityDataset.open(demo, "panoptic", "train")
    write_panoptic(source, tmp_path / "whole.json", tmp_path / "whole")
    real, written = panoptic_format._write_map, []

    def stop_at_third(dataset: EntityDataset, maps: Path, idx: int) -> object:
        written.append(idx)
        if len(written) == 3:
            raise KeyboardInterrupt
        return real(dataset, maps, idx)

    monkeypatch.setattr(panoptic_format, "_write_map", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        write_panoptic(source, tmp_path / "p.json", tmp_path / "whole")
    assert not (tmp_path / "p.json").exists()
    journal = tmp_path / ".p.json.journal"
    # A line that was torn off in the middle counts as not written.
    journal.write_bytes(journal.read_bytes()[:-5])
    write_panoptic(source, tmp_path / "p.json", tmp_path / "whole")
    assert written == [0, 1, 2, 1, *range(2, len(source))]
    assert not journal.exists()
    assert filecmp.cmp(tmp_path / "p.json", tmp_path / "whole.json", shallow=False)


@pytest.mark.parametrize("jobs", [1, 2])
def test_in_order(jobs: int) -> None:
    assert list(in_order(square, range(3, 7), jobs)) == [9, 16, 25, 36]
    with pytest.raises(InputError, match="f: w: seven do not") as caught:
        list(in_order(square, range(40), jobs))
    assert caught.value.hint == "do not"


@pytest.mark.parametrize(("platform", "expected"), [("linux", 100), ("win32", 61)])
def test_no_more_processes_than_windows_waits_for(platform, expected, monkeypatch) -> None:
    """There Python's own pool refuses more."""
    asked = []

    def pool(n_processes: int, *args: object) -> None:
        asked.append(n_processes)
        raise InputError("pool", "", "none is made.")

    monkeypatch.setattr(parallel.sys, "platform", platform)
    monkeypatch.setattr(parallel, "ProcessPoolExecutor", pool)
    with pytest.raises(InputError, match="none is made"):
        list(in_order(square, range(200), 100))
    assert asked == [expected]


def test_processes_write_what_one_does(demo: Path, tmp_path: Path) -> None:
    source = EntityDataset.open(demo, split="train")
    for jobs in (1, 2):
        write_coco(source, tmp_path / f"{jobs}.json", jobs)
        write_panoptic(source, tmp_path / f"p{jobs}.json", tmp_path / f"p{jobs}", jobs)
    assert filecmp.cmp(tmp_path / "1.json", tmp_path / "2.json", shallow=False)
    for path in (tmp_path / "p1").rglob("*.png"):
        other = tmp_path / "p2" / path.relative_to(tmp_path / "p1")
        assert filecmp.cmp(path, other, shallow=False)


def test_real_panoptic_by_command(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shared / "realdata/panoptic/panoptic_examples.json"
    assert command(source, tmp_path / "e.json", "--to", "entity") == 0
    assert command(source, tmp_path / "i.json", "--to", "instance") == 0
    assert command(source, tmp_path / "s", "--to", "semantic") == 0
    assert command(tmp_path / "e.json", tmp_path / "p.json", "--to", "panoptic") == 0
    out = capsys.readouterr().out
    assert "lost: 38 annotations merged with others of their class" in out
    assert "lost: 7 annotations dropped: their category is stuff" in out
    original = read_panoptic(source)
    back = read_panoptic(tmp_path / "p.json")
    assert [a for _, rows in original for a in rows] == [a for _, rows in back for a in rows]


def test_predictions_by_command(shared: Path, tmp_path: Path) -> None:
    folder = shared / "realdata/coco100"
    truth = folder / "instances_val2014_100.json"
    source = folder / "instances_val2014_fakesegm100_results.json"
    assert command(source, tmp_path / "npz", "--to", "npz", "--gt", truth) == 0
    assert command(tmp_path / "npz", tmp_path / "r.json", "--to", "results") == 0
    key = lambda row: (row["image_id"], row["score"], row["segmentation"]["counts"])  # noqa: E731
    before, after = (json.loads(path.read_text()) for path in (source, tmp_path / "r.json"))
    assert sorted(map(key, before)) == sorted(map(key, after))
    assert command(source, tmp_path / "ids", "--to", "id-png", "--gt", truth) == 0
    assert command(tmp_path / "ids", tmp_path / "p.json", "--to", "panoptic") == 0
    masks = [a.segmentation for _, rows in read_panoptic(tmp_path / "p.json") for a in rows]
    assert len(masks) == 734 - 29


def test_formats_are_told_from_content(tmp_path: Path, demo: Path) -> None:
    assert sniff(demo) == "entityseg"
    assert sniff(write(tmp_path / "a.json", coco([record()]))) == "coco"
    assert sniff(write(tmp_path / "a.json", [])) == "results"
    assert sniff(write(tmp_path / "a.json", {"annotations": [{"score": 1}]})) == "results"
    pan = {"images": [], "annotations": [{"segments_info": []}]}
    assert sniff(write(tmp_path / "a.json", pan)) == "panoptic"
    with pytest.raises(InputError, match=r"cannot be told.*--from npz"):
        sniff(write(tmp_path / "a.json", {"x": 1}))
    with pytest.raises(InputError, match="no such file"):
        sniff(tmp_path / "b.json")


def test_what_cannot_be(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(demo, demo, "--to", "entity") == 2
    assert "source and target are the same" in capsys.readouterr().err
    assert command(demo, tmp_path, "--to", "instance", "--task", "semantic") == 2
    assert "Start from the entity annotations" in capsys.readouterr().err
    assert command(demo, tmp_path, "--to", "low", "--resolution", "low") == 2
    assert "low resolution already" in capsys.readouterr().err
    path = write(tmp_path / "e.json", coco([record()]))
    assert command(path, tmp_path / "folder", "--to", "entity") == 2
    assert "one JSON file" in capsys.readouterr().err


def test_subsets_by_id() -> None:
    # 166 and 328 are the blankets, 73 changes its name, 0 is in no other table, 3 is sky.
    ids = (0, 3, 73, 166, 328, 1)
    dataset = dataset_of(from_map([[6, 1, 2, 3, 4, 5]], categories=ids), categories=table("entity"))
    assert has_entity_categories(dataset)
    found, lost = subset(dataset, "semantic")
    assert [a.category_id for a in found.annotations(0)] == [0, 32, 16]
    assert lost == {
        "blankets left without a class: semantic 97 and 111 cannot be told apart": 2,
        "annotations dropped: their category is not in the semantic table": 1,
    }
    assert [a.category_id for a in subset(dataset, "panoptic").dataset.annotations(0)] == [
        3,
        73,
        166,
        328,
        1,
    ]
    instance = subset(dataset, "instance").dataset
    assert {a.category_id for a in instance.annotations(0)} <= {r.id for r in table("instance")}
    assert instance.categories == tuple(table("instance"))
    assert len(dataset.annotations(0)) == 6


def test_nothing_left_is_an_error() -> None:
    dataset = dataset_of(from_map([[1]], categories=(0,)), categories=table("entity"))
    with pytest.raises(InputError, match="Only part 01"):
        subset(dataset, "instance")


def test_other_tables_stay_as_they_are() -> None:
    dataset = dataset_of(from_map([[3, 1, 2]]))
    assert not has_entity_categories(dataset)
    found, lost = subset(dataset, "instance")
    assert [a.category_id for a in found.annotations(0)] == [7, 3]
    assert lost == {"annotations dropped: their category is stuff": 1}
    assert len(subset(dataset, "panoptic").dataset.records) == len(dataset.records)


def test_options_reach_the_sources(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.array([[3, 0, 3]], np.uint8)).save(tmp_path / "x.png")
    options = Options(source="ade20k", connected=True)
    said: list[str] = []
    convert(tmp_path, tmp_path / "e.json", "entity", options, said.append)
    assert len(read_coco(tmp_path / "e.json").records) == 2
    assert said == [f"entity: 1 image -> {tmp_path / 'e.json'}"]
    assert set(conversion.TARGETS) >= {"entity", "instance", "semantic", "panoptic", "parquet"}
