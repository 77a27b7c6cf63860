"""The recipe of COCO-Entity, on segments whose numbers a reader can check."""

import json

import numpy as np
import pytest

from entity_api import rle
from entityseg_bench.cli import main
from entityseg_bench.coco_entity import coco_entity
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.demo import write_demo
from entityseg_bench.io import InputError
from entityseg_bench.types import Annotation, Category, ImageInfo


def annotation(number, image_id, category_id, mask, iscrowd=False):
    code = rle.encode(mask)
    code = {"size": list(code["size"]), "counts": code["counts"]}
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
    return Annotation(
        number, image_id, category_id, code, float(mask.sum()), tuple(map(float, box)), iscrowd
    )


def dataset(annotations, task="panoptic"):
    images = [ImageInfo(7, "a.jpg", 6, 8), ImageInfo(9, "b.jpg", 6, 8)]
    tables = [Category(3, "person", type="thing"), Category(80, "sky", type="stuff")]
    return EntityDataset(images, annotations, tables, task)


@pytest.fixture
def segments():
    bent = np.zeros((6, 8), bool)
    bent[1, 1:5] = bent[1:4, 1] = True  # 6 pixels in a box of 3 x 4
    rest = np.zeros((6, 8), bool)
    rest[4:] = True
    crowd = np.zeros((6, 8), bool)
    crowd[0, 5:] = True
    return [
        annotation(11, 7, 3, bent), annotation(12, 7, 80, rest),
        annotation(13, 7, 3, crowd, iscrowd=True), annotation(14, 9, 3, rest),
    ]  # fmt: skip


def test_segments_become_entities_with_the_area_of_their_box(segments):
    made, n_crowds = coco_entity(dataset(segments))
    assert (made.task, n_crowds, len(made)) == ("entity", 1, 2)
    found = [a for _, annotations in made for a in annotations]
    assert [a.id for a in found] == [0, 1, 2]
    assert [a.area for a in found] == [12, 16, 16]
    assert [a.image_id for a in found] == [7, 7, 9]
    assert {a.category_id for a in found} == {0}
    assert [a.extra["category_id_ori"] for a in found] == [3, 80, 3]
    masks = [rle.decode(a.segmentation).tolist() for a in found]
    assert masks == [rle.decode(segments[k].segmentation).tolist() for k in (0, 1, 3)]


def test_void_is_not_clipped(segments):
    assert dataset(segments).ground_truth().void is not None
    assert coco_entity(dataset(segments)).dataset.ground_truth().void is None


def test_other_types_are_refused(segments):
    with pytest.raises(InputError, match="made of panoptic segments"):
        coco_entity(dataset(segments, "instance"))
    with pytest.raises(InputError, match="no segment but crowds"):
        coco_entity(dataset([segments[2]]))


def test_the_command(shared, tmp_path, capsys):
    source = shared / "realdata/panoptic/panoptic_examples.json"
    maps = [row["segments_info"] for row in json.loads(source.read_bytes())["annotations"]]
    target = tmp_path / "coco_entity.json"
    assert main(["convert", str(source), str(target), "--to", "coco-entity", "--jobs", "1"]) == 0
    made = json.loads(target.read_bytes())
    segments = [segment for segments in maps for segment in segments]
    kept = [segment for segment in segments if not segment["iscrowd"]]
    assert [a["category_id_ori"] for a in made["annotations"]] == [s["category_id"] for s in kept]
    assert [a["area"] for a in made["annotations"]] == [s["bbox"][2] * s["bbox"][3] for s in kept]
    assert [row["name"] for row in made["categories"]] == ["entity"]
    lost = f"lost: {len(segments) - len(kept)} crowd segments"
    assert (lost in capsys.readouterr().out) == (len(kept) < len(segments))


def test_the_command_takes_one_file(tmp_path, capsys):
    root = write_demo(tmp_path / "demo", 8, size=(40, 60))
    assert main(["convert", str(root), str(tmp_path / "out"), "--to", "coco-entity"]) == 2
    assert "made of one panoptic JSON" in capsys.readouterr().err
