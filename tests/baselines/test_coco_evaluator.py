"""CocoEvaluator gives the numbers of pycocotools called batch by batch, as DETR's family does."""

import contextlib
import copy
import io

import numpy as np
import pytest
import torch
from metric_ranks import in_ranks
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from entity_api import CocoEvaluator

SIZE = (40, 50)
N_IMAGES = 7
TYPES = ["bbox", "segm"]


def ground_truth():
    """Return a COCO dictionary of two categories; ids of images and annotations with gaps."""
    rng = np.random.default_rng(1)
    images = [{"id": 3 * k + 5, "height": SIZE[0], "width": SIZE[1]} for k in range(N_IMAGES)]
    annotations = []
    for image in images:
        for _ in range(int(rng.integers(2, 6))):
            x, y, w, h = (int(n) for n in rng.integers([0, 0, 4, 4], [30, 20, 20, 20]))
            annotations.append(
                {
                    "id": 2 * len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": int(rng.integers(1, 3)),
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(rng.random() < 0.1),
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                    "num_keypoints": 17,
                    "keypoints": [v for k in range(17) for v in (x + k % 5, y + k % 3, 2)],
                }
            )
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def predictions(seed=0):
    """Return image id -> a model's output, as DETR's postprocessors give it; the last has none."""
    truth, generator = ground_truth(), torch.Generator().manual_seed(seed)
    found = {}
    for image in truth["images"]:
        own = [a for a in truth["annotations"] if a["image_id"] == image["id"]] * 2
        boxes = torch.tensor([a["bbox"] for a in own], dtype=torch.float32)
        boxes += torch.rand(boxes.shape, generator=generator) * 3
        boxes[:, 2:] += boxes[:, :2]
        masks = torch.zeros((len(own), 1, *SIZE))
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.round().int().tolist(), strict=True):
            mask[0, y0:y1, x0:x1] = 0.7
        noise = torch.rand(masks.shape, generator=generator) * 0.4
        labels = torch.tensor([a["category_id"] for a in own])
        labels[::5] = 3 - labels[::5]
        found[image["id"]] = {
            "scores": (torch.rand(len(own), generator=generator) * 20).round() / 20,  # ties
            "labels": labels,
            "boxes": boxes,
            "masks": masks + noise - 0.1,
            "keypoints": torch.rand((len(own), 17, 3), generator=generator) * 4
            + torch.tensor([[a["bbox"][0], a["bbox"][1], 0] for a in own])[:, None],
        }
    found[truth["images"][-1]["id"]] = {}
    return found


def results(found, iou_type):
    """Write predictions as COCO results, typed anew."""
    records = []
    for image_id, output in found.items():
        for k in range(len(output.get("scores", ()))):
            record = {
                "image_id": image_id,
                "category_id": int(output["labels"][k]),
                "score": float(output["scores"][k]),
            }
            if iou_type == "bbox":
                x0, y0, x1, y1 = output["boxes"][k]
                record["bbox"] = [float(x0), float(y0), float(x1 - x0), float(y1 - y0)]
            elif iou_type == "keypoints":
                record["keypoints"] = output["keypoints"][k].flatten().tolist()
            else:
                mask = (output["masks"][k, 0] > 0.5).numpy().astype(np.uint8)
                record["segmentation"] = mask_utils.encode(np.asfortranarray(mask))
            records.append(record)
    return records


def by_pycocotools(batches, iou_type, change=lambda params: None):
    """Evaluate batch by batch and accumulate at the end, as the field's evaluator does."""
    coco = COCO()
    # Older pycocotools copy the information along.
    coco.dataset = {"info": {}, **ground_truth()}
    coco.createIndex()
    ids, parts = [], []
    for batch in batches:
        records = results(batch, iou_type)
        scoring = COCOeval(coco, coco.loadRes(records) if records else COCO(), iou_type)
        change(scoring.params)
        scoring.params.imgIds = sorted(batch)
        scoring.evaluate()
        shape = (-1, len(scoring.params.areaRng), len(batch))
        parts.append(np.asarray(scoring.evalImgs, dtype=object).reshape(shape))
        ids += sorted(batch)
    unique, first = np.unique(ids, return_index=True)
    scoring.evalImgs = list(np.concatenate(parts, 2)[..., first].flatten())
    scoring.params.imgIds = list(unique)
    scoring._paramsEval = copy.deepcopy(scoring.params)
    scoring.accumulate()
    scoring.summarize()
    return scoring


def silent(work, *args):
    with contextlib.redirect_stdout(io.StringIO()):
        return work(*args)


def batches_of(found, n=3):
    ids = list(found)
    return [{image_id: found[image_id] for image_id in ids[k : k + n]}
            for k in range(0, len(ids), n)]  # fmt: skip


def run(evaluator, batches):
    for batch in batches:
        evaluator.update(batch)
    evaluator.synchronize_between_processes()
    evaluator.accumulate()
    evaluator.summarize()
    return evaluator


def pycocotools_object():
    coco = COCO()
    # Older pycocotools copy the information along.
    coco.dataset = {"info": {}, **ground_truth()}
    coco.createIndex()
    return coco


@pytest.mark.parametrize("make", [ground_truth, pycocotools_object])
def test_the_numbers_of_pycocotools(make, capsys):
    batches = batches_of(predictions())
    types = [*TYPES, "keypoints"]
    evaluator = run(CocoEvaluator(silent(make), types), batches)
    printed = capsys.readouterr().out
    for iou_type in types:
        expected = silent(by_pycocotools, batches, iou_type)
        scoring = evaluator.coco_eval[iou_type]
        assert scoring.stats.tolist() == expected.stats.tolist()
        assert 0 < scoring.stats[0] < 0.95
        for name in ("precision", "recall", "scores"):
            assert np.array_equal(scoring.eval[name], expected.eval[name])
        assert f"IoU metric: {iou_type}\n Average Precision" in printed


def test_some_images_and_images_that_come_again():
    """Only what was predicted is scored; of an image that comes twice the first counts."""
    found, other = predictions(), predictions(seed=1)
    ids = list(found)
    batches = [{k: found[k] for k in ids[:3]}, {k: other[k] for k in ids[2:4]}]
    evaluator = silent(run, CocoEvaluator(ground_truth(), TYPES), batches)
    for iou_type in TYPES:
        expected = silent(by_pycocotools, batches, iou_type)
        assert evaluator.coco_eval[iou_type].stats.tolist() == expected.stats.tolist()
    assert evaluator.img_ids == ids[:4]


def test_parameters_may_be_set():
    def change(params):
        params.useCats = 0
        params.maxDets = [1, 5, 100]
        params.iouThrs = np.array([0.3, 0.5, 0.75])

    evaluator = CocoEvaluator(ground_truth(), ["segm"])
    change(evaluator.coco_eval["segm"].params)
    silent(run, evaluator, batches_of(predictions()))
    expected = silent(by_pycocotools, batches_of(predictions()), "segm", change)
    assert evaluator.coco_eval["segm"].stats.tolist() == expected.stats.tolist()
    evaluator.cleanup()
    assert evaluator.img_ids == []
    assert evaluator.coco_eval["segm"].params.useCats == 1


def test_forms_of_masks():
    found = predictions()
    expected = silent(run, CocoEvaluator(ground_truth(), ["segm"]), [found])
    forms = {
        "three axes": lambda m: {"masks": m[:, 0]},
        "bool arrays": lambda m: {"masks": list(m[:, 0].numpy() > 0.5)},
        "codes": lambda m: {
            "masks_rle": [
                mask_utils.encode(np.asfortranarray(one.astype(np.uint8)))
                for one in m[:, 0].numpy() > 0.5
            ]
        },
    }
    for form in forms.values():
        changed = {
            k: {**{n: v for n, v in own.items() if n != "masks"}, **form(own["masks"])}
            if own else {} for k, own in found.items()
        }  # fmt: skip
        got = silent(run, CocoEvaluator(ground_truth(), ["segm"]), [changed])
        assert got.coco_eval["segm"].stats.tolist() == expected.coco_eval["segm"].stats.tolist()


def test_nothing_found_is_zero():
    evaluator = silent(run, CocoEvaluator(ground_truth(), TYPES), [{k: {} for k in predictions()}])
    for iou_type in TYPES:
        assert evaluator.coco_eval[iou_type].stats[0] == 0


def one_rank(rank, world):
    batches = batches_of(predictions(), 2)[rank::world]
    if rank:
        # As a sampler fills up the last rank, with what another model would have found.
        batches.append(dict([next(iter(predictions(seed=4).items()))]))
    evaluator = silent(run, CocoEvaluator(ground_truth(), TYPES), batches)
    return [[v.hex() for v in evaluator.coco_eval[k].stats.tolist()] for k in TYPES]


def test_two_ranks(tmp_path):
    found = in_ranks(one_rank, 2, tmp_path)
    expected = [
        [v.hex() for v in silent(by_pycocotools, batches_of(predictions(), 2), k).stats.tolist()]
        for k in TYPES
    ]
    assert found == [expected, expected]


REFUSED = [
    ({9: {}}, "image 9 is not among"),
    ({5: {"scores": [1], "labels": [1]}}, "image 5: there are no boxes, but scores, labels"),
    ({5: {"scores": [1, 2], "labels": [1], "boxes": [[0, 0, 1, 1]]}}, "1 masks and scores of"),
    ({5: {"scores": [1], "labels": [1], "boxes": [[0, 0, 1]]}}, r"boxes are \(N, 4\)"),
    ({5: {"scores": [1], "labels": [1], "boxes": np.zeros((2, 4))}}, "1 scores and 2 of bbox"),
    ({5: {"scores": [1], "labels": [1], "boxes": np.zeros((1, 4)), "masks": np.zeros((1, 9, 9))}},
     r"image 5, mask 0: its shape \[9, 9\] is not the image's"),
]  # fmt: skip


@pytest.mark.parametrize(("batch", "said"), REFUSED)
def test_what_is_refused(batch, said):
    evaluator = CocoEvaluator(ground_truth(), TYPES)
    with pytest.raises(ValueError, match=said):
        evaluator.update({8: {}, **batch})
    assert evaluator.img_ids == []


def test_types_are_checked():
    for types in ("segm", [], ["mask"]):
        with pytest.raises(ValueError, match="iou_type"):
            CocoEvaluator(ground_truth(), types)
