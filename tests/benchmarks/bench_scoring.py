"""Time the whole scoring command beside its peers: CPU seconds of fresh processes.

    python tests/benchmarks/bench_scoring.py FOLDER [--peers PYTHON] [--runs 3]

Each tool loads both files, evaluates, accumulates and summarises, masks, one category, 1/10/100
detections. Ours is measured twice: AP alone, which is what the others do, and the default, AP and
AP^e. The tools take turns; a figure is the least of the runs, since these machines are noisy.
`--peers` names a Python that has the peers installed (pycocotools faster-coco-eval hotcoco
ultrafast-pycocotools vernier); those it lacks are left out, by name.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from scoring_data import SIZES, write

OWN = "entityseg_bench.cli"
COCO_LIKE = """
import sys
from {coco} import COCO
from {evaluator} as COCOeval
gt = COCO(sys.argv[1])
ev = COCOeval(gt, gt.loadRes(sys.argv[2]), "segm")
ev.evaluate(); ev.accumulate(); ev.summarize()
print("AP", ev.stats[0])
"""
VERNIER = """
import sys
from pathlib import Path
from vernier.instance import Evaluator, Segm
result = Evaluator(iou=Segm()).evaluate(
    Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]).read_bytes()
)
print("AP", result)
"""
PEERS = {
    "pycocotools": COCO_LIKE.format(
        coco="pycocotools.coco", evaluator="pycocotools.cocoeval import COCOeval"
    ),
    "faster-coco-eval": COCO_LIKE.format(
        coco="faster_coco_eval", evaluator="faster_coco_eval import COCOeval_faster"
    ),
    "hotcoco": COCO_LIKE.format(coco="hotcoco", evaluator="hotcoco import COCOeval"),
    "ultrafast-pycocotools": COCO_LIKE.format(
        coco="ultrafast_pycocotools", evaluator="ultrafast_pycocotools import COCOeval"
    ),
    "vernier": VERNIER,
}


# A process of its own, small: the peak of a child counts what its parent had when it was forked.
WATCH = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stderr=subprocess.STDOUT)
_, status, usage = os.wait4(process.pid, 0)
wall = time.perf_counter() - start
print(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def measure(command: list[str]) -> tuple[float, float, float, str]:
    """Run a command; return CPU seconds, wall seconds, peak MB and what it printed."""
    watched = [sys.executable, "-I", "-S", "-c", WATCH, *command]
    done = subprocess.run(watched, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[:3]} failed:\n{done.stdout[-2000:]}")
    cpu, wall, peak = map(float, done.stderr.split()[-3:])
    return cpu, wall, peak, done.stdout


def commands(gt: Path, dt: Path, peers: str, slow: bool) -> dict[str, list[str]]:
    """Make the command of every tool that is installed."""
    own = [sys.executable, "-m", OWN, "evaluate", str(gt), str(dt), "--quiet", "--threads"]
    found = {
        "ours, AP": [*own, "1", "--no-overlap-removal"],
        "ours, AP and AP^e": [*own, "1"],
        "ours, both, 2 threads": [*own, "2"],
    }
    for name, script in PEERS.items():
        if not installed(peers, name):
            print(f"{name}: not installed, not measured")
        elif slow or name != "pycocotools":
            boxes = dt.with_suffix(".boxes.json") if name == "vernier" else dt
            found[name] = [peers, "-c", script, str(gt), str(boxes)]
    return found


def installed(python: str, name: str) -> bool:
    """Tell whether a Python has a peer."""
    check = [python, "-c", f"import {name.replace('-', '_')}"]
    return not subprocess.run(check, capture_output=True, check=False).returncode


def main() -> None:
    """Print one table a data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the generated files are kept")
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sets", nargs="+", choices=SIZES, default=["val"])
    parser.add_argument("--kinds", nargs="+", default=["disjoint", "overlap"])
    parser.add_argument("--no-pycocotools", action="store_true")
    args = parser.parse_args()
    for name in args.sets:
        for kind in args.kinds:
            gt, dt = write(args.folder, name, kind, 1314)
            size = dt.stat().st_size / 1e6
            print(f"\n{name} {kind}: predictions {size:.0f} MB, least of {args.runs} runs")
            print(f"{'':24}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}{'x ours':>8}")
            tools = commands(gt, dt, args.peers, not args.no_pycocotools)
            least: dict[str, list[float]] = {}
            for turn in range(args.runs):
                for tool, command in tools.items():
                    if tool == "pycocotools" and turn:
                        continue
                    figures = measure(command)[:3]
                    old = least.setdefault(tool, list(figures))
                    least[tool] = [min(a, b) for a, b in zip(old, figures, strict=True)]
            ours = least["ours, AP"][0]
            for tool, (cpu, wall, peak) in least.items():
                print(f"{tool:24}{cpu:8.2f}{wall:8.2f}{peak:9.0f}{cpu / ours:8.1f}", flush=True)


if __name__ == "__main__":
    main()
