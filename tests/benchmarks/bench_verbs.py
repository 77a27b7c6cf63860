"""Time the verbs beside ``evaluate --ci`` of the same files: CPU seconds of fresh processes.

    python tests/benchmarks/bench_verbs.py FOLDER [--runs 3]

The files are those of `bench_scoring.py`; ``compare`` and the last ``report`` take both, and stand
beside ``evaluate`` of the one and of the other together. The verbs take turns; a figure is the
least of the runs, since these machines are noisy.
"""

import argparse
import sys
from pathlib import Path

from bench_scoring import OWN, measure
from scoring_data import SIZES, write

KINDS = ("disjoint", "overlap")


def commands(gt: Path, dt: dict[str, Path], out: Path) -> dict[str, dict[str, list[str]]]:
    """Make the command of each verb, by the files it is about."""

    def own(verb: str, *rest: str | Path) -> list[str]:
        return [sys.executable, "-m", OWN, verb, str(gt), *map(str, rest)]

    once = ("--quiet", "--threads", "1")
    found = {
        kind: {
            "evaluate --ci": own("evaluate", path, "--ci", "1000", *once),
            "evaluate": own("evaluate", path, *once),
            "validate": own("validate", path),
            "errors": own("errors", path, *once),
            "report": own("report", path, "--out", out, *once),
        }
        for kind, path in dt.items()
    }
    found["both"] = {
        "compare": own("compare", *dt.values(), *once),
        "report": own("report", *dt.values(), "--out", out, *once),
    }
    return found


def main() -> None:
    """Print one table a set of files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the generated files are kept")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--set", choices=SIZES, default="val")
    args = parser.parse_args()
    dt = {}
    for kind in KINDS:
        gt, dt[kind] = write(args.folder, args.set, kind, 1314)
    verbs = commands(gt, dt, args.folder / "report.html")
    least: dict[tuple[str, str], list[float]] = {}
    for _ in range(args.runs):
        for files, own in verbs.items():
            for verb, command in own.items():
                cpu, _, peak, _ = measure(command)
                old = least.setdefault((files, verb), [cpu, peak])
                least[files, verb] = [min(a, b) for a, b in zip(old, (cpu, peak), strict=True)]
    bases = {kind: least[kind, "evaluate --ci"] for kind in KINDS}
    bases["both"] = [sum(base[0] for base in bases.values()), max(b[1] for b in bases.values())]
    for files, own in verbs.items():
        print(f"\n{args.set} {files}, least of {args.runs} runs")
        print(f"{'':16}{'CPU s':>8}{'peak MB':>9}{'x CPU':>8}{'x memory':>10}")
        if files == "both":
            least[files, "evaluate --ci"] = bases[files]
            own = {"evaluate --ci": [], **own}
        for verb in own:
            cpu, peak = least[files, verb]
            shares = cpu / bases[files][0], peak / bases[files][1]
            print(f"{verb:16}{cpu:8.2f}{peak:9.0f}{shares[0]:8.2f}{shares[1]:10.2f}")


if __name__ == "__main__":
    main()
