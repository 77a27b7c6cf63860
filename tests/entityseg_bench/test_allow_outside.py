"""Commands and Python doors read nothing outside of the folders that they were given."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from entity_api import rle
from entityseg_bench.cli import main
from entityseg_bench.formats.panoptic import read_panoptic
from entityseg_bench.io import InputError
from entityseg_bench.layout import ImageFiles
from entityseg_bench.names import outside_allowed
from entityseg_bench.types import ImageInfo

NAMES = ["../secret/a.png", "{}/secret/a.png", "link.png", "up/a.png"]


@pytest.fixture
def folder(tmp_path):
    """Make images with links out of them, and a picture outside."""
    for name, colour in (("secret", 200), ("images", 10)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (5, 4), (colour, 0, 0)).save(tmp_path / name / "a.png")
    (tmp_path / "images/a.png").rename(tmp_path / "images/b.png")
    (tmp_path / "images/link.png").symlink_to("../secret/a.png")
    (tmp_path / "images/up").symlink_to("../secret")
    return tmp_path


def annotations(folder, name):
    """Write COCO annotations and results for one image."""
    mask = rle.encode(np.ones((4, 5), bool))
    segment = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": mask, "area": 20}
    content = {
        "images": [{"id": 1, "file_name": name.format(folder), "height": 4, "width": 5}],
        "annotations": [{**segment, "bbox": [0, 0, 5, 4], "iscrowd": 0}],
        "categories": [{"id": 1, "name": "a"}],
    }
    (folder / "gt.json").write_text(json.dumps(content))
    (folder / "dt.json").write_text(json.dumps([{**segment, "score": 0.5}]))
    return str(folder / "gt.json"), str(folder / "dt.json")


@pytest.mark.parametrize("name", NAMES)
def test_commands_refuse(folder, name, capsys):
    gt, dt = annotations(folder, name)
    images, out = str(folder / "images"), folder / "out"
    to_parquet = ["--to", "parquet", "--embed-images", "--split", "val", "--jobs", "1"]
    for command in (
        ["visualize", gt, dt, "--images", images, "--out", str(out)],
        ["report", gt, dt, "--images", images, "--out", str(folder / "a.html"), "--resamples", "9"],
        ["convert", gt, str(out), *to_parquet, "--images", images],
    ):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert "leads out of this folder" in said
        assert "--allow-outside" in said
        assert "image 1" in said
        assert said.count("\n") == 1
        written = [*out.rglob("*.png"), *out.rglob("*.parquet"), *folder.glob("*.html")]
        assert written == []
        assert main([*command, "--allow-outside"]) == 0
        assert capsys.readouterr().err == ""
        shutil.rmtree(out, ignore_errors=True)
        (folder / "a.html").unlink(missing_ok=True)


def test_what_is_allowed_is_settled_when_the_files_are_opened(folder):
    image = ImageInfo(1, "link.png", 4, 5)
    with outside_allowed():
        files = ImageFiles(folder / "images")
    assert files.find(image) == folder / "images/link.png"
    with pytest.raises(InputError, match="leads out"):
        ImageFiles(folder / "images").find(image)


def test_the_folder_of_images_may_be_a_link(folder):
    root = folder / "set"
    root.mkdir()
    (root / "images").symlink_to("../images")
    for name in ("b.png", "images/b.png", "somewhere/b.png"):
        assert ImageFiles(root).find(ImageInfo(1, name, 4, 5)).samefile(folder / "images/b.png")


def test_an_image_that_only_a_link_has_is_not_found_by_its_base_name(folder):
    (folder / "images/deep").mkdir()
    (folder / "images/deep/c.png").symlink_to("../../secret/a.png")
    with pytest.raises(InputError, match="no such image file"):
        ImageFiles(folder / "images").find(ImageInfo(1, "c.png", 4, 5))


@pytest.mark.parametrize("name", NAMES)
def test_maps_are_those_of_the_folder(folder, name, capsys):
    images = [{"id": 1, "file_name": name.format(folder), "height": 4, "width": 5}]
    row = {"image_id": 1, "file_name": name.format(folder), "segments_info": []}
    content = {"images": images, "annotations": [row], "categories": []}
    (folder / "pan.json").write_text(json.dumps(content))
    (folder / "list.txt").write_text(f"a.jpg {name.format(folder)}\n")
    index = {**content, "task": "entity", "annotations": []}
    for kind in ("ids", "npz"):
        (folder / kind).mkdir()
        (folder / kind / "annotations.json").write_text(json.dumps(index))
    shutil.copytree(folder / "images", folder / "ids", dirs_exist_ok=True, symlinks=True)
    (folder / "npz/link.npz").symlink_to("../secret/a.png")
    (folder / "npz/up").symlink_to("../secret")
    commands = [
        [str(folder / "pan.json"), "--gt-maps", str(folder / "images")],
        [str(folder / "list.txt"), "--gt-maps", str(folder / "images")],
        [str(folder / "ids")],
        [str(folder / "npz"), "--gt-format", "npz"],
    ]
    for command in commands:
        assert main(["evaluate", *command, annotations(folder, "b.png")[1]]) == 2
        said = capsys.readouterr().err
        assert "leads out of this folder" in said
        assert said.count("\n") == 1


def test_panoptic_maps_may_be_allowed(folder):
    content = {
        "images": [{"id": 1, "file_name": "link.png", "height": 4, "width": 5}],
        "annotations": [],
        "categories": [],
    }
    (folder / "pan.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="leads out"):
        read_panoptic(folder / "pan.json", folder / "images")
    with outside_allowed():
        assert len(read_panoptic(folder / "pan.json", folder / "images")) == 0
