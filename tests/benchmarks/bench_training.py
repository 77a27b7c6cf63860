"""Measure what training costs: loading samples, and a step of the tiny presets on one CPU core.

Run ``python tests/benchmarks/bench_training.py``; it takes a minute or two. Times are of one core
(CPU time, so that other work on the machine does not count). The floor of loading is decoding the
JPEG alone.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from baselines.augment import frame_image, frame_masks, plan_framings
from baselines.data import PartPositions, TrainingSamples, collate
from baselines.images import read_image
from baselines.learner import Learner, Run
from baselines.presets import get_preset
from baselines.ranks import Ranks
from entity_api import rle
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.demo import write_demo
from entityseg_bench.layout import ImageFiles
from entityseg_bench.types import Annotation, ImageInfo

# About 4 megapixels, as most of EntitySeg; entities of the mean number.
HEIGHT, WIDTH, ENTITIES = 1664, 2496, 20
LOADED = ("mask2former_swin_tiny_3x", "cropformer_swin_tiny_3x", "mask2former_swin_tiny_semantic")


def cpu_seconds(work: Callable[[int], object], repeats: int) -> float:
    """Give the CPU seconds of one call."""
    work(0)
    began = time.process_time()
    for k in range(repeats):
        work(k)
    return (time.process_time() - began) / repeats


def scene(folder: Path) -> EntityDataset:
    """Write a photograph-like JPEG and cut it into blobs that cover it."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (52, 78, 3), dtype=np.uint8))
    pixels = np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(folder / "scene.jpg", quality=92)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    centres = rng.random((ENTITIES, 2)) * (HEIGHT, WIDTH)
    wave = 40 * np.sin(x / 60) + 40 * np.sin(y / 45)
    nearest = np.argmin([np.hypot(y - cy, x - cx + wave) for cy, cx in centres], axis=0)
    masks = [rle.encode(nearest == k) for k in range(ENTITIES)]
    image = ImageInfo(1, "scene.jpg", HEIGHT, WIDTH)
    annotations = [
        Annotation(k + 1, 1, 0, mask, float(rle.area(mask)), (0, 0, 1, 1))
        for k, mask in enumerate(masks)
    ]
    return EntityDataset([image], annotations, image_files=ImageFiles(folder))


def measure_loading(repeats: int) -> None:
    """Print what a sample costs, and its parts."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = scene(Path(folder))
        path = Path(folder) / "scene.jpg"
        print(f"loading {HEIGHT} x {WIDTH}, {ENTITIES} entities, {path.stat().st_size:,} bytes")
        decode = cpu_seconds(lambda k: read_image(path), repeats)
        segmentations = [a.segmentation for a in dataset.annotations(0)]
        masks = np.stack([rle.decode(s) for s in segmentations])
        mask_seconds = cpu_seconds(lambda k: [rle.decode(s) for s in segmentations], repeats)
        print(f"  decode the JPEG (floor)  {1e3 * decode:7.1f} ms")
        print(f"  decode the masks         {1e3 * mask_seconds:7.1f} ms")
        image = read_image(path)
        for name in LOADED:
            preset = get_preset(name)
            # One class for all, whatever the preset's task: the data has one category.
            samples = TrainingSamples(dataset, preset.train, replace(preset.model, task="entity"))
            whole = cpu_seconds(samples.__getitem__, repeats)
            padding = cpu_seconds(lambda k, s=samples[0]: collate([s], 32), repeats)
            augment = preset.train.augment

            def framing(k: int, augment=augment) -> None:
                rng = np.random.default_rng(k)
                for one in plan_framings(HEIGHT, WIDTH, augment, rng):
                    frame_image(image, one)
                    frame_masks(masks, one)

            framed = cpu_seconds(framing, repeats)
            total = whole + padding
            print(
                f"  {name:32} sample {1e3 * whole:6.1f} ms (framing {1e3 * framed:5.1f}), batch "
                f"{1e3 * padding:5.1f} ms: {1 / total:5.1f} images/s a core, "
                f"{total / decode:.2f} x the floor"
            )


def measure_step(name: str, dataset: EntityDataset, repeats: int) -> None:
    """Print what a step of a preset costs."""
    preset = get_preset(name)
    size = preset.train.batch_size
    device = torch.device("cpu")
    run = Run(name, preset.model, preset.train, dataset, None, Path(), Ranks(), device)
    samples = TrainingSamples(dataset, preset.train, preset.model)
    positions = list(PartPositions(preset.train, Ranks()))[:repeats]
    batches = [collate([samples[p] for p in part], 32) for part in positions]
    learner = Learner(run, None)
    forward = cpu_seconds(lambda k: learner.model(batches[k].normalised(preset.model)), repeats)
    step = cpu_seconds(lambda k: learner.learn([batches[k]], False), repeats)
    print(
        f"step of {name}: {step:.2f} s for {size} images, {size / step:.1f} images/s a core; "
        f"{step / forward:.1f} x the forward pass"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=8)
    repeats = parser.parse_args().repeats
    measure_loading(repeats)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = write_demo(Path(folder) / "demo", n_images=24, size=(96, 160))
        dataset = EntityDataset.open(root, "entity", "train", cache=False)
        for name in ("mask2former_tiny", "cropformer_tiny"):
            measure_step(name, dataset, min(repeats, 4))


if __name__ == "__main__":
    main()
