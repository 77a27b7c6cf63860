"""Time scoring where the shape of the data is unusual, beside peers: CPU seconds and peak memory.

    python tests/benchmarks/bench_shapes.py FOLDER [--peers PYTHON] [--runs 3] [--shapes NAME ...]

Each tool runs in a process of its own that loads both files, evaluates and summarises masks of one
category at 1/10/100 detections. The tools take turns; a figure is the median of the runs, and
"x vernier" a ratio within this run. Panoptic maps, which the peers do not score, are counted beside
`numpy.unique` over codes of label pairs, as panopticapi counts them. `--peers` names a Python that
has pycocotools and vernier; one that it lacks is left out, by name.
"""

import argparse
import statistics
import sys
from pathlib import Path

from bench_scoring import OWN, PEERS, installed, measure
from shapes_data import SHAPES, write, write_maps

MAP_SIZES = (5_000, 10_000, 20_000)
OWN_MAPS = """
import sys
import numpy as np
from entity_api import panoptic
maps = np.load(sys.argv[1])
sides = [
    (maps[k], [{"id": i, "category_id": 1} for i in np.unique(maps[k]).tolist()])
    for k in ("gt", "dt")
]
print(panoptic.tally(*sides[0], *sides[1]))
"""
PAIRS_OF_LABELS = """
import sys
import numpy as np
maps = np.load(sys.argv[1])
print(len(np.unique(maps["gt"].astype(np.int64) << 32 | maps["dt"], return_counts=True)[0]))
"""


def commands(folder: Path, shape: str, peers: str, slow: bool) -> dict[str, list[str]]:
    """Make the command of every tool that is installed."""
    gt, dt = write(folder, shape)
    own = [sys.executable, "-m", OWN, "evaluate", str(gt), str(dt), "--quiet", "--threads"]
    found = {
        "ours, AP": [*own, "1", "--no-overlap-removal"],
        "ours, AP and AP^e": [*own, "1"],
        "ours, both, 2 threads": [*own, "2"],
    }
    for name in ("vernier", "pycocotools"):
        if not installed(peers, name):
            print(f"{name}: not installed, not measured")
        elif slow or name != "pycocotools":
            found[name] = [peers, "-c", PEERS[name], str(gt), str(dt)]
    return found


def table(title: str, tools: dict[str, list[str]], runs: int, unit: str) -> None:
    """Measure the tools in turns and print a row each; ratios are to the tool ``unit``."""
    figures: dict[str, list[tuple[float, float, float]]] = {}
    for turn in range(runs):
        for tool, command in tools.items():
            # The slowest peer is run once.
            if tool != "pycocotools" or not turn:
                figures.setdefault(tool, []).append(measure(command)[:3])
    medians = {
        tool: [statistics.median(values) for values in zip(*rows, strict=True)]
        for tool, rows in figures.items()
    }
    whole = medians.get(unit)
    print(f"\n{title}, median of {runs}")
    print(f"{'':24}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}{'x ' + unit:>14}")
    for tool, (cpu, wall, peak) in medians.items():
        ratio = f"{cpu / whole[0]:14.2f}" if whole else ""
        print(f"{tool:24}{cpu:8.2f}{wall:8.2f}{peak:9.0f}{ratio}", flush=True)


def main() -> None:
    """Print one table a shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the generated files are kept")
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--shapes", nargs="+", choices=[*SHAPES, "maps"], default=[*SHAPES, "maps"])
    parser.add_argument("--no-pycocotools", action="store_true")
    args = parser.parse_args()
    for shape in args.shapes:
        if shape == "maps":
            continue
        tools = commands(args.folder, shape, args.peers, not args.no_pycocotools)
        table(shape, tools, args.runs, "vernier")
    for n in MAP_SIZES if "maps" in args.shapes else ():
        maps = str(write_maps(args.folder, n))
        tools = {
            "ours, PQ": [sys.executable, "-c", OWN_MAPS, maps],
            "numpy.unique": [sys.executable, "-c", PAIRS_OF_LABELS, maps],
        }
        table(f"panoptic map of {n:,} segments", tools, args.runs, "numpy.unique")


if __name__ == "__main__":
    main()
