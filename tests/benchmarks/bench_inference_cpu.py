"""Measure postprocessing, and optionally the whole of inference, on a large photograph on the CPU.

Run ``python tests/benchmarks/bench_inference_cpu.py``, with ``--network`` to include the networks.
Each case runs in a process of its own, whose peak memory (resident set) is printed. The peer of
postprocessing is the same work done with whole float tensors at the size of the image; where they
need more memory than the machine has, its time is taken at a smaller size and scaled by pixels.
"""

import argparse
import multiprocessing
import resource
import time

import numpy as np
import torch
import torch.nn.functional as F

from baselines import build_model
from baselines.crops import ViewLayout, corner_boxes_xyxy, plan_views
from baselines.modeling.paste import MaskCanvas
from baselines.modeling.postprocess import disjoint_segments, overlapping_instances
from baselines.predictor import Predictor
from entity_api import rle

NUM_QUERIES = 100


class Clock:
    """Remember when something began, on the wall and in CPU time of this process."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()


def lay_out(height: int, width: int, views: int) -> ViewLayout:
    boxes = corner_boxes_xyxy(height, width, 0.7) if views > 1 else ()
    return plan_views(height, width, short_side=800, max_side=1333, crop_boxes_xyxy=boxes)


def draw_logits(layout: ViewLayout, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw class and mask logits: "blobs" is like life, "noise" leaves no tile to skip."""
    generator = torch.Generator().manual_seed(0)
    height, width = (side // 4 for side in layout.padded_size)
    class_logits = torch.randn(NUM_QUERIES, 2, generator=generator)
    masks = torch.empty(NUM_QUERIES, len(layout.boxes_xyxy), height, width)
    if kind == "noise":
        return class_logits, masks.normal_(generator=generator)
    full_height, full_width = layout.size
    centres = torch.rand(NUM_QUERIES, 2, generator=generator)
    radii = torch.rand(NUM_QUERIES, 1, 1, generator=generator) * 0.15 + 0.02
    for v, (x0, y0, x1, y1) in enumerate(layout.boxes_xyxy):
        view_height, view_width = layout.view_sizes[v]
        y = (y0 + (torch.arange(height) * 4 + 2) * (y1 - y0) / view_height) / full_height
        x = (x0 + (torch.arange(width) * 4 + 2) * (x1 - x0) / view_width) / full_width
        dy, dx = (axis - centres[:, i, None] for i, axis in enumerate((y, x)))
        distance = (dy[:, :, None] ** 2 + dx[:, None] ** 2).sqrt()
        masks[:, v] = ((radii - distance) * 60).clamp(-12, 12)
    return class_logits, masks


def whole_tensors(class_logits: torch.Tensor, masks: torch.Tensor, layout: ViewLayout) -> None:
    """Do the entity task's postprocessing with (Q, H, W) float tensors, view after view."""
    total = torch.zeros(len(masks), *layout.size)
    count = torch.zeros(layout.size)
    for v, ((x0, y0, x1, y1), (height, width)) in enumerate(
        zip(layout.boxes_xyxy, layout.view_sizes, strict=True)
    ):
        at_input = F.interpolate(masks[:, v, None], layout.padded_size, mode="bilinear")
        at_image = F.interpolate(
            at_input[..., :height, :width], (y1 - y0, x1 - x0), mode="bilinear"
        )
        total[:, y0:y1, x0:x1] += at_image[:, 0].sigmoid_()
        count[y0:y1, x0:x1] += 1
    total /= count
    ids = torch.zeros(layout.size, dtype=torch.int64)
    scores = class_logits.softmax(-1)[:, 0]
    for rank, query_idx in enumerate(scores.argsort()):
        ids[total[query_idx] > 0.5] = rank + 1
    for rank, query_idx in enumerate(scores.argsort()):
        mask = ids == rank + 1
        float((total[query_idx].sigmoid() * mask).sum() / (mask.sum() + 1e-6))
        rle.encode(mask.numpy())


def entity(height: int, width: int, views: int, kind: str) -> None:
    layout = lay_out(height, width, views)
    class_logits, masks = draw_logits(layout, kind)
    start = Clock()
    segments = disjoint_segments(class_logits, MaskCanvas(masks, layout))
    ids, _ = segments.encode()
    report(f"entity, {views} views, {kind}", start, f"{len(ids)} ids")


def instances(height: int, width: int, views: int, kind: str) -> None:
    layout = lay_out(height, width, views)
    class_logits, masks = draw_logits(layout, kind)
    start = Clock()
    found = overlapping_instances(class_logits, MaskCanvas(masks, layout))
    report(f"instances, {views} view, {kind}", start, f"{len(found)} masks")


def peer(height: int, width: int, views: int, kind: str) -> None:
    layout = lay_out(height, width, views)
    class_logits, masks = draw_logits(layout, kind)
    start = Clock()
    whole_tensors(class_logits, masks, layout)
    report(f"peer: whole tensors, {views} views, {kind}", start)


def network(height: int, width: int, views: int, kind: str) -> None:
    name = "cropformer_swin_tiny_3x" if views > 1 else "mask2former_swin_tiny_3x"
    torch.manual_seed(0)
    predictor = Predictor(model=build_model(name))
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    start = Clock()
    found = predictor(image)
    report(f"all of inference, {name}, {kind} weights", start, str(len(found)))


def report(what: str, clock: Clock, more: str = "") -> None:
    wall, cpu = time.perf_counter() - clock.wall, time.process_time() - clock.cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"  {what:58} {wall:7.2f} s, {cpu:7.2f} CPU s, peak {peak:5.2f} GiB  {more}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--height", type=int, default=4000)
    parser.add_argument("--width", type=int, default=6000)
    parser.add_argument("--network", action="store_true", help="also run the networks")
    args = parser.parse_args()
    cases = [
        (entity, 5, "blobs"),
        (entity, 5, "noise"),
        (entity, 1, "blobs"),
        (instances, 1, "blobs"),
    ]
    if args.network:
        cases += [(network, 1, "random"), (network, 5, "random")]
    start = multiprocessing.get_context("spawn").Process
    print(f"{args.height} x {args.width}, {NUM_QUERIES} queries, {torch.get_num_threads()} threads")
    for function, views, kind in cases:
        run = start(target=function, args=(args.height, args.width, views, kind))
        run.start()
        run.join()
    print("1000 x 1500, the peer and ours (the peer at full size: 16 times this)")
    for function in (peer, entity):
        run = start(target=function, args=(1000, 1500, 5, "blobs"))
        run.start()
        run.join()


if __name__ == "__main__":
    main()
