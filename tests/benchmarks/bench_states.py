"""Merge states of many detections, and print CPU seconds, peak memory and bytes in files.

    python tests/benchmarks/bench_states.py FOLDER [--detections 2000000 20000000] [--states 40]

The states are drawn: 100 detections and entities an image, scores of single precision, 300 patterns
of outcomes. Each merge is `entityseg merge --json --save-state` in a process of its own. Of the
peak memory the system can take back what is of files; beside it stands the rest (Linux).
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from entity_api import EvalParams, EvalState
from entity_api.state_arrays import bare
from entityseg_bench.scale.saved import SavedScoring

DRIVER = """
import json, re, resource, sys, threading, time
from pathlib import Path
from entityseg_bench.cli import main

held, ended = [0], threading.Event()
def look():
    while not ended.wait(0.02):
        found = re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())
        held.append(1024 * int(found[1]))
if Path("/proc/self/status").exists():
    threading.Thread(target=look, daemon=True).start()
code = main(sys.argv[1:])
ended.set()
unit = 1 if sys.platform == "darwin" else 1024
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(json.dumps([time.process_time(), peak, max(held)]), file=sys.stderr)
sys.exit(code)
"""
PER_IMAGE, PATTERNS = 100, 300


def draw(first: int, n_images: int) -> SavedScoring:
    """Draw the scoring of some images that are numbered from ``first``."""
    rng = np.random.default_rng(first)
    scores = np.sort(rng.random((n_images, PER_IMAGE), np.float32).astype(np.float64))[:, ::-1]
    patterns = np.unique(rng.integers(0, 3, (PATTERNS, 80)).astype(np.uint8), axis=0)
    ids: list[int | str] = [*range(first, first + n_images)]
    state = EvalState(
        params=bare(EvalParams()),
        category_ids=[-1],
        image_ids=ids,
        overlap=np.ones((n_images, 4), np.int64),
        group_category=np.zeros(n_images, np.int64),
        group_image=np.arange(n_images),
        n_gt=np.full((n_images, 4), PER_IMAGE),
        n_dt=np.full(n_images, PER_IMAGE),
        scores=scores.reshape(-1),
        codes=rng.integers(0, len(patterns), n_images * PER_IMAGE).astype(np.int32),
        patterns=patterns.reshape(-1, 2, 4, 10),
    )
    read = {
        side: {"name": str(first), "sha256": "0" * 64} for side in ("ground_truth", "predictions")
    }
    counts = {
        "images": n_images,
        "ground_truth": PER_IMAGE * n_images,
        "predictions": len(state.scores),
    }
    names = [f"image_{image_id:08}.jpg" for image_id in ids]
    return SavedScoring("entity", [read], counts, [], None, names, False, state, None, None)


def measure(folder: Path, n: int, n_states: int) -> str:
    """Write states of ``n`` detections, merge them, and say what it took."""
    n_images = n // PER_IMAGE // n_states
    paths = [folder / f"{k}.parquet" for k in range(n_states)]
    for k, path in enumerate(paths):
        draw(k * n_images, n_images).save(path)
    options = ["--json", str(folder / "r.json"), "--save-state", str(folder / "merged.parquet")]
    command = [sys.executable, "-c", DRIVER, "merge", *map(str, paths), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, peak, held = json.loads(done.stderr.splitlines()[-1])
    size = f"{(folder / 'merged.parquet').stat().st_size / n:.1f} bytes each"
    memory = f"{peak / 2**20:6.0f} MB, {held / 2**20:.0f} MB of no file"
    return f"{n:>12,} detections {seconds:6.1f} s CPU {memory}, {size}"


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detections", type=int, nargs="+", default=[2_000_000, 20_000_000])
    parser.add_argument("--states", type=int, default=40)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for n in args.detections:
        print(measure(args.folder, n, args.states), flush=True)


if __name__ == "__main__":
    main()
