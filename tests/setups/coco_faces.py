"""pycocotools and entity_api side by side: the same call of both, and whether they answer alike."""

import contextlib
import copy
import io
import types

import numpy as np
from pycocotools import coco as coco_module
from pycocotools import cocoeval as cocoeval_module
from pycocotools import mask as mask_module

from entity_api import coco, cocoeval, mask

THEIRS = types.SimpleNamespace(
    COCO=coco_module.COCO,
    COCOeval=cocoeval_module.COCOeval,
    Params=cocoeval_module.Params,
    mask=mask_module,
    coco=coco_module,
    cocoeval=cocoeval_module,
)
OURS = types.SimpleNamespace(
    COCO=coco.COCO,
    COCOeval=cocoeval.COCOeval,
    Params=cocoeval.Params,
    mask=mask,
    coco=coco,
    cocoeval=cocoeval,
)
FACES = THEIRS, OURS
KEYPOINTS = 17


def index(face, dataset):
    """Index a copy of a dataset: pycocotools writes into it."""
    out = face.COCO()
    out.dataset = copy.deepcopy(dataset)
    with contextlib.redirect_stdout(io.StringIO()):
        out.createIndex()
    return out


def load(face, dataset, results, kind="segm", **options):
    """Make an evaluation of copies of both sides; ``results`` is a list, or a whole dataset."""
    gt = index(face, dataset)
    if isinstance(results, dict):
        dt = index(face, results)
    else:
        with contextlib.redirect_stdout(io.StringIO()):
            dt = gt.loadRes(copy.deepcopy(results))
    return face.COCOeval(gt, dt, kind, **options)


def quietly(call, *args):
    """Call, and return what was returned and what was printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        value = call(*args)
    return value, printed.getvalue()


def outcome(call, face):
    """Return what a call returns; of what it raises, the type alone."""
    try:
        return quietly(call, face)[0]
    except Exception as error:  # noqa: BLE001 - whatever pycocotools raises is its answer
        return type(error)


def alike(first, second):
    """Tell whether two answers are equal to the last bit, whatever holds their numbers."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(alike(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(alike, first, second))
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        first, second = np.asarray(first), np.asarray(second)
        return first.shape == second.shape and np.array_equal(first, second, equal_nan=True)
    return (type(first) is type(second) and first == second) or (
        isinstance(first, int | float | np.number)
        and isinstance(second, int | float | np.number)
        and first == second
    )


def scene(seed=0, n_images=5, n_categories=3, crowds=0.2, ties=True):
    """Draw a small ground truth with masks, boxes and keypoints, and results of each kind."""
    rng = np.random.default_rng(seed)
    images = [
        {"id": int(i), "height": 24, "width": 32, "file_name": f"{i}.png"}
        for i in rng.permutation(20)[:n_images] + 1
    ]
    annotations, results = [], []
    for image in images:
        for _ in range(rng.integers(2, 8)):
            record = draw(rng, image, n_categories)
            annotations.append(record | {"iscrowd": int(rng.random() < crowds)})
            for _ in range(rng.integers(0, 4)):
                copied = draw(rng, image, n_categories, like=record)
                score = rng.integers(0, 8) / 8 if ties else rng.random()
                results.append(copied | {"score": float(score)})
    for idx, annotation in enumerate(annotations):
        annotation |= {"id": idx + 1, "num_keypoints": int(rng.integers(0, 3))}
        annotation["keypoints"][2::3] = rng.integers(0, 3, KEYPOINTS).tolist()
        if not annotation["num_keypoints"]:
            annotation["keypoints"][2::3] = [0] * KEYPOINTS
    names = [{"id": k + 1, "name": f"c{k + 1}", "supercategory": "s"} for k in range(n_categories)]
    info = {"description": "a scene"}
    gt = {"info": info, "images": images, "annotations": annotations, "categories": names}
    return gt, results


def draw(rng, image, n_categories, like=None):
    """Draw a rectangle with holes, or one shifted from a model's."""
    if like is None:
        x, y = rng.integers(0, 20), rng.integers(0, 14)
        width, height = rng.integers(2, 12), rng.integers(2, 10)
        category_id = int(rng.integers(1, n_categories + 1))
    else:
        x, y, width, height = np.array(like["bbox"], int)
        x, width = x + rng.integers(0, 2), max(width + rng.integers(-1, 2), 1)
        category_id = like["category_id"]
    pixels = np.zeros((image["height"], image["width"]), np.uint8)
    pixels[y : y + height, x : x + width] = rng.random() < 0.9
    pixels &= (rng.random(pixels.shape) < 0.95).astype(np.uint8)
    code = mask_module.encode(np.asfortranarray(pixels))
    keypoints = np.stack(
        [rng.uniform(x, x + width, KEYPOINTS), rng.uniform(y, y + height, KEYPOINTS)]
    )
    if like is not None:
        keypoints = (keypoints + np.reshape(like["keypoints"], (-1, 3)).T[:2] * 4) / 5
    return {
        "image_id": image["id"],
        "category_id": category_id,
        "segmentation": {"size": code["size"], "counts": code["counts"].decode()},
        "bbox": [float(v) for v in (x, y, width, height)],
        "area": float(width * height),
        "keypoints": np.append(keypoints, np.ones((1, KEYPOINTS)), axis=0).T.ravel().tolist(),
    }


def only(results, *names):
    """Keep some fields of each result besides image, category and score."""
    kept = {"image_id", "category_id", "score", *names}
    return [{k: v for k, v in record.items() if k in kept} for record in results]
