"""A data set through turbulent air: the same names, sizes and annotations, other pixels."""

import json
import os

import numpy as np
import pytest

pytest.importorskip("skimage")

from PIL import Image

from entityseg_bench.categories import TASKS
from entityseg_bench.cli import main
from entityseg_bench.corrupt import NOTE
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.demo import write_demo
from entityseg_bench.io import locked


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("corrupt") / "demo", 8, 0, (60, 90))


def test_every_type_opens_with_other_pixels(demo, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["corrupt", str(demo), str(out), "--distance", "100", "--split", "both"]) == 0
    assert "8 images at 100 m" in capsys.readouterr().out
    for task in TASKS:
        ours = EntityDataset.open(out, task, "val")
        theirs = EntityDataset.open(demo, task, "val")
        assert ours.images == theirs.images
        for own, other in zip(ours.images, theirs.images, strict=True):
            seen, there = ours.read_image(own), theirs.read_image(other)
            assert seen.shape == there.shape
            assert not np.array_equal(seen, there)


def test_the_air_is_the_same_each_time_and_differs_by_seed(demo, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        args = ["corrupt", str(demo), str(tmp_path / name), "--distance", "50", "--seed", str(seed)]
        assert main(args) == 0
    found = sorted(
        path.relative_to(tmp_path / "a") for path in (tmp_path / "a/images").rglob("*.*")
    )
    assert len(found) == 3
    for path in found:
        first, again, other = ((tmp_path / name / path).read_bytes() for name in "abc")
        assert first == again != other


def test_no_distance_copies_the_files(demo, tmp_path):
    assert main(["corrupt", str(demo), str(tmp_path / "out"), "--distance", "0"]) == 0
    for path in (tmp_path / "out/images").rglob("*.jpg"):
        assert path.read_bytes() == (demo / path.relative_to(tmp_path / "out")).read_bytes()


def test_a_stopped_run_goes_on_and_another_is_refused(demo, tmp_path, capsys):
    args = ["corrupt", str(demo), str(tmp_path / "out"), "--distance", "100"]
    assert main(args) == 0
    first, *rest = sorted((tmp_path / "out/images").rglob("*.jpg"))
    before, stamp = first.read_bytes(), rest[0].stat().st_mtime_ns
    first.unlink()
    assert main(args) == 0
    assert first.read_bytes() == before and rest[0].stat().st_mtime_ns == stamp
    assert main([*args, "--seed", "1"]) == 2
    assert "another corruption is in this folder" in capsys.readouterr().err


@pytest.mark.parametrize("inside", ["out", "images/out", "."])
def test_the_data_set_is_not_written_into(demo, inside, capsys):
    assert main(["corrupt", str(demo), str(demo / inside), "--distance", "100"]) == 2
    assert "lies in the data set's folder" in capsys.readouterr().err


def test_what_is_there_is_not_mixed_in(demo, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["corrupt", str(demo), str(tmp_path), "--distance", "100"]) == 2
    assert "the folder is not empty" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_circle_of_links_is_said(tmp_path, capsys):
    (tmp_path / "circle").symlink_to("circle")
    args = ["corrupt", str(tmp_path / "circle"), str(tmp_path / "out"), "--distance", "100"]
    assert main(args) == 2
    assert "circle: " in capsys.readouterr().err


def test_a_damaged_note_is_said(demo, tmp_path, capsys):
    args = ["corrupt", str(demo), str(tmp_path / "out"), "--distance", "100"]
    assert main(args) == 0
    note = tmp_path / "out" / NOTE
    note.write_text('{"seed"')
    assert main(args) == 2
    assert str(note) in capsys.readouterr().err


def test_impossible_air_is_said(demo, tmp_path, capsys):
    args = ["corrupt", str(demo), str(tmp_path / "out"), "--distance", "100", "--cn2", "0"]
    assert main(args) == 2
    assert "cn2 0.0 must be greater than 0" in capsys.readouterr().err


def test_an_orientation_tag_stays(demo, tmp_path):
    copy = write_demo(tmp_path / "demo", 8, 0, (60, 90))
    dataset = EntityDataset.open(copy, "entity", "val")
    path = dataset.image_path(dataset.images[0])
    with Image.open(path) as opened:
        exif = opened.getexif()
        exif[0x0112] = 1
        opened.save(path, exif=exif)
    assert main(["corrupt", str(copy), str(tmp_path / "out"), "--distance", "10"]) == 0
    with Image.open(tmp_path / "out" / path.relative_to(copy)) as opened:
        assert opened.getexif()[0x0112] == 1


def test_a_run_that_was_killed_while_it_linked_goes_on(demo, tmp_path):
    args = ["corrupt", str(demo), str(tmp_path / "out"), "--distance", "100"]
    assert main(args) == 0
    whole = sorted(path.name for path in (tmp_path / "out").iterdir())
    for name in ("annotations", "demo.json"):
        (tmp_path / "out" / name).unlink()
    assert main(args) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == whole


def test_an_image_that_was_changed_is_written_again(tmp_path):
    copy = write_demo(tmp_path / "demo", 8, 0, (60, 90))
    args = ["corrupt", str(copy), str(tmp_path / "out"), "--distance", "100"]
    assert main(args) == 0
    dataset = EntityDataset.open(copy, "entity", "val")
    path = dataset.image_path(dataset.images[0])
    written = tmp_path / "out" / path.relative_to(copy)
    before = written.read_bytes()
    Image.fromarray(255 - dataset.read_image(dataset.images[0])).save(path)
    # Another image may be older than the copy of the one whose name it has.
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert main(args) == 0
    assert written.read_bytes() != before


def test_two_processes_do_not_write_one_folder(demo, tmp_path, capsys):
    with locked(tmp_path / "out"):
        assert main(["corrupt", str(demo), str(tmp_path / "out"), "--distance", "100"]) == 2
    assert "is writing it" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("name", ["../../victim.jpg", "../victim.jpg", "{outside}/victim.jpg"])
def test_a_copy_stays_in_its_folder(demo, tmp_path, capsys, name):
    copy = write_demo(tmp_path / "demo", 8, 0, (60, 90))
    path = copy / "annotations/entity_segmentation/entityv2_010203_entity_val.json"
    content = json.loads(path.read_bytes())
    victims = [tmp_path / "victim.jpg", copy / "victim.jpg", tmp_path / "elsewhere/victim.jpg"]
    for victim in victims:
        victim.parent.mkdir(exist_ok=True)
        height, width = content["images"][0]["height"], content["images"][0]["width"]
        Image.new("RGB", (width, height)).save(victim)
    before = [victim.read_bytes() for victim in victims]
    content["images"][0]["file_name"] = name.format(outside=tmp_path / "elsewhere")
    path.write_text(json.dumps(content))
    args = ["corrupt", str(copy), str(tmp_path / "out"), "--distance", "100", "--allow-outside"]
    code = main(args)
    assert [victim.read_bytes() for victim in victims] == before
    assert not list(tmp_path.glob("*.jpg"))[1:]
    if code:
        assert "has no place" in capsys.readouterr().err
    else:
        # The one that is in the data set's folder has its copy in the other.
        assert (tmp_path / "out/victim.jpg").is_file()
