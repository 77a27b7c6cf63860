"""The recipe of COCO-Entity, on segments whose numbers a reader can check."""

import numpy as np
import pytest

from entity_api import rle
from entityseg_bench.coco_entity import coco_entity
from entityseg_bench.dataset import EntityDataset
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
