"""Every public call of pycocotools, of both: the same answer, or a row of the table in the docs.

A call is a function of a face (see `coco_faces`). In ``DIFFERENT`` stands what pycocotools does,
what is done here, and the row of that table that says why.
"""

import copy

import numpy as np
import pytest
from coco_faces import FACES, OURS, THEIRS, alike, index, load, only, outcome, quietly, scene

import entity_api
from entity_api import RLEError

DATASET, RESULTS = scene(11)
ANN = DATASET["annotations"][0]
IMAGE = DATASET["images"][0]["id"]
NAN = float("nan")
SQUARE = [1.0, 1.0, 5.0, 1.0, 5.0, 5.0, 1.0, 5.0]
BITS = np.asfortranarray(np.random.default_rng(0).integers(0, 2, (6, 5, 3)).astype(np.uint8))
ONE = np.asfortranarray(BITS[:, :, 0])


def codes(face):
    return face.mask.encode(BITS)


def coco(face):
    return index(face, DATASET)


def broken(counts):
    return {"size": [4, 5], "counts": counts}


MASK_CALLS = {
    "encode one": lambda f: f.mask.encode(ONE),
    "encode several": codes,
    "encode bool": lambda f: f.mask.encode(ONE.astype(bool)),
    "encode twos": lambda f: f.mask.encode(np.asfortranarray(ONE * 2)),
    "encode none": lambda f: f.mask.encode(BITS[:, :, :0]),
    "decode one": lambda f: f.mask.decode(codes(f)[0]),
    "decode several": lambda f: f.mask.decode(codes(f)),
    "area one": lambda f: f.mask.area(codes(f)[0]),
    "area several": lambda f: f.mask.area(codes(f)),
    "area none": lambda f: f.mask.area([]),
    "box one": lambda f: f.mask.toBbox(codes(f)[0]),
    "box several": lambda f: f.mask.toBbox(codes(f)),
    "box none": lambda f: f.mask.toBbox([]),
    "merge": lambda f: f.mask.merge(codes(f)),
    "merge one": lambda f: f.mask.merge(codes(f)[:1]),
    "merge none": lambda f: f.mask.merge([]),
    "intersect": lambda f: f.mask.merge(codes(f), intersect=True),
    "intersect, by position": lambda f: f.mask.merge(codes(f), 1),
    "iou": lambda f: f.mask.iou(codes(f), codes(f), [0, 1, 0]),
    "iou, counts as text": lambda f: f.mask.iou(
        [{"size": [6, 5], "counts": codes(f)[0]["counts"].decode()}], codes(f), [0, 0, 0]
    ),
    "iou, flags as an array": lambda f: f.mask.iou(codes(f), codes(f), np.array([0, 1, 0])),
    "iou of nothing": lambda f: f.mask.iou([], codes(f), [0, 0, 0]),
    "iou with nothing": lambda f: f.mask.iou(codes(f), [], []),
    "iou, too few flags": lambda f: f.mask.iou(codes(f), codes(f), [0]),
    "iou of two sizes": lambda f: f.mask.iou(
        codes(f), [f.mask.encode(np.asfortranarray(np.ones((4, 4), np.uint8))), codes(f)[1]], [0, 1]
    ),
    "iou of two sizes apart": lambda f: f.mask.iou(
        f.mask.frPyObjects([[0.0, 0, 2, 0, 2, 2, 0, 2]], 9, 9),
        f.mask.frPyObjects([[5.0, 5, 7, 5, 7, 7, 5, 7]], 8, 9),
        [0],
    ),
    "iou of boxes": lambda f: f.mask.iou([[1.0, 1, 3, 3]], [[2.0, 1, 3, 3], [9, 9, 1, 1]], [0, 1]),
    "iou of boxes in arrays": lambda f: f.mask.iou(
        np.array([[1.0, 1, 3, 3]]), np.array([[2.0, 1, 3, 3]]), [0]
    ),
    "iou of whole boxes": lambda f: f.mask.iou([[1, 1, 3, 3]], [[2, 1, 3, 3]], [0]),
    "polygon": lambda f: f.mask.frPyObjects([SQUARE], 10, 12),
    "polygons": lambda f: f.mask.frPyObjects([SQUARE, [0.5, 0.5, 9.0, 2.0, 3.0, 9.5]], 10, 12),
    "polygon as an array": lambda f: f.mask.frPyObjects([np.array(SQUARE)], 10, 12),
    "polygon of whole numbers": lambda f: f.mask.frPyObjects([[1, 1, 5, 1, 5, 5, 1, 5]], 10, 12),
    "polygon with half a point": lambda f: f.mask.frPyObjects([[1.0, 1, 5, 5, 1]], 10, 12),
    "polygon and a line": lambda f: f.mask.frPyObjects([SQUARE, [1.0, 1, 5, 5]], 10, 12),
    "polygon far outside": lambda f: f.mask.frPyObjects([[-1e5, 1, 1e5, 5, 1, 5]], 10, 12),
    "boxes": lambda f: f.mask.frPyObjects(np.array([[1.0, 1, 3, 3], [0, 0, 99, 99]]), 10, 12),
    "plain run lengths": lambda f: f.mask.frPyObjects({"size": [4, 5], "counts": [3, 17]}, 4, 5),
    "plain run lengths, listed": lambda f: f.mask.frPyObjects(
        [{"size": [4, 5], "counts": [3, 17]}], 4, 5
    ),
    "plain run lengths of another size": lambda f: f.mask.frPyObjects(
        {"size": [4, 5], "counts": [3, 17]}, 40, 50
    ),
    "plain run lengths that fill no mask": lambda f: f.mask.frPyObjects(broken([3, 12]), 4, 5),
    "each kind by its name": lambda f: [
        f.mask._mask.frBbox(np.array([[1.0, 1, 3, 3]]), 10, 12),
        f.mask._mask.frPoly([SQUARE], 10, 12),
        f.mask._mask.frPoly(np.array([SQUARE, SQUARE]), 10, 12),
        f.mask._mask.frUncompressedRLE([broken([3, 17])], 4, 5),
    ],
    "nothing to draw": lambda f: isinstance(
        outcome(lambda g: g.mask.frPyObjects([], 4, 5), f), type
    ),
    "the compiled module": lambda f: [
        f.mask._mask.encode(BITS),
        f.mask._mask.decode(codes(f)),
        f.mask._mask.area(codes(f)),
        f.mask._mask.toBbox(codes(f)),
        f.mask._mask.iou(codes(f), codes(f), [0, 0, 0]),
        f.mask._mask.merge(codes(f)),
        f.mask._mask.frPyObjects([SQUARE], 10, 12),
    ],
    "masks of the others": lambda f: f.coco.maskUtils is f.mask and f.cocoeval.maskUtils is f.mask,
}

COCO_CALLS = {
    "info": lambda f: quietly(coco(f).info)[1],
    "all annotations": lambda f: coco(f).getAnnIds(),
    "annotations of an image": lambda f: coco(f).getAnnIds(imgIds=IMAGE),
    "of images": lambda f: coco(f).getAnnIds(imgIds=[IMAGE, 999]),
    "of an array of images": lambda f: coco(f).getAnnIds(imgIds=np.array([IMAGE])),
    "of a category": lambda f: coco(f).getAnnIds(catIds=2),
    "of an image and categories": lambda f: coco(f).getAnnIds([IMAGE], [1, 3]),
    "by area": lambda f: coco(f).getAnnIds(areaRng=[10, 50]),
    "crowds": lambda f: coco(f).getAnnIds(iscrowd=True),
    "no crowds": lambda f: coco(f).getAnnIds(iscrowd=0),
    "all at once": lambda f: coco(f).getAnnIds(IMAGE, [1, 2, 3], [0, 60], False),
    "categories": lambda f: coco(f).getCatIds(),
    "by name": lambda f: coco(f).getCatIds(catNms=["c2"]),
    "by names in a text": lambda f: coco(f).getCatIds(catNms="c1 or c3"),
    "by super name": lambda f: coco(f).getCatIds(supNms=["s"]),
    "by id": lambda f: coco(f).getCatIds(catIds=[3, 9]),
    "by one id": lambda f: coco(f).getCatIds(catIds=3),
    "images": lambda f: coco(f).getImgIds(),
    "images named": lambda f: coco(f).getImgIds(imgIds=[IMAGE, 999]),
    "image named": lambda f: coco(f).getImgIds(imgIds=IMAGE),
    "images of a category": lambda f: sorted(coco(f).getImgIds(catIds=[2])),
    "images of categories": lambda f: sorted(coco(f).getImgIds(catIds=[1, 2])),
    "images of a category of nobody": lambda f: coco(f).getImgIds(catIds=[77, 1]),
    "load annotations": lambda f: coco(f).loadAnns([1, 2]),
    "load an annotation": lambda f: coco(f).loadAnns(1),
    "load categories": lambda f: coco(f).loadCats([1, 2]),
    "load a category": lambda f: coco(f).loadCats(1),
    "load images": lambda f: coco(f).loadImgs([IMAGE]),
    "load an image": lambda f: coco(f).loadImgs(IMAGE),
    "load none": lambda f: [coco(f).loadAnns(), coco(f).loadCats(), coco(f).loadImgs()],
    "an annotation of nobody": lambda f: coco(f).loadAnns([999]),
    "the index": lambda f: [
        coco(f).anns,
        dict(coco(f).imgToAnns),
        dict(coco(f).catToImgs),
        coco(f).imgs,
        coco(f).cats,
    ],
    "RLE of an RLE": lambda f: coco(f).annToRLE(ANN),
    "RLE of bytes": lambda f: coco(f).annToRLE(
        {
            **ANN,
            "segmentation": {"size": [24, 32], "counts": ANN["segmentation"]["counts"].encode()},
        }
    ),
    "RLE of polygons": lambda f: coco(f).annToRLE(
        {**ANN, "segmentation": [SQUARE, [8.0, 8.0, 12.0, 8.0, 12.0, 12.0]]}
    ),
    "RLE of plain run lengths": lambda f: coco(f).annToRLE(
        {**ANN, "segmentation": {"size": [4, 5], "counts": [3, 17]}}
    ),
    "mask": lambda f: coco(f).annToMask(ANN),
    "results: masks": lambda f: coco(f).loadRes(only(RESULTS, "segmentation")).dataset,
    "results: boxes": lambda f: coco(f).loadRes(only(RESULTS, "bbox")).dataset,
    "results: both": lambda f: coco(f).loadRes(only(RESULTS, "bbox", "segmentation")).dataset,
    "results: keypoints": lambda f: coco(f).loadRes(only(RESULTS, "keypoints")).dataset,
    "results: captions": lambda f: (
        coco(f).loadRes([{"image_id": IMAGE, "caption": "a square"}]).dataset
    ),
    "results: an array": lambda f: (
        coco(f)
        .loadRes(np.array([[IMAGE, 1, 2, 3, 4, 0.5, 2], [IMAGE, 0, 0, 9, 9, 0.25, 1]]))
        .dataset
    ),
    "results: of the class": lambda f: f.COCO.loadRes(coco(f), only(RESULTS, "bbox")).dataset,
    "results: odd masks beside boxes": lambda f: (
        coco(f)
        .loadRes([{**only(RESULTS, "bbox")[0], "segmentation": {"size": [1, 1], "counts": "9"}}])
        .dataset
    ),
    "results: no list": lambda f: coco(f).loadRes({"a": 1}),
    "results: of another image": lambda f: coco(f).loadRes(
        [{"image_id": 999, "bbox": [0, 0, 1, 1]}]
    ),
    "rows": lambda f: coco(f).loadNumpyAnnotations(np.array([[IMAGE, 1, 2, 3, 4, 0.5, 2.0]])),
    "rows of another shape": lambda f: coco(f).loadNumpyAnnotations(np.zeros((2, 6))),
    "download to nowhere": lambda f: coco(f).download(),
    "show nothing": lambda f: coco(f).showAnns([]),
    "show captions": lambda f: quietly(coco(f).showAnns, [{"caption": "a"}, {"caption": "b"}])[1],
    "like an array": lambda f: [f.coco._isArrayLike(v) for v in ([1], (1,), "a", 1, np.ones(2))],
}

OTHER_CALLS = {
    "no such kind": lambda f: isinstance(outcome(lambda g: g.Params("boundary"), f), type),
    "no kind": lambda f: isinstance(outcome(lambda g: g.COCOeval(None, None, ""), f), type),
    "no sides": lambda f: vars(f.COCOeval().params),
    "numbers of a kind": lambda f: vars(f.COCOeval(coco(f), iouType="bbox").params),
}
CALLS = MASK_CALLS | COCO_CALLS | OTHER_CALLS


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", CALLS)
def test_the_same_answer(name):
    theirs, ours = (outcome(CALLS[name], face) for face in FACES)
    assert alike(ours, theirs), (theirs, ours)


# The first words of the rows of that table, in its order.
ZERO, BROKEN, READ, RECORDS, PROGRESS = ROWS = (
    "a match to annotation id 0",
    "broken run lengths",
    "no results",
    "the records that you pass",
    "progress",
)
# name: (call, what pycocotools raises or None where it answers, what is raised here or None, row)
DIFFERENT = {
    "annotation id 0": (lambda f: found(f)[0], IndexError, None, ZERO),
    "a short code": (lambda f: f.mask.area(broken(b"03")), None, RLEError, BROKEN),
    "masks of two sizes, joined": (
        lambda f: f.mask.merge([f.mask.encode(ONE), broken(b"0d0")]), None, RLEError, BROKEN),
    "plain run lengths that do not fill the mask": (
        lambda f: f.mask.toBbox(f.mask.frPyObjects(broken([3, 12]), 4, 5)), None, RLEError, BROKEN),
    "a mask of one axis": (lambda f: f.mask.encode(ONE[0]), None, RLEError, BROKEN),
    "masks and boxes": (
        lambda f: f.mask.iou([broken(b"0d0")], [[1.0, 1, 3, 3]], [0]), Exception, RLEError, BROKEN),
    "a score of nan": (
        lambda f: quietly(load(f, DATASET, [{**RESULTS[0], "score": NAN}]).evaluate),
        None, entity_api.RecordError, BROKEN),
    "a box of nan": (
        lambda f: quietly(load(f, DATASET, [box([1, 1, NAN, 2])], "bbox").evaluate),
        None, entity_api.RecordError, BROKEN),
    "results of two kinds": (
        lambda f: coco(f).loadRes([only(RESULTS, "bbox")[0], *only(RESULTS, "segmentation")[1:2]]),
        KeyError, ValueError, BROKEN),
    "memory by rows": (lambda f: f.mask.encode(np.ones((4, 5), np.uint8)), ValueError, None, READ),
    "one polygon": (lambda f: f.mask.frPyObjects(SQUARE, 9, 9), TypeError, None, READ),
    "one box": (lambda f: f.mask.frPyObjects([1, 1, 3, 3], 9, 9), TypeError, None, READ),
    "boxes in a list": (lambda f: f.mask.frPyObjects([[1, 1, 3, 3]], 9, 9), TypeError, None, READ),
    "boxes of whole numbers": (
        lambda f: f.mask.frPyObjects(np.array([[1, 1, 3, 3]]), 9, 9), ValueError, None, READ),
    "a tuple": (lambda f: f.mask.decode(tuple(codes(f))), TypeError, None, READ),
    "plain counts": (lambda f: f.mask.area(broken([0, 20])), TypeError, None, READ),
    "no results": (lambda f: coco(f).loadRes([]), IndexError, None, READ),
    "results in a dict": (
        lambda f: coco(f).loadRes({"annotations": only(RESULTS, "bbox")}),
        AssertionError, None, READ),
    "results as polygons": (
        lambda f: coco(f).loadRes([{**only(RESULTS)[0], "segmentation": [SQUARE]}]),
        TypeError, None, READ),
    "thresholds in a list": (lambda f: in_a_list(f).summarize(), Exception, None, READ),
    "no info": (lambda f: index(f, {"images": []}).info(), KeyError, None, READ),
    "a dict": (lambda f: f.COCO(copy.deepcopy(DATASET)), TypeError, None, READ),
    "an id of numpy's": (lambda f: coco(f).loadAnns(np.int64(1))[0]["id"], TypeError, None, READ),
    "print": (
        lambda f: str(accumulated(load(f, DATASET, RESULTS))), TypeError, None, READ),
    "accumulate first": (
        lambda f: load(f, DATASET, RESULTS).accumulate(), AttributeError, ValueError, BROKEN),
    "summarize first": (
        lambda f: load(f, DATASET, RESULTS).summarize(), Exception, ValueError, BROKEN),
    "no area": (lambda f: after_dropping(f, "area"), KeyError, None, READ),
    "no crowd flag": (lambda f: after_dropping(f, "iscrowd"), KeyError, None, READ),
    "a list that was loaded": (lambda f: loaded(f)[0]["id"], None, KeyError, RECORDS),
    "lines": (
        lambda f: quietly(load(f, DATASET, RESULTS).evaluate)[1][0], None, IndexError, PROGRESS),
}  # fmt: skip


def found(face):
    """Find an object of id 0, exactly; list where precision is above 0."""
    dataset = {**DATASET, "annotations": [{**ANN, "id": 0, "iscrowd": 0}]}
    scoring = accumulated(load(face, dataset, [{**ANN, "score": 0.5}]))
    return np.flatnonzero(scoring.eval["precision"] > 0)


def loaded(face):
    """Load a list, and return it as it is afterwards."""
    passed = only(RESULTS, "bbox")
    quietly(coco(face).loadRes, passed)
    return passed


def accumulated(scoring):
    quietly(scoring.evaluate)
    quietly(scoring.accumulate)
    return scoring


def box(xywh):
    return {**only(RESULTS, "bbox")[0], "bbox": xywh}


def in_a_list(face):
    scoring = load(face, DATASET, RESULTS)
    scoring.params.iouThrs = [0.5, 0.75]
    return accumulated(scoring)


def after_dropping(face, field):
    dataset = copy.deepcopy(DATASET)
    for annotation in dataset["annotations"]:
        del annotation[field]
    return accumulated(load(face, dataset, RESULTS))


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_answer_with_its_reason(name):
    call, theirs, ours, row = DIFFERENT[name]
    assert row in ROWS
    for face, raised in zip(FACES, (theirs, ours), strict=True):
        if raised is None:
            call(face)
            continue
        with pytest.raises(raised):
            quietly(call, face)


def test_no_public_name_is_missing():
    """Names of modules, classes and instances of pycocotools that do not begin with __."""
    left_out = {"PYTHON_VERSION", "urlretrieve", "os", "time", "sys"}
    for ours, theirs in [
        (OURS.coco, THEIRS.coco), (OURS.cocoeval, THEIRS.cocoeval), (OURS.mask, THEIRS.mask),
        (OURS.COCO, THEIRS.COCO), (OURS.COCOeval, THEIRS.COCOeval), (OURS.Params, THEIRS.Params),
        *((index(OURS, DATASET), index(THEIRS, DATASET)),),
        *((load(OURS, DATASET, RESULTS), load(THEIRS, DATASET, RESULTS)),),
    ]:  # fmt: skip
        names = {name for name in dir(theirs) if not name.startswith("__")}
        assert names - left_out <= set(dir(ours)), theirs


def test_the_page_lists_each_reason(request):
    page = request.config.rootpath / "docs" / "pycocotools.md"
    if not page.exists():
        pytest.skip("the page is not beside the installed tests")
    text = page.read_text(encoding="utf-8")
    table = text[text.index("| what | pycocotools |") :].split("\n\n")[0].splitlines()[2:]
    assert len(table) == len(ROWS) == 5
    for line, row in zip(table, ROWS, strict=True):
        assert line.startswith(f"| {row}"), line
