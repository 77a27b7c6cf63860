"""One case of ground truth with void and predictions that overlap, and a plain way to score it."""

import numpy as np

from entity_api import rle
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.layout import ImageFiles
from entityseg_bench.types import Annotation, Category, ImageInfo

SIZE = (24, 30)
TABLE = [Category(1, "dog", None, "thing"), Category(2, "sky", None, "stuff")]
CROWD = 3  # the segment of the first panoptic image that is a group


def maps(rng, n_images=5):
    """Draw id maps of up to six rectangles; the second has no void, the last nothing else."""
    out = []
    for number in range(n_images):
        id_map = np.full(SIZE, 7 if number == 1 else 0)
        for value in range(1, 7 if number < n_images - 1 else 1):
            y, x = rng.integers(0, 16), rng.integers(0, 20)
            id_map[y : y + rng.integers(4, 12), x : x + rng.integers(4, 14)] = value
        out.append(id_map)
    return out


def values_of(task, id_map):
    """Return what the segments are: panoptic ones as drawn, or the classes 1 and 2."""
    return id_map if task == "panoptic" else np.where(id_map > 0, id_map % 2 + 1, 0)


def predicted(rng, task, id_maps):
    """Make (mask, score) pairs of each image: shifted segments, and the cases of every rule."""
    found = []
    for id_map in id_maps:
        values = values_of(task, id_map)
        masks = [
            np.roll(values == value, rng.integers(-1, 2, 2), (0, 1))
            for value in np.unique(values) if value
        ]  # fmt: skip
        masks += [masks[0].copy()] if masks else []  # hidden by its like, or hides it
        wide = np.zeros(SIZE, bool)
        wide[2:14, 3:20] = True
        masks += [wide, id_map == 0, np.zeros(SIZE, bool)]
        # Two digits, so that some scores are equal.
        found.append([(mask, round(float(rng.random()), 1)) for mask in masks])
    return found


def truth(task, id_maps, folder):
    """Make the data set of some images."""
    images, annotations = [], []
    for number, id_map in enumerate(id_maps, start=1):
        images.append(ImageInfo(number, f"{number:02}.png", *SIZE))
        values = values_of(task, id_map)
        for value in np.unique(values[values > 0]).tolist():
            mask = rle.encode(values == value)
            annotations.append(
                Annotation(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=value % 2 + 1 if task == "panoptic" else value,
                    segmentation=mask,
                    area=float(rle.area(mask)),
                    bbox=tuple(rle.bbox(mask)),
                    iscrowd=task == "panoptic" and (number, value) == (1, CROWD),
                )
            )
    return EntityDataset(images, annotations, TABLE, task, image_files=ImageFiles(folder))


def results(found):
    """Write predictions as the records of a results file; images are numbered from 1."""
    return [
        {"image_id": number, "category_id": 1, "segmentation": rle.encode(mask), "score": score}
        for number, pairs in enumerate(found, start=1) for mask, score in pairs
    ]  # fmt: skip


def naive_metrics(dataset, found):
    """Score with dense masks and plain loops: {"AP": ..., "APe": ..., "AR100": ..., "ARe100": ...}.

    Predictions are cut to the pixels of segments, and one that had pixels in void alone is left
    out. For AP^e the pixels go to the highest score, the earlier prediction where scores tie; one
    that nothing is left of then is left out.
    """
    images = []
    for (_, annotations), pairs in zip(dataset, found, strict=True):
        gt = [rle.decode(one.segmentation) for one in annotations]
        crowd = [one.iscrowd for one in annotations]
        labelled = np.any(gt, axis=0) if gt else np.zeros(SIZE, bool)
        kept = [
            (mask & labelled, score) for mask, score in pairs
            if not mask.any() or (mask & labelled).any()
        ]  # fmt: skip
        kept.sort(key=lambda pair: -pair[1])
        taken, visible = np.zeros(SIZE, bool), []
        for mask, score in kept:
            if (mask & ~taken).any() or not mask.any():
                visible.append((mask & ~taken, score))
            taken |= mask
        images.append((gt, crowd, kept, visible))
    out = {}
    for mark, side in (("", 2), ("e", 3)):
        scored = [average_precision(images, side, thr) for thr in np.linspace(0.5, 0.95, 10)]
        out[f"AP{mark}"], out[f"AR{mark}100"] = np.mean(scored, axis=0)
    return out


def average_precision(images, side, thr):
    """Match greedily as COCO does and average the precision at 101 recalls; with the recall."""
    hits = []
    n_gt = sum(image[1].count(False) for image in images)
    for image in images:
        gt, crowd, pairs = image[0], image[1], image[side]
        free = set(range(len(gt)))
        for mask, score in pairs:
            best, best_iou = None, thr - 1e-10
            # Segments first; only where none fits a crowd excuses the prediction.
            for k in sorted(free, key=lambda k: crowd[k]):
                if best is not None and not crowd[best] and crowd[k]:
                    break
                union = mask.sum() if crowd[k] else (mask | gt[k]).sum()
                iou = (mask & gt[k]).sum() / union if union else 0.0
                if iou >= best_iou:
                    best, best_iou = k, iou
            if best is not None and not crowd[best]:
                free.remove(best)
            if best is None or not crowd[best]:
                hits.append((score, best is not None))
    hits.sort(key=lambda hit: -hit[0])
    right = np.cumsum([hit for _, hit in hits])
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(right / n_gt, np.linspace(0, 1, 101), side="left")
    reached = np.append(precision, 0.0)[np.minimum(at, len(precision))]
    return reached.mean(), right[-1] / n_gt
