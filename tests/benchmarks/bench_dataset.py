"""Opening annotations and cutting maps into masks, beside json + pycocotools; prints ratios.

    python tests/benchmarks/bench_dataset.py [--images 24000] [--keep FOLDER]

Every measurement is CPU time of a fresh process, in one run, the least of three.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

PER_IMAGE = 17
SIDE = 2000

PARENT = """
import resource, sys, time
{setup}
start = time.process_time()
{work}
used = time.process_time() - start
print(used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
OURS = "from entityseg_bench.formats.coco import read_coco"
CASES = {
    "json.load + pycocotools index": (
        "import contextlib, io; from pycocotools.coco import COCO",
        "with contextlib.redirect_stdout(io.StringIO()): data = COCO({path!r})",
    ),
    "read_coco, no cache": (OURS, "data = read_coco({path!r}, cache=False)"),
    "read_coco, first time (hashes, fills the cache)": (OURS, "data = read_coco({path!r})"),
    "read_coco, from the cache": (OURS, "data = read_coco({path!r})"),
}


def write_large(path: Path, n_images: int) -> None:
    """Write annotations of outlines like those of 4-megapixel entities, about 3.3 kB each."""
    from entity_api import rle

    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    pool = []
    for _ in range(200):
        wave = np.interp(angles, np.linspace(0, 2 * np.pi, 30), rng.normal(size=30))
        radius = rng.uniform(0.12, 0.3) * SIDE * (1 + 0.15 * wave)
        x, y = rng.uniform(0.3, 0.7, 2) * SIDE
        outline = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)
        pool.append(rle.from_polygons([outline.ravel().tolist()], SIDE, SIDE))
    images = [
        {"id": n, "file_name": f"entity_01_11580/{n:06d}.jpg", "height": SIDE, "width": SIDE}
        for n in range(n_images)
    ]
    with path.open("wb") as file:
        file.write(b'{"images":' + msgspec.json.encode(images) + b',"annotations":[')
        for n in range(n_images * PER_IMAGE):
            row = {
                "id": n + 1,
                "image_id": n // PER_IMAGE,
                "category_id": n % 644,
                "bbox": [1.5, 2.5, 30.0, 40.0],
                "area": 1234.0,
                "iscrowd": 0,
                "segmentation": pool[n * 7 % len(pool)],
            }
            file.write((b"," if n else b"") + msgspec.json.encode(row))
        file.write(b'],"categories":[]}')


def fresh(case: str, path: Path, cache: Path) -> tuple[float, float]:
    """Run a case in a process of its own; return CPU seconds and peak megabytes."""
    setup, work = CASES[case]
    code = PARENT.format(setup=setup, work=work.format(path=str(path)))
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"ENTITYSEG_CACHE": str(cache), "PATH": "/usr/bin:/bin"},
    )
    seconds, megabytes = out.stdout.split()
    return float(seconds), float(megabytes)


def opening(path: Path, cache: Path) -> None:
    """Compare the ways to open the large file."""
    print(f"opening {path.stat().st_size / 1e9:.2f} GB of annotations")
    found: dict[str, list[tuple[float, float]]] = {case: [] for case in CASES}
    for _ in range(3):
        for entry in cache.glob("*"):
            entry.unlink()
        for case in CASES:
            found[case].append(fresh(case, path, cache))
    base = min(found[next(iter(CASES))])[0]
    for case, runs in found.items():
        seconds, megabytes = min(runs)
        print(f"  {case:48} {seconds:7.2f} s  {base / seconds:6.1f} x  peak {megabytes:6.0f} MB")


def cutting() -> None:
    """Compare one pass over a map with a mask and pycocotools.encode per segment."""
    from pycocotools import mask as coco_mask

    from entity_api import rle

    rng = np.random.default_rng(0)
    for n in (20, 60, 100):
        seeds = rng.integers(0, SIDE, (n, 2))
        y, x = np.mgrid[:SIDE:8, :SIDE:8]
        nearest = ((y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2).argmin(-1)
        pixels = np.kron(nearest, np.ones((8, 8), np.int64)).astype(np.int32) + 1

        def peer(pixels: np.ndarray = pixels) -> list[bytes]:
            masks = (np.asfortranarray(pixels == k, np.uint8) for k in np.unique(pixels))
            return [coco_mask.encode(mask)["counts"] for mask in masks]

        def own(pixels: np.ndarray = pixels) -> list[bytes]:
            return [mask["counts"].encode() for mask in rle.encode_id_map(pixels)[1]]

        assert peer() == own()
        times = {}
        for work in (peer, own):
            runs = []
            for _ in range(3):
                start = time.process_time()
                work()
                runs.append(time.process_time() - start)
            times[work.__name__] = min(runs)
        ratio = times["peer"] / times["own"]
        print(
            f"  {n:3} segments of a 4 Mpx map: pycocotools {1e3 * times['peer']:6.0f} ms, "
            f"encode_id_map {1e3 * times['own']:5.1f} ms, {ratio:.1f} x"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=24000)
    parser.add_argument("--keep", type=Path, help="folder for the large file, written once")
    args = parser.parse_args()
    print("cutting a map into masks")
    cutting()
    with tempfile.TemporaryDirectory() as base:
        folder = args.keep or Path(base)
        path = folder / f"annotations_{args.images}.json"
        if not path.is_file():
            write_large(path, args.images)
            time.sleep(3)
        cache = Path(base) / "cache"
        cache.mkdir()
        opening(path, cache)


if __name__ == "__main__":
    main()
