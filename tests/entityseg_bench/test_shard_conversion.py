"""Shards converted by an engine equal what one process writes, and go on where they broke off."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from drawn_boxes import draw_box

from entity_api import rle
from entityseg_bench import cli
from entityseg_bench.formats import Inputs
from entityseg_bench.io import InputError
from entityseg_bench.scale.conversion import Wanted, convert_shards
from entityseg_bench.scale.engines import InOneProcess
from entityseg_bench.score import evaluate_files

pytest.importorskip("datasets", reason="datasets is not installed (extra hf)")
SIDE, N_IMAGES, CUT = 24, 9, 5


def coco(ids, all_annotations):
    images = [{"id": k, "file_name": f"a/{k}.jpg", "height": SIDE, "width": SIDE} for k in ids]
    annotations = [one for one in all_annotations if one["image_id"] in ids]
    table = [{"id": 0, "name": "entity"}]
    return {"images": images, "annotations": annotations, "categories": table}


@pytest.fixture(scope="module")
def annotations():
    rng = np.random.default_rng(5)
    rows = []
    for k in range(N_IMAGES):
        for code in (rle.encode(draw_box(rng, SIDE, 12)) for _ in range(k % 4)):
            row = {"id": len(rows) + 1, "image_id": k, "category_id": 0, "iscrowd": 0}
            rows.append(
                {**row, "area": rle.area(code), "bbox": rle.bbox(code), "segmentation": code}
            )
    return rows


@pytest.fixture
def source(tmp_path, annotations):
    """Write the whole file, two shards of it, and one without images."""
    (tmp_path / "gt").mkdir()
    for name, ids in (
        ("gt.json", range(N_IMAGES)), ("gt/0.json", range(CUT)),
        ("gt/1.json", range(0)), ("gt/2.json", range(CUT, N_IMAGES)),
    ):  # fmt: skip
        (tmp_path / name).write_text(json.dumps(coco(ids, annotations)), encoding="utf-8")
    return tmp_path


@pytest.fixture
def sa1b(tmp_path, annotations):
    """Write a folder of SA-1B, with an image file beside each JSON."""
    folder = tmp_path / "sa"
    folder.mkdir()
    for k in range(N_IMAGES):
        about = {"image_id": k, "file_name": f"sa_{k}.jpg", "height": SIDE, "width": SIDE}
        keys = ("id", "segmentation", "area", "bbox")
        rows = [
            {key: one[key] for key in keys} | {"predicted_iou": 0.5, "stability_score": 0.5}
            for one in annotations if one["image_id"] == k
        ]  # fmt: skip
        text = json.dumps({"image": about, "annotations": rows})
        (folder / f"sa_{k}.json").write_text(text, encoding="utf-8")
    return folder


def convert(*args) -> int:
    return cli.main(["convert", *map(str, args), "--split", "val"])


def rows_of(folder: Path):
    """Read an export with Hugging Face's library."""
    import datasets

    files = sorted(map(str, folder.glob("val-*.parquet")))
    found = datasets.Dataset.from_parquet(files, cache_dir=str(folder / ".cache"))
    return [dict(row) for row in found]


def bytes_of(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_parquet_equals_one_process(source):
    assert convert(source / "gt.json", source / "one", "--to", "parquet") == 0
    assert convert(source / "gt", source / "many", "--to", "parquet", "--engine", "local") == 0
    names = sorted(path.name for path in (source / "many/entity").iterdir())
    assert names == ["val-00000-of-00002.parquet", "val-00001-of-00002.parquet", "val.meta.json"]
    one, many = (bytes_of(source / name) for name in ("one", "many"))
    for name in ("README.md", "entity/val.meta.json"):
        assert one[name] == many[name]
    assert len(rows_of(source / "one/entity")) == N_IMAGES
    assert rows_of(source / "one/entity") == rows_of(source / "many/entity")


@pytest.mark.parametrize("target", ["parquet", "webdataset"])
def test_ray_writes_the_bytes_of_one_process(source, on_ray, target):
    for name, engine in (("one", "local"), ("many", "ray")):
        args = (source / "gt", source / name, "--to", target, "--engine", engine)
        assert convert(*args) == 0
    written = bytes_of(source / "one")
    assert len(written) > 2
    assert bytes_of(source / "many") == written


def test_sa1b_s_folder_becomes_parquet(sa1b, tmp_path, monkeypatch):
    monkeypatch.setattr("entityseg_bench.scale.sources.FILES_A_SHARD", 4)
    assert convert(sa1b, tmp_path / "one", "--to", "parquet") == 0
    assert convert(sa1b, tmp_path / "many", "--to", "parquet", "--engine", "local") == 0
    assert len(list((tmp_path / "many/entity").glob("*.parquet"))) == 3
    assert rows_of(tmp_path / "one/entity") == rows_of(tmp_path / "many/entity")


@pytest.mark.parametrize("engine", [(), ("--engine", "local")])
def test_webdataset_is_scored_as_its_source(source, annotations, capsys, engine):
    rows = [{**one, "score": 0.1 * (one["id"] % 7)} for one in annotations[::2]]
    (source / "pred.json").write_text(json.dumps(rows), encoding="utf-8")
    given = source / ("gt" if engine else "gt.json")
    assert convert(given, source / "tar", "--to", "webdataset", *engine) == 0
    want = evaluate_files(source / "gt.json", source / "pred.json")
    capsys.readouterr()
    sides = [str(source / "tar" / "val-*.tar"), str(source / "pred.json")]
    out = source / "r.json"
    assert cli.main(["evaluate", *sides, "--engine", "local", "--json", str(out), "--quiet"]) == 0
    found = json.loads(out.read_text())["metrics"]
    assert 0 < want.metrics["APe"] < 1
    assert found["APe"] == want.metrics["APe"] and found["AP"] == want.metrics["AP"]


def test_webdataset_has_samples_as_others_read_them(sa1b, tmp_path):
    """A key a sample, its annotations and its image beside each other."""
    for k in range(N_IMAGES):
        (sa1b / f"sa_{k}.jpg").write_bytes(f"image {k}".encode())
    pattern = f"{sa1b}/*.json"
    args = ("--to", "webdataset", "--engine", "local", "--embed-images")
    assert convert(pattern, tmp_path / "out", *args) == 0
    (path,) = (tmp_path / "out").glob("*.tar")
    with tarfile.open(path) as tar:
        names = tar.getnames()
        assert names == [f"sa_{k}.{end}" for k in range(N_IMAGES) for end in ("json", "jpg")]
        assert tar.extractfile("sa_3.jpg").read() == b"image 3"
        assert len(json.load(tar.extractfile("sa_3.json"))["annotations"]) == 3
    # And from there the images go into Parquet.
    args = ("--to", "parquet", "--engine", "local", "--embed-images")
    assert convert(path, tmp_path / "back", *args) == 0
    from pyarrow import parquet

    (path,) = (tmp_path / "back/entity").glob("*.parquet")
    images = parquet.read_table(path).column("image").to_pylist()
    assert [image["bytes"] for image in images] == [f"image {k}".encode() for k in range(N_IMAGES)]


class Stops(InOneProcess):
    """An engine that breaks off when it has written one shard."""

    def run(self, work, items):
        for at, result in super().run(work, items):
            yield at, result
            if work.__name__ == "write":
                raise KeyboardInterrupt


def test_a_run_that_broke_off_writes_only_what_is_left(source, capsys):
    wanted = Wanted("parquet", "val", Inputs())
    with pytest.raises(KeyboardInterrupt):
        convert_shards(source / "gt", source / "out", wanted, Stops())
    first = source / "out/entity/val-00000-of-00002.parquet"
    before = first.stat()
    other = Wanted("webdataset", "val", Inputs())
    with pytest.raises(InputError, match="another source"):
        convert_shards(source / "gt", source / "out/entity", other, InOneProcess())
    convert_shards(source / "gt", source / "out", wanted, InOneProcess())
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    convert_shards(source / "gt", source / "whole", wanted, InOneProcess())
    assert bytes_of(source / "out") == bytes_of(source / "whole")


@pytest.mark.parametrize("target", ["parquet", "webdataset"])
def test_an_image_is_that_shard_s_which_annotates_it(source, annotations, target):
    """All shards list all images, as a split of the annotations alone does; one has no other."""
    everything = coco(range(N_IMAGES), annotations)
    for k, own in enumerate((range(4), (), range(5, N_IMAGES))):
        rows = [row for row in annotations if row["image_id"] in own]
        (source / f"gt/{k}.json").write_text(json.dumps(everything | {"annotations": rows}))
    args = ("--to", target, "--engine", "local")
    assert convert(source / "gt", source / "many", *args) == 0
    assert len(list((source / "many").rglob("*-of-00002.*"))) == 2
    score = [{**row, "score": 0.1 * (row["id"] % 7)} for row in annotations[::2]]
    (source / "pred.json").write_text(json.dumps(score), encoding="utf-8")
    folder = source / "many" / ("entity" if target == "parquet" else "")
    results = []
    for gt in (str(source / "gt"), str(folder / "val-*-of-*")):
        out = source / "r.json"
        sides = [gt, str(source / "pred.json"), "--engine", "local", "--quiet"]
        assert cli.main(["evaluate", *sides, "--json", str(out)]) == 0
        results.append(json.loads(out.read_text()))
    for key in ("metrics", "counts"):
        assert results[0][key] == results[1][key]
    assert results[0]["counts"]["images"] == N_IMAGES
    assert 0 < results[0]["metrics"]["APe"] < 1


def test_what_cannot_be_converted_is_refused(source, capsys):
    text = (source / "gt/0.json").read_text()
    (source / "gt/1.json").write_text(text)
    args = (source / "gt", source / "out", "--engine", "local")
    assert convert(*args, "--to", "parquet") == 2
    assert "1.json: image_id 1: 0.json has annotations of it, too" in capsys.readouterr().err
    (source / "gt/1.json").write_text(text.replace('"counts": "', '"counts": 7, "x": "', 1))
    assert convert(source / "gt/1.json", *args[1:], "--to", "parquet") == 2
    assert "gt/1.json: record 0" in capsys.readouterr().err
    for more, what in (
        (("--to", "npz"), "writes parquet and webdataset"),
        (("--to", "parquet", "--gt", source / "gt.json"), "without --gt"),
        (("--to", "parquet", "--split", "train"), "two of --split"),
    ):
        assert convert(*args, *more) == 2
        assert what in capsys.readouterr().err
    assert not list((source / "out").rglob("*.parquet"))
