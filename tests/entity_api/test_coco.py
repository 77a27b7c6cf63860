"""What COCO, mask and the drop-in do beyond pycocotools: files, pictures, refusals."""

import copy
import gzip
import json
import subprocess
import sys

import numpy as np
import pytest
from coco_faces import FACES, OURS, THEIRS, index, quietly, scene

import entity_api

DATASET, RESULTS = scene(11)
IMAGE = DATASET["images"][0]["id"]
SQUARE = [1.0, 1.0, 5.0, 1.0, 5.0, 5.0, 1.0, 5.0]


def coco(face):
    return index(face, DATASET)


FAR = {
    "a far corner": [np.array([-164.0, -222.0, 2.08e8, 3.5e8, 226.0, 237.0])],
    "a huge box": np.array([[0.0, 0.0, 1e12, 1e12]]),
    "a long way": [[-3e6, 0, 3e6, 1, 0, 2]],
    "nan": [[float("nan"), 0, 1, 1, 2, 2]],
    "infinity": [[float("inf"), 0, 1, 1, 2, 2]],
    "points in lists": [[[0, 0], [1, 1], [2, 2]]],
    "words": [["a", "b", "c", "d", "e", "f"]],
    "a number": 7,
    "a text": "polygon",
}


@pytest.mark.parametrize("name", FAR)
def test_what_cannot_be_drawn_is_refused(name):
    """pycocotools takes all memory for the first ones, or dies."""
    with pytest.raises(ValueError, match=r"polygon or box|outline|drawn from"):
        OURS.mask.frPyObjects(FAR[name], 28, 28)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_files_in_other_encodings(tmp_path, encoding, packed):
    named = copy.deepcopy(DATASET)
    named["categories"][0]["name"] = "Bäume"
    content = json.dumps(named, ensure_ascii=False).encode(encoding)
    path = tmp_path / "gt.json"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert entity_api.COCO(path).dataset == named
    path.write_bytes(json.dumps(RESULTS).encode(encoding))
    assert len(entity_api.COCO(named).loadRes(str(path)).anns) == len(RESULTS)


def test_a_file_of_a_list_is_an_assertion_error_on_both_sides(tmp_path):
    path = tmp_path / "gt.json"
    path.write_text("[]")
    for face in FACES:
        with pytest.raises(AssertionError):
            quietly(face.COCO, str(path))


def test_class_agnostic():
    agnostic = entity_api.COCO(DATASET, class_agnostic=True)
    results = agnostic.loadRes(RESULTS)
    for side in (agnostic, results):
        assert {ann["category_id"] for ann in side.anns.values()} == {1} == set(side.cats)
    assert {ann["category_id"] for ann in DATASET["annotations"]} != {1}


def shown(face, anns, **options):
    """Draw, and describe what lies on the axes: but for colours, which are random."""
    import matplotlib.pyplot as plt

    plt.close("all")
    quietly(lambda: coco(face).showAnns(anns, **options))
    axes = plt.gca()
    outlines = [path.vertices.round(6).tolist() for c in axes.collections for path in c.get_paths()]
    opacities = [image.get_array()[..., 3].tolist() for image in axes.images]
    lines = [line.get_xydata().tolist() for line in axes.lines]
    plt.close("all")
    return outlines, opacities, lines


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_show_annotations():
    pytest.importorskip("matplotlib").use("Agg")
    anns = copy.deepcopy(DATASET["annotations"][:3])
    anns[1]["segmentation"] = [SQUARE, SQUARE]
    for ann in anns:
        ann["category_id"] = 1
        ann.pop("keypoints")
    for draw_bbox in (False, True):
        ours, theirs = (shown(face, anns, draw_bbox=draw_bbox)[:2] for face in (OURS, THEIRS))
        assert ours[0] == theirs[0] and len(ours[0]) > 0
        # pycocotools paints with alpha at half a mask's values.
        assert ours[1] == theirs[1] and len(ours[1]) == 2


def test_show_keypoints(monkeypatch):
    pytest.importorskip("matplotlib").use("Agg")
    dataset = copy.deepcopy(DATASET)
    dataset["categories"][0]["skeleton"] = [[1, 2], [2, 3]]
    ann = {"category_id": 1, "keypoints": [0, 0, 2, 3, 3, 1, 5, 5, 0] + [0] * 42}
    found = []
    for face in FACES:
        monkeypatch.setitem(globals(), "coco", lambda f: index(f, dataset))
        found.append(shown(face, [ann])[2])
    assert found[0] == found[1] and len(found[0]) == 3


def test_nothing_to_show():
    with pytest.raises(ValueError, match="segmentation, keypoints or a caption"):
        coco(OURS).showAnns([{"id": 1}])


def test_download(tmp_path):
    source = tmp_path / "source.png"
    source.write_bytes(b"pixels")
    gt = coco(OURS)
    for image in gt.imgs.values():
        image["coco_url"] = source.as_uri()
    gt.download(tmp_path / "all")
    gt.download(tmp_path / "one", [IMAGE])
    assert len(list((tmp_path / "all").iterdir())) == len(gt.imgs)
    assert [path.read_bytes() for path in (tmp_path / "one").iterdir()] == [b"pixels"]
    gt.imgs[IMAGE]["file_name"] = "../out.png"
    with pytest.raises(ValueError, match="leads out of"):
        gt.download(tmp_path / "one", [IMAGE])


DROP_IN = """
import entity_api
entity_api.init_as_pycocotools()
import pycocotools
import pycocotools.mask as mask_utils
from pycocotools import _mask, mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params
assert COCO is entity_api.COCO and COCOeval is entity_api.COCOeval
assert mask_utils is mask is entity_api.mask
assert _mask.encode is mask.encode and pycocotools.mask is mask
print(mask.frPyObjects([[0, 0, 2, 0, 2, 2, 0, 2]], 2, 3))
"""


def test_in_the_place_of_pycocotools():
    done = subprocess.run(
        [sys.executable, "-c", DROP_IN], capture_output=True, text=True, check=False
    )
    assert done.stdout == "[{'size': [2, 3], 'counts': b'042'}]\n", done.stderr
