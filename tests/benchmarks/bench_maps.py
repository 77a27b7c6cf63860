"""Panoptic quality, mIoU and boundaries against the straightforward numpy loops.

Run: python tests/benchmarks/bench_maps.py
Prints CPU seconds of each and their ratio, on maps of EntitySeg's size and number of segments; one
row stands beside np.unique over codes of label pairs, which is how panopticapi counts.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entity_api import boundary, panoptic, rle, semantic
from entity_api.maps import map_overlaps

HEIGHT, WIDTH, N_SEGMENTS, N_CLASSES = 1500, 2000, 18, 150


def wavy_map(seed: int, n: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.int64]:
    """Draw n regions with wavy borders, ids 1..n."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y + 8 * np.sin(x / 11 + seed), x + 8 * np.sin(y / 13)
    best = np.full((height, width), np.inf, np.float32)
    ids = np.zeros((height, width), np.int64)
    for k in range(1, n + 1):
        seed_y, seed_x = rng.random(2) * (height, width)
        distance = (y - seed_y) ** 2 + (x - seed_x) ** 2
        closer = distance < best
        best[closer] = distance[closer]
        ids[closer] = k
    return ids


def cpu_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Return the least CPU time of several runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def loop_over_pairs(
    gt_map: NDArray[np.int64], gt: list[int], dt_map: NDArray[np.int64], dt: list[int]
) -> NDArray[np.float64]:
    """Compute the IoU of every pair of segments with a mask for each."""
    iou = np.zeros((len(gt), len(dt)))
    for i, gt_id in enumerate(gt):
        gt_mask = gt_map == gt_id
        for j, dt_id in enumerate(dt):
            dt_mask = dt_map == dt_id
            common = (gt_mask & dt_mask).sum()
            iou[i, j] = common / (gt_mask | dt_mask).sum()
    return iou


def loop_over_classes(gt: NDArray[np.uint8], dt: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Compute each class's IoU with a mask for each side."""
    scored = gt != semantic.IGNORE
    iou = np.zeros(N_CLASSES)
    for k in range(N_CLASSES):
        gt_mask, dt_mask = (gt == k) & scored, (dt == k) & scored
        iou[k] = (gt_mask & dt_mask).sum() / max((gt_mask | dt_mask).sum(), 1)
    return iou


def loop_of_erosions(mask: dict[str, Any]) -> NDArray[np.bool_]:
    """Erode by a 3 x 3 square d times, in two passes each."""
    whole = rle.decode(mask)
    core = np.pad(whole, 1)
    for _ in range(boundary.reach_of(*whole.shape)):
        core[1:-1] = core[:-2] & core[1:-1] & core[2:]
        core[:, 1:-1] = core[:, :-2] & core[:, 1:-1] & core[:, 2:]
    return whole & ~core[1:-1, 1:-1]


def main() -> None:
    """Measure and print."""
    gt_map, dt_map = wavy_map(1, N_SEGMENTS), wavy_map(2, 2 * N_SEGMENTS)
    sides = [
        (ids, [{"id": k, "category_id": 1} for k in np.unique(ids).tolist()])
        for ids in (gt_map, dt_map)
    ]
    (_, gt), (_, dt) = sides
    gt_ids, dt_ids = [s["id"] for s in gt], [s["id"] for s in dt]
    gt_classes = wavy_map(3, N_CLASSES).astype(np.uint8)
    dt_classes = wavy_map(4, N_CLASSES).astype(np.uint8)
    gt_classes[gt_classes == N_CLASSES] = semantic.IGNORE
    dt_classes[dt_classes == N_CLASSES] = 0
    _, masks = rle.encode_id_map(gt_map)
    rows = [
        (
            "panoptic quality, one image",
            cpu_seconds(lambda: panoptic.tally(gt_map, gt, dt_map, dt), 5),
            cpu_seconds(lambda: loop_over_pairs(gt_map, gt_ids, dt_map, dt_ids), 1),
        ),
        (
            "the same, beside np.unique",
            cpu_seconds(lambda: map_overlaps(gt_map, dt_map), 5),
            cpu_seconds(lambda: np.unique(gt_map * 2**24 + dt_map, return_counts=True), 3),
        ),
        (
            "mIoU counts, one image",
            cpu_seconds(lambda: semantic.count(gt_classes, dt_classes, N_CLASSES), 5),
            cpu_seconds(lambda: loop_over_classes(gt_classes, dt_classes), 1),
        ),
        (
            "boundaries of all segments",
            cpu_seconds(lambda: [boundary.boundary(mask) for mask in masks], 5),
            cpu_seconds(lambda: [loop_of_erosions(mask) for mask in masks], 1),
        ),
    ]
    print(f"{HEIGHT} x {WIDTH} px, {len(gt)} and {len(dt)} segments, {N_CLASSES} classes")
    print(f"{'CPU seconds':32}{'ours':>10}{'loop':>10}{'ratio':>10}")
    for name, ours, loop in rows:
        print(f"{name:32}{ours:10.4f}{loop:10.4f}{loop / ours:9.1f}x")


if __name__ == "__main__":
    main()
