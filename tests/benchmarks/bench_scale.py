"""Score a set by parts, in shards, and on Ray, and hold every result against one file's.

    python tests/benchmarks/bench_scale.py FOLDER [--images 1314] [--shards 4] [--workers 1 2]

The set is that of the scoring benchmark, its predictions overlapping or not. Printed are CPU
seconds and peak memory of the process that is started (on Ray the driver alone, whose workers are
processes of their own), and wall seconds. One run on Ray has a worker killed in its midst; without
numbers behind ``--workers`` there is none, and Ray (the extra ray) is not needed. It exits with an
error where a result differs in one bit.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scoring_data import write

CLI = [sys.executable, "-m", "entityseg_bench.cli"]
KEYS = ("metrics", "counts", "overlap", "parameters")
DRIVER = """
import os, signal, sys, threading, time
import ray
from entityseg_bench.cli import main
ray.init(num_cpus=int(sys.argv[1]), log_to_driver=False, include_dashboard=False)

@ray.remote
def warm():
    return os.getpid()

ray.get([warm.remote() for _ in range(8)])

def kill():
    # The first worker that scores: Ray renames the process of a task.
    while True:
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if open(f"/proc/{pid}/cmdline", "rb").read().startswith(b"ray::score_pred"):
                    os.kill(int(pid), signal.SIGKILL)
                    print("killed a worker", file=sys.stderr)
                    return
            except OSError:
                continue
        time.sleep(0.02)

if sys.argv[2] == "kill":
    threading.Thread(target=kill, daemon=True).start()
start = time.perf_counter()
code = main(sys.argv[3:])
print(f"without the start of Ray {time.perf_counter() - start:.1f} s", file=sys.stderr)
sys.exit(code)
"""


def cut(path: Path, folder: Path, size: int) -> None:
    """Cut a file of either side into shards of some images."""
    content = json.loads(path.read_text(encoding="utf-8"))
    is_gt = isinstance(content, dict)
    records = content["annotations"] if is_gt else content
    by_shard: dict[int, list[Any]] = {}
    for record in records:
        by_shard.setdefault((record["image_id"] - 1) // size, []).append(record)
    folder.mkdir(parents=True, exist_ok=True)
    for shard, own in by_shard.items():
        images = [im for im in content["images"] if (im["id"] - 1) // size == shard] if is_gt else 0
        shown = {**content, "images": images, "annotations": own} if is_gt else own
        (folder / f"{shard:05}.json").write_text(json.dumps(shown), encoding="utf-8")


def make(folder: Path, kind: str, n_images: int, sides: list[Path], n_shards: int) -> None:
    """Write both files, and cut them."""
    for path, shards in zip(write(folder, "val", kind, n_images), sides, strict=True):
        cut(path, shards, -(-n_images // n_shards))


def measure(name: str, command: list[str], result: Path) -> dict[str, Any]:
    """Run a command, print what it took, and return the part of its result that must be equal."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--quiet", "--json", str(result)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    notes = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    if process.returncode:
        sys.exit(f"{name} failed:\n{notes[-2000:]}")
    told = "; ".join(line for line in notes.splitlines() if line.startswith(("killed", "without")))
    print(f"{name:28}{cpu:8.1f} s CPU{usage.ru_maxrss / 1024:8.0f} MB{wall:8.1f} s wall  {told}")
    record = json.loads(result.read_text(encoding="utf-8"))
    return {key: record[key] for key in KEYS}


def main() -> None:
    """Print one line a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1314)
    parser.add_argument("--kind", choices=("disjoint", "overlap"), default="disjoint")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--max-memory", default="200MB", help="of a run over one file by parts")
    args = parser.parse_args()
    folder = args.folder / f"{args.kind}_{args.images}"
    gt, dt = folder / "val_gt.json", folder / f"val_{args.kind}.json"
    sides = [folder / f"{side}_{args.shards}" for side in ("gt", "pred")]
    # In a process of its own: the peak memory of this one would count as that of its children.
    spawn = multiprocessing.get_context("spawn")
    maker = spawn.Process(target=make, args=(folder, args.kind, args.images, sides, args.shards))
    maker.start()
    maker.join()
    shown = [str(path) for path in sides]
    result = folder / "result.json"
    whole = measure("one file of each side", [*CLI, "evaluate", str(gt), str(dt)], result)
    by_parts = ["--max-memory", args.max_memory]
    runs = {
        f"one file, {args.max_memory}": [*CLI, "evaluate", str(gt), str(dt), *by_parts],
        f"{args.shards} shards, one process": [*CLI, "evaluate", *shown, "--engine", "local"],
    }
    for n, fate in [
        *((n, "live") for n in args.workers),
        *((n, "kill") for n in args.workers[-1:]),
    ]:
        name = f"Ray, {n} workers" + (", one killed" if fate == "kill" else "")
        driver = [sys.executable, "-c", DRIVER, str(n), fate, "evaluate", *shown]
        runs[name] = [*driver, "--engine", "ray"]
    for name, command in runs.items():
        if measure(name, command, result) != whole:
            sys.exit(f"{name}: the result is another one")
    print("every result is that of one file of each side, to the last bit")


if __name__ == "__main__":
    main()
