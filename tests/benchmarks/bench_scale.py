"""Score a set by parts, in shards, and on Ray, and hold every result against one file's.

    python tests/benchmarks/bench_scale.py FOLDER [--images 2000] [--shards 4] [--workers 1 2]

The set is that of the scoring benchmark, its predictions overlapping or not. One file is also read
by parts in a bounded memory. On Ray it runs with one and more workers, on two nodes, with a worker
killed in its midst, and with a node killed; without numbers behind ``--workers`` there is no run on
Ray. A line gives CPU seconds of the process that is started (on Ray the driver) and of the workers,
both together against one process with one file of each side, those of Ray's own processes, the
driver's peak memory, and wall seconds; on Ray all but the memory without its start and the imports.
Needs Ray (the extra ray) and Linux, and exits with an error where a result differs in one bit.
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
from ray.cluster_utils import Cluster
from entityseg_bench.cli import main

nodes, workers, fate = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": workers})
others = [cluster.add_node(num_cpus=workers) for _ in range(nodes - 1)]
ray.init(address=cluster.address, log_to_driver=False)
TICK = os.sysconf("SC_CLK_TCK")

def fields(pid):
    return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()

def is_worker(pid):
    try:
        return open(f"/proc/{pid}/cmdline", "rb").read().startswith(b"ray::")
    except OSError:
        return False

def cpu_below():
    # Of all processes below this one: the workers, and Ray's own.
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found[int(pid)] = fields(pid)
        except (OSError, ValueError):
            continue
    mine, totals = {os.getpid()}, [0, 0]
    while True:
        more = {pid for pid, own in found.items() if int(own[1]) in mine} - mine
        if not more:
            return [total / TICK for total in totals]
        mine |= more
        for pid in more:
            totals[not is_worker(pid)] += int(found[pid][11]) + int(found[pid][12])

@ray.remote(scheduling_strategy="SPREAD")
def warm():
    import entityseg_bench.scale.shards
    time.sleep(0.5)
    return os.getpid()

while len(set(ray.get([warm.remote() for _ in range(4 * nodes * workers)]))) < nodes * workers:
    pass

def scoring():
    # Ray calls the process of a task as the task.
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if open(f"/proc/{pid}/cmdline", "rb").read().startswith(b"ray::score_predictions"):
                return int(pid)
        except OSError:
            continue

def kill():
    while scoring() is None:
        time.sleep(0.02)
    if fate == "node":
        cluster.remove_node(others[0], allow_graceful=False)
    else:
        os.kill(scoring(), signal.SIGKILL)
    print("killed", file=sys.stderr)

if fate != "live":
    threading.Thread(target=kill, daemon=True).start()
start, before = time.perf_counter(), cpu_below()
own = time.process_time()
code = main(sys.argv[4:])
after = cpu_below()
figures = [time.process_time() - own, after[0] - before[0], after[1] - before[1]]
print("figures", *figures, time.perf_counter() - start, file=sys.stderr)
ray.shutdown()
cluster.shutdown()
sys.exit(code)
"""


def cut(path: Path, folder: Path, size: int, spread: int) -> None:
    """Cut a file of either side into shards of some images.

    Args:
        path: The file.
        folder: Where the shards go.
        size: Images of a shard.
        spread: Shards that the predictions of each image are spread over in turn; 0 for none.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    is_gt = isinstance(content, dict)
    records = content["annotations"] if is_gt else content
    by_shard: dict[int, list[Any]] = {}
    for at, record in enumerate(records):
        apart = at % spread if spread and not is_gt else (record["image_id"] - 1) // size
        by_shard.setdefault(apart, []).append(record)
    folder.mkdir(parents=True, exist_ok=True)
    for shard, own in by_shard.items():
        images = [im for im in content["images"] if (im["id"] - 1) // size == shard] if is_gt else 0
        shown = {**content, "images": images, "annotations": own} if is_gt else own
        (folder / f"{shard:05}.json").write_text(json.dumps(shown), encoding="utf-8")


def make(
    folder: Path, kind: str, n_images: int, sides: list[Path], n_shards: int, spread: bool
) -> None:
    """Write both files, and cut them."""
    for path, shards in zip(write(folder, "val", kind, n_images), sides, strict=True):
        cut(path, shards, -(-n_images // n_shards), n_shards if spread else 0)


def measure(
    name: str, command: list[str], result: Path, one: float | None
) -> tuple[float, dict[str, Any]]:
    """Run a command, print what it took, and return CPU seconds and what must be equal.

    Args:
        name: Of the run.
        command: The command.
        result: File of its result.
        one: CPU seconds of one process with one file of each side; None for this very run.
    """
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
        sys.exit(f"{name} failed ({process.returncode}):\n{notes[-2000:]}")
    lines = notes.splitlines()
    if "kill" in name and "killed" not in lines:
        sys.exit(f"{name}: it was over before anything was killed; take more images")
    workers = ray = 0.0
    for line in lines:
        if line.startswith("figures"):
            cpu, workers, ray, wall = map(float, line.split()[1:])
    total = cpu + workers
    ratio = total / (one or total)
    memory = usage.ru_maxrss / 1024
    print(
        f"{name:30}{cpu:9.1f}{workers:9.1f}{ratio:9.2f}{ray:9.1f}{memory:9.0f}{wall:9.1f}",
        flush=True,
    )
    record = json.loads(result.read_text(encoding="utf-8"))
    return total, {key: record[key] for key in KEYS}


def main() -> None:
    """Print one line a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--kind", choices=("disjoint", "overlap"), default="disjoint")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--spread", action="store_true", help="each image over all shards of PRED")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--max-memory", default="200MB", help="of a run over one file by parts")
    args = parser.parse_args()
    folder = args.folder / f"{args.kind}_{args.images}"
    gt, dt = folder / "val_gt.json", folder / f"val_{args.kind}.json"
    sides = [folder / f"{side}_{args.shards}" for side in ("gt", "pred")]
    if args.spread:
        sides[1] = sides[1].with_name(f"{sides[1].name}_spread")
    # In a process of its own: the peak memory of this one would count as that of its children.
    spawn = multiprocessing.get_context("spawn")
    maker = spawn.Process(
        target=make, args=(folder, args.kind, args.images, sides, args.shards, args.spread)
    )
    maker.start()
    maker.join()
    shown = [str(path) for path in sides]
    result = folder / "result.json"
    print(f"{'CPU s:':>39}{'workers':>9}{'/ one':>9}{'Ray':>9}{'MB':>9}{'wall s':>9}")
    command = [*CLI, "evaluate", str(gt), str(dt), "--threads", "1"]
    one, whole = measure("one file of each side", command, result, None)
    sharded = ["evaluate", *shown, "--threads", "1", "--engine"]
    runs = {
        f"one file, {args.max_memory}": [*command, "--max-memory", args.max_memory],
        f"{args.shards} shards, one process": [*CLI, *sharded, "local"],
    }
    most = max(args.workers, default=0)
    for nodes, n, fate in (
        *((1, n, "live") for n in args.workers),
        (2, 1, "live"), (1, most, "worker"), (2, 1, "node"),
    ) if args.workers else ():  # fmt: skip
        place = f"{nodes} nodes" if nodes > 1 else f"{n} worker{'s' * (n > 1)}"
        name = f"Ray, {place}" + (f", {fate} killed" if fate != "live" else "")
        driver = [sys.executable, "-c", DRIVER, str(nodes), str(n), fate]
        runs[name] = [*driver, *sharded, "ray"]
    for name, command in runs.items():
        if measure(name, command, result, one)[1] != whole:
            sys.exit(f"{name}: the result is another one")
    print("every result is that of one file of each side, to the last bit")


if __name__ == "__main__":
    main()
