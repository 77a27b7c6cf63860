"""How the field's own evaluators call pycocotools: each sequence of calls, of both libraries.

Typed anew after torchvision's detection reference and DETR (``CocoEvaluator``), detectron2
(``COCOeval_opt``), torchmetrics (``MeanAveragePrecision``), mmdetection (``CocoMetric``) and
ultralytics; no code of theirs is copied.
"""

import copy
import json
import pickle

import numpy as np
import pytest
from coco_faces import FACES, OURS, alike, index, only, quietly, scene

ARRAYS = "precision", "recall", "scores"


class Gathered:
    """Score batch by batch, join the entries of all ranks, accumulate once."""

    def __init__(self, face, dataset, kind, own_loop):
        self.face, self.own_loop = face, own_loop
        self.gt = copy.deepcopy(index(face, dataset))
        self.scoring = face.COCOeval(self.gt, iouType=kind)
        self.image_ids, self.entries = [], []

    def update(self, results):
        """Evaluate one batch; without results against an empty index."""
        load = self.face.COCO.loadRes
        self.scoring.cocoDt = load(self.gt, results) if results else self.face.COCO()
        self.scoring.params.imgIds = list({record["image_id"] for record in results})
        evaluate = by_steps if self.own_loop else at_once
        image_ids, entries = evaluate(self.scoring)
        self.image_ids.extend(image_ids)
        self.entries.append(entries)

    def synchronize(self, gather):
        """Join ranks, each image once, in the order of their ids."""
        parts = gather((self.image_ids, np.concatenate(self.entries, axis=2)))
        image_ids = np.concatenate([ids for ids, _ in parts])
        image_ids, first = np.unique(image_ids, return_index=True)
        entries = np.concatenate([entries for _, entries in parts], axis=2)[..., first]
        self.scoring.evalImgs = list(entries.flatten())
        self.scoring.params.imgIds = list(image_ids)
        self.scoring._paramsEval = copy.deepcopy(self.scoring.params)

    def finish(self):
        self.scoring.accumulate()
        self.scoring.summarize()
        return [self.scoring.eval[name] for name in ARRAYS] + [self.scoring.stats]


def at_once(scoring):
    scoring.evaluate()
    p = scoring.params
    return p.imgIds, np.asarray(scoring.evalImgs).reshape(-1, len(p.areaRng), len(p.imgIds))


def by_steps(scoring):
    """DETR's way: its own loop over `_prepare`, `computeIoU` and `evaluateImg`."""
    p = scoring.params
    p.imgIds, p.catIds = list(np.unique(p.imgIds)), list(np.unique(p.catIds))
    scoring._prepare()
    scoring.ious = {(i, k): scoring.computeIoU(i, k) for i in p.imgIds for k in p.catIds}
    entries = [
        scoring.evaluateImg(i, k, area_range, max(p.maxDets))
        for k in p.catIds
        for area_range in p.areaRng
        for i in p.imgIds
    ]
    scoring._paramsEval = copy.deepcopy(p)
    shape = len(p.catIds), len(p.areaRng), len(p.imgIds)
    return p.imgIds, np.asarray(entries, dtype=object).reshape(shape)


def batches(results, rank, n_ranks):
    """Split results by image over ranks; the last image is in all of them, as samplers pad."""
    image_ids = sorted({record["image_id"] for record in results})
    own = {*image_ids[rank::n_ranks], image_ids[-1]}
    return [[r for r in results if r["image_id"] == image_id] for image_id in sorted(own)]


def one_rank(face, dataset, results, kind, own_loop):
    evaluator = Gathered(face, dataset, kind, own_loop)
    for batch in batches(results, 0, 1):
        evaluator.update(batch)
    evaluator.synchronize(lambda part: [pickle.loads(pickle.dumps(part))])
    return evaluator.finish()


@pytest.mark.parametrize("own_loop", [False, True])
@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_coco_evaluator_in_one_rank(kind, own_loop):
    dataset, results = scene(21)
    results = only(results, "segmentation" if kind == "segm" else "bbox")
    found = [quietly(one_rank, face, dataset, results, kind, own_loop)[0] for face in FACES]
    assert alike(*found) and found[0][-1][0] > 0


def rank_of_two(rank, folder, dataset, results):
    """Run in a process of its own."""
    import torch.distributed as dist

    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)

    def gather(part):
        parts = [None, None]
        dist.all_gather_object(parts, part)
        return parts

    evaluator = Gathered(OURS, dataset, "segm", own_loop=False)
    for batch in batches(results, rank, 2):
        quietly(evaluator.update, batch)
    evaluator.synchronize(gather)
    found = quietly(evaluator.finish)[0]
    (folder / f"{rank}.json").write_text(json.dumps([array.tolist() for array in found]))
    dist.destroy_process_group()


def test_coco_evaluator_in_two_ranks(tmp_path):
    pytest.importorskip("torch")
    import torch.multiprocessing as mp

    dataset, results = scene(22, n_images=7)
    results = only(results, "segmentation")
    mp.spawn(rank_of_two, args=(tmp_path, dataset, results), nprocs=2)
    expected = [a.tolist() for a in quietly(one_rank, FACES[0], dataset, results, "segm", False)[0]]
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == expected


def fast_class(face):
    """A subclass with loops of its own, like detectron2's around its compiled kernels."""

    class Fast(face.COCOeval):
        def evaluate(self):
            p = self.params
            p.imgIds, p.catIds = list(np.unique(p.imgIds)), list(np.unique(p.catIds))
            p.maxDets = sorted(p.maxDets)
            self._prepare()
            self.ious = {(i, k): self.computeIoU(i, k) for i in p.imgIds for k in p.catIds}
            self.found = [
                [(d["id"], d["area"], d["score"]) for d in self._dts[i, k]]
                + [(g["id"], g["area"], g["iscrowd"], g["ignore"]) for g in self._gts[i, k]]
                for i in p.imgIds
                for k in p.catIds
            ]
            self._paramsEval = copy.deepcopy(p)

        def accumulate(self):
            p = self._paramsEval
            shape = len(p.iouThrs), len(p.recThrs), len(p.catIds), len(p.areaRng), len(p.maxDets)
            self.eval = {
                "precision": np.full(shape, 0.5),
                "recall": np.full((shape[0], *shape[2:]), 0.25),
            }

    return Fast


def test_a_subclass_that_keeps_the_records_alone():
    dataset, results = scene(23)
    found = []
    for face in FACES:
        gt = index(face, dataset)
        scoring = fast_class(face)(gt, quietly(gt.loadRes, copy.deepcopy(results))[0], "segm")
        for step in (scoring.evaluate, scoring.accumulate, scoring.summarize):
            quietly(step)
        found.append([scoring.found, list(scoring.ious.values()), scoring.stats])
    assert alike(*found)


def metric(face, dataset, results, kind):
    """One data set on either side, made by hand; then every class by itself, as torchmetrics."""
    records = [r | {"id": idx + 1, "iscrowd": 0} for idx, r in enumerate(results)]
    gt, dt = index(face, dataset), index(face, {**dataset, "annotations": records})
    scoring = face.COCOeval(gt, dt, iouType=kind)
    scoring.params.iouThrs = np.array([0.5, 0.6, 0.75], dtype=np.float64)
    scoring.params.recThrs = np.linspace(0, 1, 51)
    scoring.params.maxDets = [1, 10, 100]
    scoring.evaluate()
    scoring.accumulate()
    scoring.summarize()
    summary = [scoring.stats, scoring.ious, *(scoring.eval[name] for name in ARRAYS)]
    for category_id in [1, 2, 3]:
        scoring.params.catIds = [category_id]
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
        summary.append(scoring.stats)
    return summary


def proposals(face, dataset, results, kind):
    """Proposals without categories and three large limits, then each category, as mmdetection."""
    gt = index(face, dataset)
    scoring = face.COCOeval(gt, gt.loadRes(copy.deepcopy(results)), kind)
    scoring.params.catIds = gt.getCatIds(catNms=["c1", "c2"])
    scoring.params.imgIds = gt.getImgIds()
    scoring.params.maxDets = [100, 300, 1000]
    scoring.params.useCats = 0
    scoring.evaluate()
    scoring.accumulate()
    scoring.summarize()
    return [scoring.stats, scoring.eval["precision"], scoring.eval["recall"]]


def validator(face, dataset, results, kind):
    """Image ids from file names, two numbers of the summary, as ultralytics."""
    gt = index(face, dataset)
    scoring = face.COCOeval(gt, gt.loadRes(copy.deepcopy(results)), kind)
    scoring.params.imgIds = [int(i["file_name"].split(".")[0]) for i in dataset["images"]]
    scoring.evaluate()
    scoring.accumulate()
    scoring.summarize()
    return [scoring.stats[:2], scoring.stats]


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("program", [metric, proposals, validator])
def test_programs(program, kind):
    dataset, results = scene(24)
    if program is not metric:
        results = only(results, "segmentation" if kind == "segm" else "bbox")
    assert alike(*(quietly(program, face, dataset, results, kind)[0] for face in FACES))
