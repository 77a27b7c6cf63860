"""Arguments of other kinds than a function's own, in every function of both faces.

The rule is one: the same answer, or an error on either side, never another answer. Where
pycocotools raises (or gives None for an answer) and this package reads what was meant, that is the
README's row on it; where this package alone refuses, it stands in ``REFUSED`` with its reason.
"""

import numpy as np
import pytest
from coco_faces import FACES, alike, index, outcome, scene

DATASET, RESULTS = scene(11)
BITS = np.asfortranarray(np.random.default_rng(0).integers(0, 2, (6, 5, 3)).astype(np.uint8))
POLYGON = [1.0, 1, 5, 1, 5, 5, 1, 5]


def coco(face):
    return index(face, DATASET)


def codes(face):
    return face.mask.encode(BITS)


VALUES = {
    "nothing": None,
    "an id": 1,
    "numpy's id": np.int64(1),
    "a list": [1],
    "a tuple": (1, 2),
    "a set": {1},
    "an array": np.array([1, 2]),
    "two axes": np.array([[1], [2]]),
    "text": "1",
    "bytes": b"1",
    "an empty list": [],
    "an empty array": np.array([]),
    "a float": 1.0,
    "a flag": True,
    "a dict": {1: 2},
    "a range": range(4),
    "several kinds": [1, "a", None],
    "twice": [1, 1],
}
IDS = {
    "getAnnIds(imgIds)": lambda f, v: coco(f).getAnnIds(imgIds=v),
    "getAnnIds(catIds)": lambda f, v: coco(f).getAnnIds(catIds=v),
    "getAnnIds(areaRng)": lambda f, v: coco(f).getAnnIds(areaRng=v),
    "getAnnIds(iscrowd)": lambda f, v: coco(f).getAnnIds(iscrowd=v),
    "getImgIds(imgIds)": lambda f, v: sorted(coco(f).getImgIds(imgIds=v), key=str),
    "getImgIds(catIds)": lambda f, v: sorted(coco(f).getImgIds(catIds=v), key=str),
    "getImgIds": lambda f, v: sorted(coco(f).getImgIds([3, 9], v), key=str),
    "getCatIds(catIds)": lambda f, v: coco(f).getCatIds(catIds=v),
    "getCatIds(catNms)": lambda f, v: coco(f).getCatIds(catNms=v),
    "getCatIds(supNms)": lambda f, v: coco(f).getCatIds(supNms=v),
    "loadAnns": lambda f, v: coco(f).loadAnns(v),
    "loadCats": lambda f, v: coco(f).loadCats(v),
    "loadImgs": lambda f, v: coco(f).loadImgs(v),
    "loadRes": lambda f, v: coco(f).loadRes(v).dataset,
    "loadNumpyAnnotations": lambda f, v: coco(f).loadNumpyAnnotations(v),
    "showAnns": lambda f, v: coco(f).showAnns(v),
    "annToRLE": lambda f, v: coco(f).annToRLE(v),
    "COCO": lambda f, v: None if v is None else f.COCO(v).dataset,
    "Params": lambda f, v: vars(f.Params(v)),
    "area": lambda f, v: f.mask.area(v),
    "toBbox": lambda f, v: f.mask.toBbox(v),
    "merge": lambda f, v: f.mask.merge(v),
    "merge(intersect)": lambda f, v: f.mask.merge(codes(f), v),
    "frPyObjects": lambda f, v: f.mask.frPyObjects(v, 5, 5),
    "iou(dt)": lambda f, v: f.mask.iou(v, codes(f), [0, 0, 0]),
    "iou(gt)": lambda f, v: f.mask.iou(codes(f), v, [0, 0, 0]),
    "iou(pyiscrowd)": lambda f, v: f.mask.iou(codes(f), codes(f), v),
}
BOXES = {
    "a list": [[1.0, 1, 3, 3]],
    "whole numbers": [[1, 1, 3, 3]],
    "an array": np.array([[1.0, 1, 3, 3]]),
    "an array of whole numbers": np.array([[1, 1, 3, 3]]),
    "an array of float32": np.array([[1.1, 1, 3, 3]], np.float32),
    "tuples": [(1.0, 1, 3, 3)],
    "arrays in a list": [np.array([1.0, 1, 3, 3])],
    "one box": [1.0, 1, 3, 3],
    "five numbers": [[1.0, 1, 3, 3, 3]],
    "no extent": [[1.0, 1, 0, 0]],
    "less than none": [[1.0, 1, -2, -2]],
    "nan": [[1.0, float("nan"), 2, 2]],
    "infinite": [[1.0, 1, float("inf"), 2]],
    "text": [["1", "1", "3", "3"]],
    "nothing": [None],
    "no box": np.zeros((0, 4)),
    "two lengths": [[1.0, 1, 3, 3], [1.0, 1, 3]],
}
SHAPES = {
    **BOXES,
    "a polygon": [POLYGON],
    "polygons in a tuple": (POLYGON,),
    "a tuple": [tuple(POLYGON)],
    "an array of polygons": np.array([POLYGON]),
    "partly outside": [[-3.0, -3, 5, 1, 5, 5]],
    "one point": [[1.0, 1]],
    "the same point": [[1.0, 1, 1, 1, 1, 1]],
    "half pixels": [[0.5, 0.5, 3.5, 0.5, 3.5, 3.5]],
    "polygons and codes": [POLYGON, {"size": [5, 5], "counts": [25]}],
    "run lengths in a tuple": {"size": [4, 5], "counts": (3, 17)},
    "run lengths in an array": {"size": [4, 5], "counts": np.array([3, 17])},
    "run lengths as floats": {"size": [4, 5], "counts": [3.0, 17.0]},
    "run lengths as text": {"size": [4, 5], "counts": ["3", "17"]},
    "run lengths and a half": {"size": [4, 5], "counts": [3.5, 16.5]},
    "no run lengths": {"size": [4, 5], "counts": []},
    "compressed": {"size": [4, 5], "counts": b"3a0"},
    "no size": {"counts": [3, 17]},
}
# These end the process in pycocotools.
CRASHES = {"nan", "infinite"}
SIZES = {
    "a tuple": (6, 5),
    "an array": np.array([6, 5]),
    "floats": [6.0, 5.0],
    "a half": [6.5, 5.0],
    "text": "65",
    "one number": [6],
    "three": [6, 5, 3],
    "less than none": [-6, 5],
    "height for width": [5, 6],
    "nothing": None,
}
TYPES = (np.uint8, bool, np.int8, np.int64, np.float64)
CASES = {
    **{
        f"{name}: {kind}": (lambda f, c=call, v=value: c(f, v))
        for name, call in IDS.items()
        for kind, value in VALUES.items()
    },
    **{
        f"iou of boxes: {first}, {second}": (
            lambda f, x=x, y=y: f.mask.iou(x, y, [0] * len(y))
        )
        for first, x in BOXES.items()
        for second, y in BOXES.items()
    },
    **{
        f"frPyObjects of: {kind}": (lambda f, v=value: f.mask.frPyObjects(v, 5, 5))
        for kind, value in SHAPES.items()
        if kind not in CRASHES
    },
    **{
        f"annToMask of: {kind}": (
            lambda f, v=value: coco(f).annToMask(
                {"image_id": DATASET["images"][0]["id"], "segmentation": v}
            )
        )
        for kind, value in SHAPES.items()
        if kind not in CRASHES
    },
    **{
        f"size in {name}: {kind}": (
            lambda f, n=name, s=size: getattr(f.mask, n)(
                {"size": s, "counts": codes(f)[0]["counts"]}
            )
        )
        for name in ("decode", "area", "toBbox")
        for kind, size in SIZES.items()
    },
    **{
        f"encode {kind.__name__} in order {order}": (
            lambda f, k=kind, o=order: f.mask.encode(np.array(BITS, dtype=k, order=o))
        )
        for kind in TYPES
        for order in "CF"
    },
    "encode no pixels": lambda f: f.mask.encode(np.zeros((0, 5, 2), np.uint8, order="F")),
    "sums over IoU": lambda f: f.mask.iou(codes(f), codes(f), [0, 0, 0]).flags.f_contiguous,
}  # fmt: skip
# What is answered there and refused here.
REFUSED = {
    "nan in a box: what is compared with it means nothing": (
        "iou of boxes: nan,", "iou of boxes: a list, nan", "iou of boxes: whole numbers, nan",
        "iou of boxes: an array, nan", "iou of boxes: an array of whole numbers, nan",
        "iou of boxes: an array of float32, nan", "iou of boxes: arrays in a list, nan",
        "iou of boxes: no extent, nan", "iou of boxes: less than none, nan",
        "iou of boxes: infinite, nan", "iou of boxes: text, nan",
    ),
    "there the array's first numbers are read as a box": (
        "frPyObjects of: an array of polygons",),
    "there a half is cut off": ("frPyObjects of: run lengths and a half",),
    "there the memory behind the runs is drawn": (
        "annToMask of: run lengths and a half", "annToMask of: no run lengths"),
    "a size is two whole numbers: another one is a broken record": (
        "size in decode: a half", "size in area: a half", "size in toBbox: a half",
        "size in decode: three", "size in area: three", "size in toBbox: three",
    ),
    "there the answer is None": (
        "loadAnns: nothing", "loadCats: nothing", "loadImgs: nothing", "loadImgs: numpy's id",
        "loadImgs: a float", "loadImgs: a flag",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
def test_the_same_answer_or_an_error(name):
    theirs, ours = (outcome(CASES[name], face) for face in FACES)
    refused = any(name.startswith(start) for starts in REFUSED.values() for start in starts)
    if isinstance(ours, type):
        assert issubclass(ours, Exception)
        assert isinstance(theirs, type) or refused, theirs
    else:
        assert isinstance(theirs, type) or theirs is None or alike(ours, theirs), (theirs, ours)


def test_every_refusal_happens():
    for starts in REFUSED.values():
        for start in starts:
            found = [
                outcome(call, FACES[1]) for name, call in CASES.items() if name.startswith(start)
            ]
            assert any(isinstance(one, type) for one in found), start
