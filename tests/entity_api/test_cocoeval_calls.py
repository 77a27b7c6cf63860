"""Every public call of pycocotools' COCOeval and Params, of masks, boxes and keypoints."""

import copy
import pickle

import pytest
from coco_faces import FACES, THEIRS, alike, load, only, outcome, quietly, scene

DATASET, RESULTS = scene(11)
IMAGE = DATASET["images"][0]["id"]
EVAL_CALLS = {
    "what is there at first": lambda f, kind: {
        name: getattr(load(f, DATASET, results(kind), kind), name)
        for name in ("evalImgs", "eval", "stats", "ious", "_gts", "_dts", "_paramsEval")
    },
    "parameters": lambda f, kind: {
        k: getattr(f.Params(kind), k) for k in vars(THEIRS.Params(kind))
    },
    "parameters anew": lambda f, kind: {
        k: getattr(reset(f.Params("segm"), kind), k) for k in vars(reset(THEIRS.Params(), kind))
    },
    "evaluated": lambda f, kind: vars(after(f, kind, "evaluate")._paramsEval),
    "parameters afterwards": lambda f, kind: vars(after(f, kind, "evaluate", "accumulate").params),
    "grouped": lambda f, kind: {
        key: [ann["id"] for ann in anns]
        for key, anns in after(f, kind, "evaluate")._gts.items()
        if anns
    },
    "ignored": lambda f, kind: sorted(
        (ann["id"], ann["_ignore"])
        for anns in after(f, kind, "evaluate")._gts.values()
        for ann in anns
    ),
    "ignored at a range": lambda f, kind: (
        after(f, kind, "evaluate").evaluateImg(IMAGE, 1, [20, 50], 9)
        and sorted((g["id"], g["_ignore"]) for g in after(f, kind, "evaluate")._gts[IMAGE, 1])
    ),
    "prepared": lambda f, kind: sorted(
        (ann["id"], ann["ignore"], ann["area"], ann["iscrowd"])
        for anns in after(f, kind, "_prepare")._gts.values()
        for ann in anns
    ),
    "prepared results": lambda f, kind: sorted(
        (ann["id"], ann["score"], ann["area"])
        for anns in after(f, kind, "_prepare")._dts.values()
        for ann in anns
    ),
    "IoU": lambda f, kind: after(f, kind, "_prepare").computeIoU(IMAGE, 1),
    "IoU of nobody": lambda f, kind: after(f, kind, "_prepare").computeIoU(999, 1),
    "similarity": lambda f, kind: after(f, kind, "_prepare").computeOks(IMAGE, 1),
    "similarity of nobody": lambda f, kind: after(f, kind, "_prepare").computeOks(999, 1),
    "all IoU": lambda f, kind: after(f, kind, "evaluate").ious,
    "matched": lambda f, kind: after(f, kind, "evaluate").evaluateImg(IMAGE, 1, [0, 1e10], 100),
    "matched, few": lambda f, kind: after(f, kind, "evaluate").evaluateImg(IMAGE, 1, (5, 50), 1),
    "matched, none": lambda f, kind: after(f, kind, "evaluate").evaluateImg(IMAGE, 1, (5, 50), 0),
    "matched, nobody": lambda f, kind: after(f, kind, "evaluate").evaluateImg(999, 1, (5, 50), 9),
    "all matches": lambda f, kind: list(after(f, kind, "evaluate").evalImgs),
    "accumulated": lambda f, kind: {
        k: v
        for k, v in after(f, kind, "evaluate", "accumulate").eval.items()
        if k not in ("date", "params")
    },
    "accumulated twice": lambda f, kind: after(
        f, kind, "evaluate", "accumulate", "accumulate"
    ).eval["precision"],
    "keys": lambda f, kind: list(after(f, kind, "evaluate", "accumulate").eval),
    "printed": lambda f, kind: quietly(after(f, kind, "evaluate", "accumulate").summarize)[1],
    "the numbers": lambda f, kind: after(f, kind, "evaluate", "accumulate", "summarize").stats,
    "twice": lambda f, kind: (
        after(f, kind, "evaluate", "accumulate", "evaluate", "accumulate", "summarize").stats
    ),
    "copied": lambda f, kind: accumulated(copy.deepcopy(after(f, kind, "evaluate"))).eval[
        "precision"
    ],
    "pickled": lambda f, kind: list(
        pickle.loads(pickle.dumps(after(f, kind, "evaluate"))).evalImgs
    ),
}
KINDS = "segm", "bbox", "keypoints"


def results(kind):
    return only(RESULTS, "segmentation" if kind == "segm" else kind)


def reset(params, kind):
    """Give parameters the numbers of another kind."""
    params.setKpParams() if kind == "keypoints" else params.setDetParams()
    return params


def accumulated(scoring):
    quietly(scoring.accumulate)
    return scoring


def after(face, kind, *steps):
    scoring = load(face, DATASET, results(kind), kind)
    for step in steps:
        quietly(getattr(scoring, step))
    return scoring


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", EVAL_CALLS)
def test_the_same_answer_of_an_evaluation(name, kind):
    theirs, ours = (outcome(lambda f: EVAL_CALLS[name](f, kind), face) for face in FACES)
    assert alike(ours, theirs), (theirs, ours)
