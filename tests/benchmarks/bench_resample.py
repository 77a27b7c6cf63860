"""Time intervals and permutation tests at the size of the published validation set.

    python tests/benchmarks/bench_resample.py [--images 1314] [--resamples 1000]

The set is made of boxes, 19 entities and 100 detections an image with an AP near that of published
models: only the matches matter here. The peer is the plain way, scoring every resampled set anew
from its detections; it is timed on a few sets, its masks already matched.
"""

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from entity_api import Detections, EvalParams, EvalResult, GroundTruth, evaluate
from entity_api.evaluator import accumulate
from entityseg_bench.resampling import confidence_intervals, image_weights, permutation_test


def make(
    n_images: int, shake: float, seed: int, n_gt: int = 19, n_dt: int = 100
) -> tuple[EvalResult, NDArray[np.float64]]:
    """Score shaken copies of the entities, and noise, as boxes; a larger shake finds less."""
    truth, rng = np.random.default_rng(7), np.random.default_rng(seed)
    gt_image, dt_image = (np.repeat(np.arange(n_images), n) for n in (n_gt, n_dt))
    gt_boxes = np.hstack(
        [truth.uniform(0, 800, (len(gt_image), 2)), truth.lognormal(4, 1, (len(gt_image), 2))]
    )
    boxes = np.tile(gt_boxes.reshape(n_images, n_gt, 4), (1, -(-n_dt // n_gt), 1))[:, :n_dt]
    spread = shake * rng.exponential(size=(n_images, n_dt, 1))
    boxes = boxes + rng.normal(size=boxes.shape) * spread * np.tile(boxes[..., 2:], 2)
    boxes[..., 2:] = np.maximum(boxes[..., 2:], 1)
    scores = 1 / (1 + np.exp(3 * spread[..., 0] + rng.normal(size=spread.shape[:2])))
    dt = Detections(
        image_idx=dt_image,
        counts=[],
        category_ids=np.zeros(len(dt_image), np.int64),
        scores=scores.reshape(-1),
        boxes=boxes.reshape(-1, 4),
    )
    gt = GroundTruth(
        image_ids=list(range(n_images)),
        sizes=np.full((n_images, 2), 1000),
        image_idx=gt_image,
        counts=[],
        category_ids=np.zeros(len(gt_image), np.int64),
        iscrowd=np.zeros(len(gt_image), bool),
        areas=np.full(len(gt_image), np.nan),
        ids=list(range(len(gt_image))),
        boxes=gt_boxes,
    )
    return evaluate(gt, dt, EvalParams(iou_type="bbox")), dt.scores


def main() -> None:
    """Print one line a task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1314)
    parser.add_argument("--resamples", type=int, default=1000)
    args = parser.parse_args()
    first, first_scores = make(args.images, 0.15, seed=0)
    second, second_scores = make(args.images, 0.16, seed=1)
    n = args.resamples
    print(f"{args.images} images, {len(first_scores)} detections, AP {first.metrics['AP']:.4f}")
    tasks = {
        "intervals of AP AP50 AP75": lambda: confidence_intervals(
            first, first_scores, n, names=["AP", "AP50", "AP75"]
        ),
        "intervals of all 12": lambda: confidence_intervals(first, first_scores, n),
        "permutation test of AP": lambda: permutation_test(
            first, second, (first_scores, second_scores), n, names=["AP"]
        ),
    }
    seconds = {}
    for name, task in tasks.items():
        start = time.process_time()
        task()
        seconds[name] = time.process_time() - start
        print(f"{name:28} x {n}: {seconds[name]:7.2f} s CPU")
    start = time.process_time()
    for _ in image_weights(first.groups, 3, 0):
        accumulate(first.matches, first_scores, first.params)
    naive = (time.process_time() - start) / 3 * n
    ratio = naive / seconds["intervals of all 12"]
    print(f"{'accumulating each set anew':28} x {n}: {naive:7.2f} s CPU ({ratio:.1f} x all 12)")


if __name__ == "__main__":
    main()
