"""Predictions shard by shard equal a single process's, whatever the engine, source and kills."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from baselines.archives import members_of
from baselines.pictures import list_pictures
from baselines.predict import main
from entityseg_bench import cli
from entityseg_bench.io import InputError
from entityseg_bench.scale.engines import InOneProcess

pytestmark = pytest.mark.usefixtures("one_thread")
N_IMAGES = 7
MODEL = ("--weights", "mask2former_tiny_demo")


def predict(*args) -> int:
    return main([str(arg) for arg in (*MODEL, *args)])


def picture(seed: int, size=(48, 64)) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Give images by name, in an order that is not that of their names."""
    return {f"p{k * 3 % N_IMAGES}.png": picture(k) for k in range(N_IMAGES)}


@pytest.fixture(scope="module")
def sources(files, tmp_path_factory) -> dict[str, Path]:
    """Put the images into a folder, into tar archives and into Parquet files."""
    import pyarrow as pa
    from pyarrow import parquet

    root = tmp_path_factory.mktemp("sources")
    for kind in ("folder", "tar", "parquet"):
        (root / kind).mkdir()
    for name, data in files.items():
        (root / "folder" / name).write_bytes(data)
    items = sorted(files.items())
    for k, part in enumerate((items[:3], items[3:4], items[4:])):
        with tarfile.open(root / "tar" / f"{k}.tar", "w") as tar:
            for name, data in part:
                for own, content in ((name, data), (name.replace("png", "json"), b"{}")):
                    member = tarfile.TarInfo(own)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        rows = [{"image": {"bytes": d, "path": n}, "file_name": n, "image_id": n} for n, d in part]
        table = pa.Table.from_pylist(rows)
        parquet.write_table(table, root / "parquet" / f"{k}.parquet", row_group_size=2)
    return {kind: root / kind for kind in ("folder", "tar", "parquet")}


@pytest.fixture(scope="module")
def whole(sources, tmp_path_factory) -> list[dict]:
    """Predict in one process; return the records."""
    out = tmp_path_factory.mktemp("whole") / "results.json"
    assert predict("--images", sources["folder"], "--out", out) == 0
    records = json.loads(out.read_text())
    assert len(records) > N_IMAGES
    return records


def records_of(folder: Path) -> list[dict]:
    """Read shards with nothing of ours."""
    from pyarrow import parquet

    paths = sorted(folder.glob("*.parquet"))
    return [row for path in paths for row in parquet.read_table(path).to_pylist()]


def assert_same(folder: Path, records: list[dict]) -> None:
    found = [
        (row["image_id"], row["category_id"], row["score"], row["size"], row["counts"].decode())
        for row in records_of(folder)
    ]
    assert found == [
        (row["image_id"], row["category_id"], row["score"], *row["segmentation"].values())
        for row in records
    ]


def names_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("source", ["tar", "parquet"])
def test_archives_are_read_as_the_folder_is(tmp_path, sources, whole, source):
    out = tmp_path / "r.json"
    assert predict("--images", sources[source], "--out", out) == 0
    assert json.loads(out.read_text()) == whole


@pytest.mark.parametrize("source", ["folder", "tar", "parquet"])
def test_shards_in_this_process_equal_one_file(tmp_path, sources, whole, source):
    args = ("--images", sources[source], "--out", tmp_path / "out", "--shard-images", 3)
    assert predict(*args, "--engine", "local") == 0
    assert names_of(tmp_path / "out") == [f"{k:05}-of-00003.parquet" for k in range(3)]
    assert_same(tmp_path / "out", whole)


def test_shards_on_ray_equal_one_file(tmp_path, sources, whole, on_ray):
    args = ("--images", sources["folder"], "--out", tmp_path / "out", "--shard-images", 3)
    assert predict(*args, "--engine", "ray") == 0
    assert_same(tmp_path / "out", whole)


def test_evaluate_takes_the_shards(tmp_path, sources, whole, capsys):
    """The ground truth is every second segment found, so that the AP is no 0 and no 1."""
    out = tmp_path / "out"
    args = ("--images", sources["folder"], "--out", out, "--shard-images", 3, "--engine", "local")
    assert predict(*args) == 0
    names = sorted({row["image_id"] for row in whole})
    images = [{"id": n, "file_name": n, "height": 64, "width": 48} for n in names]
    rows = [
        {"id": k + 1, "image_id": row["image_id"], "category_id": 0, "iscrowd": 0, "area": 1}
        | {"segmentation": row["segmentation"], "bbox": row["bbox"]}
        for k, row in enumerate(whole[::2])
    ]
    truth = {"images": images, "annotations": rows, "categories": [{"id": 0, "name": "entity"}]}
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "dt.json").write_text(json.dumps(whole))
    printed = []
    for dt, engine in (("dt.json", ()), ("out", ("--engine", "local"))):
        sides = [str(tmp_path / "gt.json"), str(tmp_path / dt)]
        assert cli.main(["evaluate", *sides, "--quiet", *engine]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "100.0" not in printed[0].splitlines()[1]


class Stops(InOneProcess):
    """An engine that breaks off after some results."""

    def __init__(self, n: int) -> None:
        self.n, self.seen = n, []

    def run_made(self, make, items, workers=None, on_gpu=False):
        for at, result in super().run_made(make, items):
            if len(self.seen) == self.n:
                raise KeyboardInterrupt
            self.seen.append(items[at][1].name)
            yield at, result


def test_a_run_that_broke_off_does_only_what_is_left(tmp_path, sources, whole, monkeypatch, capsys):
    args = ("--images", sources["tar"], "--out", tmp_path / "out", "--engine", "local")
    engines = [Stops(1), Stops(9)]
    monkeypatch.setattr("entityseg_bench.scale.engines.engine_of", lambda text: engines[0])
    assert predict(*args) == 130
    assert engines[0].seen == ["00000-of-00003.parquet"]
    assert ".predict.journal" in names_of(tmp_path / "out")
    assert predict(*args, "--threshold", 0.5) == 2
    assert "another threshold" in capsys.readouterr().err
    before = (tmp_path / "out" / "00000-of-00003.parquet").stat()
    engines.pop(0)
    assert predict(*args) == 0
    assert engines[0].seen == [f"0000{k}-of-00003.parquet" for k in (1, 2)]
    after = (tmp_path / "out" / "00000-of-00003.parquet").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert_same(tmp_path / "out", whole)
    assert len(names_of(tmp_path / "out")) == 3


@pytest.mark.skipif(os.name != "posix", reason="no signal ends a process at once")
def test_a_killed_run_goes_on(tmp_path, sources, whole):
    """Whatever was written in that moment is whole or gone; 45 kills on Ray gave equal bytes."""
    args = ("--images", sources["folder"], "--out", tmp_path / "out", "--shard-images", 1)
    command = [sys.executable, "-m", "entityseg_bench.cli", "predict", *map(str, (*MODEL, *args))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for n_written in (1, 3):
        with subprocess.Popen([*command, "--engine", "local"], env=environment) as process:
            while len(list((tmp_path / "out").glob("0*.parquet"))) < n_written:
                assert process.poll() in (None, 0)
                time.sleep(0.003)
            process.kill()
    assert predict(*args, "--engine", "local") == 0
    assert names_of(tmp_path / "out") == [f"{k:05}-of-00007.parquet" for k in range(N_IMAGES)]
    assert_same(tmp_path / "out", whole)


def test_a_shard_that_was_taken_away_meanwhile_is_done_again(tmp_path, sources, whole, monkeypatch):
    args = ("--images", sources["tar"], "--out", tmp_path / "out", "--engine", "local")
    engines = [Stops(2), Stops(9)]
    monkeypatch.setattr("entityseg_bench.scale.engines.engine_of", lambda text: engines.pop(0))
    assert predict(*args) == 130
    (tmp_path / "out" / "00001-of-00003.parquet").unlink()
    assert predict(*args) == 0
    assert_same(tmp_path / "out", whole)


def test_a_broken_image_is_listed_and_the_rest_finishes(tmp_path, files, whole, capsys):
    folder = tmp_path / "pics"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data[:90] if name == "p4.png" else data)
    args = ("--images", folder, "--out", tmp_path / "out", "--shard-images", 2)
    assert predict(*args, "--engine", "local") == 1
    err = capsys.readouterr().err
    assert "p4.png: it cannot be read" in err and "1 images have no result" in err
    assert_same(tmp_path / "out", [row for row in whole if row["image_id"] != "p4.png"])


def test_broken_archives_are_refused(tmp_path, sources, capsys):
    data = (sources["tar"] / "0.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data[:1500])
    (tmp_path / "b.tar").write_bytes(b"no tar" * 200)
    with tarfile.open(tmp_path / "c.tar", "w"):
        pass
    (tmp_path / "d.parquet").write_bytes((sources["parquet"] / "0.parquet").read_bytes()[:-9])
    for name, what in (
        ("a.tar", "a.tar/p0.png: it breaks off|a.tar: it breaks off"),
        ("b.tar", "b.tar: it is no tar archive"),
        ("c.tar", "c.tar: no image is in it"),
        ("d.parquet", "d.parquet: it cannot be read"),
    ):
        with pytest.raises(InputError, match=what):
            for found in members_of(tmp_path / name, {".png"}):
                found.member.read()
        args = ("--images", tmp_path / name, "--out", tmp_path / "out", "--engine", "local")
        assert predict(*args) in (1, 2)
        assert name in capsys.readouterr().err


def test_images_are_never_replaced_by_what_is_predicted_on_them(tmp_path, sources, capsys):
    """A data set's files may be called as the shards of predictions are."""
    source = sources["parquet"] / "0.parquet"
    for name in ("00000-of-00002.parquet", "00001-of-00002.parquet"):
        (tmp_path / name).write_bytes(source.read_bytes())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    one = tmp_path / "00001-of-00002.parquet"
    assert predict("--images", one, "--out", tmp_path, "--engine", "local") == 2
    assert f"{one}: it is read, and would be replaced" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("engine", [(), ("--engine", "local")])
def test_an_image_in_two_archives_is_refused(tmp_path, sources, capsys, engine):
    (tmp_path / "tar").mkdir()
    for name in ("0.tar", "1.tar"):
        (tmp_path / "tar" / name).write_bytes((sources["tar"] / "0.tar").read_bytes())
    assert predict("--images", tmp_path / "tar", "--out", tmp_path / "out", *engine) == 2
    assert "1.tar/p0.png: its id 'p0.png' is that of" in capsys.readouterr().err


def test_what_does_not_go_with_an_engine_is_refused(tmp_path, sources, capsys):
    images = ("--images", sources["folder"])
    for args, what in (
        (("--out", tmp_path / "r.json", "--engine", "local"), "writes Parquet shards"),
        (("--out", tmp_path / "o", "--engine", "local", "--write", "ids"), "leave --write out"),
        (("--out", tmp_path / "o", "--engine", "dask"), "there is no engine 'dask'"),
        (("--out", tmp_path / "o", "--engine", "local", "--shard-images", 0), "1 or more"),
    ):
        assert predict(*images, *args) == 2
        assert what in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def dies_once(marker: Path, make):
    """Return a function that kills its process with the first shard of all."""
    work = make()

    def call(*item):
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)
        except FileExistsError:
            pass
        return work(*item)

    return call


def test_a_killed_actor_changes_nothing(tmp_path, sources, whole, on_ray, monkeypatch):
    class Deadly:
        run = on_ray.run

        def run_made(self, make, items, *about):
            return on_ray.run_made(partial(dies_once, tmp_path / "killed", make), items, *about)

    monkeypatch.setattr("entityseg_bench.scale.engines.engine_of", lambda text: Deadly())
    args = ("--images", sources["tar"], "--out", tmp_path / "out", "--engine", "ray")
    assert predict(*args) == 0
    assert (tmp_path / "killed").exists()
    assert_same(tmp_path / "out", whole)


def test_a_model_that_cannot_be_made_says_why(tmp_path, on_ray):
    def make():
        raise InputError("weights", "", "they are gone.")

    with pytest.raises(InputError, match="weights: they are gone"):
        list(on_ray.run_made(make, [(0,), (1,)]))


def test_gpus_that_are_not_there_are_missed(on_ray):
    with pytest.raises(InputError, match="no machine of the cluster has a GPU"):
        list(on_ray.run_made(lambda: len, [("",)], on_gpu=True))


def test_a_folder_of_images_and_an_archive_is_a_folder_of_images(tmp_path, files):
    (tmp_path / "a.png").write_bytes(next(iter(files.values())))
    (tmp_path / "b.tar").write_bytes(b"")
    assert [one.image_id for one in list_pictures(tmp_path)] == ["a.png"]
